//! Real events, cut and with flipped bits: errors, never a panic, and never a loop without end.

use super::super::stream::Log;
use super::*;

/// The events of some work, as they came: with headers, without checksums.
async fn raw(database: &MysqlDatabase, flavor: Flavor) -> Vec<Vec<u8>> {
    let start = end_of_log(database);
    let more = match flavor {
        Flavor::MySql => {
            "CREATE TABLE j (id INT PRIMARY KEY, v JSON); \
             INSERT INTO j VALUES (1, '{\"a\": [1, 2.5, \"x\", {\"b\": null}], \"c\": 70000, \"long\": \"0123456789012345678901234567890123456789\"}'); \
             SET SESSION binlog_row_value_options = PARTIAL_JSON; UPDATE j SET v = JSON_SET(v, '$.a[0]', 'y'); \
             SET SESSION binlog_transaction_compression = ON; INSERT INTO t SELECT id + 10, a, b, c, d, e, f, g, h, i, k FROM t"
        }
        Flavor::MariaDb => "SET @x = 1; INSERT INTO t SELECT id + 10, a, b, c, d, e, f, g, h, i, k FROM t",
    };
    database
        .execute(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, a DECIMAL(30,10), b ENUM('x','y'), c SET('p','q'), d DATETIME(6), e TIME(3), \
             f VARCHAR(300) CHARACTER SET latin1, g BLOB, h BIT(9), i GEOMETRY, k YEAR); \
             INSERT INTO t VALUES (1, -1.5, 'x', 'p,q', '2024-02-29 12:00:00.5', '-10:00:00.5', 'ä', X'00ff', b'1', ST_GeomFromText('POINT(1 2)'), 2024), \
             (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL); \
             UPDATE t SET f = 'changed', a = 7; {more}; DELETE FROM t"
        ))
        .unwrap();
    everything(database, start.clone()).await;
    let mut client = client(database.url()).await;
    client
        .batch("SET @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE', @mariadb_slave_capability = 4")
        .await
        .unwrap();
    let StartAt::File { file, position } = start else { panic!() };
    let mut body = (position as u32).to_le_bytes().to_vec();
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&server_id().to_le_bytes());
    body.extend_from_slice(file.as_bytes());
    client.endless_command(0x12, &body).await.unwrap();
    let mut log = Log::new("f".into(), 4);
    let mut events = Vec::new();
    loop {
        let packet = client.packet().await.unwrap()[1..].to_vec();
        let event = log.event(&packet).unwrap();
        events.push(packet);
        if event.is_some_and(|event| matches!(&event.body, Body::Rows(rows) if rows.table.schema == database.name() && rows.table.table == "the_end")) {
            return events;
        }
    }
}

/// Reads everything that can be read of an event.
fn digest(log: &mut Log, packet: &[u8], translators: &mut dyn FnMut(&TableMap) -> Option<Translator>) -> bool {
    let mut fine = true;
    let mut next = log.event(packet);
    for _ in 0..10_000 {
        match next {
            Ok(Some(event)) => {
                if let Body::Rows(rows) = &event.body {
                    let mut translator = translators(&rows.table);
                    for row in rows.rows() {
                        let Ok(row) = row else {
                            fine = false;
                            break;
                        };
                        for image in [&row.before, &row.after].into_iter().flatten() {
                            if let Some(translator) = &mut translator {
                                fine &= translator.row(image, row.before.as_ref()).is_ok();
                            }
                        }
                    }
                } else if let Body::Query(query) = &event.body {
                    assert!(query.sql().len() <= 4 * packet.len().max(1) * 100);
                }
            }
            Ok(None) => return fine,
            Err(_) => return false,
        }
        next = log.inner_event();
    }
    panic!("no end");
}

async fn damage(flavor: Flavor) {
    let database = database_of(flavor);
    let events = raw(&database, flavor).await;
    let mut made = Vec::new();
    for table in ["t", "j"] {
        // MariaDB has no table `j`.
        if let Ok((shape, columns, _)) = selected(&database, table, &OnLoss::default()).await {
            made.push((table, shape, columns));
        }
    }
    let mut translators = |table: &TableMap| {
        let (_, shape, columns) = made.iter().find(|(name, ..)| *name == table.table)?;
        let wanted: Vec<Wanted<'_>> =
            shape.columns.iter().zip(columns).enumerate().map(|(index, (column, to))| Wanted { index, column, to }).collect();
        Translator::new(table, &wanted, "t").ok()
    };
    // As they are, all of them can be read.
    let mut log = Log::new("f".into(), 4);
    for event in &events {
        assert!(digest(&mut log, event, &mut translators), "{:?}", event.get(4));
    }
    let mut errors = 0;
    for (at, event) in events.iter().enumerate() {
        let sized = |mut event: Vec<u8>| {
            let length = event.len() as u32;
            if let Some(size) = event.get_mut(9..13) {
                size.copy_from_slice(&length.to_le_bytes());
            }
            event
        };
        let mut broken: Vec<Vec<u8>> = (0..event.len().min(400)).map(|end| sized(event[..end].to_vec())).collect();
        for _ in 0..150 {
            let mut bad = event.clone();
            for _ in 0..rand::random_range(1..4) {
                let at = rand::random_range(0..bad.len());
                bad[at] ^= 1 << rand::random_range(0..8);
            }
            broken.push(sized(bad));
        }
        for bad in broken {
            let mut log = Log::new("f".into(), 4);
            // Formats and tables before it are in order.
            for good in &events[..at] {
                if matches!(good[4], 15 | 19) {
                    log.event(good).unwrap();
                }
            }
            errors += usize::from(!digest(&mut log, &bad, &mut translators));
        }
    }
    assert!(errors > events.len() * 20, "{errors} of {} events", events.len());
}

#[tokio::test]
async fn damaged_events_of_mysql_are_errors() {
    damage(Flavor::MySql).await;
}

#[tokio::test]
async fn damaged_events_of_mariadb_are_errors() {
    damage(Flavor::MariaDb).await;
}
