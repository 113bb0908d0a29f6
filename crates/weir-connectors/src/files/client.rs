//! From a connection's options to a storage and the folder its paths start from.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_connect::guard::{Bucket, Files};
use weir_error::{Error, Kind, Result};

use super::config::{FileConnection, S3Connection};
use super::listing::Anchor;
use super::local::LocalStorage;
use super::s3::S3Storage;
use super::storage::Storage;

/// Which of the two connectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    File,
    S3,
}

/// A parsed connection.
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    File { options: FileConnection, base: std::path::PathBuf },
    S3(S3Connection),
}

/// Somewhere to read or write: storage, where relative paths start, and the paths in the storage's own form.
pub(crate) struct Located {
    pub storage: Arc<dyn Storage>,
    pub anchor: Anchor,
    pub paths: Vec<String>,
}

/// Deserialises options; `Null` means none.
pub(crate) fn options<T: DeserializeOwned + Default>(what: &str, value: &Value) -> Result<T> {
    if value.is_null() {
        return Ok(T::default());
    }
    T::deserialize(value).map_err(|error| Error::new("WEIR-FILE-001", Kind::Spec, format!("bad {what} options")).because(error))
}

impl Connection {
    pub(crate) fn parse(system: System, value: &Value, base: &Path) -> Result<Self> {
        Ok(match system {
            System::File => Self::File { options: options("connection", value)?, base: base.to_owned() },
            System::S3 => {
                let connection: S3Connection = options("connection", value)?;
                if connection.access_key.is_some() != connection.secret_key.is_some() {
                    return Err(Error::new("WEIR-S3-013", Kind::Spec, "access_key and secret_key belong together")
                        .hint("give both, or neither"));
                }
                if let Some(endpoint) = &connection.endpoint {
                    let plain = endpoint.starts_with("http://") || endpoint.starts_with("https://") || endpoint.contains("${");
                    if !plain {
                        return Err(Error::new(
                            "WEIR-S3-014",
                            Kind::Spec,
                            format!("`{endpoint}` is no address of an S3 service"),
                        )
                        .hint("write http://host:port or https://host"));
                    }
                }
                Self::S3(connection)
            }
        })
    }

    /// Paths may carry `!` in front. All must lie in one bucket.
    pub(crate) fn locate(&self, paths: &[String]) -> Result<Located> {
        match self {
            Self::File { options, base } => {
                let here = if base.is_absolute() {
                    base.clone()
                } else {
                    std::env::current_dir().map_err(|error| Error::from(error).at(base.display().to_string()))?.join(base)
                };
                // Under a guard everything starts at the tenant's folder, and nothing leads out of it.
                let start = match weir_connect::guard::current().files() {
                    Files::Below(root) => Anchor { folder: lexical(root), confined: true },
                    Files::Anywhere => Anchor { folder: lexical(&here), confined: false },
                    Files::Bucket(bucket) => return in_bucket(options.root.as_deref(), bucket, paths),
                };
                let anchor = match &options.root {
                    Some(root) => {
                        let folder = start.resolve(root)?;
                        // A root that is itself a link out would make everything out there look like inside.
                        start.check_link(&folder)?;
                        Anchor { folder, confined: true }
                    }
                    None => start.clone(),
                };
                let storage = Arc::new(LocalStorage::new(Path::new(&start.folder)));
                Ok(Located { storage, anchor, paths: paths.to_vec() })
            }
            Self::S3(connection) => {
                let mut bucket = connection.bucket.clone();
                let mut keys = vec![];
                for path in paths {
                    let (sign, path) = path.strip_prefix('!').map_or(("", path.as_str()), |path| ("!", path));
                    let url = ["s3://", "s3a://", "s3n://"].iter().find_map(|scheme| path.strip_prefix(scheme));
                    let plain = url.unwrap_or(path).trim_start_matches('/');
                    let (first, rest) = plain.split_once('/').unwrap_or((plain, ""));
                    let bare_exclude = !sign.is_empty() && !path.contains('/');
                    let key = match (&bucket, url) {
                        _ if bare_exclude => plain,
                        (Some(bucket), Some(_)) if bucket != first => {
                            return Err(Error::new("WEIR-S3-015", Kind::Spec, format!("`{path}` is not in bucket `{bucket}`"))
                                .hint("leave `bucket` out of the connection, or use one connection per bucket"));
                        }
                        (Some(_), Some(_)) => rest,
                        // The bucket from the connection; a path is then a key.
                        (Some(_), None) if connection.bucket.is_some() => plain,
                        (Some(bucket), None) if bucket == first => rest,
                        (Some(bucket), None) => {
                            return Err(Error::new("WEIR-S3-015", Kind::Spec, format!("`{path}` is not in bucket `{bucket}`"))
                                .hint("without `bucket` in the connection every path begins with the same bucket"));
                        }
                        (None, _) => {
                            if first.is_empty() {
                                return Err(Error::new("WEIR-S3-016", Kind::Spec, "no bucket is named")
                                    .hint("set `bucket` in the connection, or begin the path with it: bucket/folder/…"));
                            }
                            bucket = Some(first.to_owned());
                            rest
                        }
                    };
                    keys.push(format!("{sign}{key}"));
                }
                let bucket = bucket.ok_or_else(|| {
                    Error::new("WEIR-S3-016", Kind::Spec, "no bucket is named")
                        .hint("set `bucket` in the connection, or begin the path with it")
                })?;
                let storage = Arc::new(s3(connection, &bucket)?);
                Ok(Located { storage, anchor: Anchor { folder: String::new(), confined: true }, paths: keys })
            }
        }
    }
}

/// The tenant's part of the platform's bucket. Relative paths start at its top; absolute ones are refused, as they are locally.
fn in_bucket(root: Option<&str>, bucket: &Bucket, paths: &[String]) -> Result<Located> {
    let mut anchor = Anchor { folder: String::new(), confined: true };
    if let Some(root) = root {
        anchor.folder = anchor.resolve(relative(root)?)?;
    }
    let paths = paths.iter().map(|path| match path.strip_prefix('!') {
        Some(path) => Ok(format!("!{}", relative(path)?)),
        None => relative(path).map(str::to_owned),
    });
    let paths = paths.collect::<Result<_>>()?;
    Ok(Located { storage: Arc::new(tenants(bucket)?), anchor, paths })
}

fn relative(path: &str) -> Result<&str> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    if path.starts_with('/') {
        return Err(Error::new("WEIR-FILE-010", Kind::Spec, format!("the path `{path}` leads out of its root"))
            .hint("paths start at the tenant's files; leave out the first `/`"));
    }
    Ok(path)
}

fn lexical(path: &Path) -> String {
    let anchor = Anchor { folder: "/".into(), confined: false };
    anchor.resolve(&path.to_string_lossy()).unwrap_or_else(|_| path.to_string_lossy().into_owned())
}

/// The HTTP client of a store.
#[derive(Debug)]
struct Http(fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder);

impl object_store::client::HttpConnector for Http {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<object_store::client::HttpClient> {
        let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        let client = (self.0)(builder).build();
        let client = client.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(object_store::client::HttpClient::new(client))
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(120);

/// What every client has in common.
fn configured(
    builder: AmazonS3Builder,
    bucket: &str,
    endpoint: Option<&str>,
    region: String,
    path_style: bool,
) -> AmazonS3Builder {
    let builder = builder
        .with_bucket_name(bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(!path_style)
        .with_retry(RetryConfig {
            backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 },
            max_retries: 6,
            retry_timeout: Duration::from_secs(90),
        })
        .with_client_options(
            ClientOptions::new()
                .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_timeout(TIMEOUT),
        );
    match endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/')),
        None => builder,
    }
}

/// A client for the tenant's part of the platform's bucket. Does not connect. The platform chose the address, so the egress policy has no say;
/// nothing that is answered leads elsewhere.
pub(super) fn tenants(bucket: &Bucket) -> Result<S3Storage> {
    let endpoint = bucket.endpoint.as_deref();
    let builder = configured(AmazonS3Builder::new(), &bucket.bucket, endpoint, bucket.region.clone(), endpoint.is_some())
        .with_access_key_id(&bucket.access_key)
        .with_secret_access_key(bucket.secret_key.expose())
        .with_http_connector(Http(|builder| builder.no_proxy().redirect(reqwest::redirect::Policy::none())));
    let store = builder.build().map_err(|error| Error::internal("the platform's bucket cannot be used").caused_by(error))?;
    Ok(S3Storage::new(store, bucket.bucket.clone(), String::new(), None).below(&bucket.prefix))
}

/// A client for one bucket. Does not connect.
pub(crate) fn s3(connection: &S3Connection, bucket: &str) -> Result<S3Storage> {
    let from_environment = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ]
    .iter()
    .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let given = connection.access_key.is_some();
    let mut builder = if given || connection.anonymous { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
    let region = connection
        .region
        .clone()
        .or_else(|| std::env::var("AWS_REGION").ok())
        .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok());
    let endpoint = connection.endpoint.as_deref();
    let path_style = connection.path_style.unwrap_or(endpoint.is_some());
    builder = configured(builder, bucket, endpoint, region.unwrap_or_else(|| "us-east-1".into()), path_style);
    let guard = weir_connect::guard::current();
    if !guard.is_open() {
        if !given && !connection.anonymous {
            // What follows would be the credentials of the machine, from its environment or its cloud's metadata service.
            return Err(Error::new("WEIR-S3-019", Kind::Auth, "the S3 connection has no credentials")
                .hint("give access_key and secret_key, or `anonymous: true`"));
        }
        if let Some(endpoint) = endpoint {
            let url = url::Url::parse(endpoint)
                .map_err(|error| Error::new("WEIR-S3-014", Kind::Spec, "`endpoint` is no address").because(error))?;
            guard.permit_url(&url)?;
        }
        builder = builder.with_http_connector(Http(crate::guarded::client));
    }
    if let (Some(access), Some(secret)) = (&connection.access_key, &connection.secret_key) {
        builder = builder.with_access_key_id(access).with_secret_access_key(secret.expose());
        if let Some(token) = &connection.session_token {
            builder = builder.with_token(token.expose());
        }
    } else if connection.anonymous || !from_environment && endpoint.is_some() {
        builder = builder.with_skip_signature(true);
    }
    let endpoint = endpoint.unwrap_or("s3.amazonaws.com").to_owned();
    let store = builder.build().map_err(|error| {
        Error::new("WEIR-S3-017", Kind::Spec, "the options of the S3 connection do not work").at(&endpoint).caused_by(error)
    })?;
    Ok(S3Storage::new(store, bucket.to_owned(), endpoint, connection.access_key.clone()))
}
