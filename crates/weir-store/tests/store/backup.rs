//! Backups, dumps, restores.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weir_error::{Kind, Secret};
use weir_store::model::*;
use weir_store::{Checkpoints, Store, TenantStore};

use crate::world::*;

/// Something of everything.
async fn fill(world: &World) -> (TenantStore, JobId) {
    world.system().bootstrap("Default", "hash", "weir_x").await.unwrap();
    let tenant = world.tenant("acme").await;
    let mut new = job("Ünïcode \u{1F600} \"quoted\"");
    new.schedule = Some((hourly(), moment(1)));
    new.connections = vec!["crm".into()];
    let made = tenant.create_job(new, vec![rule("error_rate")]).await.unwrap();
    tenant.create_run(manual(&made.id)).await.unwrap();
    let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
    let line = NewLogLine { at: moment(3), level: "info".into(), message: "tab\tline\n\u{7f}".into(), event: None };
    world.system().progress(&claimed.lease, counts(3), vec![line]).await.unwrap();
    world.system().finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    tenant.set_secret("key", SealedSecret(bytes)).await.unwrap();
    let all = (0..1500).map(|n| MetricPoint {
        tenant_id: "acme".into(),
        job_id: Some(made.id.clone()),
        run_id: None,
        metric: "m".into(),
        labels: Default::default(),
        at: moment(n),
        value: 0.1 + n as f64 / 3.0,
    });
    world.system().write_points(all.collect()).await.unwrap();
    world.system().fire_alert(&world.system().all_rules().await.unwrap()[0], 1.0).await.unwrap();
    world.system().claim_deliveries(&["pulsar"], "d", LEASE, 2).await.unwrap();
    world.system().receive("t", "e", &"acme".into(), &[0, 255]).await.unwrap();
    tenant.idempotent_begin("k", "f").await.unwrap();
    (tenant, made.id)
}

async fn dumped(store: &Store, to: &Path) -> String {
    store.dump(to).await.unwrap();
    let text = std::fs::read_to_string(to).unwrap();
    // All but the time of the dump, and in an order that does not depend on the database.
    let mut lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

both! {
    async fn a_backup_restored_into_the_other_database_is_the_same(world) {
        let (tenant, id) = fill(&world).await;
        let original = dumped(&world.store, &world.path().join("original.jsonl")).await;
        let backup = world.path().join("backup");
        world.store.backup(&backup).await.unwrap();
        assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
        let there = Store::restore(&world.opposite(), &world.path().join("there"), &backup, Checkpoints::Restore).await.unwrap();
        assert_eq!(dumped(&there, &world.path().join("there.jsonl")).await, original);
        // And back again into a third one, of the first kind, from the dump of the second.
        let third = match world.database {
            Some(_) => World::postgres().await,
            None => World::sqlite().await,
        };
        let back = Store::restore(&third.url, third.path(), &world.path().join("there.jsonl"), Checkpoints::Restore).await.unwrap();
        assert_eq!(dumped(&back, &world.path().join("back.jsonl")).await, original);
        // It is alive: the chain holds, numbers go on, names are known.
        let restored = back.tenant(&scope("acme"));
        assert_eq!(restored.job(&id).await.unwrap(), tenant.job(&id).await.unwrap());
        restored.create_run(manual(&id)).await.unwrap();
        assert_eq!(restored.outbox_head().await.unwrap(), tenant.outbox_head().await.unwrap() + 1);
        assert_eq!(back.system().audit_verify(None).await.unwrap().broken, None);
        assert!(back.system().token_by_hash("hash").await.unwrap().is_some());
        is(restored.create_job(tenant.job(&id).await.unwrap().body, vec![]).await.unwrap_err(), "WEIR-STORE-021", Kind::Conflict);
    }

    async fn a_dump_is_of_one_state_while_others_write(world) {
        let tenant = world.tenant("acme").await;
        let writer = {
            let tenant = world.twin(&tenant);
            tokio::spawn(async move {
                for number in 0..150 {
                    tenant.create_job(job(&format!("j{number}")), vec![]).await.unwrap();
                }
            })
        };
        let mut dumps = Vec::new();
        while !writer.is_finished() || dumps.len() < 3 {
            let to = world.path().join(format!("{}.jsonl", dumps.len()));
            world.store.dump(&to).await.unwrap();
            dumps.push(to);
        }
        writer.await.unwrap();
        for (number, dump) in dumps.iter().enumerate().take(3) {
            let url = Secret::new(format!("sqlite:{}", world.path().join(format!("restored{number}.db")).display()));
            let restored = Store::restore(&url, world.path(), dump, Checkpoints::Restore).await.unwrap();
            assert_eq!(restored.system().audit_verify(None).await.unwrap().broken, None);
            let jobs = restored.tenant(&scope("acme")).usage().await.unwrap().pipelines;
            assert_eq!(restored.tenant(&scope("acme")).outbox_head().await.unwrap(), jobs as i64);
        }
    }

    async fn only_an_empty_database_is_restored(world) {
        fill(&world).await;
        let backup = world.path().join("backup");
        world.store.backup(&backup).await.unwrap();
        is(world.store.backup(&backup).await.unwrap_err(), "WEIR-STORE-013", Kind::Conflict);
        let refused = Store::restore(&world.url, world.path(), &backup, Checkpoints::Restore).await.err().unwrap();
        is(refused, "WEIR-STORE-008", Kind::Conflict);
        assert_eq!(world.system().audit_verify(None).await.unwrap().broken, None);
    }

    async fn a_damaged_dump_restores_nothing(world) {
        fill(&world).await;
        let good = world.path().join("good.jsonl");
        world.store.dump(&good).await.unwrap();
        let text = std::fs::read_to_string(&good).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let cut = lines[..lines.len() - 1].join("\n");
        let short = lines.iter().filter(|line| !line.contains("\"key\"")).copied().collect::<Vec<_>>().join("\n");
        let target = world.opposite();
        for (name, damaged, code) in [
            ("empty", String::new(), "WEIR-STORE-009"),
            ("text", "hello\n".to_owned(), "WEIR-STORE-009"),
            ("cut", cut, "WEIR-STORE-009"),
            ("a row less", short, "WEIR-STORE-009"),
            ("more behind", format!("{text}[1]\n"), "WEIR-STORE-009"),
            ("injection", text.replacen(r#"{"table":"tenants""#, r#"{"table":"tenants; DROP TABLE jobs""#, 1), "WEIR-STORE-009"),
            ("column", text.replacen(r#""columns":["id""#, r#""columns":["id) VALUES (1) --""#, 1), "WEIR-STORE-009"),
            ("type", text.replacen(r#""columns":["tenant_id","audit_seq""#, r#""columns":["audit_seq","tenant_id""#, 1), "WEIR-STORE-009"),
            ("newer", text.replacen(r#""schema":"#, r#""schema":99"#, 1), "WEIR-STORE-005"),
        ] {
            let file = world.path().join(name);
            std::fs::write(&file, damaged).unwrap();
            let refused = Store::restore(&target, &world.path().join("r"), &file, Checkpoints::Restore).await;
            let refused = refused.err().unwrap_or_else(|| panic!("{name}"));
            assert_eq!(refused.code(), code, "{name}: {refused:?}");
        }
        let restored = Store::restore(&target, &world.path().join("r"), &good, Checkpoints::Restore).await.unwrap();
        assert_eq!(restored.system().counts().await.unwrap().jobs, 1);
    }
}

/// Tables as the engine makes them: a number that the database gives, bytes, texts that may be missing.
const STATE: &str = "CREATE SCHEMA weir_state; CREATE TABLE weir_state.meta (version BIGINT NOT NULL); \
     INSERT INTO weir_state.meta VALUES (3); \
     CREATE TABLE weir_state.run (run_id TEXT PRIMARY KEY, status TEXT NOT NULL, attempts BIGINT NOT NULL, report TEXT); \
     CREATE TABLE weir_state.dead_letter (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, payload BYTEA NOT NULL);";

#[tokio::test]
async fn checkpoints_of_runs_are_in_the_backup_and_go_on_where_they_were() {
    let world = World::postgres().await;
    fill(&world).await;
    world.raw(STATE).await.unwrap();
    let rows = "INSERT INTO weir_state.run SELECT 'acme/j/' || n, 'running', n, NULLIF('r', 'r') FROM generate_series(1, 1234) n; \
         INSERT INTO weir_state.dead_letter (payload) SELECT '\\x00ff' FROM generate_series(1, 7)";
    world.raw(rows).await.unwrap();
    let backup = world.path().join("backup.jsonl");
    world.store.backup(&backup).await.unwrap();

    let there = World::postgres().await;
    there.raw(STATE).await.unwrap();
    let restored = Store::restore(&there.url, there.path(), &backup, Checkpoints::Restore).await.unwrap();
    let same = |text: String| text.lines().map(str::to_owned).filter(|line| !line.contains("made_at")).collect::<Vec<_>>();
    restored.dump(&there.path().join("again.jsonl")).await.unwrap();
    let mut again = same(std::fs::read_to_string(there.path().join("again.jsonl")).unwrap());
    let mut first = same(std::fs::read_to_string(&backup).unwrap());
    first.sort();
    again.sort();
    assert!(first == again && first.iter().filter(|line| line.contains("acme/j/")).count() == 1234);
    there.raw("INSERT INTO weir_state.dead_letter (payload) VALUES ('next')").await.unwrap();
    there.raw("DO $$ BEGIN ASSERT (SELECT max(id) FROM weir_state.dead_letter) = 8; END $$").await.unwrap();
    // A second time there is no room for them.
    there.raw("TRUNCATE tenants CASCADE").await.unwrap();
    let full = Store::restore(&there.url, there.path(), &backup, Checkpoints::Restore).await.err().unwrap();
    is(full, "WEIR-STORE-008", Kind::Conflict);
}

#[tokio::test]
async fn checkpoints_without_a_place_are_left_out_only_if_somebody_says_so() {
    let world = World::postgres().await;
    let (tenant, id) = fill(&world).await;
    world.raw(STATE).await.unwrap();
    // Tables without rows are in nobody's way.
    let empty = world.path().join("empty.jsonl");
    world.store.backup(&empty).await.unwrap();
    let file = |name: &str| Secret::new(format!("sqlite:{}", world.path().join(name).display()));
    Store::restore(&file("a.db"), world.path(), &empty, Checkpoints::Restore).await.unwrap();
    world.raw("INSERT INTO weir_state.run VALUES ('acme/j/1', 'running', 1, NULL)").await.unwrap();
    let backup = world.path().join("backup.jsonl");
    world.store.backup(&backup).await.unwrap();
    let refused = Store::restore(&file("b.db"), world.path(), &backup, Checkpoints::Restore).await.err().unwrap();
    is(refused, "WEIR-STORE-015", Kind::Unsupported);
    let left = Store::restore(&file("b.db"), world.path(), &backup, Checkpoints::Leave).await.unwrap();
    assert_eq!(left.tenant(&scope("acme")).job(&id).await.unwrap(), tenant.job(&id).await.unwrap());
    // Checkpoints of a newer engine.
    let there = World::postgres().await;
    there.raw(&STATE.replace("(3)", "(2)")).await.unwrap();
    let newer = Store::restore(&there.url, there.path(), &backup, Checkpoints::Restore).await.err().unwrap();
    is(newer, "WEIR-STORE-005", Kind::Unsupported);
}
