//! The stream itself: where it begins, what it survives, how it ends.

use weir_connect::{Error, Kind};
use weir_testkit::mysql::{PASSWORD, PASSWORD_USER};

use super::*;

fn name(event: &Event) -> String {
    match &event.body {
        Body::Query(query) => query.sql().split_whitespace().next().unwrap_or_default().to_string(),
        Body::Rows(rows) => format!("{:?}", rows.kind),
        Body::TableMap(map) => map.table.clone(),
        other => format!("{other:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_string(),
    }
}

/// What the last transaction before the end consists of.
#[tokio::test]
async fn a_transaction_comes_whole_and_in_order() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database.execute("CREATE TABLE a (i INT PRIMARY KEY); CREATE TABLE b (t TEXT)").unwrap();
        let start = end_of_log(&database);
        database
            .execute("BEGIN; INSERT INTO a VALUES (1), (2); UPDATE a SET i = 3 WHERE i = 1; INSERT INTO b VALUES ('x'); DELETE FROM a; COMMIT")
            .unwrap();
        let events = everything(&database, start).await;
        let begin = events
            .iter()
            .position(|event| matches!(&event.body, Body::Rows(rows) if rows.table.schema == database.name()))
            .unwrap();
        let (before, head): (usize, &[&str]) =
            if flavor == Flavor::MySql { (3, &["Gtid", "BEGIN"]) } else { (2, &["MariaGtid"]) };
        let names: Vec<String> = events[begin - before..].iter().map(name).take(9 + head.len()).collect();
        let expected = [head, &["a", "Insert", "a", "Update", "b", "Insert", "a", "Delete", "Xid"]].concat();
        assert_eq!(names, expected, "{flavor:?}");
        let deleted = events[begin..].iter().find_map(|event| match &event.body {
            Body::Rows(rows) if rows.kind == RowKind::Delete => Some(rows.rows().count()),
            _ => None,
        });
        assert_eq!(deleted, Some(2));
        // MySQL takes the key from the table; MariaDB too.
        assert!(
            events.iter().any(|event| matches!(&event.body, Body::TableMap(map) if map.primary_key.as_deref() == Some(&[0][..])))
        );
    }
}

/// Any end of a transaction is a place to go on from, and gives the rest as it was.
#[tokio::test]
async fn a_later_start_gives_the_same_events_from_there() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        let start = end_of_log(&database);
        database.execute("CREATE TABLE t (i INT); INSERT INTO t VALUES (1)").unwrap();
        database.execute("FLUSH LOGS").unwrap();
        database.execute("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)").unwrap();
        let mut first = stream(database.url(), start.clone()).await;
        let mut ends = Vec::new();
        let mut rows = 0;
        while rows < 3 {
            let event = first.next().await.unwrap();
            match event.body {
                Body::Rows(_) => rows += 1,
                Body::Xid(_) => ends.push((rows, first.file().to_string(), first.position(), event.log_pos)),
                _ => {}
            }
        }
        assert_eq!(ends.len(), 2);
        assert_ne!(ends[0].1, ends[1].1, "the log went on in another file");
        for (before, file, position, log_pos) in ends {
            assert_eq!(position, log_pos);
            let events = everything(&database, StartAt::File { file, position }).await;
            assert_eq!(of_table(&events, &database, "t").len(), 3 - before, "{flavor:?}");
        }
    }
}

async fn refusal(url: &str, start: StartAt) -> Error {
    let mut stream = match BinlogStream::open(client(url).await, start, server_id(), Duration::from_secs(1)).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    loop {
        match stream.next().await {
            Ok(event) => assert!(matches!(event.body, Body::Rotate { .. } | Body::FormatDescription { .. }), "{event:?}"),
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn a_position_that_is_gone_is_told_with_what_is_still_there() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        let start = end_of_log(&database);
        let gtids = match flavor {
            Flavor::MySql => StartAt::Gtid(GtidSet::default()),
            Flavor::MariaDb => StartAt::Maria(database.value("SELECT @@gtid_binlog_pos").unwrap().parse().unwrap()),
        };
        database.execute("CREATE TABLE t (i INT)").unwrap();
        database.execute("FLUSH LOGS").unwrap();
        let StartAt::File { file: newest, position: _ } = end_of_log(&database) else { panic!() };
        database.execute("INSERT INTO t VALUES (1)").unwrap();
        database.execute(format!("PURGE BINARY LOGS TO '{newest}'")).unwrap();
        let future = match flavor {
            Flavor::MySql => {
                let mut set: GtidSet = database.value("SELECT @@global.gtid_executed").unwrap().parse().unwrap();
                let (uuid, _, last) = set.intervals().next().unwrap();
                set.add_interval(uuid, 1, last + 1000);
                StartAt::Gtid(set)
            }
            Flavor::MariaDb => StartAt::Maria("0-1-999999".parse().unwrap()),
        };
        let unknown = StartAt::File { file: "binlog.999999".into(), position: 4 };
        let beyond = StartAt::File { file: newest.clone(), position: 99_999_999 };
        for start in [start, gtids, future, unknown, beyond] {
            let shown = start.to_string();
            let error = refusal(database.url(), start).await;
            assert_eq!(
                (error.code(), error.kind()),
                (POSITION_GONE, Kind::NotFound),
                "{flavor:?} {shown}: {error} {:?}",
                error.why()
            );
            let why = error.why().unwrap();
            assert!(why.contains(&newest) && error.advice().is_some(), "{flavor:?} {shown}: {why}");
        }
    }
}

#[tokio::test]
async fn the_wrong_family_of_gtids_is_refused() {
    let url = database_of(Flavor::MySql).url().to_string();
    assert_eq!(refusal(&url, StartAt::Maria("0-1-1".parse().unwrap())).await.code(), "WEIR-MY-068");
    let url = database_of(Flavor::MariaDb).url().to_string();
    assert_eq!(refusal(&url, StartAt::Gtid(GtidSet::default())).await.code(), "WEIR-MY-068");
}

#[tokio::test]
async fn a_user_who_may_not_replicate_is_told_what_to_grant() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        database
            .execute(format!(
                "REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{PASSWORD_USER}'@'%'; GRANT SELECT ON *.* TO '{PASSWORD_USER}'@'%'"
            ))
            .unwrap();
        let error = refusal(&server.password_url("mysql", PASSWORD), end_of_log(&database)).await;
        assert_eq!(error.kind(), Kind::Privilege, "{flavor:?} {error} {:?}", error.why());
        assert!(error.advice().unwrap().contains("REPLICATION SLAVE"));
    }
}

/// A payload of several packets; and a reader that gives up waiting again and again.
#[tokio::test]
async fn events_beyond_16_mib_come_whole_however_often_the_wait_is_dropped() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database.execute("CREATE TABLE big (id INT, v LONGBLOB)").unwrap();
        let start = end_of_log(&database);
        database.execute("INSERT INTO big VALUES (1, REPEAT(X'00ff5c', 6000000)), (2, 'small')").unwrap();
        let mut stream = stream(database.url(), start).await;
        let mut dropped = 0_u64;
        let rows = loop {
            let mut next = Box::pin(stream.next());
            let event = match futures::poll!(&mut next) {
                std::task::Poll::Ready(event) => event.unwrap(),
                std::task::Poll::Pending => {
                    drop(next);
                    dropped += 1;
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            if let Body::Rows(rows) = event.body
                && rows.table.schema == database.name()
            {
                break rows;
            }
        };
        let mut rows = rows.rows();
        let cell = |row: Option<weir_connect::Result<Row<'_>>>| match row.unwrap().unwrap().after.unwrap().cell(1).unwrap() {
            Cell::Present(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        };
        let big = cell(rows.next());
        assert!(
            big.len() == 18_000_000 && big.chunks_exact(3).all(|part| part == [0, 0xff, 0x5c]) && dropped > 3,
            "{flavor:?} {dropped}"
        );
        // MySQL may begin a new event for the second row.
        if let Some(row) = rows.next() {
            assert_eq!(cell(Some(row)), b"small");
        }
    }
}

/// The rows of a table as bytes, from events of any packing.
fn images(events: &[&RowsEvent]) -> Vec<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for event in events {
        for row in event.rows() {
            let row = row.unwrap();
            for image in [row.before, row.after].into_iter().flatten() {
                all.push(
                    image
                        .cells()
                        .map(|cell| match cell.unwrap() {
                            Cell::Present(bytes) => bytes.to_vec(),
                            other => format!("{other:?}").into_bytes(),
                        })
                        .collect(),
                );
            }
        }
    }
    all
}

#[tokio::test]
async fn a_compressed_log_reads_like_one_that_is_not() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        let start = end_of_log(&database);
        let (on, off) = match flavor {
            Flavor::MySql => {
                ("SET SESSION binlog_transaction_compression = ON", "SET SESSION binlog_transaction_compression = OFF")
            }
            Flavor::MariaDb => (
                "SET GLOBAL log_bin_compress = ON; SET GLOBAL log_bin_compress_min_len = 10",
                "SET GLOBAL log_bin_compress = OFF",
            ),
        };
        for (table, setting) in [("packed", on), ("plain", off)] {
            database
                .execute(format!(
                    "{setting}; CREATE TABLE {table} (id INT PRIMARY KEY, v TEXT); BEGIN; INSERT INTO {table} VALUES (1, REPEAT('abc', 20000)), (2, 'b'), (3, NULL); \
                     UPDATE {table} SET v = REPEAT('long enough to be packed ', 9) WHERE id > 1; DELETE FROM {table} WHERE id < 3; COMMIT"
                ))
                .unwrap();
        }
        let events = everything(&database, start).await;
        let (packed, plain) = (of_table(&events, &database, "packed"), of_table(&events, &database, "plain"));
        assert_eq!(images(&packed), images(&plain), "{flavor:?}");
        assert_eq!(images(&plain).len(), 3 + 4 + 2);
        // Statements too: MariaDB packs the DDL as well.
        let made = |table: &str| {
            let words = format!("CREATE TABLE {table} ");
            events.iter().filter(|event| matches!(&event.body, Body::Query(query) if query.sql().starts_with(&words) && query.schema() == database.name())).count()
        };
        assert_eq!((made("packed"), made("plain")), (1, 1));
        let ends = events.iter().filter(|event| matches!(event.body, Body::Xid(_))).count();
        assert!(ends >= 2, "{flavor:?} {ends}");
        // Positions go up, and never into the middle of what is packed.
        let mut stream = stream(database.url(), StartAt::File { file: "binlog.000001".into(), position: 4 }).await;
        let mut last = 0;
        loop {
            let event = stream.next().await.unwrap();
            match &event.body {
                Body::Rotate { .. } => last = 0,
                Body::Rows(rows) if rows.table.table == "the_end" => break,
                _ => {}
            }
            assert!(event.log_pos >= last, "{event:?}");
            last = event.log_pos;
        }
    }
}

#[tokio::test]
async fn checksums_may_go_and_come_while_the_stream_runs() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        database.execute("CREATE TABLE t (i INT)").unwrap();
        let start = end_of_log(&database);
        for (value, setting) in [(1, "CRC32"), (2, "NONE"), (3, "CRC32")] {
            database.execute(format!("SET GLOBAL binlog_checksum = {setting}")).unwrap();
            database.execute(format!("INSERT INTO t VALUES ({value})")).unwrap();
        }
        let events = everything(&database, start).await;
        let seen = images(&of_table(&events, &database, "t"));
        assert_eq!(seen, [1_u32, 2, 3].map(|value| vec![value.to_le_bytes().to_vec()]), "{flavor:?}");
        database.execute("SET GLOBAL binlog_checksum = NONE").unwrap();
        let start = end_of_log(&database);
        database.execute("INSERT INTO t VALUES (4)").unwrap();
        assert_eq!(images(&of_table(&everything(&database, start).await, &database, "t")).len(), 1);
    }
}

#[tokio::test]
async fn a_quiet_log_sends_heartbeats_that_say_where_it_is() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        let start = end_of_log(&database);
        let mut stream = BinlogStream::open(client(database.url()).await, start.clone(), server_id(), Duration::from_millis(200))
            .await
            .unwrap();
        loop {
            if let Body::Heartbeat { file, position } = stream.next().await.unwrap().body {
                assert_eq!(StartAt::File { file, position }, start, "{flavor:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_second_reader_with_the_same_id_ends_the_first() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let start = end_of_log(&database);
        let id = server_id();
        let open = async || {
            BinlogStream::open(client(database.url()).await, start.clone(), id, Duration::from_millis(200)).await.unwrap()
        };
        let mut first = open().await;
        while !matches!(first.next().await.unwrap().body, Body::FormatDescription { .. }) {}
        let mut second = open().await;
        while !matches!(second.next().await.unwrap().body, Body::FormatDescription { .. }) {}
        let error = loop {
            match first.next().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!((error.code(), error.kind()), ("WEIR-MY-065", Kind::Conflict), "{flavor:?} {error} {:?}", error.why());
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_no_session() {
    for flavor in BOTH {
        let server = MysqlServer::start(flavor).unwrap();
        let database = server.create_database().unwrap();
        let mut stream = stream(database.url(), end_of_log(&database)).await;
        stream.next().await.unwrap();
        let dumps =
            || database.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'").unwrap();
        assert_eq!(dumps(), "1");
        drop(stream);
        let gone = async {
            while dumps() != "0" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }
}

#[tokio::test]
async fn two_phase_commits_and_statements_are_handed_out_as_what_they_are() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let id = database.name().to_string();
        let start = end_of_log(&database);
        database
            .execute(format!(
                "CREATE TABLE x (i INT); XA START '{id}'; INSERT INTO x VALUES (1); XA END '{id}'; XA PREPARE '{id}'; XA COMMIT '{id}'; \
                 ALTER TABLE x ADD COLUMN `ünï` INT; TRUNCATE TABLE x"
            ))
            .unwrap();
        let events = everything(&database, start).await;
        let prepared: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.body {
                Body::XaPrepare { one_phase, global, branch, .. } if **global == *id.as_bytes() => {
                    Some((*one_phase, branch.len()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(prepared, [(false, 0)], "{flavor:?}");
        let statements: Vec<String> = events
            .iter()
            .filter_map(|event| match &event.body {
                Body::Query(query) if query.schema() == database.name() => Some(query.sql().into_owned()),
                _ => None,
            })
            .collect();
        assert!(statements.iter().any(|sql| sql == "ALTER TABLE x ADD COLUMN `ünï` INT"), "{statements:?}");
        assert!(statements.iter().any(|sql| sql == "TRUNCATE TABLE x"), "{statements:?}");
        if flavor == Flavor::MariaDb {
            let kinds: Vec<_> = events
                .iter()
                .filter_map(|event| match &event.body {
                    Body::MariaGtid(transaction) if transaction.prepared || transaction.completes => {
                        Some((transaction.prepared, transaction.completes))
                    }
                    _ => None,
                })
                .collect();
            assert!(kinds.contains(&(true, false)) && kinds.contains(&(false, true)), "{kinds:?}");
        }
    }
}
