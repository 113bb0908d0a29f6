//! What the target demands besides the key: refused with table, constraint and remedy, and nothing of the flush is left.

use serde_json::json;
use weir_connect::{DeleteMode, Error, Kind, Op, Retry, WriteMode};
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::changes::{BOTH, TABLE, into, opened};
use super::{database, database_of, server_lines, sink_at};
use crate::changes::seeds::{Line, after, applied, batch, changes_target, delete, is, line, mark, schema};

/// Two rows, and what is added to their table.
fn table(database: &MysqlDatabase, columns: &str, more: &str) {
    database
        .execute(format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(50), b varchar(50){columns}); \
             INSERT INTO t (id, a, b) VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2'); {more}"
        ))
        .unwrap();
}

/// The error of applying these to such a table; nothing may have changed.
async fn refused(flavor: Flavor, columns: &str, more: &str, lines: &[Line]) -> Error {
    let database = database_of(flavor);
    table(&database, columns, more);
    let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let error = applied(writer.as_mut(), lines).await.unwrap_err();
    drop(writer);
    assert_eq!(server_lines(&database, TABLE), ["1|a1|b1", "2|a2|b2"], "{error}");
    error
}

#[tokio::test]
async fn constraints_of_the_target_are_named_with_the_remedy() {
    let put = [line(Op::Create, 3, is("x"), Some(None))];
    let cases: [(&str, &str, &[Line], &str, &str); 6] = [
        (", CONSTRAINT b_is_there CHECK (b IS NOT NULL)", "", &put, "b_is_there", "drop this check constraint"),
        (", UNIQUE only_a (a)", "", &[line(Op::Create, 3, is("a1"), is("b"))], "only_a", "weir verify"),
        (
            "",
            "CREATE TABLE p (a varchar(50) PRIMARY KEY); INSERT INTO p VALUES ('a1'), ('a2'); ALTER TABLE t ADD CONSTRAINT to_p FOREIGN KEY (a) REFERENCES p (a)",
            &put,
            "to_p",
            "drop the foreign key",
        ),
        (
            "",
            "CREATE TABLE c (t_id bigint, CONSTRAINT to_t FOREIGN KEY (t_id) REFERENCES t (id)); INSERT INTO c VALUES (2)",
            &[line(Op::Update, 1, is("new"), None), delete(2)],
            "to_t",
            "replicate that table as well",
        ),
        (
            "",
            "CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not here'",
            &put,
            "not here",
            "a trigger of",
        ),
        ("", "ALTER TABLE t MODIFY b varchar(50) NOT NULL", &put, "'b'", "be nullable"),
    ];
    for flavor in BOTH {
        for (columns, more, lines, names, hint) in cases {
            let error = refused(flavor, columns, more, lines).await;
            let said = format!("{error} {}", error.why().unwrap_or_default());
            assert!(said.contains(names) && said.contains(".t"), "{said}");
            assert!(error.advice().unwrap_or_default().contains(hint), "{said}; {:?}", error.advice());
        }
    }
}

#[tokio::test]
async fn another_unique_index_never_gets_the_row_of_another_key_overwritten() {
    for flavor in BOTH {
        // The plain way of this server would change row 1.
        for lines in [
            vec![line(Op::Create, 3, is("a1"), is("new"))],
            vec![line(Op::Update, 2, is("a1"), is("new"))],
            vec![line(Op::Update, 2, is("a1"), None)],
            (3..300).map(|id| line(Op::Create, id, is(if id == 200 { "a1" } else { "" }), is("new"))).skip(195).take(8).collect(),
        ] {
            let lines: Vec<Line> = lines
                .into_iter()
                .map(|one| match one.a {
                    Some(Some(ref a)) if a.is_empty() => Line { a: is(&format!("other {}", one.id)), ..one },
                    _ => one,
                })
                .collect();
            let error = refused(flavor, ", UNIQUE only_a (a)", "", &lines).await;
            assert_eq!((error.code(), error.kind()), ("WEIR-MY-016", Kind::Data), "{error}");
        }
    }
}

#[tokio::test]
async fn a_unique_index_that_is_made_while_changes_are_applied_is_seen_before_they_are_durable() {
    for flavor in BOTH {
        let database = database_of(flavor);
        table(&database, "", "");
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        applied(writer.as_mut(), &[line(Op::Update, 1, is("x1"), is("b1"))]).await.unwrap();
        database.execute("ALTER TABLE t ADD UNIQUE only_a (a)").unwrap();
        let error = applied(writer.as_mut(), &[line(Op::Create, 3, is("x1"), is("new"))]).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), ("WEIR-MY-117", Retry::Transient), "{error}");
        drop(writer);
        assert_eq!(server_lines(&database, TABLE), ["1|x1|b1", "2|a2|b2"]);
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        let error = applied(writer.as_mut(), &[line(Op::Create, 3, is("x1"), is("new"))]).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-MY-016", "{error}");
    }
}

#[tokio::test]
async fn updates_that_lack_values_of_rows_that_are_not_there_are_a_conflict_that_names_the_keys() {
    for flavor in BOTH {
        let error = refused(flavor, "", "", &[line(Op::Update, 1, is("x"), None), line(Op::Update, 77, is("x"), None)]).await;
        assert_eq!((error.code(), error.kind()), ("WEIR-MY-114", Kind::Conflict));
        assert!(error.to_string().contains("1 rows") && error.why().unwrap().ends_with("keys: 77"), "{error}: {:?}", error.why());
        // That a row has the values already is no reason to miss it.
        let database = database_of(flavor);
        table(&database, "", "");
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        applied(writer.as_mut(), &[line(Op::Update, 1, is("a1"), None), line(Op::Update, 2, None, None)]).await.unwrap();
        assert_eq!(server_lines(&database, TABLE), ["1|a1|b1", "2|a2|b2"]);
    }
}

#[tokio::test]
async fn an_exchange_of_unique_values_never_reaches_other_tables() {
    let exchange =
        [line(Op::Update, 1, is("aside"), None), line(Op::Update, 2, is("a1"), None), line(Op::Update, 1, is("a2"), None)];
    for flavor in BOTH {
        let database = database_of(flavor);
        table(&database, ", UNIQUE (a)", "");
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        applied(writer.as_mut(), &exchange).await.unwrap();
        assert_eq!(server_lines(&database, TABLE), ["1|a2|b1", "2|a1|b2"]);
        for action in ["NO ACTION", "CASCADE", "SET NULL"] {
            let database = database_of(flavor);
            let child = format!(
                "CREATE TABLE c (t_id bigint, CONSTRAINT to_t FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE {action}); INSERT INTO c VALUES (1), (2)"
            );
            table(&database, ", UNIQUE (a)", &child);
            let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
            let error = applied(writer.as_mut(), &exchange).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), ("WEIR-MY-113", Kind::Conflict), "{error}");
            assert!(error.why().unwrap().contains("c (to_t)"), "{:?}", error.why());
            assert_eq!(server_lines(&database, "SELECT t_id FROM c"), ["1", "2"]);
            assert_eq!(server_lines(&database, TABLE), ["1|a1|b1", "2|a2|b2"]);
        }
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
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-044", Kind::Schema));
    let error = prepared("CREATE TABLE t (id bigint PRIMARY KEY, a varchar(9) AS ('x') STORED, b text)").await;
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-045", Kind::Schema));
    let error = prepared("CREATE TABLE t (id bigint PRIMARY KEY, a text, b text) ENGINE = MyISAM").await;
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-049", Kind::Unsupported));
    let database = database();
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b text, _deleted text)").unwrap();
    let stream = into(&database).await.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    assert_eq!(stream.change_writer(DeleteMode::Soft).await.err().unwrap().code(), "WEIR-MY-112");
}

#[tokio::test]
async fn a_user_with_the_least_privileges_applies_everything() {
    for flavor in BOTH {
        let server = MysqlServer::shared(flavor).unwrap();
        let database = server.create_database().unwrap();
        table(&database, ", UNIQUE (a)", "");
        let (user, name) = (format!("u_{}", &database.name()[2..20]), database.name());
        database
            .execute(format!(
                "CREATE DATABASE {name}_weir; CREATE USER {user}@'%' IDENTIFIED BY 'p w'; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.t TO {user}@'%'; \
                 GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON {name}_weir.* TO {user}@'%'"
            ))
            .unwrap();
        let connection = json!({ "url": server.url_of(name), "user": user, "password": "p w" });
        let sink = sink_at(connection, json!({ "table": "t", "state_schema": format!("{name}_weir") }), Default::default()).await;
        let target = || changes_target("r", schema(), WriteMode::Upsert, &["id"]);
        let error = sink.prepare(target()).await.unwrap().change_writer(DeleteMode::Hard).await.err().unwrap();
        assert_eq!((error.code(), error.kind()), ("WEIR-MY-006", Kind::Privilege), "{error}");
        assert!(error.advice().unwrap().contains("CREATE TEMPORARY TABLES"), "{:?}", error.advice());
        database.execute(format!("GRANT CREATE TEMPORARY TABLES ON {name}.* TO {user}@'%'")).unwrap();
        let stream = sink.prepare(target()).await.unwrap();
        let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
        applied(writer.as_mut(), &[line(Op::Update, 1, is("x"), None), delete(2), line(Op::Create, 3, is("y"), is("z"))])
            .await
            .unwrap();
        assert_eq!(server_lines(&database, TABLE), ["1|x|b1", "3|y|z"]);
        // Unique values that go from row to row, and the whole table.
        applied(writer.as_mut(), &[line(Op::Update, 1, is("y"), None), line(Op::Update, 3, is("x"), None)]).await.unwrap();
        assert_eq!(server_lines(&database, TABLE), ["1|y|b1", "3|x|z"]);
        writer.truncate(&mark(1)).await.unwrap();
        writer
            .apply(batch(&(0..6000).map(|id| line(Op::Create, id, is(&format!("u{id}")), is("z"))).collect::<Vec<_>>()))
            .await
            .unwrap();
        writer.flush(&after(9)).await.unwrap();
        assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "6000");
    }
}

#[tokio::test]
async fn keys_that_are_equal_at_the_target_only_are_refused_and_never_one_row() {
    for flavor in BOTH {
        for (key, one, other) in [
            ("varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "Key", "kEY"),
            ("varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "key", "key "),
        ] {
            let database = database_of(flavor);
            database.execute(format!("CREATE TABLE t (id bigint, a {key} PRIMARY KEY, b text)")).unwrap();
            let stream = into(&database).await.prepare(changes_target("r", schema(), WriteMode::Upsert, &["a"])).await.unwrap();
            let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
            let both = [line(Op::Create, 1, is(one), is("b")), line(Op::Create, 2, is(other), is("b"))];
            let error = applied(writer.as_mut(), &both).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), ("WEIR-MY-016", Kind::Data), "{error}");
            assert!(error.advice().unwrap().contains("binary collation"), "{error}: {:?}", error.advice());
            drop((writer, stream));
            // One after the other, too; and a delete of the one is none of the other.
            let stream = into(&database).await.prepare(changes_target("r", schema(), WriteMode::Upsert, &["a"])).await.unwrap();
            let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
            applied(writer.as_mut(), &both[..1]).await.unwrap();
            applied(writer.as_mut(), &[line(Op::Delete, 2, is(other), None)]).await.unwrap();
            assert_eq!(server_lines(&database, TABLE), [format!("1|{one}|b")]);
            // A key that changes its case at the source is a delete and a create.
            applied(writer.as_mut(), &[line(Op::Delete, 1, is(one), None), both[1].clone()]).await.unwrap();
            assert_eq!(server_lines(&database, TABLE), [format!("2|{other}|b")]);
            assert!(applied(writer.as_mut(), &both[..1]).await.is_err());
            assert_eq!(server_lines(&database, TABLE), [format!("2|{other}|b")]);
        }
    }
}
