//! What is found before a row is given out.

use serde_json::json;
use weir_connect::Error;
use weir_testkit::MysqlServer;
use weir_testkit::mysql::Flavor;

use super::{BOTH, Follow, filled};

async fn refused(follow: &Follow) -> Error {
    refused_at(follow, follow.database.url()).await
}

async fn refused_at(follow: &Follow, url: &str) -> Error {
    match follow.open_at(url, follow.state.position.clone(), true).await {
        Err(error) => error,
        Ok(_) => panic!("nothing was found"),
    }
}

#[tokio::test]
async fn tables_that_cannot_be_followed_are_named_with_what_to_do() {
    for flavor in BOTH {
        for (setup, code, advice) in [
            ("CREATE TABLE x (a int)", "WEIR-MY-076", "ADD PRIMARY KEY"),
            ("CREATE VIEW x AS SELECT 1 AS a", "WEIR-MY-079", "exclude"),
            ("CREATE TABLE x (a int PRIMARY KEY) ENGINE = MyISAM", "WEIR-MY-079", "InnoDB"),
        ] {
            let follow = Follow::shared(flavor, setup, json!({ "tables": ["x"] }));
            let error = refused(&follow).await;
            assert_eq!(error.code(), code, "{error}");
            assert!(error.advice().unwrap().contains(advice), "{error:?}");
        }
    }
}

#[tokio::test]
async fn servers_whose_log_does_not_say_everything_are_refused() {
    for (flavor, key, value, why) in [
        (Flavor::MySql, "skip-log-bin", "1", "log_bin"),
        (Flavor::MariaDb, "binlog-format", "MIXED", "MIXED"),
        (Flavor::MySql, "binlog-row-image", "MINIMAL", "MINIMAL"),
    ] {
        let server = MysqlServer::options(flavor).set(key, value).start().unwrap();
        let follow = Follow::at(&server, &filled(3), json!({ "tables": ["t"] }));
        let error = refused(&follow).await;
        assert_eq!(error.code(), "WEIR-MY-077", "{error}");
        assert!(error.why().unwrap().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_user_that_may_not_read_the_log_is_told_the_grant() {
    for flavor in BOTH {
        let follow = Follow::shared(flavor, &filled(3), json!({ "tables": ["t"] }));
        let name = follow.database.name();
        let user = &name[..20];
        follow.database.execute(format!("CREATE USER '{user}'@'%'; GRANT SELECT ON {name}.* TO '{user}'@'%'")).unwrap();
        let url = follow.database.url().replace("weir@", &format!("{user}@"));
        let error = refused_at(&follow, &url).await;
        assert_eq!(error.kind(), weir_connect::Kind::Privilege, "{error}");
        assert!(error.advice().unwrap().contains("REPLICATION SLAVE"), "{error:?}");
        let grants = match flavor {
            Flavor::MySql => "REPLICATION SLAVE, REPLICATION CLIENT",
            Flavor::MariaDb => "REPLICATION SLAVE, BINLOG MONITOR",
        };
        follow.database.execute(format!("GRANT {grants} ON *.* TO '{user}'@'%'")).unwrap();
        // What the README says is enough.
        let (_log, mut events) = follow.open_at(&url, None, true).await.unwrap();
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            event.unwrap();
        }
    }
}

#[tokio::test]
async fn a_purged_log_is_a_gap() {
    for (flavor, set) in [(Flavor::MySql, None), (Flavor::MySql, Some(("gtid-mode", "OFF"))), (Flavor::MariaDb, None)] {
        let mut options = MysqlServer::options(flavor);
        if let Some((key, value)) = set {
            options = options.set(key, value).set("enforce-gtid-consistency", "OFF");
        }
        let server = options.start().unwrap();
        let mut follow = Follow::at(&server, &filled(3), json!({ "tables": ["t"] }));
        follow.run().await;
        // The server keeps what a reader that has just gone may still want.
        let reading = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
        while follow.database.value(reading).unwrap() != "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        follow.database.execute("UPDATE t SET n = 1; FLUSH BINARY LOGS; UPDATE t SET n = 2; FLUSH BINARY LOGS").unwrap();
        // MariaDB keeps a file until its checkpoint is in a later one.
        loop {
            let rows = follow.database.rows("SHOW BINARY LOGS").unwrap();
            let last = rows.last().unwrap()[0].clone().unwrap();
            if rows.len() == 1 {
                break;
            }
            follow.database.execute(format!("PURGE BINARY LOGS TO '{last}'")).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let error = refused(&follow).await;
        assert_eq!(error.code(), "WEIR-MY-075", "{error}");
        assert!(error.what().contains("purged"), "{error}");
        assert!(error.advice().unwrap().contains("weir state reset"));
    }
}

#[tokio::test]
async fn a_position_of_another_server_is_refused() {
    for (flavor, gtids) in [(Flavor::MySql, "ON"), (Flavor::MySql, "OFF"), (Flavor::MariaDb, "")] {
        let start = || {
            let options = MysqlServer::options(flavor);
            let options = match gtids {
                "OFF" => options.set("gtid-mode", "OFF").set("enforce-gtid-consistency", "OFF"),
                _ => options,
            };
            options.start().unwrap()
        };
        let (first, second) = (start(), start());
        let mut follow = Follow::at(&first, &filled(3), json!({ "tables": ["t"] }));
        follow.database.execute("UPDATE t SET n = 1; UPDATE t SET n = 2; UPDATE t SET n = 3; UPDATE t SET n = 4").unwrap();
        follow.run().await;
        let other = second.create_database().unwrap();
        other.execute(filled(3)).unwrap();
        let mut elsewhere = Follow::new(other, follow.options.clone());
        elsewhere.state.position = follow.state.position.clone();
        let error = refused(&elsewhere).await;
        assert_eq!(error.code(), "WEIR-MY-075", "{error}");
    }
}

#[tokio::test]
async fn a_statement_that_changed_rows_without_their_images_stops_the_stream() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(3), json!({ "tables": ["t"] }));
        follow.run().await;
        follow.database.execute("SET SESSION binlog_format = 'STATEMENT'; UPDATE t SET n = 5").unwrap();
        let error = follow.try_run().await.unwrap_err();
        assert_eq!(error.code(), "WEIR-MY-072", "{error}");
    }
}

#[tokio::test]
async fn a_database_that_is_left_out_of_the_log_is_refused() {
    for flavor in BOTH {
        let server = MysqlServer::options(flavor).set("binlog-do-db", "other").start().unwrap();
        let follow = Follow::at(&server, &filled(3), json!({ "tables": ["t"] }));
        let error = refused(&follow).await;
        assert_eq!(error.code(), "WEIR-MY-077", "{error}");
        assert!(error.why().unwrap().contains("binlog_do_db is `other`"), "{error}");
    }
}

#[tokio::test]
async fn transactions_in_two_phases_are_refused_if_they_changed_a_followed_table() {
    for flavor in BOTH {
        let setup = format!("{}; CREATE TABLE foreign_one (a int PRIMARY KEY)", filled(3));
        let mut follow = Follow::shared(flavor, &setup, json!({ "tables": ["t"] }));
        follow.run().await;
        let xid = follow.database.name()[..20].to_string();
        follow
            .database
            .execute(format!(
                "XA START '{xid}a'; INSERT INTO foreign_one VALUES (1); XA END '{xid}a'; XA PREPARE '{xid}a'; XA COMMIT '{xid}a'; \
                 XA START '{xid}b'; UPDATE t SET n = 7; XA END '{xid}b'; XA COMMIT '{xid}b' ONE PHASE"
            ))
            .unwrap();
        follow.run().await;
        follow.expect("t");
        follow
            .database
            .execute(format!("XA START '{xid}c'; UPDATE t SET n = 8; XA END '{xid}c'; XA PREPARE '{xid}c'; XA COMMIT '{xid}c'"))
            .unwrap();
        let error = follow.try_run().await.unwrap_err();
        assert_eq!(error.code(), "WEIR-MY-072", "{error}");
        assert!(error.why().unwrap().contains("XA"), "{error}");
    }
}

#[tokio::test]
async fn a_run_begins_where_it_is_told_to() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(3), json!({ "tables": ["t"], "snapshot": "never" }));
        let gtids = match flavor {
            Flavor::MySql => follow.database.value("SELECT @@global.gtid_executed").unwrap().replace('\n', ""),
            Flavor::MariaDb => follow.database.value("SELECT @@global.gtid_binlog_pos").unwrap(),
        };
        follow.database.execute("INSERT INTO t VALUES (10, 'x', 1)").unwrap();
        follow.run().await;
        assert!(follow.state.ops.is_empty());
        follow.state.position = None;
        follow.options["start"] = json!({ "gtid": gtids });
        follow.run().await;
        assert_eq!(follow.state.ops, [("c", 1)].into());
    }
}
