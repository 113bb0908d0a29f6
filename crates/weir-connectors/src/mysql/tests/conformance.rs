//! The kit over the connector. Seeding and reading back go through another client and the server's text forms.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, LargeStringArray, RecordBatch};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema};
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::conformance::{Declared, Subject};
use weir_connect::{Connector, Error, Result, WriteMode};
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::super::Mysql;

struct Subjected {
    flavor: Flavor,
    database: MysqlDatabase,
    mode: WriteMode,
    load: &'static str,
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("the subject: {error:#}"))
}

/// A column type that holds the Arrow type; chosen here, not by the connector.
fn column_type(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "tinyint(1)".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::UInt8 => "tinyint unsigned".into(),
        DataType::UInt16 => "smallint unsigned".into(),
        DataType::UInt32 => "int unsigned".into(),
        DataType::UInt64 => "bigint unsigned".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 => "longtext".into(),
        DataType::Binary => "longblob".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time(6)".into(),
        DataType::Timestamp(_, _) => "datetime(6)".into(),
        DataType::List(_) | DataType::Struct(_) => "longtext".into(),
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
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\0', "\\0"));
    match array.data_type() {
        DataType::Boolean => u8::from(array.as_boolean().value(row)).to_string(),
        DataType::Binary => {
            let hex: String = array.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("X'{hex}'")
        }
        DataType::List(_) | DataType::Struct(_) => quoted(&json_of(array, row).to_string()),
        _ => quoted(cast(&array.slice(row, 1), &DataType::Utf8).unwrap().as_string::<i32>().value(0).trim_end_matches('Z')),
    }
}

#[async_trait]
impl Subject for Subjected {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Mysql::default())
    }

    fn declared(&self) -> Declared {
        // InnoDB takes 1017 columns and about 8,000 bytes of numbers in a row.
        Declared::both().modes(&[self.mode]).incremental().schema_change().max_buffered_bytes(1 << 20).columns(900)
    }

    fn connection(&self) -> Value {
        super::connection(self.database.url())
    }

    fn bad_connection(&self) -> Option<Value> {
        let server = MysqlServer::shared(self.flavor).unwrap();
        Some(json!({ "url": server.password_url("mysql", "wrong") }))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({ "host": "127.0.0.1", "port": 1, "user": "x" }))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let schema = batches[0].schema();
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| match field.name().as_str() {
                "id" => "`id` bigint PRIMARY KEY".into(),
                name => format!("`{name}` {}", column_type(field.data_type())),
            })
            .collect();
        // The kit seeds a name again to begin anew.
        self.database.execute(format!("DROP TABLE IF EXISTS `{name}`")).map_err(broken)?;
        self.database.execute(format!("CREATE TABLE `{name}` ({}) CHARACTER SET utf8mb4", columns.join(", "))).map_err(broken)?;
        for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
            let rows: Vec<String> = (0..batch.num_rows())
                .map(|row| format!("({})", batch.columns().iter().map(|c| literal(c, row)).collect::<Vec<_>>().join(", ")))
                .collect();
            self.database.execute(format!("INSERT INTO `{name}` VALUES {}", rows.join(", "))).map_err(broken)?;
        }
        if ["positions", "finished", "source_crash"].iter().any(|check| name.contains(check)) {
            super::resume::settled(&self.database, name);
        }
        // Few rows, so that several splits come out of small tables.
        Ok(json!({ "table": name, "split_rows": 50 }))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        json!({ "table": name, "load": self.load, "state_schema": self.database.name() })
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let columns = self
            .database
            .rows(format!(
                "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{name}' \
                 ORDER BY ORDINAL_POSITION",
                self.database.name()
            ))
            .map_err(broken)?;
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = columns
            .iter()
            .map(|column| match (column[0].as_deref().unwrap(), column[1].as_deref().unwrap()) {
                // As text a float has six digits.
                (column, "float") => format!("CAST(`{column}` AS DOUBLE)"),
                (column, "longblob") => format!("HEX(`{column}`)"),
                (column, _) => format!("`{column}`"),
            })
            .collect();
        let rows = self.database.rows(format!("SELECT {} FROM `{name}`", list.join(", "))).map_err(broken)?;
        // The types of the kit's small table come back as themselves, the others as text for `map_back`.
        let natural = |kind: &str| match kind {
            "bigint" => DataType::Int64,
            "longtext" => DataType::Utf8,
            _ => DataType::LargeUtf8,
        };
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            let text: LargeStringArray = rows.iter().map(|row| row[at].clone()).collect();
            let mut kind = natural(column[1].as_deref().unwrap());
            let strict = CastOptions { safe: false, ..Default::default() };
            let array = match cast_with_options(&text, &kind, &strict) {
                Ok(array) => array,
                // An unsigned number above the signed ones.
                Err(_) => {
                    kind = DataType::LargeUtf8;
                    Arc::new(text)
                }
            };
            arrays.push(array);
            fields.push(Field::new(column[0].clone().unwrap(), kind, true));
        }
        Ok(vec![RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(broken)?])
    }

    /// The server's text form, as Arrow's own parsers understand it.
    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        if read.data_type() == field.data_type() {
            return Ok(self.one_zero(read));
        }
        let is_text = matches!(read.data_type(), DataType::LargeUtf8 | DataType::Utf8);
        if let (DataType::LargeUtf8, DataType::Binary) = (read.data_type(), field.data_type()) {
            let bytes = |hex: &str| (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect();
            let values: Vec<Option<Vec<u8>>> = read.as_string::<i64>().iter().map(|hex| hex.map(bytes)).collect();
            return Ok(Arc::new(values.iter().map(|value| value.as_deref()).collect::<BinaryArray>()));
        }
        if field.data_type().is_nested() && is_text {
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
        cast_with_options(read, field.data_type(), &strict).map(|array| self.one_zero(&array)).map_err(broken)
    }
}

impl Subjected {
    /// MariaDB has no negative zero: what is written as one is the zero.
    fn one_zero(&self, array: &ArrayRef) -> ArrayRef {
        match (self.flavor, array.data_type()) {
            (Flavor::MariaDb, DataType::Float32) => Arc::new(
                array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|number| if number == 0.0 { 0.0 } else { number }),
            ),
            (Flavor::MariaDb, DataType::Float64) => Arc::new(
                array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|number| if number == 0.0 { 0.0 } else { number }),
            ),
            _ => array.clone(),
        }
    }
}

fn subject(flavor: Flavor, mode: WriteMode, load: &'static str) -> Subjected {
    Subjected { flavor, database: super::database_of(flavor), mode, load }
}

mod append {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MariaDb, WriteMode::Append, "auto"));
}
mod append_by_insert {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MariaDb, WriteMode::Append, "insert"));
}
mod overwrite {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MariaDb, WriteMode::Overwrite, "auto"));
}
mod upsert {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MariaDb, WriteMode::Upsert, "auto"));
}
mod merge {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MariaDb, WriteMode::Merge, "auto"));
}
mod mysql_append {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MySql, WriteMode::Append, "auto"));
}
mod mysql_overwrite {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MySql, WriteMode::Overwrite, "insert"));
}
mod mysql_upsert {
    use super::*;
    weir_connect::conformance!(subject(Flavor::MySql, WriteMode::Upsert, "auto"));
}
