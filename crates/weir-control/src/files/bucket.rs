//! The bucket of tenants' files: its settings, its client, and what is asked of it.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig};
use serde::{Deserialize, Serialize, Serializer};
use weir_error::{Error, Kind, Result, Secret, chain};

/// A bucket, or a part of one. Its serialised form holds the secret: it is for the work order alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBucket {
    /// Address of the service; `None` = AWS.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without slashes at the ends. May be empty in the settings, never in an order.
    pub prefix: String,
    /// Access key.
    pub access_key: String,
    /// Its secret.
    #[serde(serialize_with = "expose")]
    pub secret_key: Secret,
}

/// Objects of one tenant that are counted; a listing gives a thousand at a time.
const MOST_COUNTED: usize = 200_000;

/// Objects of one request that deletes.
const DELETED_TOGETHER: usize = 1000;

impl FileBucket {
    /// Bucket and prefix of `s3://BUCKET/PREFIX`. Of plain characters only, so that no tool reads the place otherwise than we do.
    pub fn place(text: &str) -> Option<(String, String)> {
        let rest = text.strip_prefix("s3://")?.trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
            !matches!(part, "" | "." | "..") && part.chars().all(plain)
        };
        let good = (3..=63).contains(&bucket.len())
            && bucket.chars().all(name)
            && (prefix.is_empty() || prefix.len() <= 512 && prefix.split('/').all(part));
        good.then(|| (bucket.to_owned(), prefix.to_owned()))
    }

    /// `s3://BUCKET/PREFIX`.
    pub fn shown(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    /// The part in which a tenant's files are. The id was checked: it is one word.
    pub(super) fn of_tenant(&self, tenant: &str) -> Self {
        Self { prefix: self.below(&format!("tenants/{tenant}/files")), ..self.clone() }
    }

    /// The part in which the journals of a tenant's job are: beside its files, so that no path of a pipeline leads there. Both ids were checked.
    pub(super) fn of_journals(&self, tenant: &str, job: &str) -> Self {
        Self { prefix: self.below(&format!("tenants/{tenant}/journals/{job}")), ..self.clone() }
    }

    fn below(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }

    /// A client. Does not connect.
    pub(super) fn client(&self) -> Result<AmazonS3> {
        let plain = self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(self.secret_key.expose())
            .with_virtual_hosted_style_request(self.endpoint.is_none())
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(1),
                    base: 2.0,
                },
                max_retries: 3,
                retry_timeout: Duration::from_secs(8),
            })
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(plain)
                    .with_connect_timeout(Duration::from_secs(3))
                    .with_timeout(Duration::from_secs(15)),
            );
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        builder.build().map_err(|error| self.failed("be used as it is set", &error))
    }

    /// Bytes in a tenant's part. Stops when they are more than `enough`.
    pub(super) async fn used(&self, client: &AmazonS3, tenant: &str, enough: u64) -> Result<u64> {
        let prefix = Key::from(self.below(&format!("tenants/{tenant}")));
        let mut objects = client.list(Some(&prefix));
        let (mut bytes, mut count) = (0_u64, 0_usize);
        while let Some(object) = objects.try_next().await.map_err(|error| self.failed("be listed", &error))? {
            bytes = bytes.saturating_add(object.size);
            count += 1;
            if bytes > enough {
                break;
            }
            if count == MOST_COUNTED {
                tracing::warn!(tenant, "the storage quota counts the first {MOST_COUNTED} files of this tenant only");
                break;
            }
        }
        Ok(bytes)
    }

    /// Deletes a tenant's part; how many objects and bytes it had. Parts of uploads that never ended are not in it.
    pub(super) async fn remove(&self, client: &AmazonS3, tenant: &str) -> Result<(u64, u64)> {
        self.remove_below(client, &self.below(&format!("tenants/{tenant}"))).await
    }

    /// The same with the part that journals of a job are in.
    pub(super) async fn remove_journals(&self, client: &AmazonS3, tenant: &str, job: &str) -> Result<(u64, u64)> {
        self.remove_below(client, &self.of_journals(tenant, job).prefix).await
    }

    async fn remove_below(&self, client: &AmazonS3, folder: &str) -> Result<(u64, u64)> {
        let prefix = Key::from(folder);
        let (mut files, mut bytes) = (0_u64, 0_u64);
        // A page at a time: what is deleted while it is listed could be left out of a listing.
        loop {
            let page: Vec<_> = client.list(Some(&prefix)).take(DELETED_TOGETHER).collect().await;
            let page =
                page.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(|error| self.failed("be listed", &error))?;
            if page.is_empty() {
                return Ok((files, bytes));
            }
            files += page.len() as u64;
            bytes = page.iter().fold(bytes, |sum, object| sum.saturating_add(object.size));
            let keys = futures::stream::iter(page).map(|object| Ok(object.location)).boxed();
            let mut deleted = client.delete_stream(keys);
            while let Some(gone) = deleted.next().await {
                gone.map_err(|error| self.failed("be deleted from", &error))?;
            }
        }
    }

    /// Does with an object of its own what runs do with theirs: writes it, where nothing may be and then where something is, reads, lists and
    /// deletes it.
    pub(super) async fn probe(&self, client: &AmazonS3) -> Result<()> {
        let folder = self.below("probes");
        let key = Key::from(format!("{folder}/{}", uuid::Uuid::new_v4().simple()));
        let said: &[u8] = b"weir";
        let new = || client.put_opts(&key, PutPayload::from_static(b"weir"), PutOptions::from(PutMode::Create));
        new().await.map_err(|error| self.failed("be written to", &error))?;
        let used = async {
            let again = new().await;
            let read = client.get(&key).await.map_err(|error| self.failed("be read", &error))?;
            let read = read.bytes().await.map_err(|error| self.failed("be read", &error))?;
            let listed = client.list_with_delimiter(Some(&Key::from(folder))).await;
            let listed = listed.map_err(|error| self.failed("be listed", &error))?;
            let seen = listed.objects.iter().any(|object| object.location == key);
            if again.is_ok() || read != said || !seen {
                return Err(Error::new(
                    "WEIR-FILES-002",
                    Kind::Unsupported,
                    "the bucket of tenants' files is none that Weir can use",
                )
                .at(self.shown())
                .because(match (again.is_ok(), seen) {
                    (true, _) => "it does not honour conditional writes (If-None-Match), which keep two writers apart",
                    (false, false) => "it does not list what was just written",
                    (false, true) => "it does not give back what was just written",
                })
                .hint("use a service with conditional writes and consistent listings: AWS, MinIO, Ceph, R2"));
            }
            Ok(())
        };
        // Whatever was found, nothing is left.
        let found = used.await;
        let deleted = client.delete(&key).await.map_err(|error| self.failed("be deleted from", &error));
        found.and(deleted)
    }

    fn failed(&self, what: &str, error: &object_store::Error) -> Error {
        let text = chain(error);
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code.to_owned());
        let denied = |code: &str| code == "AccessDenied" || code.starts_with("Signature") || code.starts_with("InvalidAccessKey");
        let (kind, hint) = match (code.as_deref(), error) {
            (Some(code), _) if denied(code) => (
                Kind::Auth,
                "check the keys; they need s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload there",
            ),
            (Some("NoSuchBucket"), _) => (Kind::NotFound, "create the bucket, or correct WEIR_FILES"),
            (_, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => (
                Kind::Auth,
                "check the keys; they need s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload there",
            ),
            _ => (Kind::Connect, "check WEIR_FILES, WEIR_FILES_ENDPOINT (or MINIO_ENDPOINT), WEIR_FILES_REGION and the network"),
        };
        let told = Error::new("WEIR-FILES-001", kind, format!("the bucket of tenants' files cannot {what}"))
            .at(self.shown())
            .because(code.unwrap_or_else(|| innermost(error).unwrap_or(text)))
            .hint(hint);
        if kind == Kind::Connect { told.transient() } else { told }
    }
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// The message at the bottom: `Connection refused (os error 111)`.
fn innermost(error: &object_store::Error) -> Option<String> {
    let mut at: &dyn std::error::Error = error;
    while let Some(next) = at.source() {
        at = next;
    }
    let text = at.to_string();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_plain_prefix() {
        for (text, bucket, prefix) in [
            ("s3://weir-files", "weir-files", ""),
            ("s3://weir-files/", "weir-files", ""),
            ("s3://weir.files/prod/eu=1/", "weir.files", "prod/eu=1"),
        ] {
            assert_eq!(FileBucket::place(text), Some((bucket.into(), prefix.into())), "{text}");
        }
        for text in [
            "weir-files/x",
            "s3://",
            "s3://ab",
            "s3://UPPER/x",
            "s3://key:secret@weir-files/x",
            "s3://weir-files:9000/x",
            "s3://weir-files/a/../b",
            "s3://weir-files/a//b",
            "s3://weir-files/./b",
            "s3://weir-files/a?versions",
            "s3://weir-files/a%2fb",
            "s3://weir-files//a",
        ] {
            assert_eq!(FileBucket::place(text), None, "{text}");
        }
    }
}
