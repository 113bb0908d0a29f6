//! What a run leaves in the target.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde_json::{Value, json};
use weir_connect::{Kind, OnLoss, SchemaChangePolicy, StreamTarget, WriteMode};
use weir_testkit::MysqlDatabase;
use weir_testkit::mysql::Flavor;

use super::{barrier, connection, database, database_of, done, rows, run, server_lines, sink, sink_at, target, write};

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true))).unwrap()
}

fn words(words: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(words.to_vec()))
}

fn numbers(numbers: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(numbers.to_vec()))
}

fn keyed(run: &str, batch: &RecordBatch, mode: WriteMode) -> StreamTarget {
    target(run, "t", batch.schema(), mode, &["id"])
}

/// Tables that a run leaves beside its target, without the state's own.
fn tables(database: &MysqlDatabase) -> Vec<String> {
    server_lines(
        database,
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT IN ('runs', 'flushes', 'progress', 'shapes')",
    )
}

#[tokio::test]
async fn upsert_replaces_whole_rows_and_merge_only_the_columns_of_the_stream() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let database = database_of(flavor);
        database
            .execute("CREATE TABLE t (id BIGINT PRIMARY KEY, a LONGTEXT, b INT DEFAULT 7, c TIMESTAMP NULL DEFAULT NULL) ENGINE = InnoDB")
            .unwrap();
        let new = batch(&[("id", numbers(&[1, 3])), ("a", words(&[Some("new"), None]))]);
        for (mode, expected) in [(WriteMode::Merge, "1|new|1"), (WriteMode::Upsert, "1|new|7")] {
            database.execute("DELETE FROM t; INSERT INTO t (id, a, b) VALUES (1, 'old', 1), (2, 'old', 2)").unwrap();
            let sink = sink(database.url(), json!({ "table": "t" })).await;
            let report = run(&sink, keyed(mode.as_str(), &new, mode), std::slice::from_ref(&new)).await.unwrap();
            assert_eq!(report.rows, 2);
            assert_eq!(server_lines(&database, "SELECT id, a, b FROM t"), [expected, "2|old|2", "3|NULL|7"], "{flavor:?}");
        }
        assert_eq!(tables(&database), ["t"]);
    }
}

#[tokio::test]
async fn an_upsert_never_changes_the_row_that_another_unique_index_finds() {
    let database = database();
    database
        .execute("CREATE TABLE t (id BIGINT PRIMARY KEY, a VARCHAR(20) UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
        .unwrap();
    let sink = sink(database.url(), json!({ "table": "t" })).await;
    let new = batch(&[("id", numbers(&[3])), ("a", words(&[Some("x")]))]);
    let error = run(&sink, keyed("r", &new, WriteMode::Upsert), std::slice::from_ref(&new)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-016", Kind::Data), "{error}");
    assert_eq!(server_lines(&database, "SELECT * FROM t"), ["1|x", "2|y"]);
}

#[tokio::test]
async fn rows_without_key_and_tables_without_index_are_refused() {
    let database = database();
    let new =
        RecordBatch::try_from_iter_with_nullable([("id", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef, true)])
            .unwrap();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let error = run(&into, keyed("r", &new, WriteMode::Upsert), std::slice::from_ref(&new)).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MY-055", "{error}");
    database.execute("CREATE TABLE u (id BIGINT, KEY (id))").unwrap();
    let into = sink(database.url(), json!({ "table": "u" })).await;
    let error = run(&into, keyed("r", &new, WriteMode::Merge), &[new]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MY-044", "{error}");
}

#[tokio::test]
async fn keys_that_differ_in_case_or_blanks_are_different_in_a_table_of_ours() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let database = database_of(flavor);
        let new = batch(&[("id", words(&[Some("a"), Some("A"), Some("a "), Some("ä")]))]);
        let sink = sink(database.url(), json!({ "table": "t" })).await;
        run(&sink, keyed("r", &new, WriteMode::Upsert), std::slice::from_ref(&new)).await.unwrap();
        assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "4", "{flavor:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_an_existing_column_is_refused_not_cut() {
    let database = database();
    database
        .execute(
            "CREATE TABLE t (id BIGINT, a VARCHAR(3), b CHAR(3), c TINYTEXT, d ENUM('x','2y'), e VARCHAR(9) CHARACTER SET latin1, f DATETIME(3))",
        )
        .unwrap();
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_i64]));
    let long = "é".repeat(200);
    for (number, (column, value)) in [
        ("a", words(&[Some("abc ")])),
        ("a", words(&[Some("abcd")])),
        ("b", words(&[Some("a ")])),
        ("c", words(&[Some(&long)])),
        ("d", words(&[Some("2")])),
        ("d", words(&[Some("X")])),
        ("e", words(&[Some("北京")])),
        ("f", micros),
    ]
    .into_iter()
    .enumerate()
    {
        for load in ["auto", "insert"] {
            let new = batch(&[("id", numbers(&[1])), (column, value.clone())]);
            let sink = sink(database.url(), json!({ "table": "t", "load": load })).await;
            let target = target(&format!("{number}{load}"), "t", new.schema(), WriteMode::Append, &[]);
            let error = run(&sink, target, &[new]).await.map(drop).expect_err(&format!("{column} {load}"));
            assert!(matches!(error.kind(), Kind::TypeLoss | Kind::Data), "{column}: {error}");
            assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "0");
        }
    }
}

#[tokio::test]
async fn zero_in_an_auto_increment_column_stays_zero() {
    let database = database();
    database.execute("CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, a LONGTEXT)").unwrap();
    let new = batch(&[("id", numbers(&[0, 5])), ("a", words(&[Some("zero"), Some("five")]))]);
    for (mode, load) in [(WriteMode::Append, "auto"), (WriteMode::Upsert, "insert"), (WriteMode::Overwrite, "auto")] {
        let sink = sink(database.url(), json!({ "table": "t", "load": load })).await;
        run(&sink, keyed(mode.as_str(), &new, mode), std::slice::from_ref(&new)).await.unwrap();
        assert_eq!(server_lines(&database, "SELECT * FROM t"), ["0|zero", "5|five"], "{mode:?}");
        if mode == WriteMode::Append {
            database.execute("DELETE FROM t").unwrap();
        }
    }
}

#[tokio::test]
async fn an_overwrite_keeps_indexes_defaults_and_grants_and_leaves_nothing_behind() {
    let database = database();
    database
        .execute("CREATE TABLE t (id BIGINT PRIMARY KEY, a VARCHAR(20), n INT NOT NULL DEFAULT 4, KEY by_a (a)) COMMENT 'kept'; INSERT INTO t VALUES (9, 'old', 1)")
        .unwrap();
    let new = batch(&[("id", numbers(&[1])), ("a", words(&[Some("new")]))]);
    let sink = sink(database.url(), json!({ "table": "t" })).await;
    run(&sink, keyed("r", &new, WriteMode::Overwrite), std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM t"), ["1|new|4"]);
    let shown = database.rows("SHOW CREATE TABLE t").unwrap()[0][1].clone().unwrap();
    for part in ["PRIMARY KEY (`id`)", "KEY `by_a` (`a`)", "DEFAULT 4", "COMMENT='kept'"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(tables(&database), ["t"]);
}

#[tokio::test]
async fn an_overwrite_replaces_the_rows_inside_a_table_that_others_hold_on_to() {
    let database = database();
    database
        .execute(
            "CREATE TABLE log (what INT); CREATE TABLE t (id BIGINT PRIMARY KEY, a VARCHAR(20)); INSERT INTO t VALUES (9, 'old'); \
             CREATE TRIGGER seen AFTER INSERT ON t FOR EACH ROW INSERT INTO log VALUES (NEW.id)",
        )
        .unwrap();
    let new = batch(&[("id", numbers(&[1])), ("a", words(&[Some("new")])), ("more", numbers(&[5]))]);
    let into = sink(database.url(), json!({ "table": "t" })).await;
    run(&into, keyed("r", &new, WriteMode::Overwrite), std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM t"), ["1|new|5"]);
    assert_eq!(server_lines(&database, "SELECT * FROM log"), ["1"]);
    database.execute("CREATE TABLE child (id BIGINT REFERENCES t (id), FOREIGN KEY (id) REFERENCES t (id) ON DELETE CASCADE); INSERT INTO child VALUES (1)").unwrap();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let error = run(&into, keyed("r2", &new, WriteMode::Overwrite), &[new]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MY-057", "{error}");
    assert_eq!(database.value("SELECT COUNT(*) FROM child").unwrap(), "1");
}

#[tokio::test]
async fn columns_are_widened_under_evolve_and_the_preview_says_so() {
    let database = database();
    database.execute("CREATE TABLE t (id INT NOT NULL COMMENT 'k', a VARCHAR(3)); INSERT INTO t VALUES (1, 'x')").unwrap();
    let new = batch(&[("id", numbers(&[i64::MAX])), ("a", words(&[Some("abc")]))]);
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let wanted = target("r", "t", new.schema(), WriteMode::Append, &[]);
    let said = into.preview(&wanted).await.unwrap();
    assert!(said.len() == 1 && said[0].contains("widen column id"), "{said:?}");
    let frozen = StreamTarget { on_schema_change: SchemaChangePolicy::Freeze, ..wanted.clone() };
    assert_eq!(into.prepare(frozen).await.map(drop).unwrap_err().code(), "WEIR-MY-046");
    run(&into, wanted, &[new]).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM t"), ["1|x", &format!("{}|abc", i64::MAX)]);
    let shown = database.rows("SHOW CREATE TABLE t").unwrap()[0][1].clone().unwrap();
    assert!(shown.contains("bigint(20) NOT NULL COMMENT 'k'"), "{shown}");
}

#[tokio::test]
async fn a_new_attempt_shuts_out_writers_of_the_one_before() {
    let database = database();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let first = into.prepare(target("r", "t", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    write(first.as_ref(), 1, &[rows(0, 5)]).await.unwrap();
    let second = into.prepare(target("r", "t", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let recovered = second.recover().await.unwrap();
    assert_eq!((recovered.rows, recovered.progress.unwrap().len()), (5, 1));
    let mut late = first.writer(0).await.unwrap();
    let error = late.write(rows(5, 9)).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MY-041", "{error}");
    assert_eq!(first.commit(&[]).await.unwrap_err().code(), "WEIR-MY-041");
    assert_eq!(second.commit(&[]).await.unwrap().rows, 5);
    assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "5");
}

#[tokio::test]
async fn a_staging_table_that_somebody_dropped_makes_the_run_begin_anew() {
    let database = database();
    database.execute("CREATE TABLE t (id BIGINT, name LONGTEXT, n BIGINT)").unwrap();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let first = into.prepare(target("r", "t", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    write(first.as_ref(), 1, &[rows(0, 5)]).await.unwrap();
    let stage = tables(&database).into_iter().find(|name| name.starts_with("_weir_stage_")).unwrap();
    database.execute(format!("DROP TABLE {stage}")).unwrap();
    let second = into.prepare(target("r", "t", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    assert!(second.recover().await.unwrap().progress.unwrap().is_empty());
}

#[tokio::test]
async fn names_of_any_kind_are_only_names() {
    let database = database();
    let new = batch(&[("id", numbers(&[1])), ("sel`ect; --", words(&[Some("x")])), ("ü \"'", words(&[None]))]);
    let into = sink(database.url(), json!({ "table": "{stream}" })).await;
    run(&into, target("r'; DROP", "weird.'na`me", new.schema(), WriteMode::Append, &[]), std::slice::from_ref(&new))
        .await
        .unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM `'na``me`"), ["1|x|NULL"]);
    let twice = batch(&[("id", numbers(&[1])), ("ID", numbers(&[1]))]);
    let error = run(&into, target("r", "t", twice.schema(), WriteMode::Append, &[]), &[twice]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MY-021");
}

#[tokio::test]
async fn a_table_without_transactions_is_refused() {
    let database = database();
    database.execute("CREATE TABLE t (id BIGINT) ENGINE = MyISAM").unwrap();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let new = batch(&[("id", numbers(&[1]))]);
    let error = run(&into, target("r", "t", new.schema(), WriteMode::Append, &[]), &[new]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MY-049", "{error}");
}

#[tokio::test]
async fn a_user_with_the_readmes_privileges_can_write_and_one_without_is_told_them() {
    let database = database();
    let name = database.name();
    let user = format!("w_{}", &name[2..20]);
    let into = |user: &str| {
        sink_at(json!({ "url": database.url(), "user": user }), json!({ "table": "t", "state_schema": name }), OnLoss::default())
    };
    database.execute(format!("CREATE USER {user}@'%'; GRANT SELECT ON {name}.* TO {user}@'%'")).unwrap();
    let new = batch(&[("id", numbers(&[1]))]);
    let error = run(&into(&user).await, keyed("r", &new, WriteMode::Upsert), std::slice::from_ref(&new)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Privilege, "{error}");
    assert!(error.advice().unwrap().contains("GRANT"), "{error}");
    database.execute(format!("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP ON {name}.* TO {user}@'%'")).unwrap();
    for (number, mode) in [WriteMode::Upsert, WriteMode::Overwrite, WriteMode::Merge].into_iter().enumerate() {
        run(&into(&user).await, keyed(&format!("r{number}"), &new, mode), std::slice::from_ref(&new))
            .await
            .unwrap_or_else(|error| panic!("{mode:?}: {error}"));
    }
    assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "1");
}

#[tokio::test]
async fn an_interrupted_swap_is_finished_by_the_next_attempt() {
    use super::super::client::Client;
    use super::super::config::{ConnectionOptions, parse};
    let database = database();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let wanted = || target("r", "t", rows(0, 1).schema(), WriteMode::Overwrite, &[]);
    run(&into, target("old", "t", rows(0, 1).schema(), WriteMode::Overwrite, &[]), &[rows(100, 103)]).await.unwrap();
    for renamed in [false, true] {
        let into = sink(database.url(), json!({ "table": "t" })).await;
        let wanted = || StreamTarget {
            run: weir_connect::RunIdentity { pipeline: "p".into(), run_id: format!("r{renamed}") },
            ..wanted()
        };
        let stream = into.prepare(wanted()).await.unwrap();
        write(stream.as_ref(), 1, &[rows(0, 7)]).await.unwrap();
        drop(stream);
        // As a crash leaves it: the mark, and maybe the RENAME.
        let report = json!({ "rows": 7, "bytes": 1, "objects": 1, "place": "t" }).to_string();
        database.execute(format!("UPDATE runs SET phase = 'swapping', report = '{report}' WHERE run_id = 'r{renamed}'")).unwrap();
        if renamed {
            let stage = tables(&database).into_iter().find(|name| name.starts_with("_weir_stage_")).unwrap();
            let address =
                parse::<ConnectionOptions>(&connection(database.url()), "c").unwrap().address(std::path::Path::new(".")).unwrap();
            let mut client = Client::connect(&address).await.unwrap();
            client.batch(&format!("RENAME TABLE t TO {stage}_old, {stage} TO t")).await.unwrap();
        }
        let again = into.prepare(wanted()).await.unwrap();
        let recovery = again.recover().await.unwrap();
        assert_eq!(recovery.committed.is_some(), renamed);
        assert_eq!(again.commit(&[]).await.unwrap().rows, 7);
        assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "7", "{renamed}");
        assert_eq!(tables(&database), ["t"]);
    }
}

#[tokio::test]
async fn an_empty_epoch_still_moves_the_progress() {
    let database = database();
    let into = sink(database.url(), json!({ "table": "t" })).await;
    let stream = into.prepare(target("r", "t", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let mut writer = stream.writer(3).await.unwrap();
    assert_eq!(writer.flush(&barrier(1, vec![done("empty", 0)])).await.unwrap().rows, 0);
    let progress = stream.recover().await.unwrap().progress.unwrap();
    assert_eq!(progress[0].split.id, "empty");
    assert_eq!(Value::Null, progress[0].split.descriptor);
}
