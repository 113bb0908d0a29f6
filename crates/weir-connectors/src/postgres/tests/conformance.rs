//! The kit over the connector. Seeding and reading back go through another client and the server's text forms.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, LargeStringArray, RecordBatch};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::conformance::{Declared, Subject, TypeFamily};
use weir_connect::{Connector, Error, Result, WriteMode};
use weir_testkit::Database;

use super::super::Postgres;

struct Subjected {
    database: Database,
    mode: WriteMode,
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("the subject: {error:#}"))
}

/// A column type that holds the Arrow type; chosen here, not by the connector.
fn column_type(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "int2".into(),
        DataType::Int32 | DataType::UInt16 => "int4".into(),
        DataType::Int64 | DataType::UInt32 => "int8".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float32 => "float4".into(),
        DataType::Float64 => "float8".into(),
        DataType::Decimal128(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::Utf8 => "text".into(),
        DataType::Binary => "bytea".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::List(item) => format!("{}[]", column_type(item.data_type())),
        DataType::Struct(_) => "json".into(),
        other => panic!("{other}"),
    }
}

fn json_of(array: &ArrayRef, row: usize) -> Value {
    let batch = RecordBatch::try_from_iter([("v", array.slice(row, 1))]).unwrap();
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    serde_json::from_slice::<Value>(&writer.into_inner()).unwrap()["v"].take()
}

fn literal(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "NULL".into();
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match array.data_type() {
        DataType::Binary => {
            let hex: String = array.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("'\\x{hex}'")
        }
        DataType::List(item) => {
            let text = quoted(&json_of(array, row).to_string());
            let kind = column_type(item.data_type());
            format!("ARRAY(SELECT v::{kind} FROM json_array_elements_text({text}) WITH ORDINALITY AS e(v, n) ORDER BY n)")
        }
        DataType::Struct(_) => quoted(&json_of(array, row).to_string()),
        _ => quoted(cast(&array.slice(row, 1), &DataType::Utf8).unwrap().as_string::<i32>().value(0)),
    }
}

#[async_trait]
impl Subject for Subjected {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Postgres::default())
    }

    fn declared(&self) -> Declared {
        let mut families = TypeFamily::PLAIN.to_vec();
        families.push(TypeFamily::FloatSpecials);
        Declared::both()
            .modes(&[self.mode])
            .types(&families)
            .not_resumable()
            .incremental()
            .schema_change()
            .max_buffered_bytes(1 << 20)
    }

    fn connection(&self) -> Value {
        super::connection(self.database.url())
    }

    fn bad_connection(&self) -> Option<Value> {
        let server = weir_testkit::PostgresServer::shared().unwrap();
        Some(json!({ "url": server.password_url("postgres", "wrong") }))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({ "host": "127.0.0.1", "port": 1, "user": "x" }))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let schema = batches[0].schema();
        let columns: Vec<String> =
            schema.fields().iter().map(|field| format!("\"{}\" {}", field.name(), column_type(field.data_type()))).collect();
        // The kit seeds a name again to begin anew.
        let mut sql = vec![format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({})", columns.join(", "))];
        for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
            let rows: Vec<String> = (0..batch.num_rows())
                .map(|row| format!("({})", batch.columns().iter().map(|c| literal(c, row)).collect::<Vec<_>>().join(", ")))
                .collect();
            sql.push(format!("INSERT INTO {name} VALUES {}", rows.join(", ")));
        }
        self.database.execute(sql.join(";")).map_err(broken)?;
        // Ranges of few blocks, so that several splits come out of small tables.
        Ok(json!({ "table": name, "split_bytes": 8192 }))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        json!({ "table": name })
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let columns = self
            .database
            .rows(format!(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass('public.\"{name}\"') \
                 AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            ))
            .map_err(broken)?;
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = columns
            .iter()
            .map(|column| match (column[0].as_deref().unwrap(), column[1].as_deref().unwrap()) {
                (column, kind) if kind.ends_with("[]") => format!("to_json(\"{column}\")::text"),
                (column, "bytea") => format!("encode(\"{column}\", 'hex')"),
                (column, _) => format!("\"{column}\"::text"),
            })
            .collect();
        let rows = self.database.rows(format!("SELECT {} FROM \"{name}\"", list.join(", "))).map_err(broken)?;
        // The types of the kit's small table come back as themselves, the others as text for `map_back`.
        let natural = |kind: &str| match kind {
            "bigint" => DataType::Int64,
            "text" => DataType::Utf8,
            _ => DataType::LargeUtf8,
        };
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            let kind = natural(column[1].as_deref().unwrap());
            let text: LargeStringArray = rows.iter().map(|row| row[at].clone()).collect();
            arrays.push(cast_with_options(&text, &kind, &CastOptions { safe: false, ..Default::default() }).map_err(broken)?);
            fields.push(Field::new(column[0].clone().unwrap(), kind, true));
        }
        Ok(vec![RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(broken)?])
    }

    /// The server's text form, as Arrow's own parsers understand it.
    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        if read.data_type() == field.data_type() {
            return Ok(read.clone());
        }
        let nested = field.data_type().is_nested();
        if let (DataType::LargeUtf8, DataType::Binary) = (read.data_type(), field.data_type()) {
            let bytes = |hex: &str| (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect();
            let values: Vec<Option<Vec<u8>>> = read.as_string::<i64>().iter().map(|hex| hex.map(bytes)).collect();
            return Ok(Arc::new(values.iter().map(|value| value.as_deref()).collect::<BinaryArray>()));
        }
        if nested && matches!(read.data_type(), DataType::LargeUtf8 | DataType::Utf8) {
            let text = cast(read, &DataType::LargeUtf8).map_err(broken)?;
            let schema = Arc::new(Schema::new(vec![Field::new("v", field.data_type().clone(), true)]));
            let mut decoder = arrow::json::ReaderBuilder::new(schema.clone()).with_batch_size(1 << 20).build_decoder().unwrap();
            for text in text.as_string::<i64>() {
                let line = format!("{{\"v\": {}}}\n", text.unwrap_or("null"));
                decoder.decode(line.as_bytes()).map_err(broken)?;
            }
            let batch = decoder.flush().map_err(broken)?.unwrap_or_else(|| RecordBatch::new_empty(schema));
            return Ok(batch.column(0).clone());
        }
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(read, field.data_type(), &strict).map_err(broken)
    }
}

async fn subject(mode: WriteMode) -> Subjected {
    Subjected { database: super::database(), mode }
}

mod append {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Append).await);
}
mod overwrite {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Overwrite).await);
}
mod upsert {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Upsert).await);
}
mod merge {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Merge).await);
}
