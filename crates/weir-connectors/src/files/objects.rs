//! A bucket as [`Objects`]: for what the program itself keeps there (the journal of `mode: cdc`).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::Value;
use weir_connect::guard::Bucket;
use weir_connect::{ObjectInfo, Objects};
use weir_error::{Error, Kind, Result};

use super::client::{self, options};
use super::config::S3Connection;
use super::s3::{S3Storage, is_gone};
use super::storage::Storage;

/// What lies below `s3://BUCKET/PREFIX`, reached as an `s3` connection with these options does it. Does not connect. Nothing that a guard refuses a connector
/// is reached.
pub fn bucket(connection: &Value, path: &str) -> Result<Arc<dyn Objects>> {
    let refused = |why: &str| {
        Error::new("WEIR-S3-020", Kind::Spec, format!("`{path}` is no place in a bucket"))
            .because(why.to_owned())
            .hint("write s3://BUCKET/PREFIX")
    };
    let rest = path.strip_prefix("s3://").ok_or_else(|| refused("it does not begin with s3://"))?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    if name.is_empty() || prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        return Err(refused("a bucket and plain folders are expected"));
    }
    let connection: S3Connection = options("connection", connection)?;
    if connection.bucket.as_ref().is_some_and(|bucket| bucket != name) {
        return Err(refused("its connection is for another bucket"));
    }
    if connection.access_key.is_some() != connection.secret_key.is_some() {
        return Err(
            Error::new("WEIR-S3-013", Kind::Spec, "access_key and secret_key belong together").hint("give both, or neither")
        );
    }
    Ok(Arc::new(Place { storage: client::s3(&connection, name)?, prefix: prefix.to_owned() }))
}

/// A part of the platform's own bucket. Does not connect.
pub fn own(bucket: &Bucket) -> Result<Arc<dyn Objects>> {
    Ok(Arc::new(Place { storage: client::tenants(bucket)?, prefix: String::new() }))
}

#[derive(Debug)]
struct Place {
    storage: S3Storage,
    /// Without slashes at its ends.
    prefix: String,
}

impl Place {
    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    fn key(&self, name: &str) -> Result<(Key, String)> {
        let path = self.path(name);
        Ok((self.storage.key(&path)?, path))
    }

    /// The name that a key means.
    fn name<'k>(&self, key: &'k Key) -> &'k str {
        let path = self.storage.path(key);
        path.strip_prefix(&self.prefix).unwrap_or(path).trim_start_matches('/')
    }
}

#[async_trait]
impl Objects for Place {
    fn show(&self, name: &str) -> String {
        Storage::show(&self.storage, &self.path(name))
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let (key, path) = self.key(folder)?;
        let objects: Vec<_> = self
            .storage
            .store()
            .list(Some(&key))
            .try_collect()
            .await
            .map_err(|error| self.storage.error("listing", &path, error))?;
        let info = |object: object_store::ObjectMeta| ObjectInfo {
            name: self.name(&object.location).to_owned(),
            bytes: object.size,
            written: object.last_modified.into(),
        };
        Ok(objects.into_iter().map(info).collect())
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        let (key, path) = self.key(name)?;
        let put = self.storage.store().put_opts(&key, PutPayload::from(bytes.clone()), PutOptions::from(PutMode::Create)).await;
        match put {
            Ok(_) => Ok(true),
            Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                Ok(self.get(name).await?.is_some_and(|found| found == bytes))
            }
            Err(error) => Err(self.storage.error("writing", &path, error)),
        }
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let (key, path) = self.key(name)?;
        let put = self.storage.store().put(&key, PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| self.storage.error("writing", &path, error))
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let (key, path) = self.key(name)?;
        let got = async { self.storage.store().get(&key).await?.bytes().await };
        match got.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(self.storage.error("reading", &path, error)),
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let (key, path) = self.key(name)?;
        match self.storage.store().delete(&key).await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(self.storage.error("deleting", &path, error)),
        }
    }
}
