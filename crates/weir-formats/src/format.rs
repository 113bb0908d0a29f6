//! The names of formats and compressions, and how a file's name says which it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rows are laid out in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text with a delimiter, RFC 4180 and its relatives; the delimiter is found by looking unless it is given.
    Csv,
    /// Text with tabs between fields; otherwise like `csv`.
    Tsv,
    /// One JSON document: an array of objects, one object, or several objects after each other.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
    /// Avro object container files.
    Avro,
    /// Apache ORC.
    Orc,
}

impl Format {
    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Avro => "avro",
            Self::Orc => "orc",
        }
    }

    /// Format and compression by the endings of a name: `orders.csv.gz` is (`csv`, `gzip`), `orders.parquet` is
    /// (`parquet`, `none`). `None` when the ending names no format that Weir reads. Only the last part of a path counts.
    pub fn from_path(name: &str) -> Option<(Format, Compression)> {
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name).to_ascii_lowercase();
        let (stem, compression) = Compression::split_suffix(&name);
        let (_, ending) = stem.rsplit_once('.')?;
        let format = match ending {
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "json" => Self::Json,
            "ndjson" | "jsonl" | "jsonlines" => Self::Ndjson,
            "parquet" | "parq" | "pq" => Self::Parquet,
            "avro" => Self::Avro,
            "orc" => Self::Orc,
            _ => return None,
        };
        Some((format, compression))
    }

    /// Whether the file is text, and so may be compressed as a whole. The others compress inside.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv | Self::Json | Self::Ndjson)
    }

    /// The ending of files that a sink writes, compression included: `.csv.gz`, `.ndjson.zst`, `.parquet`.
    pub fn extension(self, compression: Compression) -> String {
        if self.is_text() { format!(".{}{}", self.as_str(), compression.suffix()) } else { format!(".{}", self.as_str()) }
    }

    /// The media type of a record in this format.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Tsv => "text/tab-separated-values",
            Self::Json | Self::Ndjson => "application/json",
            Self::Parquet | Self::Avro | Self::Orc => "application/octet-stream",
        }
    }
}

/// How a text file is compressed as a whole, or (when writing Parquet, Avro and ORC) how the blocks inside are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Reading: by the name's ending, and by the first bytes of the file, which win. Writing: none for text,
    /// zstd for Parquet, Avro and ORC.
    #[default]
    Auto,
    /// Not compressed.
    None,
    /// gzip; files of several members are read whole.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Snappy; text files use its framed format.
    Snappy,
    /// LZ4; text files use its frame format.
    Lz4,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
        }
    }

    /// The ending of a file compressed this way, with its dot; empty for `none` and `auto`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Auto | Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Snappy => ".sz",
            Self::Lz4 => ".lz4",
            Self::Bzip2 => ".bz2",
        }
    }

    fn split_suffix(name: &str) -> (&str, Compression) {
        const SUFFIXES: [(&str, Compression); 9] = [
            (".gz", Compression::Gzip),
            (".gzip", Compression::Gzip),
            (".zst", Compression::Zstd),
            (".zstd", Compression::Zstd),
            (".sz", Compression::Snappy),
            (".snappy", Compression::Snappy),
            (".lz4", Compression::Lz4),
            (".bz2", Compression::Bzip2),
            (".bzip2", Compression::Bzip2),
        ];
        for (suffix, compression) in SUFFIXES {
            if let Some(stem) = name.strip_suffix(suffix) {
                return (stem, compression);
            }
        }
        (name, Compression::None)
    }

    /// The compression that the first bytes of a file show, if they show one.
    pub fn from_magic(head: &[u8]) -> Option<Compression> {
        if head.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_zstd_skippable(head) {
            Some(Self::Zstd)
        } else if head.starts_with(&[0xff, 0x06, 0x00, 0x00, b's', b'N', b'a', b'P', b'p', b'Y']) {
            Some(Self::Snappy)
        } else if head.starts_with(&[0x04, 0x22, 0x4d, 0x18]) {
            Some(Self::Lz4)
        } else if head.len() >= 10
            && head.starts_with(b"BZh")
            && head[3].is_ascii_digit()
            && (head[4..10] == [0x31, 0x41, 0x59, 0x26, 0x53, 0x59] || head[4..10] == [0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
        {
            Some(Self::Bzip2)
        } else {
            None
        }
    }
}

fn is_zstd_skippable(head: &[u8]) -> bool {
    head.len() >= 4 && (0x50..=0x5f).contains(&head[0]) && head[1..4] == [0x2a, 0x4d, 0x18]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        for (name, expected) in [
            ("a.csv", Some((Format::Csv, Compression::None))),
            ("s3://bucket/dir.d/A.CSV.GZ", Some((Format::Csv, Compression::Gzip))),
            ("x.jsonl.zst", Some((Format::Ndjson, Compression::Zstd))),
            ("x.json.bz2", Some((Format::Json, Compression::Bzip2))),
            ("x.tsv.lz4", Some((Format::Tsv, Compression::Lz4))),
            ("x.ndjson.snappy", Some((Format::Ndjson, Compression::Snappy))),
            ("part-0.parquet", Some((Format::Parquet, Compression::None))),
            ("dir.csv/readme", None),
            ("x.gz", None),
            ("x.txt", None),
        ] {
            assert_eq!(Format::from_path(name), expected, "{name}");
        }
    }

    #[test]
    fn a_sinks_extension_reads_back_as_the_same_format() {
        for format in [Format::Csv, Format::Tsv, Format::Json, Format::Ndjson] {
            for compression in [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Snappy, Compression::Lz4] {
                let name = format!("part-0{}", format.extension(compression));
                assert_eq!(Format::from_path(&name), Some((format, compression)));
            }
        }
    }
}
