//! A real S3 server: MinIO over one temporary folder. It checks signatures and honours conditional writes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt, signer::Signer};
use serde::{Deserialize, Serialize};

pub mod install;

use crate::blocking::block_on;
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, open_tempdir, shared};

const ACCESS_KEY: &str = "weir";
const SECRET_KEY: &str = "weirsecret123";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    endpoint: String,
    access_key: String,
    secret_key: String,
}

/// A running MinIO. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Minio {
    facts: Facts,
    owned: Option<Owned>,
}

#[derive(Debug)]
struct Owned {
    process: Option<ServerProcess>,
    dir: tempfile::TempDir,
    port: u16,
}

impl Minio {
    /// The server of this test run; started by whoever asks first. `WEIR_TEST_S3_ENDPOINT` with
    /// `WEIR_TEST_S3_ACCESS_KEY` and `WEIR_TEST_S3_SECRET_KEY` names one that is already there.
    pub fn shared() -> Result<Self> {
        if let Some(endpoint) = std::env::var("WEIR_TEST_S3_ENDPOINT").ok().filter(|v| !v.is_empty()) {
            let access_key = std::env::var("WEIR_TEST_S3_ACCESS_KEY").unwrap_or_else(|_| ACCESS_KEY.to_owned());
            let secret_key = std::env::var("WEIR_TEST_S3_SECRET_KEY").unwrap_or_else(|_| SECRET_KEY.to_owned());
            return Ok(Self { facts: Facts { endpoint, access_key, secret_key }, owned: None });
        }
        let facts = shared("minio", |home| {
            let (process, facts, _) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A server of one's own.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-minio-")?;
        let (process, facts, port) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some(Owned { process: Some(process), dir, port }) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.facts.endpoint
    }

    /// The root user's access key.
    pub fn access_key(&self) -> &str {
        &self.facts.access_key
    }

    /// The root user's secret key.
    pub fn secret_key(&self) -> &str {
        &self.facts.secret_key
    }

    /// The region it answers to.
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    /// A new, empty bucket with a name of its own.
    pub fn create_bucket(&self) -> Result<Bucket> {
        self.create_bucket_named(&format!("t-{}", uuid::Uuid::new_v4().simple()))
    }

    /// A bucket of that name; one that exists already is not an error.
    pub fn create_bucket_named(&self, name: &str) -> Result<Bucket> {
        let store = self.client(name)?;
        let bucket = Bucket { name: name.to_owned(), store: Arc::new(store.clone()) };
        block_on(move || async move {
            // PUT of the empty key is CreateBucket.
            let url =
                store.signed_url(reqwest::Method::PUT, &object_store::path::Path::default(), Duration::from_secs(60)).await?;
            let end = std::time::Instant::now() + Duration::from_secs(30);
            loop {
                let answer = reqwest::Client::new().put(url.clone()).send().await?;
                let status = answer.status();
                let said = answer.text().await.unwrap_or_default();
                if status.is_success() || said.contains("BucketAlreadyOwnedByYou") {
                    return Ok(());
                }
                // It says that it is ready a moment before it can write.
                if !said.contains("XMinioServerNotInitialized") || std::time::Instant::now() > end {
                    bail!("MinIO does not create the bucket: {status} {said}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })?;
        Ok(bucket)
    }

    /// An `object_store` client of a bucket.
    pub fn client(&self, bucket: &str) -> Result<AmazonS3> {
        Ok(AmazonS3Builder::new()
            .with_endpoint(&self.facts.endpoint)
            .with_access_key_id(&self.facts.access_key)
            .with_secret_access_key(&self.facts.secret_key)
            .with_region(self.region())
            .with_bucket_name(bucket)
            .with_allow_http(true)
            .build()?)
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        if let Some(mut process) = self.owned()?.process.take() {
            process.kill_9()?;
        }
        Ok(())
    }

    /// Stops it if it runs, and starts it again at the same endpoint with the same data.
    pub fn restart(&mut self) -> Result<()> {
        let owned = self.owned()?;
        if let Some(mut process) = owned.process.take() {
            process.stop(libc::SIGTERM, Duration::from_secs(10))?;
        }
        owned.process = Some(run_server(owned.dir.path(), owned.port, false)?);
        Ok(())
    }

    fn owned(&mut self) -> Result<&mut Owned> {
        self.owned.as_mut().context("the shared server is not this test's to stop; start one with Minio::start()")
    }
}

/// A bucket with the calls that seeding and checking need.
#[derive(Debug, Clone)]
pub struct Bucket {
    name: String,
    store: Arc<AmazonS3>,
}

impl Bucket {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The `object_store` client.
    pub fn store(&self) -> Arc<AmazonS3> {
        self.store.clone()
    }

    /// Puts an object. Blocks; may be called in async tests.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let (store, key, bytes) = (self.store.clone(), object_store::path::Path::parse(key)?, bytes.into());
        block_on(move || async move {
            store.put(&key, bytes.into()).await?;
            Ok(())
        })
    }

    /// The keys below a prefix, sorted.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let (store, prefix) = (self.store.clone(), object_store::path::Path::parse(prefix)?);
        block_on(move || async move {
            let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
            let mut keys: Vec<String> = objects.into_iter().map(|o| o.location.to_string()).collect();
            keys.sort();
            Ok(keys)
        })
    }

    /// An object's bytes.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        let (store, key) = (self.store.clone(), object_store::path::Path::parse(key)?);
        block_on(move || async move { Ok(store.get(&key).await?.bytes().await?.to_vec()) })
    }
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts, u16)> {
    let mut last = None;
    for _ in 0..5 {
        let port = free_port()?;
        match run_server(home, port, detached) {
            Ok(process) => {
                let facts = Facts {
                    endpoint: format!("http://127.0.0.1:{port}"),
                    access_key: ACCESS_KEY.to_owned(),
                    secret_key: SECRET_KEY.to_owned(),
                };
                return Ok((process, facts, port));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A server in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts, _) = launch(home, true)?;
    Ok((process.leave_running(), format!("{} access_key={ACCESS_KEY} secret_key={SECRET_KEY} region=us-east-1", facts.endpoint)))
}

fn run_server(home: &Path, port: u16, detached: bool) -> Result<ServerProcess> {
    let program: PathBuf = install::binary()?;
    let (log, data) = (home.join("log"), home.join("data"));
    std::fs::create_dir_all(&data)?;
    let mut command = Command::new(program);
    command.arg("server").arg(&data).args(["--quiet", "--address", &format!("127.0.0.1:{port}")]).current_dir(home);
    command
        .env("MINIO_ROOT_USER", ACCESS_KEY)
        .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
        .env("MINIO_BROWSER", "off")
        .env("HOME", home);
    // The server must see the tests' own proxies, if any, as little as the tests do.
    command.env_remove("HTTP_PROXY").env_remove("http_proxy").env("MINIO_UPDATE", "off");
    let mut process = ServerProcess::spawn("MinIO", &mut command, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(90), || healthy(port))?;
    Ok(process)
}

fn healthy(port: u16) -> bool {
    use std::io::{Read, Write};
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = "GET /minio/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut head = [0_u8; 12];
    stream.write_all(request.as_bytes()).is_ok() && stream.read_exact(&mut head).is_ok() && head.ends_with(b"200")
}
