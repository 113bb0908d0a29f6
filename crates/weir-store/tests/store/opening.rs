//! Opening a database: which one, which schema.

use weir_error::{Kind, Secret};
use weir_store::Store;

use crate::world::*;

both! {
    async fn a_newer_database_is_refused(world) {
        world.raw("INSERT INTO schema_versions (version, name, applied_at) VALUES (99, 'future', 0)").await.unwrap();
        is(Store::open(&world.url, world.path()).await.err().unwrap(), "WEIR-STORE-005", Kind::Unsupported);
    }

    async fn many_processes_may_open_a_new_database_at_once(world) {
        let url = world.opposite();
        let dir = world.path().to_owned();
        let mut openers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (url, dir) = (url.clone(), dir.clone());
            openers.spawn(async move { Store::open(&url, &dir).await.unwrap().ready().await.unwrap() });
        }
        openers.join_all().await;
    }
}

#[tokio::test]
async fn a_url_of_neither_database_is_refused_without_showing_it() {
    let dir = tempfile::tempdir().unwrap();
    for hostile in ["", "mysql://root:hunter2@db/x", "weir.db", "sqlite::memory:", "sqlite:", "postgres://u:hunter2@[bad/x"] {
        let refused = Store::open(&Secret::new(hostile), dir.path()).await.err().unwrap();
        assert_eq!((refused.code(), refused.kind()), ("WEIR-STORE-004", Kind::Spec), "{hostile}: {refused:?}");
        assert!(!format!("{refused:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = Store::open(&Secret::new(format!("postgres://u:hunter2@127.0.0.1:{port}/x")), dir.path()).await.err().unwrap();
    assert_eq!((refused.code(), refused.kind()), ("WEIR-STORE-004", Kind::Connect), "{refused:?}");
    assert_eq!(refused.retryable(), weir_error::Retry::Transient);
    assert!(!format!("{refused:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "not a database, but long enough to be taken for a header of one: ".repeat(20)).unwrap();
    let before = std::fs::read(&file).unwrap();
    let refused = Store::open(&Secret::new(format!("sqlite:{}", file.display())), dir.path()).await.err().unwrap();
    assert_eq!((refused.code(), refused.kind()), ("WEIR-STORE-004", Kind::Data), "{refused:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_new_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::sqlite().await;
    world.tenant("acme").await.create_job(job("a"), vec![]).await.unwrap();
    for name in ["weir.db", "weir.db-wal", "weir.db-shm"] {
        let mode = std::fs::metadata(world.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_change_that_is_dropped_midway_holds_nobody_up() {
    let world = World::sqlite().await;
    let tenant = world.tenant("acme").await;
    for turn in 0..40_u64 {
        let store = tenant.clone();
        let task = tokio::spawn(async move { store.create_job(job(&format!("dropped{turn}")), vec![]).await });
        tokio::time::sleep(std::time::Duration::from_micros(turn * 20)).await;
        task.abort();
        let _ = task.await;
        // The other handle is another process to SQLite: it would wait for a lock that nobody ends.
        let begun = std::time::Instant::now();
        world.twin(&tenant).create_job(job(&format!("whole{turn}")), vec![]).await.unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
    let check = world.system().audit_verify(None).await.unwrap();
    assert_eq!(check.broken, None);
    assert_eq!(check.rows, world.system().counts().await.unwrap().jobs + 1);
}
