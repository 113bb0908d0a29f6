//! New shapes of a stream in the middle of its changes, under each contract.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::fidelity::SOURCE_TYPE;
use weir_connect::{
    ChangeBatch, ChangeWriter, DeleteMode, Error, Kind, Op, SchemaChange, SchemaChangePolicy, StreamTarget, WriteMode,
};
use weir_testkit::Database;

use super::changes::into;
use super::{database, server_lines, values};
use crate::changes::seeds::{after, change_batch, changes_target};

fn shape(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), *name != "id")).collect::<Vec<_>>()))
}

/// A row of that shape: the id, then its number in every column.
fn row(schema: &SchemaRef, op: Op, id: i64, value: i64) -> ChangeBatch {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.data_type() {
                _ if field.name() == "id" => Arc::new(Int64Array::from(vec![id])),
                DataType::Int32 => Arc::new(Int32Array::from(vec![value as i32])),
                DataType::Int64 => Arc::new(Int64Array::from(vec![value])),
                _ => Arc::new(StringArray::from(vec![value.to_string()])),
            }
        })
        .collect();
    change_batch(RecordBatch::try_new(schema.clone(), columns).unwrap(), vec![op], Vec::new())
}

fn to(schema: &SchemaRef, renamed: &[(&str, &str)]) -> SchemaChange {
    SchemaChange {
        stream: "s".into(),
        schema: schema.clone(),
        key: vec!["id".into()],
        renamed: renamed.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect(),
        statement: Some("ALTER TABLE s".into()),
    }
}

async fn opened(database: &Database, schema: &SchemaRef, policy: SchemaChangePolicy) -> Box<dyn ChangeWriter> {
    let target = StreamTarget { on_schema_change: policy, ..changes_target("r", schema.clone(), WriteMode::Upsert, &["id"]) };
    into(database).await.prepare(target).await.unwrap().change_writer(DeleteMode::Hard).await.unwrap()
}

fn shown(database: &Database) -> Vec<String> {
    let columns = values(
        database,
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped",
    );
    [columns, server_lines(database, "SELECT * FROM t")].concat()
}

fn old() -> SchemaRef {
    shape(&[("id", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8)])
}

/// A row before, the new shape, the old row again and one after it.
async fn reshaped(
    policy: SchemaChangePolicy,
    new: &SchemaRef,
    renamed: &[(&str, &str)],
) -> Result<Vec<String>, (Error, Vec<String>)> {
    let database = database();
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b text)").unwrap();
    let mut writer = opened(&database, &old(), policy).await;
    writer.apply(row(&old(), Op::Create, 1, 5)).await.unwrap();
    writer.flush(&after(1)).await.unwrap();
    writer.apply(row(&old(), Op::Create, 2, 6)).await.unwrap();
    if let Err(error) = writer.reshape(&to(new, renamed)).await {
        // What came before can still be made durable.
        writer.flush(&after(2)).await.unwrap();
        return Err((error, shown(&database)));
    }
    writer.apply(row(new, Op::Update, 1, 7)).await.unwrap();
    writer.apply(row(new, Op::Create, 3, 8)).await.unwrap();
    writer.flush(&after(4)).await.unwrap();
    Ok(shown(&database))
}

#[tokio::test]
async fn evolve_follows_what_the_source_does() {
    let evolve = SchemaChangePolicy::Evolve;
    let added = shape(&[("id", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Int64)]);
    assert_eq!(
        reshaped(evolve, &added, &[]).await.unwrap(),
        ["id bigint, a integer, b text, c bigint", "1|7|7|7", "2|6|6|NULL", "3|8|8|8"]
    );
    let dropped = shape(&[("id", DataType::Int64), ("b", DataType::Utf8)]);
    assert_eq!(reshaped(evolve, &dropped, &[]).await.unwrap(), ["id bigint, a integer, b text", "1|NULL|7", "2|6|6", "3|NULL|8"]);
    let renamed = shape(&[("id", DataType::Int64), ("x", DataType::Int32), ("b", DataType::Utf8)]);
    assert_eq!(
        reshaped(evolve, &renamed, &[("a", "x")]).await.unwrap(),
        ["id bigint, x integer, b text", "1|7|7", "2|6|6", "3|8|8"]
    );
    let wider = shape(&[("id", DataType::Int64), ("a", DataType::Int64), ("b", DataType::Utf8)]);
    assert_eq!(reshaped(evolve, &wider, &[]).await.unwrap(), ["id bigint, a bigint, b text", "1|7|7", "2|6|6", "3|8|8"]);
    // The other way round, in another order.
    let exchanged = shape(&[("b", DataType::Int32), ("a", DataType::Utf8), ("id", DataType::Int64)]);
    assert_eq!(
        reshaped(evolve, &exchanged, &[("a", "b"), ("b", "a")]).await.unwrap(),
        ["id bigint, b integer, a text", "1|7|7", "2|6|6", "3|8|8"]
    );
}

#[tokio::test]
async fn what_evolve_cannot_do_is_refused_and_what_came_before_is_kept() {
    let other = shape(&[("id", DataType::Int64), ("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let (error, shown) = reshaped(SchemaChangePolicy::Evolve, &other, &[]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-045", Kind::Schema), "{error}");
    assert_eq!(shown, ["id bigint, a integer, b text", "1|5|5", "2|6|6"]);
    // A rename that is fine and a type that is not: neither happens.
    let both = shape(&[("id", DataType::Int64), ("a", DataType::Utf8), ("c", DataType::Utf8)]);
    let (_, shown) = reshaped(SchemaChangePolicy::Evolve, &both, &[("b", "c")]).await.unwrap_err();
    assert_eq!(shown, ["id bigint, a integer, b text", "1|5|5", "2|6|6"]);
}

#[tokio::test]
async fn freeze_and_hold_name_the_change_and_change_nothing() {
    type New<'a> = (&'a [(&'a str, DataType)], &'a [(&'a str, &'a str)], &'a str);
    let news: [New<'_>; 4] = [
        (
            &[("id", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Int64)],
            &[],
            "add column c Int64",
        ),
        (&[("id", DataType::Int64), ("b", DataType::Utf8)], &[], "drop column a"),
        (&[("id", DataType::Int64), ("x", DataType::Int32), ("b", DataType::Utf8)], &[("a", "x")], "rename column a to x"),
        (&[("id", DataType::Int64), ("a", DataType::Int64), ("b", DataType::Utf8)], &[], "change column a from Int32 to Int64"),
    ];
    for (policy, expected) in
        [(SchemaChangePolicy::Freeze, ("WEIR-PG-046", Kind::Schema)), (SchemaChangePolicy::Hold, ("WEIR-PG-047", Kind::Conflict))]
    {
        for (fields, renamed, says) in news.iter() {
            let (error, shown) = reshaped(policy, &shape(fields), renamed).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), expected, "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(shown, ["id bigint, a integer, b text", "1|5|5", "2|6|6"]);
        }
    }
}

#[tokio::test]
async fn discard_column_leaves_new_columns_out() {
    let added = shape(&[("id", DataType::Int64), ("c", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8)]);
    assert_eq!(
        reshaped(SchemaChangePolicy::DiscardColumn, &added, &[]).await.unwrap(),
        ["id bigint, a integer, b text", "1|7|7", "2|6|6", "3|8|8"]
    );
}

#[tokio::test]
async fn the_same_shape_again_is_no_change() {
    let same = old();
    for policy in [SchemaChangePolicy::Freeze, SchemaChangePolicy::Hold, SchemaChangePolicy::Evolve] {
        let shown = reshaped(policy, &same, &[]).await.unwrap();
        assert_eq!(shown, ["id bigint, a integer, b text", "1|7|7", "2|6|6", "3|8|8"]);
    }
}

#[tokio::test]
async fn not_null_goes_when_the_source_has_no_value_any_more() {
    let database = database();
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a integer NOT NULL, b text NOT NULL)").unwrap();
    let strict: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("a", DataType::Int32, false),
        Field::new("b", DataType::Utf8, false),
    ]));
    let mut writer = opened(&database, &strict, SchemaChangePolicy::Evolve).await;
    let loose: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("b", DataType::Utf8, true)]));
    writer.reshape(&to(&loose, &[])).await.unwrap();
    let rows = RecordBatch::try_new(
        loose.clone(),
        vec![Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec![None::<&str>]))],
    )
    .unwrap();
    writer.apply(change_batch(rows, vec![Op::Create], Vec::new())).await.unwrap();
    writer.flush(&after(1)).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM t"), ["1|NULL|NULL"]);
}

#[tokio::test]
async fn longer_text_widens_the_column_and_another_key_needs_its_index() {
    let database = database();
    let sized = |name: &str| -> SchemaRef {
        let text = Field::new("a", DataType::Utf8, true).with_metadata([(SOURCE_TYPE.to_string(), name.to_string())].into());
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), text]))
    };
    let mut writer = opened(&database, &sized("character varying(3)"), SchemaChangePolicy::Evolve).await;
    writer.reshape(&to(&sized("character varying(9)"), &[])).await.unwrap();
    writer.apply(row(&sized("character varying(9)"), Op::Create, 1, 123_456_789)).await.unwrap();
    writer.flush(&after(1)).await.unwrap();
    assert_eq!(shown(&database), ["id bigint, a character varying(9)", "1|123456789"]);
    let other = SchemaChange { key: vec!["id".into(), "a".into()], ..to(&sized("character varying(9)"), &[]) };
    let error = writer.reshape(&other).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-044", Kind::Schema), "{error}");
    writer.flush(&after(1)).await.unwrap();
    database.execute("CREATE UNIQUE INDEX ON t (id, a)").unwrap();
    writer.reshape(&other).await.unwrap();
    writer.apply(row(&other.schema, Op::Delete, 1, 123_456_789)).await.unwrap();
    writer.flush(&after(2)).await.unwrap();
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}
