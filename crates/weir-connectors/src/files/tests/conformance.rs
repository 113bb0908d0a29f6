//! The kit over both storages, with Parquet. Seeding and reading back use the parquet crate and plain reads.

use arrow::array::new_null_array;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_connect::conformance::{Declared, Subject};

use super::*;

struct Kit {
    place: Place,
    connector: fn() -> Files,
}

impl Kit {
    fn local() -> Self {
        Self { place: Place::local(), connector: Files::file }
    }

    fn s3() -> Self {
        Self { place: Place::s3(), connector: Files::s3 }
    }
}

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new((self.connector)())
    }

    fn declared(&self) -> Declared {
        Declared::both()
            .modes(&[WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert])
            .schema_change()
            .incremental()
            // One row group in the making and, on S3, a part that waits and two on their way.
            .max_buffered_bytes(32 << 20)
    }

    fn connection(&self) -> Value {
        self.place.connection.clone()
    }

    fn bad_connection(&self) -> Option<Value> {
        self.place.bucket.as_ref()?;
        let mut connection = self.place.connection.clone();
        connection["secret_key"] = json!("not-the-secret");
        Some(connection)
    }

    fn unreachable_connection(&self) -> Option<Value> {
        self.place.bucket.as_ref()?;
        let mut connection = self.place.connection.clone();
        connection["endpoint"] = json!("http://127.0.0.1:1");
        Some(connection)
    }

    fn base_dir(&self) -> PathBuf {
        self.place.base.clone()
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        for (at, batch) in batches.iter().enumerate() {
            let mut bytes = vec![];
            let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
            writer.write(batch).unwrap();
            writer.close().unwrap();
            let path = format!("seeded/{name}/{at}.parquet");
            match &self.place.bucket {
                Some(bucket) => bucket.put(&path, bytes).unwrap(),
                None => self.place.put_file(&path, bytes),
            }
        }
        Ok(json!({ "path": format!("seeded/{name}") }))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        json!({ "path": format!("sunk/{name}"), "parquet": {"row_group_bytes": 1 << 20} })
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let folder = format!("sunk/{name}/");
        let mut batches = vec![];
        for (path, _) in self.place.visible().into_iter().filter(|(path, _)| path.starts_with(&folder)) {
            let bytes = match &self.place.bucket {
                Some(bucket) => bucket.get(&path).unwrap(),
                None => self.place.read_file(&path),
            };
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
            batches.extend(reader.map(|batch| batch.unwrap()));
        }
        Ok(widened(batches))
    }
}

/// Files of before a new column have NULL there, as every reader by name sees it.
fn widened(batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
    let Some(widest) = batches.iter().map(RecordBatch::schema).max_by_key(|schema| schema.fields().len()) else { return vec![] };
    let widen = |batch: RecordBatch| {
        let columns = widest.fields().iter().map(|field| {
            let null = || new_null_array(field.data_type(), batch.num_rows());
            (field.name(), batch.column_by_name(field.name()).cloned().unwrap_or_else(null), true)
        });
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    batches.into_iter().map(widen).collect()
}

mod file {
    weir_connect::conformance!(super::Kit::local());
}

mod s3 {
    weir_connect::conformance!(super::Kit::s3());
}
