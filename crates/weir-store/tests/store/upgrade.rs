//! Databases of older schemas open with all that is in them. The fixtures are what `sqlite3 .dump` and `pg_dump --inserts` wrote of databases
//! of that schema; when the schema goes on they stay as they are.

use weir_store::model::*;

use crate::world::*;

const SQLITE_1: &str = include_str!("../fixtures/schema-1.sqlite.sql");
const POSTGRES_1: &str = include_str!("../fixtures/schema-1.postgres.sql");

async fn holds_everything(world: World) {
    let tenant = world.store.tenant(&scope("acme"));
    let system = world.system();
    let job = tenant.job_by_name("Ünïcode \u{1F600} \"quoted\"").await.unwrap().unwrap();
    assert_eq!((&job.body.schedule, &job.body.connections), (&Some((hourly(), moment(1))), &vec!["crm".to_owned()]));
    let runs = tenant.list_runs(&RunFilter::default(), &page(9)).await.unwrap().items;
    assert_eq!((runs.len(), runs[0].status, &runs[0].streams), (1, RunStatus::Succeeded, &counts(5)));
    assert_eq!(tenant.logs(&runs[0].id, 0, 9).await.unwrap()[0].message, "tab\tline\n\u{7f}");
    assert_eq!(tenant.secret("key").await.unwrap(), Some(SealedSecret((0..=255).collect())));
    assert_eq!(tenant.alerts(None, Some(AlertState::Firing), &page(9)).await.unwrap().items.len(), 1);
    assert!(!system.receive("t", "e", &"acme".into(), b"").await.unwrap());
    let (token, principal, _) = system.token_by_hash("hash").await.unwrap().unwrap();
    assert_eq!((token.role, principal.name.as_str()), (Role::PlatformAdmin, "admin"));
    let check = system.audit_verify(None).await.unwrap();
    assert!(check.rows > 3 && check.broken.is_none(), "{check:?}");
    // And it goes on: with what was waiting, with new runs, with what the newer schema brought.
    assert_eq!(system.counts().await.unwrap().pending_deliveries, 6);
    let head = tenant.outbox_head().await.unwrap();
    let again = tenant.retry_run(&runs[0].id).await.unwrap();
    assert_eq!(tenant.outbox_after(head, 9).await.unwrap().len(), 1);
    let claimed = system.claim_run("w", LEASE).await.unwrap().unwrap();
    assert_eq!(claimed.run.id, again.id);
    system.finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
    assert_eq!(system.run_totals().await.unwrap(), []);
    assert_eq!(system.audit_verify(None).await.unwrap().broken, None);
}

#[tokio::test]
async fn a_sqlite_database_of_the_first_schema_is_copied_and_brought_up() {
    let world = World::found(Some(SQLITE_1), None).await;
    let copies: Vec<_> =
        std::fs::read_dir(world.path().join("backups")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(copies.len(), 1);
    assert!(copies[0].to_string_lossy().starts_with("weir-schema1-"));
    holds_everything(world).await;
}

#[tokio::test]
async fn a_postgresql_database_of_the_first_schema_is_brought_up() {
    holds_everything(World::found(None, Some(POSTGRES_1)).await).await;
}
