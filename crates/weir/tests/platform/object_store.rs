//! The platform's own object store: for pipelines of its own tenant that name no server, and for no others.

use weir_control::worker::{order::Verb, outfit};
use weir_error::Secret;
use weir_store::Actor;
use weir_store::model::{Quotas, RunStatus, TenantId};
use weir_testkit::{Bucket, Minio};

use crate::stage::{Stage, csv, ids_in};

async fn stage(minio: &Minio) -> Stage {
    let given = (minio.endpoint().to_owned(), minio.access_key().to_owned(), Secret::new(minio.secret_key()));
    // No private address may be reached by a spec, and the object store has one.
    Stage::with(|settings| {
        settings.minio = Some(given);
        settings.egress_allow.clear();
    })
    .await
}

fn spec(sink: &str) -> String {
    format!("pipeline: lake\nsource:\n  file: {{path: in.csv}}\nsink:\n  {sink}\n")
}

fn ids(bucket: &Bucket, folder: &str) -> Vec<u64> {
    let keys = bucket.keys(folder).unwrap();
    let seen = keys.iter().filter(|key| !key.contains("/_weir/"));
    let mut found: Vec<_> = seen.flat_map(|key| ids_in(&String::from_utf8(bucket.get(key).unwrap()).unwrap())).collect();
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_the_platforms_tenant_needs_no_server_and_no_keys() {
    let minio = Minio::shared().unwrap();
    let (bucket, stage) = (minio.create_bucket().unwrap(), stage(&minio).await);
    stage.write("in.csv", csv(0..300));
    let sink = format!("minio: {{path: {}/out, format: ndjson}}", bucket.name());
    let run = stage.run(Stage::new_job("lake", &spec(&sink))).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, &run.error), (RunStatus::Succeeded, &None), "{run:#?}");
    assert_eq!(ids(&bucket, "out"), (0..300).collect::<Vec<_>>());
    let told = format!("{:?} {:?} {:?}", run.report, run.error, stage.log(&run.id).await);
    assert!(!told.contains(minio.secret_key()), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_another_tenant_nor_another_server_gets_the_keys() {
    let minio = Minio::shared().unwrap();
    let (bucket, stage) = (minio.create_bucket().unwrap(), stage(&minio).await);
    let acme = TenantId::from("acme");
    stage.platform.store.system().create_tenant(&Actor::system("test"), &acme, "Acme", Quotas::default()).await.unwrap();
    let text = spec(&format!("minio: {{path: {}/out, format: ndjson}}", bucket.name()));
    let order = async |tenant: &TenantId| {
        let verb = Verb::Preview { limit: 1 };
        outfit::for_errand(&stage.platform, tenant, verb, &text, &[]).await.unwrap()
    };
    let (ours, theirs) = (order(&"default".into()).await, order(&acme).await);
    assert_eq!(ours.object_store.as_ref().map(|store| store.endpoint.as_str()), Some(minio.endpoint()));
    assert_eq!(ours.guard.egress_allow.len(), 1);
    assert_eq!((theirs.object_store.as_ref(), theirs.guard.egress_allow.len()), (None, 0));
    assert!(!theirs.secret_values().contains(&minio.secret_key()));

    // A server that is named gets no keys, even if it is the same one: it answers as to anybody.
    stage.write("in.csv", csv(0..10));
    let sink = format!("s3: {{path: {}/out, format: ndjson, endpoint: '{}'}}", bucket.name(), minio.endpoint());
    let mut job = Stage::new_job("named", &spec(&sink));
    job.retry.max_attempts = 1;
    let run = stage.run(job).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!(run.status, RunStatus::Failed, "{run:#?}");
    assert_eq!(bucket.keys("").unwrap(), Vec::<String>::new());
}
