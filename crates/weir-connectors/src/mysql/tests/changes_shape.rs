//! New shapes of a stream in the middle of its changes, under each contract.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::fidelity::FILL;
use weir_connect::{
    ChangeBatch, ChangeWriter, DeleteMode, Error, Kind, Op, SchemaChange, SchemaChangePolicy, StreamTarget, WriteMode,
};
use weir_testkit::MysqlDatabase;
use weir_testkit::mysql::Flavor;

use super::changes::{BOTH, Fails, into};
use super::{database, database_of, server_lines};
use crate::changes::seeds::{after, change_batch, changes_target, durable};

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

async fn opened(database: &MysqlDatabase, schema: &SchemaRef, policy: SchemaChangePolicy) -> Box<dyn ChangeWriter> {
    let target = StreamTarget { on_schema_change: policy, ..changes_target("r", schema.clone(), WriteMode::Upsert, &["id"]) };
    into(database).await.prepare(target).await.unwrap().change_writer(DeleteMode::Hard).await.unwrap()
}

fn shown(database: &MysqlDatabase) -> Vec<String> {
    let columns = database
        .value(format!(
            "SELECT GROUP_CONCAT(COLUMN_NAME, ' ', IF(DATA_TYPE IN ('bigint', 'int'), DATA_TYPE, COLUMN_TYPE) ORDER BY ORDINAL_POSITION SEPARATOR ', ') \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = 't'",
            database.name()
        ))
        .unwrap();
    [vec![columns], server_lines(database, "SELECT * FROM t")].concat()
}

fn old() -> SchemaRef {
    shape(&[("id", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8)])
}

const MADE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, a int, b text)";

/// A row before, the new shape, the old row again and one after it.
async fn reshaped(
    policy: SchemaChangePolicy,
    new: &SchemaRef,
    renamed: &[(&str, &str)],
) -> Result<Vec<String>, (Error, Vec<String>)> {
    let maria = reshaped_on(Flavor::MariaDb, policy, new, renamed).await;
    let mysql = reshaped_on(Flavor::MySql, policy, new, renamed).await;
    match (&maria, &mysql) {
        (Ok(maria), Ok(mysql)) => assert_eq!(maria, mysql),
        (Err((one, left)), Err((other, right))) => assert_eq!((one.code(), left), (other.code(), right)),
        (maria, mysql) => panic!("{maria:?} {mysql:?}"),
    }
    maria
}

async fn reshaped_on(
    flavor: Flavor,
    policy: SchemaChangePolicy,
    new: &SchemaRef,
    renamed: &[(&str, &str)],
) -> Result<Vec<String>, (Error, Vec<String>)> {
    let database = database_of(flavor);
    database.execute(MADE).unwrap();
    let mut writer = opened(&database, &old(), policy).await;
    writer.apply(row(&old(), Op::Create, 1, 5)).await.unwrap();
    writer.flush(&after(1)).await.unwrap();
    writer.apply(row(&old(), Op::Create, 2, 6)).await.unwrap();
    if let Err(error) = writer.reshape(&to(new, renamed)).await {
        // What came before can still be made durable.
        writer.flush(&after(2)).await.unwrap();
        return Err((error, shown(&database)));
    }
    assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "1", "an ALTER made a row durable");
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
        ["id bigint, a int, b text, c bigint", "1|7|7|7", "2|6|6|NULL", "3|8|8|8"]
    );
    let dropped = shape(&[("id", DataType::Int64), ("b", DataType::Utf8)]);
    assert_eq!(reshaped(evolve, &dropped, &[]).await.unwrap(), ["id bigint, a int, b text", "1|NULL|7", "2|6|6", "3|NULL|8"]);
    let renamed = shape(&[("id", DataType::Int64), ("x", DataType::Int32), ("b", DataType::Utf8)]);
    assert_eq!(reshaped(evolve, &renamed, &[("a", "x")]).await.unwrap(), ["id bigint, x int, b text", "1|7|7", "2|6|6", "3|8|8"]);
    let wider = shape(&[("id", DataType::Int64), ("a", DataType::Int64), ("b", DataType::Utf8)]);
    assert_eq!(reshaped(evolve, &wider, &[]).await.unwrap(), ["id bigint, a bigint, b text", "1|7|7", "2|6|6", "3|8|8"]);
    // The other way round, in another order.
    let exchanged = shape(&[("b", DataType::Int32), ("a", DataType::Utf8), ("id", DataType::Int64)]);
    assert_eq!(
        reshaped(evolve, &exchanged, &[("a", "b"), ("b", "a")]).await.unwrap(),
        ["id bigint, b int, a text", "1|7|7", "2|6|6", "3|8|8"]
    );
}

#[tokio::test]
async fn what_evolve_cannot_do_is_refused_and_what_came_before_is_kept() {
    let other = shape(&[("id", DataType::Int64), ("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let (error, shown) = reshaped(SchemaChangePolicy::Evolve, &other, &[]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-045", Kind::Schema), "{error}");
    assert_eq!(shown, ["id bigint, a int, b text", "1|5|5", "2|6|6"]);
    // A rename that is fine and a type that is not: neither happens.
    let both = shape(&[("id", DataType::Int64), ("a", DataType::Utf8), ("c", DataType::Utf8)]);
    let (_, shown) = reshaped(SchemaChangePolicy::Evolve, &both, &[("b", "c")]).await.unwrap_err();
    assert_eq!(shown, ["id bigint, a int, b text", "1|5|5", "2|6|6"]);
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
        [(SchemaChangePolicy::Freeze, ("WEIR-MY-046", Kind::Schema)), (SchemaChangePolicy::Hold, ("WEIR-MY-047", Kind::Conflict))]
    {
        for (fields, renamed, says) in news.iter() {
            let (error, shown) = reshaped(policy, &shape(fields), renamed).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), expected, "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(shown, ["id bigint, a int, b text", "1|5|5", "2|6|6"]);
        }
    }
}

#[tokio::test]
async fn discard_column_leaves_new_columns_out() {
    let added = shape(&[("id", DataType::Int64), ("c", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8)]);
    assert_eq!(
        reshaped(SchemaChangePolicy::DiscardColumn, &added, &[]).await.unwrap(),
        ["id bigint, a int, b text", "1|7|7", "2|6|6", "3|8|8"]
    );
}

#[tokio::test]
async fn the_same_shape_again_is_no_change() {
    let same = old();
    for policy in [SchemaChangePolicy::Freeze, SchemaChangePolicy::Hold, SchemaChangePolicy::Evolve] {
        let shown = reshaped(policy, &same, &[]).await.unwrap();
        assert_eq!(shown, ["id bigint, a int, b text", "1|7|7", "2|6|6", "3|8|8"]);
    }
}

#[tokio::test]
async fn not_null_goes_when_the_source_has_no_value_any_more() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL, b text NOT NULL)").unwrap();
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
}

#[tokio::test]
async fn another_key_needs_its_index() {
    let database = database();
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int)").unwrap();
    let two = shape(&[("id", DataType::Int64), ("a", DataType::Int32)]);
    let mut writer = opened(&database, &two, SchemaChangePolicy::Evolve).await;
    writer.apply(row(&two, Op::Create, 1, 9)).await.unwrap();
    let other = SchemaChange { key: vec!["id".into(), "a".into()], ..to(&two, &[]) };
    let error = writer.reshape(&other).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-044", Kind::Schema), "{error}");
    writer.flush(&after(1)).await.unwrap();
    database.execute("CREATE UNIQUE INDEX both_of_them ON t (id, a)").unwrap();
    writer.reshape(&other).await.unwrap();
    writer.apply(row(&other.schema, Op::Delete, 1, 9)).await.unwrap();
    writer.flush(&after(2)).await.unwrap();
    assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "0");
}

#[tokio::test]
async fn a_name_that_a_dropped_column_still_has_is_not_taken_for_the_renamed_one() {
    let new = shape(&[("id", DataType::Int64), ("b", DataType::Int32)]);
    let (error, shown) = reshaped(SchemaChangePolicy::Evolve, &new, &[("a", "b")]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-045", Kind::Schema), "{error}");
    assert_eq!(shown, ["id bigint, a int, b text", "1|5|5", "2|6|6"]);
}

/// With a constant default at the source.
fn filled() -> SchemaRef {
    let with = |field: Field, fill: &str| Arc::new(field.with_metadata([(FILL.to_string(), fill.to_string())].into()));
    let mut fields = old().fields().to_vec();
    fields.push(with(Field::new("n", DataType::Int32, true), "9"));
    fields.push(with(Field::new("s", DataType::Utf8, true), "it's"));
    Arc::new(Schema::new(fields))
}

fn defaults(database: &MysqlDatabase) -> Vec<String> {
    let sql = format!(
        "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = 't' AND COALESCE(COLUMN_DEFAULT, 'NULL') <> 'NULL'",
        database.name()
    );
    server_lines(database, &sql)
}

#[tokio::test]
async fn rows_that_are_there_get_the_default_of_a_new_column_and_later_ones_do_not() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database.execute(MADE).unwrap();
        let mut writer = opened(&database, &old(), SchemaChangePolicy::Evolve).await;
        writer.apply(row(&old(), Op::Create, 1, 5)).await.unwrap();
        writer.flush(&after(1)).await.unwrap();
        // Of the same flush as the new shape: it was there before, too.
        writer.apply(row(&old(), Op::Update, 1, 6)).await.unwrap();
        writer.apply(row(&old(), Op::Create, 2, 6)).await.unwrap();
        let new = filled();
        writer.reshape(&to(&new, &[])).await.unwrap();
        writer.apply(row(&new, Op::Create, 3, 7)).await.unwrap();
        writer.flush(&after(4)).await.unwrap();
        assert_eq!(server_lines(&database, "SELECT * FROM t"), ["1|6|6|9|it's", "2|6|6|9|it's", "3|7|7|7|7"]);
        assert_eq!(defaults(&database), [""; 0]);
        // Dropped again: rows from now on have none.
        writer.reshape(&to(&old(), &[])).await.unwrap();
        writer.apply(row(&old(), Op::Create, 4, 8)).await.unwrap();
        writer.flush(&after(5)).await.unwrap();
        assert_eq!(server_lines(&database, "SELECT * FROM t WHERE id = 4"), ["4|8|8|NULL|NULL"]);
        assert_eq!(database.value("SELECT COUNT(*) FROM shapes").unwrap(), "0");
    }
}

/// A shape, and what was renamed in it.
type Step = (SchemaRef, Vec<(&'static str, &'static str)>);

/// A log: shapes in a row, and rows of each.
async fn play(writer: &mut dyn ChangeWriter, shapes: &[Step]) -> Result<(), Error> {
    for step in 0..=shapes.len() {
        if step > 0 {
            writer.reshape(&to(&shapes[step - 1].0, &shapes[step - 1].1)).await?;
        }
        let now = if step == 0 { old() } else { shapes[step - 1].0.clone() };
        writer.apply(row(&now, Op::Update, 1, 10 + step as i64)).await?;
        writer.apply(row(&now, Op::Create, 2 + step as i64, 20 + step as i64)).await?;
    }
    writer.flush(&after(9)).await.map(drop)
}

#[tokio::test]
async fn a_crash_between_an_alter_and_its_flush_loses_and_mixes_nothing() {
    let exchanged = shape(&[("id", DataType::Int64), ("b", DataType::Int32), ("a", DataType::Utf8)]);
    let circle: &[(&'static str, &'static str)] = &[("a", "b"), ("b", "a")];
    let renamed = shape(&[("id", DataType::Int64), ("x", DataType::Int32), ("b", DataType::Utf8)]);
    let twice = shape(&[("id", DataType::Int64), ("y", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Int64)]);
    let wider = shape(&[("id", DataType::Int64), ("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Int64)]);
    let logs: [Vec<Step>; 5] = [
        vec![(wider, vec![]), (twice.clone(), vec![("a", "y")])],
        vec![(filled(), vec![])],
        vec![(renamed.clone(), vec![("a", "x")]), (twice, vec![("x", "y")])],
        vec![(exchanged.clone(), circle.to_vec())],
        vec![(exchanged, circle.to_vec()), (old(), circle.to_vec())],
    ];
    for flavor in BOTH {
        for log in &logs {
            let whole = {
                let database = database_of(flavor);
                database.execute(MADE).unwrap();
                let mut writer = opened(&database, &old(), SchemaChangePolicy::Evolve).await;
                play(writer.as_mut(), log).await.unwrap();
                shown(&database)
            };
            let places = ["mysql.shape.before", "mysql.shape.after", "mysql.flush.before", "mysql.flush.after"];
            for (place, skipped) in places.into_iter().flat_map(|place| (0..log.len()).map(move |skipped| (place, skipped))) {
                if place.contains("flush") && skipped > 0 {
                    continue;
                }
                let database = database_of(flavor);
                database.execute(MADE).unwrap();
                let target = || StreamTarget {
                    on_schema_change: SchemaChangePolicy::Freeze,
                    ..changes_target("r", old(), WriteMode::Upsert, &["id"])
                };
                let mut writer = opened(&database, &old(), SchemaChangePolicy::Evolve).await;
                let fails = Fails::after(place, skipped);
                let error = play(writer.as_mut(), log).await.unwrap_err();
                assert_eq!(error.code(), "WEIR-TEST-001", "{place} {error}");
                drop((fails, writer));
                let sink = into(&database).await;
                if place == "mysql.flush.after" {
                    let last = &log[log.len() - 1].0;
                    let now = changes_target("r", last.clone(), WriteMode::Upsert, &["id"]);
                    let stream = sink.prepare(now).await.unwrap();
                    assert_eq!(durable(stream.as_ref()).await, 9);
                    stream.change_writer(DeleteMode::Hard).await.unwrap();
                } else {
                    // In the shape of the last flush nothing is to be altered.
                    assert_eq!(sink.preview(&target()).await.unwrap(), [""; 0], "{place}");
                    let stream = sink.prepare(target()).await.unwrap();
                    assert_eq!(durable(stream.as_ref()).await, 0);
                    drop(stream);
                    // Rows of the old shape are flushed, and it dies once more.
                    let mut writer = opened(&database, &old(), SchemaChangePolicy::Evolve).await;
                    writer.apply(row(&old(), Op::Update, 1, 10)).await.unwrap();
                    writer.flush(&after(1)).await.unwrap();
                    drop(writer);
                    assert_eq!(sink.preview(&target()).await.unwrap(), [""; 0], "{place}");
                    let mut writer = opened(&database, &old(), SchemaChangePolicy::Evolve).await;
                    play(writer.as_mut(), log).await.unwrap();
                }
                assert_eq!(shown(&database), whole, "{flavor:?} {place} {skipped}");
                assert_eq!(defaults(&database), [""; 0], "{flavor:?} {place}");
            }
        }
    }
}
