//! What the target demands besides the key: refused with table, constraint and remedy, and nothing of the flush is left.

use weir_connect::{DeleteMode, Error, Kind, Op, WriteMode};
use weir_testkit::Database;

use super::changes::{into, opened};
use super::{database, server_lines, sink_at, stranger, values};
use crate::changes::seeds::{Line, after, applied, batch, changes_target, delete, is, line, mark, schema};
use serde_json::json;

const ROWS: &str = "SELECT id, a, b FROM t";

/// Two rows, and what is added to their table.
fn table(database: &Database, columns: &str, more: &str) {
    database
        .execute(format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, a text, b text{columns}); INSERT INTO t (id, a, b) VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2'); {more}"
        ))
        .unwrap();
}

/// The error of applying these to such a table; nothing may have changed.
async fn refused(columns: &str, more: &str, lines: &[Line]) -> Error {
    let database = database();
    table(&database, columns, more);
    let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let error = applied(writer.as_mut(), lines).await.unwrap_err();
    drop(writer);
    assert_eq!(server_lines(&database, ROWS), ["1|a1|b1", "2|a2|b2"], "{error}");
    error
}

#[tokio::test]
async fn constraints_of_the_target_are_named_with_the_remedy() {
    let put = [line(Op::Create, 3, is("x"), Some(None))];
    let cases: [(&str, &str, &[Line], &str, &str); 6] = [
        (", CONSTRAINT b_is_there CHECK (b IS NOT NULL)", "", &put, "b_is_there", "drop this check constraint"),
        (", UNIQUE (a)", "", &[line(Op::Create, 3, is("a1"), is("b"))], "t_a_key", "weir verify"),
        (
            "",
            "CREATE TABLE p (a text PRIMARY KEY); INSERT INTO p VALUES ('a1'), ('a2'); ALTER TABLE t ADD CONSTRAINT to_p FOREIGN KEY (a) REFERENCES p",
            &put,
            "to_p",
            "drop the foreign key",
        ),
        (
            "",
            "CREATE TABLE c (t_id bigint CONSTRAINT to_t REFERENCES t); INSERT INTO c VALUES (2)",
            &[line(Op::Update, 1, is("new"), None), delete(2)],
            "to_t",
            "replicate that table as well",
        ),
        (
            "",
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not here''; END'; CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()",
            &put,
            "not here",
            "a trigger of",
        ),
        ("", "ALTER TABLE t ALTER b SET NOT NULL", &put, "\"b\"", "DROP NOT NULL"),
    ];
    for (columns, more, lines, names, hint) in cases {
        let error = refused(columns, more, lines).await;
        let said = format!("{error} {}", error.why().unwrap_or_default());
        assert!(said.contains(names) && said.contains("public.t"), "{said}");
        assert!(error.advice().unwrap_or_default().contains(hint), "{said}; {:?}", error.advice());
    }
}

#[tokio::test]
async fn updates_that_lack_values_of_rows_that_are_not_there_are_a_conflict_that_names_the_keys() {
    let error = refused("", "", &[line(Op::Update, 1, is("x"), None), line(Op::Update, 77, is("x"), None)]).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-114", Kind::Conflict));
    assert!(error.to_string().contains("1 rows") && error.why().unwrap().ends_with("keys: (77)"), "{error}: {:?}", error.why());
}

#[tokio::test]
async fn triggers_that_leave_rows_alone_are_found_by_counting() {
    let skip = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER skips BEFORE";
    let each = "ON t FOR EACH ROW EXECUTE FUNCTION skip()";
    for (event, change) in [
        ("INSERT", line(Op::Create, 3, is("x"), is("y"))),
        ("UPDATE", line(Op::Update, 1, is("x"), is("y"))),
        ("UPDATE", line(Op::Update, 1, is("x"), None)),
        ("DELETE", delete(1)),
    ] {
        let error = refused("", &format!("{skip} {event} {each}"), &[change]).await;
        assert_eq!((error.code(), error.kind()), ("WEIR-PG-056", Kind::Data), "{event}: {error}");
    }
}

#[tokio::test]
async fn an_exchange_of_unique_values_never_reaches_other_tables() {
    let exchange =
        [line(Op::Update, 1, is("aside"), None), line(Op::Update, 2, is("a1"), None), line(Op::Update, 1, is("a2"), None)];
    for (action, allowed) in [("NO ACTION", true), ("CASCADE", false), ("SET NULL", false)] {
        let database = database();
        let child = format!(
            "CREATE TABLE c (t_id bigint CONSTRAINT to_t REFERENCES t ON DELETE {action}); INSERT INTO c VALUES (1), (2)"
        );
        table(&database, ", UNIQUE (a)", &child);
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        let outcome = applied(writer.as_mut(), &exchange).await;
        if allowed {
            outcome.unwrap();
            assert_eq!(server_lines(&database, ROWS), ["1|a2|b1", "2|a1|b2"]);
        } else {
            let error = outcome.unwrap_err();
            assert_eq!((error.code(), error.kind()), ("WEIR-PG-057", Kind::Conflict), "{error}");
            assert!(error.why().unwrap().contains("c (to_t)"), "{:?}", error.why());
        }
        assert_eq!(values(&database, "SELECT t_id FROM c ORDER BY 1"), ["1", "2"]);
    }
}

#[tokio::test]
async fn tables_that_cannot_take_changes_are_refused_before_a_row() {
    let prepared = async |ddl: &str| {
        let database = database();
        database.execute(ddl).unwrap();
        into(&database).await.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await.err().unwrap()
    };
    let error = prepared("CREATE TABLE t (id bigint, a text, b text)").await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-044", Kind::Schema));
    assert!(error.advice().unwrap().contains("CREATE UNIQUE INDEX ON \"public\".\"t\" (\"id\")"), "{:?}", error.advice());
    let error = prepared("CREATE TABLE t (id bigint PRIMARY KEY, a text GENERATED ALWAYS AS ('x') STORED, b text)").await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-045", Kind::Schema));
}

#[tokio::test]
async fn a_user_whom_policies_hide_rows_from_may_not_apply_changes() {
    let database = database();
    let (role, connection) = stranger(&database);
    table(
        &database,
        "",
        &format!("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON t USING (id = 1); GRANT ALL ON t TO {role}"),
    );
    database.execute(format!("GRANT CREATE ON DATABASE {} TO {role}", database.name())).unwrap();
    let sink = sink_at(connection, json!({ "table": "t" })).await;
    let stream = sink.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    let error = stream.change_writer(DeleteMode::Hard).await.err().unwrap();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-113", Kind::Privilege), "{error}");
}

#[tokio::test]
async fn a_user_with_the_least_privileges_applies_everything() {
    let database = database();
    let (role, connection) = stranger(&database);
    table(
        &database,
        "",
        &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}; CREATE SCHEMA _weir AUTHORIZATION {role}"),
    );
    let sink = sink_at(connection, json!({ "table": "t" })).await;
    let stream = sink.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Update, 1, is("x"), None), delete(2), line(Op::Create, 3, is("y"), is("z"))])
        .await
        .unwrap();
    assert_eq!(server_lines(&database, ROWS), ["1|x|b1", "3|y|z"]);
    // Without the privilege to truncate.
    writer.truncate(&mark(1)).await.unwrap();
    writer.apply(batch(&[line(Op::Create, 4, is("y"), is("z"))])).await.unwrap();
    writer.flush(&after(9)).await.unwrap();
    assert_eq!(server_lines(&database, ROWS), ["4|y|z"]);
}

#[tokio::test]
async fn keys_that_are_equal_at_the_target_only_are_refused() {
    let database = database();
    database
        .execute("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE t (id bigint, a text COLLATE ci PRIMARY KEY, b text)")
        .unwrap();
    let stream = into(&database).await.prepare(changes_target("r", schema(), WriteMode::Upsert, &["a"])).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    let error = applied(writer.as_mut(), &[line(Op::Create, 1, is("Key"), is("b")), line(Op::Create, 2, is("kEY"), is("b"))])
        .await
        .unwrap_err();
    assert!(error.advice().unwrap().contains("collation"), "{error}: {:?}", error.advice());
}
