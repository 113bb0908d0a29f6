//! What the servers hash and what is hashed from Arrow is the same, value by value; and rows are found by keys that any system printed.

use std::sync::Arc;

use arrow::datatypes::Schema;
use serde_json::json;
use weir_connect::verify::canonical::{self, Canonical};
use weir_connect::verify::{Comparison, Form, Key, Sums, VerifySink, VerifySource, VerifyStream};
use weir_connect::{DeleteMode, OnLoss, ReadRequest, WriteMode};
use weir_testkit::MysqlDatabase;
use weir_testkit::mysql::Flavor;

use super::super::tests::{connection, database_of, open, sink, source_at, take_all};
use super::{Table, forms};

const BOTH: [Flavor; 2] = [Flavor::MySql, Flavor::MariaDb];

/// Type, form, whether the server hashes it, values as literals.
type Values = (&'static str, &'static str, bool, &'static [&'static str]);

const VALUES: &[Values] = &[
    ("tinyint", "number", true, &["0", "-128", "127"]),
    ("tinyint(1)", "number", true, &["0", "1", "2"]),
    ("smallint unsigned zerofill", "number", true, &["0", "7", "65535"]),
    ("mediumint unsigned", "number", true, &["0", "16777215"]),
    ("bigint", "number", true, &["0", "-9223372036854775808", "9223372036854775807"]),
    ("bigint unsigned", "number", true, &["0", "9223372036854775808", "18446744073709551615"]),
    ("decimal(20,6)", "number", true, &["0", "1", "1.5", "100", "-0.000001", "12345678901234.654321", "10.10", "-100"]),
    ("decimal(65,30)", "number", true, &["0.000000000000000000000000000001", "-99999999999999999999999999999999999.5", "1e30"]),
    ("decimal(10,0)", "number", true, &["0", "10", "-100"]),
    ("float", "float32", false, &["0", "0.1", "-1e-45", "3.4028235e38", "1.17549435e-38", "16777217"]),
    ("double", "float64", false, &["0", "0.1", "5e-324", "1.7976931348623157e308", "0.30000000000000004"]),
    ("bit(1)", "bool", true, &["b'0'", "b'1'"]),
    ("bit(64)", "number", true, &["b'0'", "b'1010'", "18446744073709551615"]),
    ("year", "number", true, &["1901", "2155", "0"]),
    ("date", "date", true, &["'2000-01-01'", "'1970-01-01'", "'0001-01-01'", "'9999-12-31'", "'1582-10-04'", "'2024-02-29'"]),
    ("time(6)", "time", true, &["'00:00:00'", "'23:59:59.999999'", "'12:34:56.000001'"]),
    ("time", "time", true, &["'00:00:01'"]),
    (
        "datetime(6)",
        "timestamp",
        true,
        &[
            "'2000-01-01'",
            "'1970-01-01 00:00:00.000001'",
            "'0001-01-01'",
            "'9999-12-31 23:59:59.999999'",
            "'1999-12-31 23:59:59.999999'",
        ],
    ),
    ("datetime", "timestamp", true, &["'2024-03-31 02:30:00'"]),
    ("timestamp(6)", "timestamp_tz", true, &["'2000-01-01'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07.999999'"]),
    (
        "varchar(20) collate utf8mb4_general_ci",
        "text",
        true,
        &["''", "' '", "'a'", "'A'", "'a '", "'NULL'", "'N'", "'ä'", "'a\u{308}'", "'😀'", "'tab\\t'", "'a,b'", "'\\\\'", "''''"],
    ),
    ("varchar(20) character set latin1", "text", true, &["'a'", "'ä'", "'€'"]),
    ("char(5)", "text", true, &["''", "'x'", "'xxxxx'"]),
    ("longtext", "text", true, &["''", "repeat('ß', 70000)"]),
    ("enum('a','B','','ü')", "text", true, &["'a'", "'B'", "''", "'ü'"]),
    ("set('a','b','c')", "text", true, &["''", "'a,c'", "'a,b,c'"]),
    ("varbinary(9)", "bytes", true, &["''", "x'00'", "x'00ff10'"]),
    ("binary(3)", "bytes", true, &["''", "x'00ff10'"]),
    ("longblob", "bytes", true, &["''", "repeat(x'00', 70000)"]),
    ("point", "bytes", false, &["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(1 2)', 4326)"]),
];

const MYSQL_ONLY: &[Values] = &[
    (
        "json",
        "json",
        false,
        &["'{\"b\": 1,  \"a\": 2.50}'", "'null'", "'\"x\"'", "'[1e3, 18446744073709551615]'", "'\"\\\\u00e4\\\\n\"'"],
    ),
    ("double ", "float64", false, &["-0e0", "0"]),
];

const MARIADB_ONLY: &[Values] = &[
    ("json", "json_text", true, &["'{\"b\": 1,  \"a\": 2.50}'", "'null'"]),
    ("uuid", "text", true, &["'ABCDEF01-2345-6789-abcd-ef0123456789'"]),
    ("inet6", "text", true, &["'::1'"]),
];

fn asked(name: &str) -> VerifyStream {
    VerifyStream {
        pipeline: "p".into(),
        stream: name.into(),
        schema: Arc::new(Schema::empty()),
        key: Vec::new(),
        write_mode: WriteMode::Append,
        changes: false,
        deletes: DeleteMode::Hard,
    }
}

async fn target(database: &MysqlDatabase, name: &str) -> Arc<dyn VerifySink> {
    let sink = sink(database.url(), json!({ "table": name })).await;
    sink.verifiable().unwrap().verify_sink(&asked(name)).await.unwrap()
}

async fn origin(database: &MysqlDatabase, name: &str) -> Arc<dyn VerifySource> {
    let source = source_at(connection(database.url()), json!({ "table": name }), OnLoss::default()).await;
    source.verifiable().unwrap().verify_source(&format!("{}.{name}", database.name())).await.unwrap()
}

#[tokio::test]
async fn the_servers_and_arrow_give_every_value_the_same_hash() {
    for flavor in BOTH {
        let own = if flavor == Flavor::MySql { MYSQL_ONLY } else { MARIADB_ONLY };
        let database = database_of(flavor);
        for (at, (kind, form, hashed, values)) in VALUES.iter().chain(own).enumerate() {
            let place = format!("{kind} in {}", flavor.name());
            let list: Vec<String> = values.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
            let name = format!("v{at}");
            database
                .execute(format!(
                    "CREATE TABLE {name} (id int, x {kind} NULL); INSERT INTO {name} VALUES {}, (99, NULL)",
                    list.join(", ")
                ))
                .unwrap_or_else(|error| panic!("{place}: {error:#}"));
            let source = source_at(connection(database.url()), json!({ "table": name }), OnLoss::default()).await;
            let reader = open(&source, ReadRequest::default()).await.unwrap();
            let table = origin(&database, &name).await;
            let agreed = table.columns()[1].form;
            assert_eq!(serde_json::to_value(agreed).unwrap(), json!(form), "{place}");
            let comparison = Arc::new(Comparison {
                columns: vec![("id".into(), Form::Number), ("x".into(), agreed)],
                key: vec![0],
                keyed: true,
                carried: Vec::new(),
            });
            let taken = take_all(reader.as_ref()).await.unwrap();
            assert!(taken.dead.is_empty(), "{place}");
            let mut ours = Vec::new();
            for batch in &taken.batches {
                let mut forms = Canonical::new(batch, &comparison).unwrap();
                for row in 0..batch.num_rows() {
                    let key = Key { digest: forms.key(row), values: forms.values(row).unwrap() };
                    ours.push((key.digest, forms.row(row), forms.forms(row), key.values));
                }
            }
            ours.sort();
            assert_eq!(ours.len(), values.len() + 1, "{place}");
            // No two values are one.
            let distinct: std::collections::HashSet<_> = ours.iter().map(|(_, _, forms, _)| &forms[1]).collect();
            assert_eq!(distinct.len(), ours.len(), "{place}");
            let mut expected = Sums::default();
            ours.iter().for_each(|(_, row, ..)| expected.add(*row));
            let sums = table.view(&comparison, 1).await.unwrap().sums(0).await.unwrap();
            assert_eq!(sums.into_iter().collect::<Vec<_>>(), [(0, expected)], "{place}");
            let keys: Vec<Key> =
                ours.iter().map(|(digest, _, _, values)| Key { digest: *digest, values: values.clone() }).collect();
            let mut found: Vec<_> =
                table.look(&comparison, &keys).await.unwrap().rows.into_iter().map(|found| (found.key, found.row)).collect();
            found.sort_unstable();
            assert_eq!(found, ours.iter().map(|(key, row, ..)| (*key, *row)).collect::<Vec<_>>(), "{place}");
            // Whether the server did it, or it was done outside.
            let opened = opened(&database, &name).await;
            assert_eq!(forms::hashes(&comparison, |name| opened.column(name)).is_some(), *hashed, "{place}");
        }
    }
}

async fn opened(database: &MysqlDatabase, name: &str) -> Table {
    let address =
        super::super::config::parse::<super::super::config::ConnectionOptions>(&connection(database.url()), "connection")
            .unwrap()
            .address(std::path::Path::new("."))
            .unwrap();
    let role = super::Role::Source { stream: name.into(), log: false };
    let name = super::super::quote::TableName::new(database.name(), name);
    Table::open(&address, name, false, &OnLoss::default(), &OnLoss::default(), role).await.unwrap()
}

#[tokio::test]
async fn rows_are_found_by_keys_of_every_kind_however_they_are_printed() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database
            .execute(
                "CREATE TABLE k (a bigint unsigned, b varchar(9) collate utf8mb4_general_ci, c datetime(6), d decimal(20,4), e bit(1), f varbinary(4), \
                 g float, h date, i time(6), j enum('x','y')); \
                 INSERT INTO k VALUES (18446744073709551615, 'a', '2024-03-31 01:30:00.000001', 1.5, 1, x'00ff', 0.1, '2024-02-29', '12:00:00.5', 'x'), \
                 (18446744073709551615, 'A', '2024-03-31 01:30:00.000001', 1.5, 1, x'00ff', 0.1, '2024-02-29', '12:00:00.5', 'x'), \
                 (NULL, 'b', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
            )
            .unwrap();
        let table = target(&database, "k").await;
        let columns: Vec<(String, Form)> = table.columns().iter().map(|column| (column.name.clone(), column.form)).collect();
        let comparison = Arc::new(Comparison { key: (0..columns.len()).collect(), columns, keyed: true, carried: Vec::new() });
        let mut view = table.view(&comparison, 1).await.unwrap();
        view.sums(4).await.unwrap();
        view.open(4, &(0..16).collect::<Vec<_>>()).await.unwrap();
        let lines = view.next().await.unwrap();
        assert_eq!(lines.len(), 3);
        let mut keys: Vec<Key> = lines.into_iter().map(|line| line.key).collect();
        // Equal for the server, and two keys.
        assert_eq!(table.look(&comparison, &keys[..1]).await.unwrap().rows.len(), 1);
        assert_eq!(table.look(&comparison, &keys).await.unwrap().rows.len(), 3);
        // As PostgreSQL prints the same values; and what is no value of the columns.
        for key in &mut keys {
            for (value, printed) in [(2, "2024-03-31 01:30:00.000001+00"), (3, "1.5000"), (4, "t"), (8, "12:00:00.5")] {
                key.values[value] = key.values[value].is_some().then(|| printed.to_string());
            }
        }
        let word = |text: &str| Key { digest: 1, values: vec![Some(text.into()); 10] };
        keys.extend([word("no number"), word("'; DROP TABLE k; --")]);
        assert_eq!(table.look(&comparison, &keys).await.unwrap().rows.len(), 3);
    }
}

#[tokio::test]
async fn rows_that_the_pipeline_sets_aside_are_not_there() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database
            .execute("CREATE TABLE z (id int primary key, at datetime); INSERT INTO z VALUES (1, '2024-01-01'), (2, '0000-00-00'), (3, '2024-00-10')")
            .unwrap();
        let table = origin(&database, "z").await;
        let comparison = Comparison {
            columns: vec![("id".into(), Form::Number), ("at".into(), Form::Timestamp)],
            key: vec![0],
            keyed: true,
            carried: Vec::new(),
        };
        let keys: Vec<Key> = [1, 2, 3].map(|id| Key { digest: digest(id), values: vec![Some(id.to_string())] }).to_vec();
        let rows = table.look(&comparison, &keys).await.unwrap().rows;
        assert_eq!(rows.iter().map(|found| found.key).collect::<Vec<_>>(), [digest(1)]);
        assert_eq!(table.fetch(&comparison, &keys).await.unwrap().0.num_rows(), 1);
    }
}

fn digest(id: i32) -> u128 {
    canonical::hash(id.to_string().as_bytes())
}
