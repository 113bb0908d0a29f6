//! What a person may say about a format. The doc comments are the reference text.

use arrow::datatypes::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format::{Compression, Format};

/// How to read files; made by the connector from its own options.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// Layout of the rows.
    pub format: Format,
    /// Compression of text files. Parquet, Avro and ORC say it themselves.
    pub compression: Compression,
    /// Used for `csv` and `tsv`.
    pub csv: CsvOptions,
    /// Used for `json` and `ndjson`.
    pub json: JsonOptions,
    /// Columns whose type the user declared (see [`crate::declared_type`]); the others are inferred. For Parquet, Avro and ORC the
    /// file's type must widen into the declared one.
    pub declared: Option<SchemaRef>,
    /// What to do with columns of a file that the stream's schema does not have.
    pub extra_columns: ExtraColumns,
    /// Rows per batch, at most.
    pub batch_rows: usize,
    /// Source bytes per batch, about; text formats cut a batch when they have taken this many bytes.
    pub batch_bytes: usize,
}

impl ReadOptions {
    /// Defaults for a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            compression: Compression::Auto,
            csv: CsvOptions::default(),
            json: JsonOptions::default(),
            declared: None,
            extra_columns: ExtraColumns::Error,
            batch_rows: 32 * 1024,
            batch_bytes: 4 << 20,
        }
    }
}

/// A column in a file that the stream does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtraColumns {
    /// The file is refused.
    #[default]
    Error,
    /// The column is left out. Also the way to read only some columns.
    Ignore,
}

/// Whether the first record names the columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Header {
    /// Found by looking at the first records.
    #[default]
    Auto,
    /// It does.
    Present,
    /// It does not; columns are `columns`, or `column_1`, `column_2`, …
    Absent,
}

/// A record with more or fewer fields than there are columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// The record becomes a dead letter.
    #[default]
    DeadLetter,
    /// The run fails at the first one.
    Error,
    /// Missing fields at the end are NULL. A record with too many fields is still a dead letter.
    Pad,
}

/// How numbers with a fraction are inferred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    /// As 64-bit floating point, if every sampled number survives it (17 significant digits); otherwise as text.
    #[default]
    Float,
    /// As decimal(38, s) with the largest scale seen.
    Exact,
}

/// Options of CSV and TSV sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// One character between fields. Default: found among `,` `;` tab `|`; tab for `tsv`.
    pub delimiter: Option<String>,
    /// The quote character; the empty string switches quoting off. Default: `"`, or `'` where the file shows it.
    pub quote: Option<String>,
    /// A character that makes the next one literal inside quotes, e.g. `\`. Default: none; a quote is doubled.
    pub escape: Option<String>,
    /// Whether the first record names the columns: `auto`, `present`, `absent`. An empty name becomes `column_3` (its place), a repeated
    /// name gets `_2`, `_3`, …
    pub header: Header,
    /// Names of the columns, in the order of the file. With a header they must be as many as it has, and win over it.
    pub columns: Option<Vec<String>>,
    /// Texts that mean NULL, exactly as written in the file, quoted or not, e.g. `["NA", "\\N"]`. An empty field without quotes is always
    /// NULL; a quoted empty field is the empty string unless `""` is listed here.
    pub null_values: Vec<String>,
    /// Character encoding by its WHATWG name (`utf-8`, `windows-1252`, `latin1`, `utf-16le`, `shift_jis`, …). Default: the byte order
    /// mark, else UTF-8.
    pub encoding: Option<String>,
    /// Lines that begin with this character are skipped. Default: none.
    pub comment: Option<String>,
    /// Lines to skip before the header.
    pub skip_lines: usize,
    /// What to do with a record that has too few or too many fields: `dead_letter`, `error`, `pad`.
    pub ragged: Ragged,
    /// How numbers with a fraction are inferred: `float` or `exact`.
    pub decimals: Decimals,
    /// How many records to look at for names and types.
    pub infer_rows: usize,
    /// A longer record becomes a dead letter (its first MiB is kept).
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_record_bytes: usize,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: None,
            quote: None,
            escape: None,
            header: Header::Auto,
            columns: None,
            null_values: Vec::new(),
            encoding: None,
            comment: None,
            skip_lines: 0,
            ragged: Ragged::DeadLetter,
            decimals: Decimals::Float,
            infer_rows: 20_000,
            max_record_bytes: 64 << 20,
        }
    }
}

/// Options of JSON and NDJSON sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonOptions {
    /// How numbers with a fraction are inferred: `float` or `exact`. Whole numbers beyond 64 bits are decimal(38, 0) in
    /// either case, longer ones text.
    pub decimals: Decimals,
    /// What to do with keys that were not in the sample: `error` makes the record a dead letter, `ignore` leaves the value out.
    pub extra_keys: ExtraColumns,
    /// How many records to look at for names and types.
    pub infer_rows: usize,
    /// A longer record becomes a dead letter (its first MiB is kept).
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_record_bytes: usize,
    /// A record nested deeper becomes a dead letter.
    pub max_depth: usize,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            decimals: Decimals::Float,
            extra_keys: ExtraColumns::Error,
            infer_rows: 20_000,
            max_record_bytes: 64 << 20,
            max_depth: 256,
        }
    }
}

/// How to write files; made by the connector from its own options.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Layout of the rows.
    pub format: Format,
    /// Text: of the whole file. Parquet: `none`, `gzip`, `zstd`, `snappy`, `lz4`. Avro: `none`, `gzip` (its `deflate`), `zstd`, `snappy`.
    /// ORC: `none`, `gzip` (its `zlib`), `zstd`, `snappy`, `lz4`.
    pub compression: Compression,
    /// Used for `csv` and `tsv`.
    pub csv: CsvWriteOptions,
    /// Used for `parquet`.
    pub parquet: ParquetOptions,
    /// Used for `avro`.
    pub avro: AvroOptions,
    /// Used for `orc`.
    pub orc: OrcOptions,
}

impl WriteOptions {
    /// Defaults for a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            compression: Compression::Auto,
            csv: CsvWriteOptions::default(),
            parquet: ParquetOptions::default(),
            avro: AvroOptions::default(),
            orc: OrcOptions::default(),
        }
    }

    /// The compression that will be used: `auto` resolved, an impossible one refused.
    ///
    /// # Errors
    /// `WEIR-FMT-010` when the format cannot be compressed this way.
    pub fn resolved_compression(&self) -> weir_error::Result<Compression> {
        use Compression as C;
        let choice = match (self.format, self.compression) {
            (Format::Parquet | Format::Avro | Format::Orc, C::Auto) => C::Zstd,
            (_, C::Auto) => C::None,
            (_, given) => given,
        };
        let allowed: &[Compression] = match self.format {
            Format::Csv | Format::Tsv | Format::Json | Format::Ndjson => {
                &[C::None, C::Gzip, C::Zstd, C::Snappy, C::Lz4, C::Bzip2]
            }
            Format::Parquet | Format::Orc => &[C::None, C::Gzip, C::Zstd, C::Snappy, C::Lz4],
            Format::Avro => &[C::None, C::Gzip, C::Zstd, C::Snappy],
        };
        if allowed.contains(&choice) {
            return Ok(choice);
        }
        let words: Vec<&str> = allowed.iter().map(|c| c.as_str()).collect();
        Err(weir_error::Error::new(
            "WEIR-FMT-010",
            weir_error::Kind::Spec,
            format!("{} files cannot be written with compression {}", self.format.as_str(), choice.as_str()),
        )
        .hint(format!("use one of: {}", words.join(", "))))
    }
}

/// Which CSV fields are put in quotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuoteStyle {
    /// Those that need it, and empty strings (so that they differ from NULL).
    #[default]
    Necessary,
    /// Every value that is not NULL.
    Always,
}

/// Options of CSV and TSV sinks. Quotes are doubled, lines end with `\n`, the encoding is UTF-8.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvWriteOptions {
    /// One ASCII character between fields. Default: `,`, tab for `tsv`.
    pub delimiter: Option<String>,
    /// Whether the first record names the columns.
    pub header: bool,
    /// Which fields are put in quotes: `necessary` or `always`.
    pub quote_style: QuoteStyle,
    /// The text for NULL, never quoted. A value that equals it is quoted.
    pub null_value: String,
}

impl Default for CsvWriteOptions {
    fn default() -> Self {
        Self { delimiter: None, header: true, quote_style: QuoteStyle::Necessary, null_value: String::new() }
    }
}

/// Options of Parquet sinks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParquetOptions {
    /// Compression level for zstd (1 to 22) and gzip (0 to 9). Default: 1 for zstd, 6 for gzip.
    pub compression_level: Option<i32>,
    /// Rows per row group, at most.
    pub row_group_rows: usize,
    /// Encoded bytes per row group, about; bounds the memory of a writer.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub row_group_bytes: usize,
    /// Bytes per page before compression, about.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub page_bytes: usize,
    /// Dictionary encoding: on or off for every column. Default: decided per column from the first rows.
    pub dictionary: Option<bool>,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            compression_level: None,
            row_group_rows: 250_000,
            row_group_bytes: 16 << 20,
            page_bytes: 1 << 20,
            dictionary: None,
        }
    }
}

/// Options of Avro sinks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AvroOptions {
    /// Name of the record in the schema.
    pub record_name: String,
    /// Rows per block, at most.
    pub block_rows: usize,
}

impl Default for AvroOptions {
    fn default() -> Self {
        Self { record_name: "row".into(), block_rows: 8192 }
    }
}

/// Options of ORC sinks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrcOptions {
    /// Bytes per stripe, about; bounds the memory of a writer.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub stripe_bytes: usize,
}

impl Default for OrcOptions {
    fn default() -> Self {
        Self { stripe_bytes: 32 << 20 }
    }
}
