//! Tenants' files in a bucket: workers that have nothing of their own, tenants that do not meet, specs that want out.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use weir_control::Platform;
use weir_control::config::Settings;
use weir_control::files::FileBucket;
use weir_control::worker::{Pool, order::Verb, outfit};
use weir_error::Secret;
use weir_store::model::{Quotas, RunStatus, TenantId};
use weir_store::{Actor, TenantScope};
use weir_testkit::{Bucket, Minio};

use crate::stage::{Stage, Unasked, Working, copy, csv, ids_in, weir};

const PREFIX: &str = "prod/weir";

struct Scene {
    stage: Stage,
    bucket: Bucket,
    place: FileBucket,
}

impl Scene {
    async fn new() -> Self {
        let minio = Minio::shared().unwrap();
        let bucket = minio.create_bucket().unwrap();
        let place = FileBucket {
            endpoint: Some(minio.endpoint().into()),
            region: minio.region().into(),
            bucket: bucket.name().into(),
            prefix: PREFIX.into(),
            access_key: minio.access_key().into(),
            secret_key: Secret::new(minio.secret_key()),
        };
        let given = place.clone();
        // No private address may be reached by a spec: the bucket has one, and is the platform's.
        let stage = Stage::with(|settings| {
            settings.files = Some(given);
            settings.egress_allow.clear();
        })
        .await;
        Self { stage, bucket, place }
    }

    fn key(tenant: &str, path: &str) -> String {
        format!("{PREFIX}/tenants/{tenant}/files/{path}")
    }

    fn put(&self, tenant: &str, path: &str, content: impl Into<Vec<u8>>) {
        self.bucket.put(&Self::key(tenant, path), content).unwrap();
    }

    /// The ids that a reader by glob would see in a folder of a tenant, sorted.
    fn ids(&self, tenant: &str, folder: &str) -> Vec<u64> {
        let keys = self.bucket.keys(&Self::key(tenant, folder)).unwrap();
        let mut found = Vec::new();
        for key in keys.iter().filter(|key| !key.contains("/_weir/")) {
            found.extend(ids_in(&String::from_utf8(self.bucket.get(key).unwrap()).unwrap()));
        }
        found.sort_unstable();
        found
    }

    /// The same database and bucket as another machine sees them, with a data folder of its own.
    async fn machine(&self, folder: &Path) -> Platform {
        let mut settings = Settings::defaults(folder).unwrap();
        settings.database_url = self.stage.platform.settings.database_url.clone();
        settings.files = Some(self.place.clone());
        settings.max_concurrent_jobs = 2;
        settings.runner_id = folder.display().to_string();
        Platform::open(settings, Arc::new(Unasked)).await.unwrap().with_program(weir()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_an_empty_folder_runs_a_job_of_files() {
    let scene = Scene::new().await;
    scene.put("default", "in/a.csv", csv(0..500));
    scene.put("default", "in/b.csv", csv(500..1_000));
    let run = scene.stage.run(Stage::new_job("copy", &copy("in/*.csv", "out", "append"))).await;
    let working = scene.stage.work();
    let run = scene.stage.ended(&run.id).await;
    assert_eq!((run.status, &run.error), (RunStatus::Succeeded, &None), "{run:#?}");
    assert_eq!(scene.ids("default", "out"), (0..1_000).collect::<Vec<_>>());
    // What it promises is what it promises for files here, and it names no bucket.
    let local = Stage::new().await;
    local.write("in/a.csv", csv(0..10));
    let other = local.run(Stage::new_job("copy", &copy("in/*.csv", "out", "append"))).await;
    let working_here = local.work();
    let other = local.ended(&other.id).await;
    working_here.stop().await;
    let (report, other) = (run.report.unwrap(), other.report.unwrap());
    assert_eq!(report["guarantee"], other["guarantee"]);
    assert!(report["guarantee"].as_str().is_some_and(|guarantee| !guarantee.is_empty()), "{report:#}");
    let told = format!("{report} {:?}", scene.stage.log(&run.id).await);
    assert!(!told.contains(scene.bucket.name()) && !told.contains(PREFIX), "{told}");
    // One file, written whole, and in another format.
    let spec = "pipeline: one\nsource:\n  file: {path: out, format: ndjson}\nsink:\n  file: {path: all/one.parquet, write_mode: overwrite}\n";
    let run = scene.stage.run(Stage::new_job("one", spec)).await;
    let run = scene.stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, run.streams[0].rows_written), (RunStatus::Succeeded, 1_000), "{run:#?}");
    assert_eq!(&scene.bucket.get(&Scene::key("default", "all/one.parquet")).unwrap()[..4], b"PAR1");
    // Nothing of the rows is on the worker's disk.
    let here = scene.stage.folder.path().join("tenants");
    assert!(!crate::running::files(&here).iter().any(|file| {
        let content = std::fs::read(file).unwrap_or_default();
        content.windows(8).any(|window| window == b"name 500")
    }));
    assert!(!here.join("default/files").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_machine_wrote_another_reads() {
    let scene = Scene::new().await;
    let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    scene.put("default", "in.csv", csv(0..300));
    let first = scene.stage.run(Stage::new_job("first", &copy("in.csv", "middle", "append"))).await;
    let working = Working::of(Pool::new(scene.machine(a.path()).await));
    assert_eq!(scene.stage.ended(&first.id).await.status, RunStatus::Succeeded);
    working.stop().await;
    drop(a);
    let spec = "pipeline: second\nsource:\n  file: {path: middle, format: ndjson}\nsink:\n  file: {path: out, format: ndjson}\n";
    let second = scene.stage.run(Stage::new_job("second", spec)).await;
    let working = Working::of(Pool::new(scene.machine(b.path()).await));
    let run = scene.stage.ended(&second.id).await;
    working.stop().await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    assert_eq!(scene.ids("default", "out"), (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_the_same_paths_do_not_meet() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let system = stage.platform.store.system();
    system.create_tenant(&Actor::system("test"), &TenantId::from("default2"), "Other", Quotas::default()).await.unwrap();
    let other = TenantScope::granted("default2".into(), Actor::system("test"));
    scene.put("default", "in.csv", csv(0..100));
    scene.put("default2", "in.csv", csv(1_000..1_050));
    let spec = copy("in.csv", "out", "overwrite");
    let ours = stage.run(Stage::new_job("copy", &spec)).await;
    let theirs = stage.platform.store.tenant(&other);
    let job = theirs.create_job(Stage::new_job("copy", &spec), Vec::new()).await.unwrap();
    let trigger = weir_store::model::Trigger::Manual;
    let run = weir_store::model::NewRun { job_id: job.id, trigger, not_before: chrono::Utc::now() };
    let run = theirs.create_run(run).await.unwrap();
    let working = stage.work();
    assert_eq!(stage.ended(&ours.id).await.status, RunStatus::Succeeded);
    weir_testkit::wait_until("the other tenant's files are there", std::time::Duration::from_secs(60), || {
        scene.ids("default2", "out").len() == 50
    })
    .unwrap();
    working.stop().await;
    assert_eq!(theirs.run(&run.id).await.unwrap().status, RunStatus::Succeeded);
    assert_eq!(scene.ids("default", "out"), (0..100).collect::<Vec<_>>());
    assert_eq!(scene.ids("default2", "out"), (1_000..1_050).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_wants_out_is_refused_and_told_what_to_do() {
    let scene = Scene::new().await;
    scene.put("beta", "in.csv", csv(0..3));
    scene.put("default", "in.csv", csv(0..3));
    let outside = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
    std::fs::write(outside.path(), csv(0..3)).unwrap();
    let here = outside.path().display().to_string();
    let http = |connection: &str, top: &str| {
        format!(
            "pipeline: p\n{top}source:\n  http: {{base_url: \"https://example.org\", path: /x, {connection}}}\nsink:\n  file: {{path: out}}\n"
        )
    };
    let working = scene.stage.work();
    for (name, spec, told) in [
        ("parent", copy("../../beta/files/in.csv", "out", "overwrite"), "leads out"),
        ("sink", copy("in.csv", "../../beta/files/out", "overwrite"), "leads out"),
        ("absolute", copy("/in.csv", "out", "overwrite"), "leads out"),
        ("local", copy(&here, "out", "overwrite"), "leads out"),
        ("url", copy(&format!("file://{here}"), "out", "overwrite"), "leads out"),
        (
            "bucket",
            copy(&format!("s3://{}/{}", scene.bucket.name(), Scene::key("beta", "in.csv")), "out", "overwrite"),
            "no file",
        ),
        ("certificate", http("ca_cert: ca.pem", ""), "PEM text"),
        ("secret file", http("auth: {bearer: {token: \"file://token\"}}", ""), "/api/v1/secrets"),
        ("credentials", http("headers: {a: \"{{token}}\"}", "credentials_ref: file://secrets.yaml\n"), "/api/v1/secrets"),
    ] {
        let run = scene.stage.run(Stage::new_job(name, &spec)).await;
        let run = scene.stage.ended(&run.id).await;
        assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1), "{name}: {run:#?}");
        let error = run.error.unwrap().to_string();
        assert!(error.contains(told), "{name}: {error}");
        // What the spec says itself may be repeated.
        assert!(
            !error.contains(scene.place.secret_key.expose()) && (name == "bucket" || !error.contains(PREFIX)),
            "{name}: {error}"
        );
    }
    working.stop().await;
    let keys = scene.bucket.keys("").unwrap();
    assert_eq!(keys, [Scene::key("beta", "in.csv"), Scene::key("default", "in.csv")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_counts_what_is_in_the_bucket() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let system = stage.platform.store.system();
    let quotas = Quotas { max_storage_bytes: Some(4_000), ..Quotas::default() };
    system.create_tenant(&Actor::system("test"), &TenantId::from("small"), "Small", quotas).await.unwrap();
    let small = TenantId::from("small");
    let preview = Verb::Preview { limit: 1 };
    scene.put("small", "a.csv", vec![0; 3_000]);
    scene.put("smaller", "a.csv", vec![0; 9_000]);
    let order = outfit::for_errand(&stage.platform, &small, preview.clone(), "", &[]).await.unwrap();
    let part = order.guard.bucket.as_ref().unwrap();
    assert_eq!(part.prefix, format!("{PREFIX}/tenants/small/files"));
    assert!(order.secret_values().contains(&scene.place.secret_key.expose()) && !format!("{order:?}").contains("weirsecret"));
    scene.put("small", "b.csv", vec![0; 3_000]);
    let folder = tempfile::tempdir().unwrap();
    let fresh = scene.machine(folder.path()).await;
    let error = outfit::for_errand(&fresh, &small, preview, "", &[]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-WORKER-023", "{error}");
    let body = json!(error.to_json());
    assert!(body.to_string().contains("4000"), "{body}");
}
