//! What is known of the bucket, for a short time: asking it takes many requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::aws::AmazonS3;
use weir_error::{Error, Kind, Result};

use super::FileBucket;

/// How long a count that was within its quota is good.
const COUNTED_FOR: Duration = Duration::from_secs(60);
/// How long a bucket that worked counts as working.
const WORKS_FOR: Duration = Duration::from_secs(30);
/// How long one that did not is left alone.
const FAILS_FOR: Duration = Duration::from_secs(3);
/// The longest that a probe waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tenants' files of this platform.
pub struct TenantFiles {
    bucket: Option<(FileBucket, AmazonS3)>,
    counted: Mutex<HashMap<String, (Instant, u64)>>,
    probed: tokio::sync::Mutex<Option<(Instant, Option<Arc<Error>>)>>,
}

impl TenantFiles {
    /// In that bucket, or in the data folder. Does not connect.
    pub fn new(bucket: Option<FileBucket>) -> Result<Self> {
        let bucket = match bucket {
            Some(bucket) => {
                let client = bucket.client()?;
                Some((bucket, client))
            }
            None => None,
        };
        Ok(Self { bucket, counted: Mutex::default(), probed: tokio::sync::Mutex::default() })
    }

    /// The bucket, if there is one: `s3://BUCKET/PREFIX`.
    pub fn shown(&self) -> Option<String> {
        self.bucket.as_ref().map(|(bucket, _)| bucket.shown())
    }

    /// A tenant's part of the bucket, if there is one. The id must be one word.
    pub fn bucket_of(&self, tenant: &str) -> Option<FileBucket> {
        self.bucket.as_ref().map(|(bucket, _)| bucket.of_tenant(tenant))
    }

    /// The part of the bucket for the journals of a tenant's job, if there is a bucket. Both ids must be one word.
    pub fn journals_of(&self, tenant: &str, job: &str) -> Option<FileBucket> {
        self.bucket.as_ref().map(|(bucket, _)| bucket.of_journals(tenant, job))
    }

    /// Bytes that a tenant has in the bucket, at most a minute old unless they are too many: 0 without a bucket. Beyond `enough` they are not
    /// counted to the end. Parts of uploads that never ended are not in it.
    pub async fn used(&self, tenant: &str, enough: u64) -> Result<u64> {
        let Some((bucket, client)) = &self.bucket else { return Ok(0) };
        let known = self.counted.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).copied();
        if let Some((at, bytes)) = known
            && at.elapsed() < COUNTED_FOR
            && bytes <= enough
        {
            return Ok(bytes);
        }
        let bytes = bucket.used(client, tenant, enough).await?;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|_, (at, _)| at.elapsed() < COUNTED_FOR);
        if bytes <= enough {
            counted.insert(tenant.to_owned(), (Instant::now(), bytes));
        }
        Ok(bytes)
    }

    /// Deletes a tenant's part of the bucket; how many objects and bytes it had. Deletes what it finds: after an error the rest is still there.
    pub(super) async fn remove(&self, tenant: &str) -> Result<(u64, u64)> {
        let Some((bucket, client)) = &self.bucket else { return Ok((0, 0)) };
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        bucket.remove(client, tenant).await
    }

    /// Deletes the journals of a tenant's job in the bucket, in the same way. Both ids must be one word.
    pub(super) async fn remove_journals(&self, tenant: &str, job: &str) -> Result<(u64, u64)> {
        match &self.bucket {
            Some((bucket, client)) => bucket.remove_journals(client, tenant, job).await,
            None => Ok((0, 0)),
        }
    }

    /// Whether the bucket can be written, read, listed and deleted from. One at a time asks it; the others take that answer.
    pub async fn ready(&self) -> Result<(), Arc<Error>> {
        let Some((bucket, client)) = &self.bucket else { return Ok(()) };
        let mut probed = self.probed.lock().await;
        if let Some((at, found)) = &*probed
            && at.elapsed() < if found.is_none() { WORKS_FOR } else { FAILS_FOR }
        {
            return found.clone().map_or(Ok(()), Err);
        }
        let found = match tokio::time::timeout(PATIENCE, bucket.probe(client)).await {
            Ok(found) => found,
            Err(_) => Err(Error::new("WEIR-FILES-001", Kind::Connect, "the bucket of tenants' files does not answer")
                .at(bucket.shown())
                .hint("check WEIR_FILES_ENDPOINT (or MINIO_ENDPOINT) and the network")
                .transient()),
        };
        let found = found.map_err(Arc::new);
        *probed = Some((Instant::now(), found.clone().err()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_error::Secret;
    use weir_testkit::{Bucket, Minio};

    fn bucket(minio: &Minio, name: &str) -> FileBucket {
        FileBucket {
            endpoint: Some(minio.endpoint().into()),
            region: "us-east-1".into(),
            bucket: name.into(),
            prefix: "weir/prod".into(),
            access_key: minio.access_key().into(),
            secret_key: Secret::new(minio.secret_key()),
        }
    }

    fn of(minio: &Minio, bucket_of: &Bucket) -> TenantFiles {
        TenantFiles::new(Some(bucket(minio, bucket_of.name()))).unwrap()
    }

    #[tokio::test]
    async fn a_bucket_that_works_is_left_as_it_was() {
        let minio = Minio::shared().unwrap();
        let place = minio.create_bucket().unwrap();
        of(&minio, &place).ready().await.unwrap();
        assert!(place.keys("").unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_that_does_not_work_says_what_is_wrong_and_no_secret() {
        let minio = Minio::shared().unwrap();
        let place = minio.create_bucket().unwrap();
        let good = bucket(&minio, place.name());
        let port = weir_testkit::process::free_port().unwrap();
        for (changed, kind, part) in [
            (FileBucket { bucket: "no-such-bucket".into(), ..good.clone() }, Kind::NotFound, "NoSuchBucket"),
            (FileBucket { secret_key: Secret::new("hunter2-wrong"), ..good.clone() }, Kind::Auth, "SignatureDoesNotMatch"),
            (FileBucket { access_key: "nobody".into(), ..good.clone() }, Kind::Auth, "InvalidAccessKeyId"),
            (FileBucket { endpoint: Some(format!("http://127.0.0.1:{port}")), ..good }, Kind::Connect, "refused"),
        ] {
            let files = TenantFiles::new(Some(changed)).unwrap();
            let error = files.ready().await.unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(part), "{error:?}");
            assert!(error.advice().is_some() && !format!("{error:?}").contains("hunter2"), "{error:?}");
            assert_eq!(files.used("acme", 10).await.unwrap_err().kind(), kind);
        }
    }

    #[tokio::test]
    async fn a_tenants_bytes_are_its_own_and_those_within_the_quota_are_remembered() {
        let minio = Minio::shared().unwrap();
        let place = minio.create_bucket().unwrap();
        place.put("weir/prod/tenants/acme/files/a.csv", vec![0; 70]).unwrap();
        place.put("weir/prod/tenants/acme/files/sub/b.csv", vec![0; 30]).unwrap();
        place.put("weir/prod/tenants/acme2/files/a.csv", vec![0; 1000]).unwrap();
        place.put("tenants/acme/files/a.csv", vec![0; 1000]).unwrap();
        let files = of(&minio, &place);
        assert_eq!(files.used("acme", 1000).await.unwrap(), 100);
        assert_eq!(files.used("nobody", 1000).await.unwrap(), 0);
        place.put("weir/prod/tenants/acme/files/c.csv", vec![0; 900]).unwrap();
        assert_eq!(files.used("acme", 1000).await.unwrap(), 100, "as it was a moment ago");
        assert!(files.used("acme", 99).await.unwrap() > 99, "what is too much is looked at again");
        assert_eq!(of(&minio, &place).used("acme", 1000).await.unwrap(), 1000);
    }

    #[tokio::test]
    async fn without_a_bucket_nothing_is_asked() {
        let files = TenantFiles::new(None).unwrap();
        files.ready().await.unwrap();
        assert_eq!((files.used("acme", 0).await.unwrap(), files.bucket_of("acme")), (0, None));
    }
}
