//! Values that have no counterpart: they are set aside or refused with a reason, and carried as text when asked. Nothing arrives changed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Float64Builder, Int32Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray,
};
use arrow::datatypes::{DataType, Field, Float64Type};
use serde_json::json;
use weir_connect::stream::LossChoice;
use weir_connect::{Edge, Error, Kind, OnLoss, ReadRequest, WriteMode};
use weir_testkit::Database;

use super::{as_text, connection, copy, database, open, run, server_lines, sink, source_at, target, values};

/// A type, values that cannot travel as themselves, and one that can.
const SET_ASIDE: &[(&str, &[&str], &str)] = &[
    ("numeric(6,2)", &["NaN"], "1.50"),
    ("numeric(60,20)", &["NaN"], "1.5"),
    ("numeric", &["NaN", "Infinity", "0.1234567890123456789", "123456789012345678901234567890"], "1.5"),
    ("date", &["infinity", "-infinity"], "2024-01-01"),
    ("timestamp", &["infinity", "-infinity", "294276-12-31 23:59:59"], "2024-01-01 00:00:00"),
    ("timestamptz", &["infinity", "-infinity", "294276-12-31 23:59:59+00"], "2024-01-01 00:00:00+00"),
    ("time", &["24:00:00"], "23:59:59.999999"),
    ("interval", &["2562047:47:17", "-3000000:00:00"], "1 year"),
    ("int[]", &["{{1,2},{3,4}}", "[0:1]={5,6}"], "{7}"),
    ("text[]", &["{{a,NULL},{\"c d\",e}}"], "{f}"),
    ("date[]", &["{2020-01-01,infinity}"], "{2020-01-01}"),
    ("numeric(6,2)[]", &["{1.00,NaN}"], "{1.00}"),
];

#[tokio::test]
async fn a_value_without_counterpart_is_set_aside_with_its_reason_and_travels_as_text_when_asked() {
    let database = database();
    for (at, (kind, bad, good)) in SET_ASIDE.iter().enumerate() {
        let from = format!("t{at}");
        let rows: Vec<String> = bad.iter().enumerate().map(|(id, text)| format!("({}, '{text}')", id + 10)).collect();
        let sql = format!(
            "CREATE TABLE {from} (id int, v {kind}); INSERT INTO {from} VALUES (1, '{good}'), {}, (2, '{good}')",
            rows.join(", ")
        );
        database.execute(sql).unwrap();

        let taken = copy(&database, &from, &format!("{from}_some"), OnLoss::default()).await.unwrap();
        assert_eq!(taken.dead.len(), bad.len(), "{kind}");
        for letter in &taken.dead {
            assert_eq!(letter.code, "WEIR-PG-040");
            assert!(letter.reason.contains("`v`") && letter.reason.contains("{v: string}"), "{kind}: {}", letter.reason);
            assert!(letter.place.contains(&format!("public.{from}")) && !letter.payload.is_empty(), "{letter:?}");
        }
        let some = server_lines(&database, &format!("SELECT id, v::text FROM {from}_some"));
        let travelling = if *kind == "numeric" { "numeric(38,18)" } else { kind };
        assert_eq!(
            some,
            server_lines(&database, &format!("SELECT id, v::{travelling}::text FROM {from} WHERE id < 10")),
            "{kind}"
        );

        let taken = copy(&database, &from, &format!("{from}_all"), as_text(&["v"])).await.unwrap();
        assert!(taken.dead.is_empty(), "{kind}: {:?}", taken.dead);
        let all = server_lines(&database, &format!("SELECT id, v::text FROM {from}_all"));
        assert_eq!(all, server_lines(&database, &format!("SELECT id, v::text FROM {from}")), "{kind}");
    }
}

#[tokio::test]
async fn an_unbounded_number_needs_a_choice_before_anything_is_read() {
    let database = database();
    database.execute("CREATE TABLE n (id int, v numeric, w numeric(90,3), ok numeric(76,3)); INSERT INTO n VALUES (1, 0.1234567890123456785, 1, 1)").unwrap();
    let edges = |default: LossChoice| {
        let url = database.url().to_string();
        async move {
            let on_loss = OnLoss { default, ..OnLoss::default() };
            let source = source_at(connection(&url), json!({ "table": "n" }), on_loss).await;
            let schema = source.streams().await.unwrap().remove(0).schema;
            let lossy: Vec<String> =
                schema.fields().iter().filter(|field| Edge::of_source(field).loses()).map(|field| field.name().clone()).collect();
            (schema.fields().len(), lossy)
        }
    };
    assert_eq!(edges(LossChoice::Error).await, (4, vec!["v".to_string(), "w".into()]));
    assert_eq!(edges(LossChoice::String).await, (4, vec![]));
    assert_eq!(edges(LossChoice::Drop).await, (2, vec![]));
    copy(&database, "n", "rounded", OnLoss { default: LossChoice::Accept, ..OnLoss::default() }).await.unwrap();
    assert_eq!(values(&database, "SELECT v FROM rounded"), values(&database, "SELECT round(v, 18) FROM n"));
}

fn one(name: &str, array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, array, true)]).unwrap()
}

async fn written(database: &Database, table: &str, batch: &RecordBatch) -> Result<(), Error> {
    let sink = sink(database.url(), json!({ "table": table })).await;
    run(&sink, target(table, table, batch.schema(), WriteMode::Append, &[]), std::slice::from_ref(batch)).await.map(drop)
}

fn structs(numbers: Vec<Option<f64>>) -> ArrayRef {
    let numbers: ArrayRef = Arc::new(Float64Array::from(numbers));
    Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", DataType::Float64, true)), numbers)]))
}

fn maps(numbers: &[f64]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    for number in numbers {
        builder.keys().append_value("k");
        builder.values().append_value(*number);
        builder.append(true).unwrap();
    }
    Arc::new(builder.finish())
}

fn nested(lists: Vec<Option<Vec<Option<f64>>>>) -> ArrayRef {
    let inner = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
    let count = arrow::array::Array::len(&inner);
    let field = Arc::new(Field::new("item", arrow::array::Array::data_type(&inner).clone(), true));
    Arc::new(ListArray::new(field, arrow::buffer::OffsetBuffer::from_lengths(vec![1; count]), Arc::new(inner), None))
}

#[tokio::test]
async fn not_a_number_inside_a_nested_value_is_refused_and_leaves_no_row() {
    let database = database();
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let cases = [
            ("structs", structs(vec![Some(1.0), Some(special)])),
            ("maps", maps(&[1.0, special])),
            ("lists", nested(vec![Some(vec![Some(1.0)]), Some(vec![None, Some(special)])])),
        ];
        for (name, array) in cases {
            let error = written(&database, name, &one("v", array)).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), ("WEIR-PG-050", Kind::TypeLoss), "{name} {special}: {error}");
            assert!(error.to_string().contains("`v`"), "{error}");
            assert_eq!(values(&database, &format!("SELECT count(*) FROM {name}")), ["0"]);
        }
    }
}

#[tokio::test]
async fn a_part_of_a_batch_is_not_refused_for_what_lies_outside_of_it() {
    let database = database();
    let numbers = [1.5, f64::NAN];
    for (name, array) in [
        ("structs", structs(numbers.map(Some).to_vec())),
        ("maps", maps(&numbers)),
        ("lists", nested(numbers.iter().map(|number| Some(vec![Some(*number)])).collect())),
    ] {
        written(&database, name, &one("v", array).slice(0, 1)).await.unwrap();
    }
    assert_eq!(values(&database, "SELECT v::text FROM structs"), ["{\"x\": 1.5}"]);
    assert_eq!(values(&database, "SELECT v::text FROM maps"), ["{\"k\": 1.5}"]);
    assert_eq!(values(&database, "SELECT v::text FROM lists"), ["[[1.5]]"]);
}

#[tokio::test]
async fn text_that_a_sized_column_cannot_hold_is_refused_even_where_the_server_would_cut_it() {
    let database = database();
    // The second table has a column that only COPY's text form can fill.
    database.execute("CREATE TABLE b (v varchar(3), c char(3)); CREATE TABLE t (v varchar(3), c char(3), x cidr)").unwrap();
    for table in ["b", "t"] {
        for (column, text) in [("v", "abcd"), ("v", "ab  "), ("c", "abc "), ("v", "日本語字")] {
            let mut columns: Vec<(&str, ArrayRef)> = vec![(column, Arc::new(StringArray::from(vec![text])))];
            if table == "t" {
                columns.push(("x", Arc::new(StringArray::from(vec!["10.0.0.0/8"]))));
            }
            let error = written(&database, table, &RecordBatch::try_from_iter(columns).unwrap()).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), ("WEIR-PG-050", Kind::TypeLoss), "{table}.{column} {text:?}: {error}");
        }
        assert_eq!(values(&database, &format!("SELECT count(*) FROM {table}")), ["0"]);
        written(&database, table, &one("v", Arc::new(StringArray::from(vec!["日本語"])))).await.unwrap();
        assert_eq!(values(&database, &format!("SELECT v FROM {table}")), ["日本語"]);
    }
}

#[tokio::test]
async fn a_longer_source_column_widens_a_sized_target_and_a_bit_string_is_never_padded() {
    let database = database();
    database
        .execute(
            "CREATE TABLE s (v varchar(9), b bit(4)); INSERT INTO s VALUES ('123456789', '1010'); \
             CREATE TABLE wider (v varchar(3), b bit(4)); CREATE TABLE narrow (v varchar(9), b bit(3))",
        )
        .unwrap();
    copy(&database, "s", "wider", OnLoss::default()).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM wider"), ["123456789|1010"]);
    let error = copy(&database, "s", "narrow", OnLoss::default()).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-015", Kind::Data), "{error}");
    assert_eq!(values(&database, "SELECT count(*) FROM narrow"), ["0"]);
}

#[tokio::test]
async fn values_that_postgres_cannot_store_are_refused_by_column_and_row() {
    let database = database();
    let error = written(&database, "nul", &one("t", Arc::new(StringArray::from(vec!["ok", "a\0b"])))).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-051", Kind::Data));
    assert!(error.to_string().contains("`t`, row 2"), "{error}");
    database.execute("CREATE TABLE ids (v uuid); CREATE TABLE small (v smallint)").unwrap();
    let error = written(&database, "ids", &one("v", Arc::new(StringArray::from(vec!["no uuid"])))).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-PG-053");
    // A wider number widens the column; it is never cut.
    written(&database, "small", &one("v", Arc::new(Int32Array::from(vec![70_000])))).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT v, pg_typeof(v) FROM small"), ["70000|integer"]);
    assert_eq!(values(&database, "SELECT (SELECT count(*) FROM nul) + (SELECT count(*) FROM ids)"), ["0"]);
}

#[tokio::test]
async fn a_query_gives_the_same_values_as_its_table() {
    let database = database();
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE q (id int, n numeric(9,3), m mood, i inet, a text[], t timestamptz); \
             INSERT INTO q VALUES (1, 1.5, 'sad', '10.0.0.1', '{a,NULL}', '2024-01-01 00:00:00+00'), (2, NULL, NULL, NULL, NULL, NULL)",
        )
        .unwrap();
    // With a bound parameter the rows come as messages of a portal and not as a COPY stream.
    for (at, query) in ["SELECT * FROM q", "SELECT * FROM q WHERE t IS NULL OR t > '${last_run_time}'"].iter().enumerate() {
        let source = source_at(connection(database.url()), json!({ "query": query }), OnLoss::default()).await;
        let reader = open(&source, ReadRequest::default()).await.unwrap();
        let taken = super::take_all(reader.as_ref()).await.unwrap();
        let to = format!("q{at}");
        let sink = sink(database.url(), json!({ "table": to })).await;
        run(&sink, target(&to, "query", reader.schema(), WriteMode::Append, &[]), &taken.batches).await.unwrap();
        let rows = |table: &str| {
            server_lines(&database, &format!("SELECT id, n::text, m::text, i::text, a::text, t::text FROM {table}"))
        };
        assert_eq!(rows(&to), rows("q"));
    }
}
