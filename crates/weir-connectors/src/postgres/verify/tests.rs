//! What the server hashes and what is hashed from Arrow is the same, value by value.

use std::sync::Arc;

use arrow::datatypes::Schema;
use serde_json::json;
use weir_connect::verify::canonical::{self, Canonical};
use weir_connect::verify::{self, Comparison, Form, Key, Sums, VerifySink, VerifyStream};
use weir_connect::{Connector, DeleteMode, OnLoss, ReadRequest, SinkContext, WriteMode};

use super::super::Postgres;
use super::super::tests::{as_text, connection, database, open, source_at, take_all};
use super::keys::Keys;

async fn table(url: &str, name: &str) -> Arc<dyn VerifySink> {
    let context = SinkContext {
        connection: connection(url),
        options: json!({ "table": name }),
        on_loss: OnLoss::default(),
        node: "sink".into(),
        parallelism: 1,
        base_dir: ".".into(),
    };
    let sink = Postgres::default().sink(context).await.unwrap();
    sink.verifiable().unwrap().verify_sink(&asked(name)).await.unwrap()
}

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

/// Type → values, as literals.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("boolean", "bool", &["true", "false"]),
    ("smallint", "number", &["0", "-32768", "32767"]),
    ("bigint", "number", &["0", "-1", "9223372036854775807", "-9223372036854775808"]),
    ("numeric(20,6)", "number", &["0", "1", "1.5", "100", "-0.000001", "12345678901234.654321", "10.10", "-100"]),
    (
        "numeric(60,3)",
        "number",
        &["0.001", "-99999999999999999999999999999999999999999999.5", "1000000000000000000000000000000000000000000"],
    ),
    ("real", "float32", &["0", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "0.1"]),
    ("double precision", "float64", &["0", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "0.1"]),
    ("text", "text", &["", " ", "a", "A", "a ", "NULL", "N", "ä", "a\u{308}", "😀", "tab\t", "a,b", "\\", "'"]),
    ("varchar(9)", "text", &["", "x"]),
    ("char(5)", "text", &["", "x", "xxxxx"]),
    ("bytea", "bytes", &["\\x", "\\x00", "\\x00ff10"]),
    ("date", "date", &["2000-01-01", "1970-01-01", "0001-01-01", "9999-12-31", "1582-10-04", "0044-03-15 BC"]),
    ("time", "time", &["00:00:00", "23:59:59.999999", "12:34:56.000001"]),
    (
        "timestamp",
        "timestamp",
        &["2000-01-01 00:00:00", "1970-01-01 00:00:00.000001", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"],
    ),
    ("timestamptz", "timestamp_tz", &["2000-01-01 00:00:00+00", "2024-03-31 02:30:00.000001+05:45", "1900-01-01 00:00:00-12"]),
    ("interval", "interval", &["0", "1 day", "24 hours", "-1 month", "1 year -3 days 04:05:06.789", "-00:00:00.000001"]),
    ("uuid", "text", &["00000000-0000-0000-0000-000000000000", "ABCDEF01-2345-6789-abcd-ef0123456789"]),
    ("inet", "text", &["10.0.0.1", "10.0.0.1/8", "::1"]),
    ("json", "json_text", &["{\"b\": 1,  \"a\": 2}", "null", "\"x\""]),
];

#[tokio::test]
async fn the_server_and_arrow_give_every_value_the_same_hash() {
    let database = database();
    for (kind, form, values) in VALUES {
        let list: Vec<String> = values.iter().map(|value| format!("('{}'::{kind})", value.replace('\'', "''"))).collect();
        database
            .execute(format!(
                "DROP TABLE IF EXISTS v; CREATE TABLE v (id int, x {kind}); \
                 INSERT INTO v SELECT row_number() OVER (), x FROM (VALUES {}, (NULL)) AS given(x)",
                list.join(", ")
            ))
            .unwrap();
        let source = source_at(connection(database.url()), json!({ "table": "v" }), OnLoss::default()).await;
        let reader = open(&source, ReadRequest::default()).await.unwrap();
        let own = canonical::form(reader.schema().field(1)).unwrap();
        assert_eq!(serde_json::to_value(own).unwrap(), json!(form), "{kind}");
        let table = table(database.url(), "v").await;
        let agreed = table.columns()[1].form.common(own).unwrap();
        let comparison = Arc::new(Comparison {
            columns: vec![("id".into(), Form::Number), ("x".into(), agreed)],
            key: vec![0],
            keyed: true,
            carried: Vec::new(),
        });
        let taken = take_all(reader.as_ref()).await.unwrap();
        let mut ours = Vec::new();
        for batch in &taken.batches {
            let mut forms = Canonical::new(batch, &comparison).unwrap();
            for row in 0..batch.num_rows() {
                let key = Key { digest: forms.key(row), values: forms.values(row).unwrap() };
                ours.push((key.digest, forms.row(row), forms.forms(row), key.values));
            }
        }
        ours.sort();
        assert_eq!(ours.len(), values.len() + 1, "{kind}");
        let keys: Vec<Key> = ours.iter().map(|(digest, _, _, values)| Key { digest: *digest, values: values.clone() }).collect();
        let mut theirs: Vec<_> = table
            .look(&comparison, &keys)
            .await
            .unwrap()
            .rows
            .into_iter()
            .map(|found| (found.key, found.row, found.forms))
            .collect();
        theirs.sort();
        let told: Vec<_> = ours.iter().map(|(key, row, forms, _)| (*key, *row, forms.clone())).collect();
        assert_eq!(told, theirs, "{kind}");
        // No two values are one.
        let distinct: std::collections::HashSet<_> = ours.iter().map(|(_, _, forms, _)| &forms[1]).collect();
        assert_eq!(distinct.len(), ours.len(), "{kind}");
        // And the sums are those of these rows.
        let mut view = table.view(&comparison, 2).await.unwrap();
        let (sums, mut expected) = (view.sums(0).await.unwrap(), Sums::default());
        ours.iter().for_each(|(_, row, ..)| expected.add(*row));
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), [(0, expected)], "{kind}");
    }
}

#[tokio::test]
async fn a_numeric_without_bounds_is_compared_by_its_value_and_by_its_digits_as_text() {
    let database = database();
    database
        .execute("CREATE TABLE a (id int, x numeric); CREATE TABLE b (id int, x numeric); CREATE TABLE c (id int, x text); \
                  INSERT INTO a VALUES (1, 1.0), (2, 'NaN'); INSERT INTO b VALUES (1, 1.00), (2, 'NaN'); INSERT INTO c VALUES (1, '1.0'), (2, 'NaN')")
        .unwrap();
    let keys = [1, 2].map(|id| Key { digest: 0, values: vec![Some(id.to_string())] });
    let rows = |name: &'static str, form| {
        let (url, keys) = (database.url().to_string(), keys.clone());
        async move {
            let comparison = Comparison {
                columns: vec![("id".into(), Form::Number), ("x".into(), form)],
                key: vec![0],
                keyed: true,
                carried: Vec::new(),
            };
            let mut rows: Vec<u128> =
                table(&url, name).await.look(&comparison, &keys).await.unwrap().rows.iter().map(|found| found.row).collect();
            rows.sort_unstable();
            rows
        }
    };
    assert_eq!(rows("a", Form::Number).await, rows("b", Form::Number).await);
    assert_ne!(rows("a", Form::Text).await, rows("b", Form::Text).await);
    assert_eq!(rows("a", Form::Text).await, rows("c", Form::Text).await);
    // What Arrow carries as text is the same text.
    let source = source_at(connection(database.url()), json!({ "table": "a" }), as_text(&["x"])).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let taken = take_all(reader.as_ref()).await.unwrap();
    let comparison = Comparison {
        columns: vec![("id".into(), Form::Number), ("x".into(), Form::Text)],
        key: vec![0],
        keyed: true,
        carried: Vec::new(),
    };
    let mut ours = Vec::new();
    for batch in &taken.batches {
        let mut forms = Canonical::new(batch, &comparison).unwrap();
        ours.extend((0..batch.num_rows()).map(|row| forms.row(row)));
    }
    ours.sort_unstable();
    assert_eq!(ours, rows("a", Form::Text).await);
}

#[tokio::test]
async fn a_table_of_1600_columns_can_be_compared() {
    let database = database();
    let columns: Vec<String> = (0..1599).map(|at| format!("c{at} int")).collect();
    database
        .execute(format!(
            "CREATE TABLE wide (id int, {}); INSERT INTO wide (id) SELECT generate_series(1, 50)",
            columns.join(", ")
        ))
        .unwrap();
    let table = table(database.url(), "wide").await;
    let columns = table.columns().iter().map(|column| (column.name.clone(), column.form)).collect();
    let comparison = Arc::new(Comparison { columns, key: vec![0], keyed: true, carried: Vec::new() });
    let mut view = table.view(&comparison, 1).await.unwrap();
    assert_eq!(view.sums(4).await.unwrap().values().map(|sums| sums.rows).sum::<u64>(), 50);
    let key = Key { digest: 0, values: vec![Some("7".into())] };
    assert_eq!(table.look(&comparison, &[key]).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn rows_are_found_by_keys_that_are_null_or_no_values_of_the_column() {
    let database = database();
    database.execute("CREATE TABLE k (a int, b text); INSERT INTO k VALUES (1, NULL), (NULL, 'x'), (2, 'y')").unwrap();
    let table = table(database.url(), "k").await;
    let columns = vec![("a".to_string(), Form::Number), ("b".to_string(), Form::Text)];
    let comparison = Arc::new(Comparison { columns, key: vec![0, 1], keyed: true, carried: Vec::new() });
    let mut view = table.view(&comparison, 1).await.unwrap();
    view.open(4, &(0..16).collect::<Vec<_>>()).await.unwrap();
    let lines = view.next().await.unwrap();
    assert!(lines.windows(2).all(|pair| pair[0].key.digest < pair[1].key.digest) && lines.len() == 3);
    assert!(view.next().await.unwrap().is_empty());
    let mut keys: Vec<Key> = lines.into_iter().map(|line| line.key).collect();
    assert_eq!(table.look(&comparison, &keys).await.unwrap().rows.len(), 3);
    // The other side's key is a word here: then the hashes decide.
    keys.push(Key { digest: 5, values: vec![Some("no number".into()), None] });
    assert_eq!(table.look(&comparison, &keys).await.unwrap().rows.len(), 3);
}

#[test]
fn keys_travel_as_parameters_whatever_is_in_them() {
    let keys = Keys::new(vec![("a", "text"), ("b\"", "bigint")], "h");
    let key = Key { digest: 1, values: vec![Some("x\"\\,{}'; DROP".into()), None] };
    let (sql, parameters) = keys.condition(&[key], true);
    assert!(!sql.contains("DROP") && sql.contains("t.\"b\"\"\""), "{sql}");
    assert_eq!(parameters, ["{\"x\\\"\\\\,{}'; DROP\"}", "{NULL}"]);
}

#[tokio::test]
async fn json_has_the_text_here_that_it_has_at_the_server() {
    let database = database();
    for text in [
        r#"{"bb": 1, "a": [1.50e1, 1e2, -0, -0.0, 1e-7, 12345678901234567890.120], "a": null, "ä": "\u00e4\n\u0001/\"\\", "": {}}"#,
        r#" [ ] "#,
        r#""\ud83d\ude00 \u007f \t""#,
        "[1.0, 1, 0.10, 1E+3, 100e-2, 0e5]",
        r#"{"b":{"z":1,"y":2},"c":true,"aa":false}"#,
    ] {
        let printed = database.value(format!("SELECT '{}'::jsonb::text", text.replace('\'', "''"))).unwrap();
        assert_eq!(verify::json::canonical(text).as_deref(), Some(printed.as_str()), "{text}");
    }
}

#[tokio::test]
async fn truth_can_be_compared_with_numbers() {
    let database = database();
    database
        .execute("CREATE TABLE truth (id int, x boolean); INSERT INTO truth VALUES (1, true), (2, false), (3, NULL)")
        .unwrap();
    database.execute("CREATE TABLE bits (id int, x int); INSERT INTO bits VALUES (1, 1), (2, 0), (3, NULL)").unwrap();
    let comparison = Comparison {
        columns: vec![("id".into(), Form::Number), ("x".into(), Form::Number)],
        key: vec![0],
        keyed: true,
        carried: Vec::new(),
    };
    let keys = [1, 2, 3].map(|id| Key { digest: 0, values: vec![Some(id.to_string())] });
    let mut both = Vec::new();
    for name in ["truth", "bits"] {
        let rows = table(database.url(), name).await.look(&comparison, &keys).await.unwrap().rows;
        let mut rows: Vec<_> = rows.into_iter().map(|found| (found.key, found.row)).collect();
        rows.sort_unstable();
        both.push(rows);
    }
    assert_eq!((both[0].len(), &both[0]), (3, &both[1]));
}
