//! `file` and `s3`: one implementation of files as source and sink, over two storages.
//!
//! * [`storage`] what is needed of a place that holds files; [`local`] and [`s3`] implement it, [`client`] chooses.
//! * [`listing`] which files a path means; [`survey`] what they look like; [`source`] reads them,
//!   [`window`] from the cursor on, [`again`] a single dead letter.
//! * [`sink`] where a stream goes, [`names`] what folders are called, [`partition`] into which folder, [`writer`] one lane, [`commit`] and [`manifest`] the
//!   moment when readers see it, [`rewrite`] upsert and single files, [`schema`] the contract.
//! * [`changes`] what `mode: cdc` writes; [`verify`] compares what is there with what should be; [`objects`] a bucket for what the program itself keeps.
//!
//! How bytes become rows and back is `weir-formats`' business.

mod again;
mod changes;
mod client;
mod commit;
mod config;
mod hive;
mod listing;
mod local;
mod manifest;
mod names;
pub mod objects;
mod partition;
mod rewrite;
mod s3;
mod s3_errors;
mod schema;
mod sink;
mod source;
mod storage;
mod survey;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod window;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::{JsonSchema, schema_for};
use serde_json::Value;
use weir_connect::guard;
use weir_connect::{CheckReport, Connector, Descriptor, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};
use weir_error::{Error, Kind};

use client::{Connection, System, options};
pub use config::{ChangedFiles, FileConnection, FileSink, FileSource, S3Connection, SinkFormat, Size};
use sink::FilesSink;
use source::FilesSource;

/// The connector `file` or `s3`.
pub struct Files {
    system: System,
    descriptor: Descriptor,
}

impl Files {
    /// Local disks.
    pub fn file() -> Self {
        Self {
            system: System::File,
            descriptor: Descriptor {
                name: "file",
                aliases: &["local", "localfile", "local_file", "files"],
                summary: "files on a local disk: CSV, TSV, JSON, NDJSON, Parquet, Avro, ORC, compressed or not",
                connection: schema::<FileConnection>(),
                source: Some(schema::<FileSource>()),
                sink: Some(schema::<FileSink>()),
                address_option: "path",
            },
        }
    }

    /// Buckets.
    pub fn s3() -> Self {
        Self {
            system: System::S3,
            descriptor: Descriptor {
                name: "s3",
                aliases: &["minio", "s3a"],
                summary: "files in a bucket of AWS S3, MinIO or any other S3, in the formats of `file`",
                connection: schema::<S3Connection>(),
                source: Some(schema::<FileSource>()),
                sink: Some(schema::<FileSink>()),
                address_option: "path",
            },
        }
    }
}

fn schema<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

#[async_trait]
impl Connector for Files {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, given: &Value) -> Result<()> {
        let connection = Connection::parse(self.system, connection, Path::new("."))?;
        match role {
            "source" => FilesSource::new(connection, options("source", given)?).map(|_| ()),
            "sink" => FilesSink::new(connection, options("sink", given)?, String::new(), self.descriptor.name).map(|_| ()),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        match Connection::parse(self.system, connection, Path::new("."))? {
            connection @ Connection::File { .. } => {
                let located = connection.locate(&[String::new()])?;
                let folder = located.anchor.folder;
                if matches!(guard::current().files(), guard::Files::Bucket(_)) {
                    match located.storage.list(&folder, Some(0)).await {
                        Ok(_) => report.push("reach", true, located.storage.show(&folder)),
                        Err(error) => report.push("reach", false, error.to_string()),
                    }
                    return Ok(report);
                }
                match std::fs::read_dir(&folder) {
                    Ok(_) => report.push("reach", true, folder),
                    Err(error) => report.push("reach", false, Error::from(error).at(folder).to_string()),
                }
            }
            Connection::S3(connection) => {
                // Without a bucket any name shows whether the service answers and knows the key.
                let bucket = connection.bucket.clone().unwrap_or_else(|| "weir-connection-check".into());
                let storage = client::s3(&connection, &bucket)?;
                let seen = storage::Storage::list(&storage, "", Some(0)).await;
                let endpoint = connection.endpoint.clone().unwrap_or_else(|| "AWS".into());
                match seen {
                    Ok(_) => {
                        report.push("reach", true, endpoint);
                        report.push(
                            "auth",
                            true,
                            connection.access_key.unwrap_or_else(|| "credentials from the environment".into()),
                        );
                        report.push("privileges", true, format!("may list bucket `{}`", storage.bucket()));
                    }
                    Err(error) => {
                        let said = match error.advice() {
                            Some(hint) => format!("{error}. {hint}"),
                            None => error.to_string(),
                        };
                        report.push(
                            "reach",
                            error.kind() != Kind::Connect,
                            if error.kind() == Kind::Connect { said.clone() } else { endpoint },
                        );
                        if error.kind() == Kind::Auth {
                            report.push("auth", false, said);
                        } else if error.kind() != Kind::Connect {
                            report.push("auth", true, connection.access_key.unwrap_or_else(|| "accepted".into()));
                            if connection.bucket.is_some() {
                                report.push("privileges", false, said);
                            }
                        }
                    }
                }
            }
        }
        Ok(report)
    }

    async fn discover(&self, mut context: SourceContext) -> Result<Vec<StreamInfo>> {
        let given: FileSource = options("source", &context.options)?;
        if given.path.is_some() || !given.paths.is_empty() || !given.streams.is_empty() {
            return self.source(context).await?.streams().await;
        }
        // No path: every folder and data file at the top is a stream.
        let connection = Connection::parse(self.system, &context.connection, &context.base_dir)?;
        let located = connection.locate(&[String::new()])?;
        let folder = located.anchor.resolve("")?;
        let mut tops: Vec<String> = vec![];
        for file in located.storage.list(&folder, None).await? {
            let relative = file.path.strip_prefix(&folder).unwrap_or(&file.path).trim_start_matches('/');
            let top = relative.split('/').next().unwrap_or_default();
            let data = weir_formats::Format::from_path(relative).is_some()
                && !relative.split('/').any(|part| part.starts_with(['_', '.']));
            if data && !tops.iter().any(|known| known == top) {
                tops.push(top.to_owned());
            }
        }
        let mut streams = vec![];
        for top in tops {
            context.options = serde_json::json!({ "path": top });
            streams.extend(self.source(context.clone()).await?.streams().await?);
        }
        Ok(streams)
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let connection = Connection::parse(self.system, &context.connection, &context.base_dir)?;
        Ok(Arc::new(FilesSource::new(connection, options("source", &context.options)?)?))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let connection = Connection::parse(self.system, &context.connection, &context.base_dir)?;
        Ok(Arc::new(FilesSink::new(connection, options("sink", &context.options)?, context.node, self.descriptor.name)?))
    }
}
