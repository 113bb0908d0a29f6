//! Jobs on a real database.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_error::Secret;
use weir_store::model::{JobFilter, JobStatus, PageRequest, Quotas, TenantId};
use weir_store::{Actor, Store, TenantScope};

use super::{JobService, Refused, is_job_secret};
use crate::connections::{ConnectionRequest, ConnectionService};
use crate::seal::{KeyRing, Place};
use crate::testing::Bench;

struct Scene {
    _folder: tempfile::TempDir,
    store: Store,
    keys: Arc<KeyRing>,
    jobs: JobService,
    scope: TenantScope,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("sqlite:{}", folder.path().join("weir.db").display()));
    let store = Store::open(&url, folder.path()).await.unwrap();
    for tenant in ["acme", "other"] {
        store.system().create_tenant(&Actor::system("test"), &TenantId::from(tenant), tenant, Quotas::default()).await.unwrap();
    }
    let keys = Arc::new(KeyRing::generate().unwrap());
    let jobs = JobService::new(store.clone(), keys.clone(), Arc::new(Bench::new()));
    Scene { _folder: folder, store, keys, jobs, scope: TenantScope::granted("acme".into(), Actor::system("test")) }
}

impl Scene {
    fn other(&self) -> TenantScope {
        TenantScope::granted("other".into(), Actor::system("test"))
    }

    /// Values of the secrets that a job owns, by name.
    async fn opened(&self) -> Vec<(String, String)> {
        let store = self.store.tenant(&self.scope);
        let mut out = Vec::new();
        for secret in store.secret_names().await.unwrap() {
            let sealed = store.secret(&secret.name).await.unwrap().unwrap();
            let place = Place { tenant: self.scope.tenant(), table: "secret", row: &secret.name };
            out.push((secret.name.clone(), self.keys.open_text(&place, &sealed).unwrap().expose().to_string()));
        }
        out
    }

    /// Everything that the database file holds.
    fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self._folder.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default()).collect()
    }
}

const PLAIN: &str = "pipeline: orders\nsource:\n  file: {path: in.csv}\nsink:\n  file: {path: out, format: csv}\n";

fn told(refused: Refused) -> Vec<(String, String)> {
    refused.diagnostics().iter().filter(|d| d.is_error()).map(|d| (d.code.clone(), d.path.clone())).collect()
}

#[tokio::test]
async fn the_job_of_seed_000_is_stored_as_printed_without_its_secrets() {
    let scene = scene().await;
    let body = include_str!("../../../weir-spec/tests/seeds/000_mysql_to_lake.json");
    let saved = scene.jobs.create(&scene.scope, body).await.unwrap_or_else(|refused| panic!("{:?}", refused.into_error()));
    let job = &saved.job;
    assert_eq!(
        (job.body.name.as_str(), job.body.description.as_deref()),
        ("MySQL to Data Lake Sync", Some("Sync customer data to data lake"))
    );
    assert_eq!(
        (job.body.mode.as_str(), &job.body.source_kinds, &job.body.sink_kinds),
        ("batch", &vec!["mysql".to_string()], &vec!["s3".to_string()])
    );
    assert_eq!(job.body.schedule.as_ref().unwrap().0.cron, "0 */6 * * *");
    // This build has no MySQL: it is kept, and says why it does not run.
    assert_eq!(job.status, JobStatus::Paused);
    assert!(saved.warnings.iter().any(|warning| warning.message.contains("no connector `mysql`") && !warning.is_error()));
    let rules = scene.store.tenant(&scene.scope).rules(&job.id).await.unwrap();
    assert_eq!((rules[0].body.metric.as_str(), rules[0].body.threshold, rules[0].body.window_secs), ("error_rate", 0.05, 300));
    assert_eq!(job.body.spec.matches("{{job.").count(), 3);
    assert!(!job.body.spec.contains("minioadmin") && job.body.spec.contains("// Every 6 hours"), "{}", job.body.spec);
    assert_eq!(
        scene.opened().await.into_iter().map(|(_, value)| value).collect::<BTreeSet<_>>(),
        ["password", "minioadmin"].map(String::from).into()
    );
    assert!(matches!(scene.jobs.resume(&scene.scope, &job.id).await, Err(Refused::Diagnostics(_))), "it cannot run yet");
}

#[tokio::test]
async fn a_secret_planted_anywhere_is_in_no_stored_text_and_no_answer() {
    let scene = scene().await;
    let canary = "cAnArY-93f1";
    for (n, place) in [
        "source:\n  postgres: {host: db, password: CANARY, table: t}\nsink:\n  file: {path: out, format: csv} # old: password=CANARY",
        "description: login CANARY\nsource:\n  postgres: {url: \"postgresql://u:CANARY@db/x\", table: t}\nsink:\n  postgres: {password: CANARY}",
        "source:\n  http: {url: \"https://h/x?token=CANARY\", headers: {X-Api-Key: CANARY, Authorization: \"Bearer CANARY\"}}\nsink:\n  file: {path: o, format: csv}",
        "source:\n  http: {url: \"https://u:CANARY@h/x\", auth: {oauth2_client_credentials: {token_url: \"https://h\", client_id: i, client_secret: CANARY}}}\nsink:\n  s3: {path: b/o, secret_key: CANARY, format: csv}",
        "source:\n  postgres: {connection: c, table: t}\nconnections:\n  c: {postgres: {password: |-\n      CANARY\n    }}\nsink:\n  file: {path: o, format: csv}",
        "source:\n  postgres: {connection: c, table: t}\nconnections:\n  c: {postgres: {password: &x CANARY}}\n  d: {postgres: {password: *x}}\nsink:\n  file: {path: o, format: csv}",
        "source: {file: {path: i.csv}}\ntransforms:\n  - mask: {columns: {a: redact}, salt: \"CANARY\"}\nsink:\n  file: {path: o, format: csv}",
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("pipeline: p{n}\n{}\n", place.replace("CANARY", canary));
        let for_json = serde_json::json!({"spec": text, "name": format!("job {n}")}).to_string();
        for body in [text.clone(), for_json] {
            let body = if body.starts_with('{') { body } else { body.replace(&format!("p{n}"), &format!("q{n}")) };
            match scene.jobs.create(&scene.scope, &body).await {
                Ok(saved) => {
                    let answer = format!("{:?} {:?}", saved.job, saved.warnings);
                    assert!(!answer.contains(canary), "{n}: {answer}");
                    assert!(!saved.sealed.is_empty());
                }
                Err(refused) => {
                    let shown = format!("{:?}", refused.diagnostics());
                    assert!(!shown.contains(canary), "{n}: {shown}");
                    panic!("{n}: {shown}");
                }
            }
            let validation = scene.jobs.validate(&scene.scope, &body).await.unwrap();
            assert!(!serde_json::to_string(&validation).unwrap().contains(canary), "{n}");
        }
    }
    assert!(scene.opened().await.iter().all(|(name, value)| is_job_secret(name) && value.contains(canary)));
    assert!(!String::from_utf8_lossy(&scene.bytes()).contains(canary), "the database holds it in clear");
}

#[tokio::test]
async fn settings_beside_the_spec_win_and_all_problems_are_told() {
    let scene = scene().await;
    let first = scene.jobs.create(&scene.scope, PLAIN).await.unwrap().job;
    assert_eq!((first.body.name.as_str(), first.status, first.body.retry.max_attempts), ("orders", JobStatus::Active, 3));
    let body = serde_json::json!({
        "spec": PLAIN.replace("orders", "billing") + "labels: {owner: a, team: x}\nschedule: \"0 1 * * *\"\n", "name": "Billing", "labels": {"owner": "b"},
        "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}, "retry": {"max_attempts": 7}, "timeout_secs": 60,
        "depends_on": ["orders", first.id.as_str()],
    });
    let job = scene.jobs.create(&scene.scope, &body.to_string()).await.unwrap().job.body;
    assert_eq!(job.labels, [("owner", "b"), ("team", "x")].map(|(k, v)| (k.to_string(), v.to_string())).into());
    let (schedule, next) = job.schedule.unwrap();
    assert_eq!((schedule.cron.as_str(), schedule.timezone.as_str()), ("0 2 * * *", "Europe/Berlin"));
    assert!(next > chrono::Utc::now());
    assert_eq!((job.retry.max_attempts, job.timeout_secs, job.depends_on.len()), (7, Some(60), 1));

    let refused = async |body: serde_json::Value| told(scene.jobs.create(&scene.scope, &body.to_string()).await.unwrap_err());
    let pair = |code: &str, path: &str| vec![(code.to_string(), path.to_string())];
    assert_eq!(
        refused(serde_json::json!({"spec": PLAIN, "depends_on": ["nobody"]})).await,
        pair("WEIR-JOB-008", "depends_on[0]")
    );
    assert_eq!(
        refused(serde_json::json!({"spec": PLAIN, "schedule": "0 0 31 2 *"})).await,
        pair("WEIR-SCHEDULE-001", "schedule")
    );
    assert_eq!(refused(serde_json::json!({"spec": PLAIN, "name": "a\nb"})).await, pair("WEIR-JOB-009", "name"));
    assert_eq!(
        refused(serde_json::json!({"spec": format!("{PLAIN}---\n{}", PLAIN.replace("orders", "b"))})).await,
        pair("WEIR-JOB-004", "")
    );
    assert_eq!(refused(serde_json::json!({"spec": format!("{PLAIN}tenant: other\n")})).await, pair("WEIR-JOB-005", "tenant"));
    assert_eq!(refused(serde_json::json!({"spec": PLAIN.replace("path: in.csv", "paht: in.csv, hedaer: 1")})).await.len(), 2);
    assert_eq!(refused(serde_json::json!({"spec": PLAIN.replace("in.csv", "{{job.x.1}}")})).await, pair("WEIR-JOB-006", ""));
    let wrong = scene.jobs.create(&scene.scope, &PLAIN.replace("file: {path: in", "fiel: {path: in")).await.unwrap_err();
    assert_eq!(wrong.diagnostics()[0].span.map(|span| (span.line, span.column)), Some((3, 3)));
    let taken = scene.jobs.create(&scene.scope, PLAIN).await.unwrap_err();
    assert_eq!(taken.into_error().code(), "WEIR-STORE-021");
}

#[tokio::test]
async fn updates_make_versions_and_a_rollback_brings_one_back_with_its_secrets() {
    let scene = scene().await;
    let spec = |password: &str, hour: u32| {
        format!(
            "pipeline: crm\nschedule: \"0 {hour} * * *\"\nsource:\n  postgres: {{password: {password}, table: t}}\nsink:\n  file: {{path: o, format: csv}}\n"
        )
    };
    let first = scene.jobs.create(&scene.scope, &spec("hunter2-one", 1)).await.unwrap();
    let id = first.job.id.clone();
    let second = scene.jobs.update(&scene.scope, &id, Some(first.job.revision), &spec("hunter2-two", 2)).await.unwrap();
    assert_eq!((second.job.version, second.sealed.len()), (2, 1));
    let stale = scene.jobs.update(&scene.scope, &id, Some(first.job.revision), &spec("x", 3)).await.unwrap_err();
    assert_eq!(stale.into_error().code(), "WEIR-STORE-022");
    // What was shown can be sent back: nothing changes.
    let same = scene.jobs.update(&scene.scope, &id, None, &second.job.body.spec).await.unwrap();
    assert_eq!((same.job.version, same.sealed.len(), same.job.body.schedule), (2, 0, second.job.body.schedule));
    let back = scene.jobs.rollback(&scene.scope, &id, None, 1).await.unwrap().job;
    assert_eq!((back.version, &back.body.spec), (3, &first.job.body.spec));
    assert_eq!(back.body.schedule.unwrap().0.cron, "0 1 * * *");
    let values = scene.opened().await;
    let mut texts: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["hunter2-one", "hunter2-two"], "the stale update left none behind");
    assert!(values.iter().all(|(name, _)| name.starts_with(&format!("job.{id}."))));
}

#[tokio::test]
async fn a_copy_has_its_own_secrets_and_a_deleted_job_takes_its_own_along() {
    let scene = scene().await;
    let text = "pipeline: crm\nsource:\n  postgres: {password: hunter2-one, table: t}\nsink:\n  file: {path: o, format: csv}\n";
    let of = scene.jobs.create(&scene.scope, text).await.unwrap().job;
    let copy = scene.jobs.clone_job(&scene.scope, &of.id, "crm copy").await.unwrap().job;
    assert_eq!((copy.status, copy.body.name.as_str()), (JobStatus::Paused, "crm copy"));
    assert!(copy.body.spec.contains(&format!("{{{{job.{}.", copy.id)) && !copy.body.spec.contains(of.id.as_str()));
    scene.jobs.delete(&scene.scope, &of.id, None).await.unwrap();
    let [(name, value)] = &scene.opened().await[..] else { panic!("one secret is left") };
    assert_eq!((name.starts_with(&format!("job.{}.", copy.id)), value.as_str()), (true, "hunter2-one"));
}

#[tokio::test]
async fn pausing_and_resuming_does_not_make_up_for_the_time_between() {
    let scene = scene().await;
    let job = scene.jobs.create(&scene.scope, &format!("{PLAIN}schedule: \"* * * * *\"\n")).await.unwrap().job;
    assert_eq!(scene.jobs.pause(&scene.scope, &job.id).await.unwrap().status, JobStatus::Paused);
    let resumed = scene.jobs.resume(&scene.scope, &job.id).await.unwrap();
    assert_eq!(resumed.status, JobStatus::Active);
    assert!(resumed.body.schedule.unwrap().1 > chrono::Utc::now());
}

#[tokio::test]
async fn a_foreign_job_is_a_missing_one() {
    let scene = scene().await;
    let job = scene.jobs.create(&scene.scope, PLAIN).await.unwrap().job;
    let (other, gone) = (scene.other(), weir_store::model::JobId::generate());
    let mut texts = Vec::new();
    for id in [&job.id, &gone] {
        let said = |refused: Refused| refused.into_error().to_string().replace(id.as_str(), "ID");
        texts.push([
            said(scene.jobs.update(&other, id, None, PLAIN).await.unwrap_err()),
            said(scene.jobs.rollback(&other, id, None, 1).await.unwrap_err()),
            said(scene.jobs.clone_job(&other, id, "x").await.unwrap_err()),
            said(scene.jobs.delete(&other, id, None).await.unwrap_err()),
            said(scene.jobs.pause(&other, id).await.unwrap_err()),
            said(scene.jobs.resume(&other, id).await.unwrap_err()),
        ]);
    }
    assert_eq!(texts[0], texts[1]);
    let body = serde_json::json!({"spec": PLAIN, "depends_on": [job.id.as_str()]}).to_string();
    assert_eq!(told(scene.jobs.create(&other, &body).await.unwrap_err())[0].0, "WEIR-JOB-008");
    let page = PageRequest { limit: 10, cursor: None };
    assert_eq!(scene.store.tenant(&other).list_jobs(&JobFilter::default(), &page).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn a_spec_may_name_stored_connections_and_no_others() {
    let scene = scene().await;
    let text = "pipeline: crm\nsource:\n  postgres: {connection: crm-db, table: t}\nsink:\n  file: {path: o, format: csv}\n";
    assert!(scene.jobs.create(&scene.scope, text).await.is_err());
    let connections = ConnectionService::new(scene.store.clone(), scene.keys.clone(), Arc::new(Bench::new()));
    let options = serde_json::json!({"host": "db", "password": "hunter2"}).as_object().unwrap().clone();
    let request = ConnectionRequest { name: "crm-db".into(), kind: "postgresql".into(), options };
    connections.put(&scene.scope, request, None).await.unwrap();
    assert_eq!(scene.jobs.create(&scene.scope, text).await.unwrap().job.body.connections, ["crm-db"]);
    assert!(scene.jobs.create(&scene.other(), text).await.is_err(), "another tenant's connection");
}

#[tokio::test]
async fn validation_says_what_creating_would_say_and_stores_nothing() {
    let scene = scene().await;
    let fine = scene.jobs.validate(&scene.scope, &format!("{PLAIN}schedule: \"0 */6 * * *\"\n")).await.unwrap();
    assert!(fine.valid && fine.diagnostics.is_empty());
    assert_eq!(fine.pipeline.unwrap().schedule.as_deref(), Some("every 6 hours"));
    for wrong in ["", "[", "{}", "nothing", "{\"spec\": 1}", "pipeline: x\n", "{\"source\": {}}"] {
        let said = scene.jobs.validate(&scene.scope, wrong).await.unwrap();
        assert!(!said.valid && said.diagnostics.iter().any(|d| d.is_error()), "{wrong}");
        assert!(scene.jobs.create(&scene.scope, wrong).await.is_err(), "{wrong}");
    }
    let page = PageRequest { limit: 10, cursor: None };
    assert!(scene.store.tenant(&scene.scope).list_jobs(&JobFilter::default(), &page).await.unwrap().items.is_empty());
}
