//! Every type through the log and by `SELECT`: the same Arrow values, bit for bit, and the same dead rows.

use weir_connect::stream::LossChoice;

use super::super::super::tests::matrix::{STRANGE, TYPES};
use super::*;

/// What the connector's matrix does not have, because it goes into a table of the sink.
const MORE: &[(&str, &[&str])] = &[
    ("mediumint", &["-1", "1"]),
    ("float", &["-3.4e38", "3.3"]),
    ("decimal(9,9)", &["0.000000001", "-0.999999999", "0"]),
    ("decimal(18,9)", &["123456789.123456789", "-1.5"]),
    ("decimal(1,0)", &["-9", "0"]),
    ("decimal(65,30)", &["-1", "10000000000000000000000000000000000.1"]),
    ("bit(12)", &["b'101010101010'", "1"]),
    ("time(1)", &["'-00:00:01.5'", "'838:59:59.0'", "'-838:59:59'"]),
    ("time(4)", &["'-00:00:00.0001'", "'12:34:56.7891'"]),
    ("time(6)", &["'-23:59:59.999999'", "'00:00:00.5'"]),
    ("datetime(1)", &["'2024-02-29 23:59:59.9'"]),
    ("datetime(5)", &["'1969-12-31 23:59:59.99999'"]),
    ("timestamp(3) NULL", &["'2024-10-27 02:30:00.123'", "'1970-01-01 03:00:01'"]),
    ("year", &["'1970'", "'2000'", "'1900' + 1"]),
    ("char(255)", &["'  a '", "REPEAT('🦆', 255)"]),
    ("char(10) CHARACTER SET latin1", &["'ä  '", "''"]),
    ("varchar(300)", &["REPEAT('ü', 300)", "' '"]),
    ("varchar(10) CHARACTER SET ucs2", &["'北京'", "'a '"]),
    ("varchar(10) CHARACTER SET utf32", &["'🦆é'"]),
    ("varchar(10) CHARACTER SET utf16le", &["'🦆é'"]),
    ("varchar(10) CHARACTER SET gbk", &["'北京 abc'"]),
    ("varchar(10) CHARACTER SET sjis", &["'日本ｱ'"]),
    ("varchar(10) CHARACTER SET euckr", &["'한국'"]),
    ("varchar(10) CHARACTER SET big5", &["'台灣'"]),
    ("varchar(10) CHARACTER SET ujis", &["'日本'"]),
    ("varchar(10) CHARACTER SET greek", &["'αβγ'"]),
    ("varchar(10) CHARACTER SET koi8r", &["'Привет'"]),
    ("varchar(10) CHARACTER SET swe7", &["'ÄÖÅ'"]),
    ("mediumtext CHARACTER SET latin1", &["REPEAT('é', 70000)"]),
    ("binary(4)", &["X'01000000'", "X'00000001'", "X'20202020'"]),
    ("binary(255)", &["REPEAT(X'ab', 255)", "X''"]),
    ("varbinary(300)", &["REPEAT(X'00', 300)"]),
    ("mediumblob", &["REPEAT(X'00', 70000)"]),
    ("enum('x','ü','🦆')", &["'ü'", "'🦆'", "'none of them'"]),
    ("enum('ä','ö') CHARACTER SET latin1", &["'ö'"]),
    ("set('ä','ö','ß') CHARACTER SET latin1", &["'ö,ß'", "''"]),
    ("linestring", &["ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
    ("multipoint", &["ST_GeomFromText('MULTIPOINT(0 0,1 1)', 4326)"]),
];

const ONLY_MYSQL: &[(&str, &[&str])] = &[(
    "json",
    &[
        "'{}'",
        "'[]'",
        "'\"\"'",
        "'1.0'",
        "'-0.0'",
        "'1e20'",
        "'18446744073709551615'",
        "'-9223372036854775808'",
        "'[-32768, 32767, 65535, 65536, -32769, 2147483647, -2147483648, 4294967295, 4294967296]'",
        "'[0.1, 1e300, 1e-300, 123456789012345680000, 1e14, 1e15, 1e-14, 1e-15, 1e-16, 3.0]'",
        "'{\"a\\\\u0001\\\\b\\\\f\\\\n\\\\r\\\\t\\\\\"\\\\\\\\/\": \"\\\\u007f\\\\u00fc 🦆\"}'",
        "'{\"bb\": 1, \"a\": 2, \"ccc\": {\"x\": [null, true, false]}}'",
        "JSON_OBJECT('d', CAST('2024-02-29' AS DATE), 't', CAST('-12:34:56.789' AS TIME(3)), 'dt', CAST('2024-02-29 12:34:56.789' AS DATETIME(3)))",
        "JSON_OBJECT('n', CAST(-1234.5600 AS DECIMAL(10,4)), 'z', CAST(0.05 AS DECIMAL(3,2)), 'b', X'00ff', 'y', CAST(2024 AS YEAR))",
        "JSON_ARRAY(b'101', CAST(TIMESTAMP'2038-01-19 03:14:07' AS JSON))",
        "CONCAT('{\"long\": \"', REPEAT('x', 70000), '\", \"n\": [1, 70000, -70000, 5000000000]}')",
        "CONCAT('[', REPEAT('[', 80), REPEAT(']', 80), ']')",
        "CONCAT('[', REPEAT('{\"key\": \"value\"}, ', 5000), '1]')",
    ],
)];

const ONLY_MARIADB: &[(&str, &[&str])] = &[
    (
        "uuid",
        &[
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'01890a5d-ac96-774b-bcce-b302099a8057'",
            "'1ec9414c-232a-6b00-b3c8-9e6bdeced846'",
            "'6ccd780c-baba-1026-9564-5b8c656024db'",
            "'550e8400-e29b-41d4-a716-446655440000'",
            "'550e8400-e29b-41d4-0716-446655440000'",
            "'550e8400-e29b-81d4-a716-446655440000'",
            "'12345678-1234-5678-9234-567812340000'",
        ],
    ),
    (
        "inet6",
        &[
            "'::'",
            "'::1'",
            "'2001:db8::ff00:42:8329'",
            "'::ffff:192.0.2.128'",
            "'::192.0.2.128'",
            "'::0.1.0.0'",
            "'1:0:0:2:0:0:0:3'",
            "'1:2:3:4:5:6:0:8'",
            "'fe80::'",
            "'::1:2:3:4:5:6:7'",
            "'1:2:3:4:5:6:7::'",
            "'1:2:3:4:5:6:7:8'",
            "'::ffff:0:0'",
            "'::1:0'",
            "'::fffe:1.2.3.4'",
            "'0:0:1:2:3:4:0:0'",
            "'1:0:0:2:3:0:0:4'",
        ],
    ),
    ("inet4", &["'0.0.0.0'", "'10.0.0.0'", "'255.1.2.3'"]),
];

struct Case {
    kind: String,
    table: String,
    on_loss: OnLoss,
}

/// Makes all tables, then reads all of them in both ways.
async fn compare(database: &MysqlDatabase, cases: Vec<(String, Vec<String>, OnLoss)>) {
    let start = end_of_log(database);
    let mut made = Vec::new();
    for (number, (kind, values, on_loss)) in cases.into_iter().enumerate() {
        let table = format!("t_{number}");
        let rows: Vec<String> = values.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
        database
            .execute(format!(
                "CREATE TABLE {table} (id INT, v {kind}) CHARACTER SET utf8mb4; INSERT IGNORE INTO {table} VALUES {}, (1000, NULL)",
                rows.join(", ")
            ))
            .unwrap();
        made.push(Case { kind, table, on_loss });
    }
    let events = everything(database, start).await;
    let mut bent = Vec::new();
    for case in made {
        let (shape, columns, from_select) = selected(database, &case.table, &case.on_loss).await.unwrap();
        match logged(&of_table(&events, database, &case.table), &shape, &columns) {
            Ok(from_log) => {
                if let Some(words) = difference(&from_select, &from_log) {
                    bent.push(format!("{}: {words:.600}", case.kind));
                }
            }
            Err(error) => bent.push(format!("{}: {error} {:?}", case.kind, error.why())),
        }
    }
    assert!(bent.is_empty(), "{}", bent.join("\n"));
}

fn owned(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>, OnLoss)> {
    list.iter()
        .map(|(kind, values)| (kind.to_string(), values.iter().map(|value| value.to_string()).collect(), OnLoss::default()))
        .collect()
}

fn choose(choice: LossChoice) -> OnLoss {
    super::super::super::tests::choose(choice, &["v"])
}

async fn every_type(flavor: Flavor) {
    let database = database_of(flavor);
    let mut cases = owned(TYPES);
    cases.extend(owned(MORE));
    cases.extend(owned(if flavor == Flavor::MySql { ONLY_MYSQL } else { ONLY_MARIADB }));
    for (kind, value, _) in STRANGE {
        for on_loss in [OnLoss::default(), choose(LossChoice::Accept), choose(LossChoice::String)] {
            cases.push((kind.to_string(), vec![value.to_string()], on_loss));
        }
    }
    for (kind, values, _) in owned(TYPES).into_iter().chain(owned(MORE)) {
        if !kind.contains("geometry") && !kind.contains("point") && !kind.contains("linestring") {
            cases.push((kind, values, choose(LossChoice::String)));
        }
    }
    compare(&database, cases).await;
}

#[tokio::test]
async fn the_log_of_mysql_gives_what_select_gives() {
    every_type(Flavor::MySql).await;
}

#[tokio::test]
async fn the_log_of_mariadb_gives_what_select_gives() {
    every_type(Flavor::MariaDb).await;
}

/// Without the optional metadata the catalog says what the log does not.
#[tokio::test]
async fn a_log_with_little_metadata_gives_the_same() {
    for (flavor, level) in [(Flavor::MySql, "MINIMAL"), (Flavor::MariaDb, "NO_LOG")] {
        let server = MysqlServer::options(flavor).set("binlog-row-metadata", level).start().unwrap();
        let database = server.create_database().unwrap();
        let mut cases = owned(TYPES);
        cases.extend(owned(MORE));
        // The catalogs cannot say this one's members.
        cases.retain(|(kind, ..)| !kind.contains('🦆'));
        compare(&database, cases).await;
        let start = end_of_log(&database);
        database.execute("CREATE TABLE duck (id INT, v ENUM('🦆')); INSERT INTO duck VALUES (1, '🦆')").unwrap();
        let events = everything(&database, start).await;
        let (shape, columns, _) = selected(&database, "duck", &OnLoss::default()).await.unwrap();
        let error = logged(&of_table(&events, &database, "duck"), &shape, &columns).unwrap_err();
        assert_eq!(error.code(), "WEIR-MY-066", "{flavor:?} {error}");
    }
}

/// All columns of all types in one table, changed, in an order of the caller's own.
#[tokio::test]
async fn wide_rows_and_their_updates_are_read_in_any_order_of_columns() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let start = end_of_log(&database);
        let columns: Vec<String> = TYPES.iter().enumerate().map(|(at, (kind, _))| format!("c{at} {kind}")).collect();
        let values = |pick: usize| -> Vec<&str> {
            TYPES
                .iter()
                .map(
                    |(kind, values)| {
                        if kind.contains("text") || kind.contains("blob") { "'x'" } else { values[pick % values.len()] }
                    },
                )
                .collect()
        };
        let set: Vec<String> = values(2).iter().enumerate().map(|(at, value)| format!("c{at} = {value}")).collect();
        database
            .execute(format!(
                "CREATE TABLE w (id INT PRIMARY KEY, {}) CHARACTER SET utf8mb4; INSERT INTO w VALUES (1, {}), (2, {}); UPDATE w SET {}; \
                 UPDATE w SET c0 = NULL, c5 = NULL, c30 = NULL WHERE id = 2",
                columns.join(", "),
                values(0).join(", "),
                values(1).join(", "),
                set.join(", ")
            ))
            .unwrap();
        let events = everything(&database, start).await;
        let events = of_table(&events, &database, "w");
        assert_eq!(
            events.iter().map(|event| event.kind).collect::<Vec<_>>(),
            [RowKind::Insert, RowKind::Update, RowKind::Update]
        );
        let (shape, columns, from_select) = selected(&database, "w", &OnLoss::default()).await.unwrap();
        let wanted: Vec<Wanted<'_>> = shape
            .columns
            .iter()
            .zip(&columns)
            .enumerate()
            .map(|(index, (column, to))| Wanted { index, column, to })
            .rev()
            .collect();
        let backwards: Vec<SourceColumn> = columns.iter().rev().cloned().collect();
        let mut translator = Translator::new(&events[0].table, &wanted, "test").unwrap();
        let mut decoder = Decoder::new(schema_of(&backwards), &backwards, translator.kinds());
        // The last state of both rows: row 1 of the first update, row 2 of the second.
        let first = events[1].rows().next().unwrap().unwrap();
        let second = events[2].rows().next().unwrap().unwrap();
        for row in [&first, &second] {
            decoder.feed(translator.row(row.after.as_ref().unwrap(), None).unwrap(), "test").unwrap();
        }
        let (batch, _) = decoder.take_batch().unwrap().unwrap();
        let order: Vec<usize> = (0..columns.len()).rev().collect();
        let batch = batch.project(&order).unwrap();
        assert_eq!(difference(&from_select, &(Some(batch), Vec::new())), None, "{flavor:?}");
        // The second update's image before is the first one's after.
        let after = events[1].rows().nth(1).unwrap().unwrap().after.unwrap();
        let before: Vec<_> = second.before.unwrap().cells().map(Result::unwrap).collect();
        assert_eq!(after.cells().map(Result::unwrap).collect::<Vec<_>>(), before);
    }
}

#[tokio::test]
async fn computed_and_hidden_columns_do_not_move_the_others() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let start = end_of_log(&database);
        let more = match flavor {
            Flavor::MySql => {
                ", d INT INVISIBLE DEFAULT 9, j JSON, INDEX ((UPPER(s))), INDEX ((CAST(j->'$[*]' AS UNSIGNED ARRAY))), INDEX ((a + 1))"
            }
            Flavor::MariaDb => ", d INT INVISIBLE DEFAULT 9, j TEXT, INDEX (c)",
        };
        database
            .execute(format!(
                "CREATE TABLE g (id INT PRIMARY KEY, a INT, b INT AS (a + 1) VIRTUAL, s VARCHAR(20), c INT AS (a * 2) STORED, \
                 e VARCHAR(30) AS (CONCAT(s, '!')) VIRTUAL {more}); \
                 INSERT INTO g (id, a, s, j) VALUES (1, 5, 'x', '[1, 2]'), (2, NULL, NULL, NULL); UPDATE g SET id = id + 10, a = 7 WHERE id = 1; \
                 UPDATE g SET s = 'two' WHERE id = 2"
            ))
            .unwrap();
        let events = everything(&database, start).await;
        let events = of_table(&events, &database, "g");
        let (shape, columns, from_select) = selected(&database, "g", &OnLoss::default()).await.unwrap();
        assert_eq!(events[0].table.columns.len(), shape.columns.len(), "{flavor:?}");
        let (batch, _) = logged(&events, &shape, &columns).unwrap();
        // The last two are those of the updates: row 2, then row 11, in the order of the table.
        let batch = batch.unwrap();
        let order = arrow::array::UInt64Array::from(vec![3, 2]);
        let last = arrow::compute::take_record_batch(&batch, &order).unwrap();
        assert_eq!(from_select.0.unwrap(), last, "{flavor:?}");
    }
}

#[tokio::test]
async fn columns_that_the_log_leaves_out_are_absent_and_not_null() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let start = end_of_log(&database);
        database
            .execute(
                "CREATE TABLE m (id INT PRIMARY KEY, a INT, b TEXT); SET SESSION binlog_row_image = MINIMAL; INSERT INTO m VALUES (1, NULL, 'x'); \
                 UPDATE m SET a = 5; DELETE FROM m",
            )
            .unwrap();
        let events = everything(&database, start).await;
        let events = of_table(&events, &database, "m");
        let row = events[1].rows().next().unwrap().unwrap();
        let cells =
            |image: &Image<'_>| image.cells().map(Result::unwrap).map(|cell| matches!(cell, Cell::Absent)).collect::<Vec<_>>();
        assert_eq!(cells(&row.before.unwrap()), [false, true, true], "{flavor:?}");
        assert_eq!(cells(&row.after.unwrap()), [true, false, true]);
        assert!(!events[1].has_after(0) && events[1].has_after(1) && events[1].has_before(0) && !events[1].has_before(2));
        let gone = events[2].rows().next().unwrap().unwrap();
        assert!(gone.after.is_none());
        assert_eq!(cells(&gone.before.unwrap()), [false, true, true]);
        let (shape, columns, _) = selected(&database, "m", &OnLoss::default()).await.unwrap();
        let wanted: Vec<Wanted<'_>> =
            shape.columns.iter().zip(&columns).enumerate().map(|(index, (column, to))| Wanted { index, column, to }).collect();
        let mut translator = Translator::new(&events[1].table, &wanted, "test").unwrap();
        translator.row(row.after.as_ref().unwrap(), None).unwrap();
        assert_eq!(translator.absent(), [0, 2]);
    }
}

#[tokio::test]
async fn a_table_that_was_altered_since_is_not_read_by_its_new_columns() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let start = end_of_log(&database);
        for (table, alter) in [
            ("a", "MODIFY v BIGINT"),
            ("b", "MODIFY v INT UNSIGNED"),
            ("c", "RENAME COLUMN v TO w"),
            ("d", "ADD COLUMN w INT"),
            ("e", "MODIFY v TEXT"),
        ] {
            database
                .execute(format!(
                    "CREATE TABLE {table} (id INT, v INT); INSERT INTO {table} VALUES (1, 2); ALTER TABLE {table} {alter}"
                ))
                .unwrap();
        }
        let events = everything(&database, start).await;
        for table in ["a", "b", "c", "d", "e"] {
            let (shape, columns, _) = selected(&database, table, &OnLoss::default()).await.unwrap();
            let error = logged(&of_table(&events, &database, table), &shape, &columns).unwrap_err();
            assert_eq!(error.code(), "WEIR-MY-064", "{flavor:?} {table}: {error}");
        }
    }
}

/// Random doubles inside JSON and as text: the server's own print of them.
#[tokio::test]
async fn doubles_are_printed_as_mysql_prints_them() {
    random_doubles(Flavor::MySql).await;
}

#[tokio::test]
async fn doubles_are_printed_as_mariadb_prints_them() {
    random_doubles(Flavor::MariaDb).await;
}

async fn random_doubles(flavor: Flavor) {
    let database = database_of(flavor);
    let start = end_of_log(&database);
    let mut values = Vec::new();
    while values.len() < 3000 {
        let number = match values.len() % 3 {
            0 => f64::from_bits(rand::random()),
            1 => rand::random::<f64>() * 10_f64.powi(rand::random_range(-20..20)),
            _ => f64::from(rand::random::<f32>()) * 1000.0,
        };
        if number.is_finite() {
            values.push(format!("({}, CAST('{number:e}' AS DOUBLE), JSON_ARRAY(CAST('{number:e}' AS DOUBLE)))", values.len()));
        }
    }
    database.execute(format!("CREATE TABLE f (id INT, v DOUBLE, j JSON); INSERT INTO f VALUES {}", values.join(", "))).unwrap();
    let events = everything(&database, start).await;
    let (shape, columns, from_select) = selected(&database, "f", &choose(LossChoice::String)).await.unwrap();
    let from_log = logged(&of_table(&events, &database, "f"), &shape, &columns).unwrap();
    let texts = |read: &Read, column: usize| -> Vec<String> {
        use arrow::array::AsArray;
        read.0.as_ref().unwrap().column(column).as_string::<i32>().iter().map(|text| text.unwrap().to_string()).collect()
    };
    for column in [1, 2] {
        let differing: Vec<_> =
            texts(&from_select, column).into_iter().zip(texts(&from_log, column)).filter(|(a, b)| a != b).take(5).collect();
        assert!(differing.is_empty(), "{differing:?}");
    }
}

#[tokio::test]
async fn differences_of_json_become_the_whole_value() {
    let database = database_of(Flavor::MySql);
    let start = end_of_log(&database);
    let long = "x".repeat(300);
    database
        .execute(format!(
            "CREATE TABLE p (id INT PRIMARY KEY, a INT, v JSON, u JSON); SET SESSION binlog_row_value_options = PARTIAL_JSON; \
             INSERT INTO p VALUES (1, 1, '{{\"b\": \"{long}\", \"a b\": [1, 2, {{\"x\": \"{long}\"}}], \"q\\\\\"\": 5, \"zz\": 1.50}}', '[1]'); \
             UPDATE p SET v = JSON_SET(v, '$.b', 7); \
             UPDATE p SET v = JSON_REPLACE(v, '$.\"a b\"[2].x', JSON_OBJECT('y', true)), a = 2; \
             UPDATE p SET v = JSON_REMOVE(v, '$.\"a b\"[0]'), u = JSON_SET(u, '$[0]', 'changed'); \
             UPDATE p SET v = JSON_SET(v, '$.c', JSON_ARRAY(1, 'new', NULL)); \
             UPDATE p SET v = JSON_SET(v, '$.\"a b\"[9]', 'last'); \
             UPDATE p SET v = JSON_REMOVE(v, '$.\"q\\\\\"\"')"
        ))
        .unwrap();
    let events = everything(&database, start).await;
    let rows = of_table(&events, &database, "p");
    assert!(rows.iter().filter(|event| event.partial).count() >= 5);
    let mut seen = 0;
    for event in &rows {
        for row in event.rows() {
            let row = row.unwrap();
            seen += row.after.unwrap().cells().filter(|cell| matches!(cell, Ok(Cell::JsonDiff(_)))).count();
        }
    }
    assert!(seen >= 3, "{seen}");
    let (shape, columns, from_select) = selected(&database, "p", &OnLoss::default()).await.unwrap();
    let (batch, _) = logged(&rows, &shape, &columns).unwrap();
    let batch = batch.unwrap();
    let last = batch.slice(batch.num_rows() - 1, 1);
    assert_eq!(last, from_select.0.unwrap());
}
