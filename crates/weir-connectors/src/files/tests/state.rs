//! The table as it is now, in files: equal to the model after every flush and every crash, for readers that know the manifest and for those that glob.

use super::cut::{die_at, let_live};
use super::*;
use crate::changes::model::{Scene, dice, follow, log};
use crate::changes::seeds::{Line, after, applied, batch as changes, changes_target, delete, durable, is, line, mark, schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use weir_connect::fidelity::FILL;
use weir_connect::{ChangeWriter, DeleteMode, Op, SchemaChange};

use super::super::changes::state::PENDING_LIMIT;

/// Small files, so that few rows make many of them; replaced content goes at once.
fn small() -> Value {
    json!({"path": "lake", "target_file_size": "1kB", "keep_replaced_secs": 0})
}

/// The same, divided by a column whose values change all the time.
fn divided() -> Value {
    json!({"path": "lake", "target_file_size": "3kB", "keep_replaced_secs": 0, "partition_by": ["a"]})
}

pub(super) fn state_target(run: &str) -> StreamTarget {
    changes_target(run, schema(), WriteMode::Upsert, &["id"])
}

pub(super) async fn open(
    place: &Place,
    options: Value,
    target: StreamTarget,
) -> Result<(Box<dyn StreamSink>, Box<dyn ChangeWriter>)> {
    let stream = place.prepare(options, target).await?;
    stream.recover().await?;
    let writer = stream.change_writer(DeleteMode::Hard).await?;
    Ok((stream, writer))
}

fn bytes(place: &Place, path: &str) -> bytes::Bytes {
    match &place.bucket {
        Some(bucket) => bucket.get(path).unwrap().to_vec().into(),
        None => place.read_file(path).into(),
    }
}

/// What a reader finds that takes every file of the folder and knows nothing of a manifest.
pub(super) fn globbed(place: &Place) -> Vec<String> {
    let mut rows = Vec::new();
    for path in place.visible().into_keys() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(place, &path)).unwrap().build().unwrap();
        rows.extend(reader.flat_map(|batch| text(&batch.unwrap())));
    }
    rows.sort();
    rows
}

/// What Weir's own reader finds; nothing if there is no file yet.
pub(super) async fn known(place: &Place) -> Vec<String> {
    match place.rows(json!({"path": "lake"})).await {
        Ok(rows) => rows,
        Err(error) if error.code() == "WEIR-FILE-080" => vec![],
        Err(error) => panic!("{error:?}"),
    }
}

/// Every reader finds these rows.
pub(super) async fn holds(place: &Place, rows: &[&str]) {
    let mut rows: Vec<&str> = rows.to_vec();
    rows.sort_unstable();
    assert_eq!(known(place).await, rows);
    assert_eq!(globbed(place), rows, "a reader that globs");
}

pub(super) fn manifest(place: &Place) -> Value {
    serde_json::from_slice(&bytes(place, "lake/_weir/manifest.json")).unwrap()
}

/// There is nothing in the folder that nobody needs.
pub(super) fn tidy(place: &Place) {
    let manifest = manifest(place);
    let listed = |list: &str, path: &str| -> Vec<String> {
        let all = manifest[list].as_array().cloned().unwrap_or_default();
        all.iter().map(|file| format!("lake/{}", file[path].as_str().unwrap())).collect()
    };
    let mut copies = listed("files", "path");
    copies.sort();
    assert_eq!(place.visible().into_keys().collect::<Vec<_>>(), copies);
    let content = listed("files", "content");
    for path in place.everything().into_keys().filter(|path| path.contains("_weir/data/")) {
        assert!(content.contains(&path) || listed("retired", "path").contains(&path), "{path} is left over");
    }
    assert!(content.iter().all(|path| place.everything().contains_key(path)));
    let staged: Vec<String> =
        place.everything().into_keys().filter(|path| path.contains("_weir/staging/") && !path.ends_with("begun.json")).collect();
    assert_eq!(staged, [""; 0]);
}

struct Run<'a> {
    place: &'a Place,
    options: Value,
    deletes: DeleteMode,
}

impl Scene for Run<'_> {
    async fn open(&self) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
        let stream = self.place.prepare(self.options.clone(), state_target("r")).await.unwrap();
        let writer = stream.change_writer(self.deletes).await.unwrap();
        (stream, writer)
    }

    fn found(&self) -> Vec<String> {
        let rows = std::thread::scope(|scope| {
            let ask = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(known(self.place))
            };
            scope.spawn(ask).join().unwrap()
        });
        assert_eq!(globbed(self.place), rows, "a reader that globs");
        let deleted = |row: &str| match (self.deletes, row.rsplit_once('|')) {
            (DeleteMode::Soft, Some((row, deleted))) => format!("{row}|{}", &deleted[..1]),
            _ => format!("{row}|f"),
        };
        let mut rows: Vec<String> = rows.iter().map(|row| deleted(row)).collect();
        rows.sort();
        rows
    }
}

fn check(cases: u32, options: &Value, place: impl Fn() -> Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    let deletes = prop_oneof![Just(DeleteMode::Hard), Just(DeleteMode::Soft), Just(DeleteMode::Ignore)];
    // So small that nearly every batch goes ahead of its flush, or as it is.
    let limit = prop_oneof![Just(300_usize), Just(48 << 20)];
    let result = TestRunner::new(config).run(&(dice(), deletes, limit), |(dice, deletes, limit)| {
        PENDING_LIMIT.set(limit);
        let place = place();
        let run = Run { place: &place, options: options.clone(), deletes };
        runtime.block_on(follow(&run, deletes, &log(&dice, false)))?;
        tidy(&place);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_files_are_what_the_log_says_after_every_flush_and_every_crash_locally() {
    check(40, &small(), Place::local);
}

#[test]
fn the_files_are_what_the_log_says_after_every_flush_and_every_crash_on_s3() {
    check(5, &small(), Place::s3);
}

#[test]
fn rows_that_move_between_folders_are_where_their_values_say_locally() {
    check(40, &divided(), Place::local);
}

#[test]
fn rows_that_move_between_folders_are_where_their_values_say_on_s3() {
    check(3, &divided(), Place::s3);
}

pub(super) fn row(id: i64, a: &str) -> Line {
    line(Op::Create, id, is(a), is("b"))
}

/// Forty rows in several files, then changes of some.
pub(super) fn history() -> (Vec<Line>, Vec<Line>) {
    let first = (0..40).map(|id| row(id, "first")).collect();
    let mut then: Vec<Line> = (0..40).step_by(7).map(|id| line(Op::Update, id, is("then"), None)).collect();
    then.extend([delete(5), delete(39), row(100, "new"), row(101, "new")]);
    (first, then)
}

pub(super) fn result(lines: &[&[Line]]) -> Vec<String> {
    let mut rows: BTreeMap<i64, String> = BTreeMap::new();
    for line in lines.iter().copied().flatten() {
        match line.op {
            Op::Delete => drop(rows.remove(&line.id)),
            _ => drop(rows.insert(line.id, format!("{}|{}|b", line.id, line.a.clone().flatten().unwrap()))),
        }
    }
    let mut rows: Vec<String> = rows.into_values().collect();
    rows.sort();
    rows
}

/// A flush that dies at an operation, and whoever takes over too, once. False if the flush has fewer operations.
async fn dies_at(place: Place, options: &Value, operation: i64, after_it: bool) -> bool {
    let (first, then) = history();
    let (before, now) = (result(&[&first]), result(&[&first, &then]));
    let (_, mut writer) = open(&place, options.clone(), state_target("r")).await.unwrap();
    // In small flushes: a small file takes the rows that come next.
    for (at, some) in first.chunks(10).enumerate() {
        writer.apply(changes(some)).await.unwrap();
        writer.flush(&after(at * 10 + some.len())).await.unwrap();
    }
    assert!(place.visible().len() > 1 || options["partition_by"].is_array(), "{:?}", place.visible());
    drop(writer);
    let knife = die_at(operation, after_it);
    let opened = open(&place, options.clone(), state_target("r")).await;
    let died = match opened {
        Ok((_, mut writer)) => {
            writer.apply(changes(&then)).await.unwrap();
            writer.flush(&after(first.len() + then.len())).await.is_err()
        }
        Err(_) => true,
    };
    assert_eq!(died, knife.has_cut());
    if died {
        // A reader that knows the manifest is right at any moment; others find no row twice.
        let seen = known(&place).await;
        assert!(seen == before || seen == now, "operation {operation}, {after_it}: {seen:?}");
        let mut ids: Vec<String> = globbed(&place).iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "operation {operation}, {after_it}: a row is there twice");
        // Those that go to another folder may be on their way.
        let unchanged = first.iter().filter(|row| !then.iter().any(|change| change.id == row.id));
        let missing: Vec<i64> = unchanged.map(|row| row.id).filter(|id| !ids.contains(&id.to_string())).collect();
        assert_eq!(missing, [0; 0], "operation {operation}, {after_it}");
        die_at(1 + operation % 6, !after_it);
        let _ = open(&place, options.clone(), state_target("r")).await.is_ok();
    }
    let_live();
    let (stream, mut writer) = open(&place, options.clone(), state_target("r")).await.unwrap();
    let durable = durable(stream.as_ref()).await;
    assert!([first.len(), first.len() + then.len()].contains(&durable));
    let expected = if durable == first.len() { &before } else { &now };
    assert_eq!(&known(&place).await, expected, "operation {operation}, {after_it}");
    assert_eq!(&globbed(&place), expected, "operation {operation}, {after_it}: a reader that globs");
    if durable == first.len() {
        writer.apply(changes(&then)).await.unwrap();
    }
    writer.flush(&after(first.len() + then.len() + 1)).await.unwrap();
    assert_eq!(known(&place).await, now);
    assert_eq!(globbed(&place), now);
    tidy(&place);
    died
}

#[tokio::test]
async fn a_flush_may_die_at_every_operation_locally() {
    let mut operation = 1;
    while dies_at(Place::local(), &small(), operation, false).await | dies_at(Place::local(), &small(), operation, true).await {
        operation += 1;
    }
    assert!(operation > 20, "only {operation} operations were cut");
}

#[tokio::test]
async fn a_flush_that_moves_rows_may_die_at_every_operation_locally() {
    let mut operation = 1;
    while dies_at(Place::local(), &divided(), operation, false).await | dies_at(Place::local(), &divided(), operation, true).await
    {
        operation += 1;
    }
    assert!(operation > 20, "only {operation} operations were cut");
}

#[tokio::test]
async fn a_flush_that_moves_rows_may_die_at_every_operation_on_s3() {
    let mut operation = 1;
    while dies_at(Place::s3(), &divided(), operation, operation % 4 == 1).await {
        operation += 2;
    }
    assert!(operation > 20, "only {operation} operations were cut");
}

#[tokio::test]
async fn a_flush_may_die_at_every_operation_on_s3() {
    let mut operation = 1;
    while dies_at(Place::s3(), &small(), operation, operation % 4 == 1).await {
        operation += 2;
    }
    assert!(operation > 20, "only {operation} operations were cut");
}

/// Folders and their files' rows.
fn folders(place: &Place) -> BTreeMap<String, Vec<u64>> {
    let mut folders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for file in manifest(place)["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        folders.entry(folder.to_owned()).or_default().push(file["rows"].as_u64().unwrap());
    }
    folders
}

#[tokio::test]
async fn a_row_whose_folder_changes_leaves_its_file_and_new_rows_go_to_the_small_file_of_their_folder() {
    for place in [Place::local(), Place::s3()] {
        let options = json!({"path": "lake", "keep_replaced_secs": 0, "partition_by": ["a"]});
        let (_, mut writer) = open(&place, options, state_target("r")).await.unwrap();
        writer.flush(&after(0)).await.unwrap();
        let nowhere = "a=__HIVE_DEFAULT_PARTITION__";
        assert_eq!(folders(&place), BTreeMap::from([(nowhere.to_owned(), vec![0])]), "an empty table has a file");
        applied(writer.as_mut(), &[row(1, "x"), row(2, "y"), row(3, "y"), line(Op::Create, 4, Some(None), is("b"))])
            .await
            .unwrap();
        let one_each = [(nowhere.to_owned(), vec![1]), ("a=x".to_owned(), vec![1]), ("a=y".to_owned(), vec![2])];
        assert_eq!(folders(&place), BTreeMap::from(one_each));
        // Within its folder, into another one whose value the log does not repeat, out of one that has no other row.
        let changes = [
            line(Op::Update, 2, None, is("c")),
            line(Op::Update, 3, is("z"), None),
            line(Op::Update, 1, is("y"), None),
            delete(4),
        ];
        applied(writer.as_mut(), &changes).await.unwrap();
        holds(&place, &["1|y|b", "2|y|c", "3|z|b"]).await;
        let rows: BTreeMap<String, u64> =
            folders(&place).into_iter().map(|(folder, files)| (folder, files.iter().sum())).collect();
        assert_eq!(rows, BTreeMap::from([("a=y".to_owned(), 2), ("a=z".to_owned(), 1)]));
        applied(writer.as_mut(), &[row(5, "z"), row(6, "y")]).await.unwrap();
        assert_eq!(folders(&place)["a=z"], [2], "it takes the new row");
        assert!(place.visible().keys().all(|path| path.starts_with("lake/a=")), "{:?}", place.visible());
        tidy(&place);
        writer.truncate(&mark(1)).await.unwrap();
        writer.flush(&after(9)).await.unwrap();
        assert_eq!(folders(&place), BTreeMap::from([(nowhere.to_owned(), vec![0])]));
        tidy(&place);
    }
}

#[tokio::test]
async fn folders_mean_the_rows_values_and_go_on_to_mean_them() {
    let code = |result: Result<(Box<dyn StreamSink>, Box<dyn ChangeWriter>)>| result.err().unwrap().code();
    let by = |words: Value| json!({"path": "lake", "partition_by": words});
    let place = Place::local();
    assert_eq!(code(open(&place, by(json!(["day"])), state_target("r")).await), "WEIR-FILE-105");
    let mut soft = by(json!(["_deleted"]));
    soft["delete_mode"] = json!("soft");
    assert_eq!(code(open(&place, soft, state_target("r")).await), "WEIR-FILE-105");
    let (_, mut writer) = open(&place, by(json!(["a"])), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x")]).await.unwrap();
    for other in [json!([]), json!(["b"])] {
        assert_eq!(code(open(&place, by(other), state_target("r")).await), "WEIR-FILE-106");
    }
    let fields = |a: Field| vec![field("id", DataType::Int64), a, field("b", DataType::Utf8)];
    for (a, renamed) in [(field("c", DataType::Utf8), vec![("a", "c")]), (field("a", DataType::LargeUtf8), vec![])] {
        assert_eq!(writer.reshape(&shape(fields(a), "id", &renamed)).await.unwrap_err().code(), "WEIR-FILE-107");
    }
    applied(writer.as_mut(), &[row(2, "y")]).await.unwrap();
    holds(&place, &["1|x|b", "2|y|b"]).await;
}

#[tokio::test]
async fn who_has_begun_to_read_goes_on_with_what_was_there() {
    for place in [Place::local(), Place::s3()] {
        let options = json!({"path": "lake", "target_file_size": "2kB"});
        let (first, then) = history();
        let (_, mut writer) = open(&place, options, state_target("r")).await.unwrap();
        applied(writer.as_mut(), &first).await.unwrap();
        let source = place.source(json!({"path": "lake"})).await.unwrap();
        let stream = source.streams().await.unwrap().remove(0).name;
        let reader = source.open(ReadRequest { stream, parallelism: 1, ..ReadRequest::default() }).await.unwrap();
        writer.apply(changes(&then)).await.unwrap();
        writer.flush(&after(50)).await.unwrap();
        let mut seen = Vec::new();
        for split in reader.splits() {
            let mut events = reader.read(&split, None).await.unwrap();
            while let Some(event) = events.try_next().await.unwrap() {
                if let Event::Batch(batch) = event {
                    seen.extend(text(&batch.records));
                }
            }
        }
        seen.sort();
        assert_eq!(seen, result(&[&first]));
        assert_eq!(known(&place).await, result(&[&first, &then]));
        assert!(!manifest(&place)["retired"].as_array().unwrap().is_empty());
        tidy(&place);
    }
}

#[tokio::test]
async fn only_the_files_that_hold_a_changed_row_are_written_anew_and_each_keeps_its_name() {
    let place = Place::local();
    let options = json!({"path": "lake", "target_file_size": "64kB", "compression": "none", "keep_replaced_secs": 0});
    let (_, mut writer) = open(&place, options, state_target("r")).await.unwrap();
    for from in (0..8000).step_by(2000) {
        let rows: Vec<Line> = (from..from + 2000).map(|id| row(id, &format!("{id:>40}"))).collect();
        applied(writer.as_mut(), &rows).await.unwrap();
    }
    let before = place.visible();
    assert!(before.len() >= 4, "{before:?}");
    let content = |place: &Place| -> BTreeMap<String, String> {
        let files = manifest(place)["files"].as_array().unwrap().clone();
        files.iter().map(|file| (file["path"].as_str().unwrap().into(), file["content"].as_str().unwrap().into())).collect()
    };
    let old = content(&place);
    let flushed = applied(writer.as_mut(), &[line(Op::Update, 4500, is("x"), is("y"))]).await.unwrap();
    let new = content(&place);
    assert_eq!(place.visible().into_keys().collect::<Vec<_>>(), before.into_keys().collect::<Vec<_>>());
    assert_eq!(old.iter().filter(|(path, content)| new[*path] != **content).count(), 1);
    assert!(flushed.bytes > 0);
}

#[tokio::test]
async fn an_attempt_that_another_one_replaced_changes_nothing() {
    for place in [Place::local(), Place::s3()] {
        let (_, mut old) = open(&place, small(), state_target("r")).await.unwrap();
        applied(old.as_mut(), &[row(1, "x")]).await.unwrap();
        let (stream, mut new) = open(&place, small(), state_target("r")).await.unwrap();
        old.apply(changes(&[row(2, "old")])).await.unwrap();
        assert_eq!(old.flush(&after(9)).await.unwrap_err().code(), "WEIR-FILE-093");
        new.apply(changes(&[row(2, "new")])).await.unwrap();
        new.flush(&after(2)).await.unwrap();
        assert_eq!(durable(stream.as_ref()).await, 2);
        holds(&place, &["1|x|b", "2|new|b"]).await;
        tidy(&place);
    }
}

#[tokio::test]
async fn an_emptied_table_is_a_file_without_rows() {
    let place = Place::local();
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    writer.flush(&after(0)).await.unwrap();
    assert_eq!(place.visible().len(), 1);
    applied(writer.as_mut(), &[row(1, "x"), row(2, "y")]).await.unwrap();
    writer.apply(changes(&[row(3, "z")])).await.unwrap();
    writer.truncate(&mark(1)).await.unwrap();
    writer.flush(&after(4)).await.unwrap();
    holds(&place, &[]).await;
    assert_eq!(place.visible().len(), 1);
    applied(writer.as_mut(), &[row(7, "z")]).await.unwrap();
    holds(&place, &["7|z|b"]).await;
    tidy(&place);
}

#[tokio::test]
async fn a_value_that_the_log_left_out_comes_from_the_row_or_is_an_error() {
    let place = Place::local();
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x"), row(2, "y")]).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Update, 1, None, is("new")), line(Op::Update, 2, Some(None), None)]).await.unwrap();
    holds(&place, &["1|x|new", "2|NULL|b"]).await;
    let error = applied(writer.as_mut(), &[line(Op::Update, 9, is("z"), None)]).await.unwrap_err();
    assert_eq!((error.code(), error.why().unwrap().contains("keys: 9")), ("WEIR-FILE-098", true), "{error:?}");
    assert!(applied(writer.as_mut(), &[row(4, "z")]).await.is_err(), "nobody knows what of it is there");
    holds(&place, &["1|x|new", "2|NULL|b"]).await;
}

fn shape(fields: Vec<Field>, key: &str, renamed: &[(&str, &str)]) -> SchemaChange {
    let renamed = renamed.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
    let schema = Arc::new(Schema::new(fields));
    SchemaChange { stream: "s".into(), schema, key: vec![key.into()], renamed, statement: None }
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

#[tokio::test]
async fn a_column_that_is_added_lost_renamed_or_widened_is_so_for_every_row() {
    let place = Place::local();
    let text = || DataType::Utf8;
    let narrow = Arc::new(Schema::new(vec![field("id", DataType::Int32), field("a", text()), field("b", text())]));
    let target = StreamTarget { schema: narrow.clone(), ..state_target("r") };
    let (_, mut writer) = open(&place, small(), target).await.unwrap();
    let rows = |schema: &SchemaRef, columns: Vec<arrow::array::ArrayRef>, op| {
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let none = vec![None; schema.fields().len()];
        crate::changes::seeds::change_batch(rows, vec![op], none)
    };
    let ints = |id: i32| Arc::new(arrow::array::Int32Array::from(vec![id]));
    let texts = |value: &str| Arc::new(StringArray::from(vec![value]));
    writer.apply(rows(&narrow, vec![ints(1), texts("a1"), texts("b1")], Op::Create)).await.unwrap();
    writer.apply(rows(&narrow, vec![ints(2), texts("a2"), texts("b2")], Op::Create)).await.unwrap();
    writer.flush(&after(2)).await.unwrap();
    // `a` is renamed, `b` lost, the key widened; one column comes with a value for the rows that are there, one without.
    let filled = field("n", DataType::Int64).with_metadata([(FILL.to_owned(), "42".to_owned())].into());
    let change = shape(vec![field("id", DataType::Int64), field("c", text()), filled, field("m", text())], "id", &[("a", "c")]);
    writer.reshape(&change).await.unwrap();
    let long = |id: i64| Arc::new(Int64Array::from(vec![id]));
    writer.apply(rows(&change.schema, vec![long(2), texts("c2"), long(7), texts("m")], Op::Update)).await.unwrap();
    writer.flush(&after(3)).await.unwrap();
    holds(&place, &["1|a1|b1|42|NULL", "2|c2|NULL|7|m"]).await;
    let columns: Vec<Value> = manifest(&place)["columns"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(columns, ["id", "c", "b", "n", "m"]);
    tidy(&place);
    // What is refused leaves the writer as it was.
    let back = shape(vec![field("id", DataType::Int64), field("b", text())], "id", &[("c", "b")]);
    assert_eq!(writer.reshape(&back).await.unwrap_err().code(), "WEIR-FILE-101");
    let other = shape(change.schema.fields().iter().map(|f| f.as_ref().clone()).chain([field("k", text())]).collect(), "k", &[]);
    assert_eq!(writer.reshape(&other).await.unwrap_err().code(), "WEIR-FILE-100");
    writer.apply(rows(&change.schema, vec![long(1), texts("c1"), long(8), texts("m")], Op::Update)).await.unwrap();
    writer.flush(&after(4)).await.unwrap();
    holds(&place, &["1|c1|NULL|8|m", "2|c2|NULL|7|m"]).await;
}

#[tokio::test]
async fn a_row_is_found_by_a_key_that_was_another_column_before() {
    let place = Place::local();
    let numbers = Arc::new(Schema::new(vec![field("id", DataType::Int64), field("n", DataType::Int64)]));
    let target = StreamTarget { schema: numbers.clone(), ..state_target("r") };
    let (_, mut writer) = open(&place, small(), target).await.unwrap();
    let rows = |rows: &[(i64, i64)], op| {
        let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as arrow::array::ArrayRef;
        let columns = vec![column(rows.iter().map(|row| row.0).collect()), column(rows.iter().map(|row| row.1).collect())];
        let batch = RecordBatch::try_new(numbers.clone(), columns).unwrap();
        crate::changes::seeds::change_batch(batch, vec![op; rows.len()], vec![])
    };
    writer.apply(rows(&[(1, 100), (2, 200)], Op::Create)).await.unwrap();
    writer.flush(&after(2)).await.unwrap();
    writer.reshape(&shape(numbers.fields().iter().map(|f| f.as_ref().clone()).collect(), "n", &[])).await.unwrap();
    writer.apply(rows(&[(7, 100)], Op::Update)).await.unwrap();
    writer.flush(&after(3)).await.unwrap();
    holds(&place, &["7|100", "2|200"]).await;
}

#[tokio::test]
async fn a_column_without_a_value_for_older_rows_leaves_their_files_as_they_are_until_they_change() {
    let place = Place::local();
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x"), row(2, "y")]).await.unwrap();
    let before = manifest(&place)["files"].clone();
    let fields = schema().fields().iter().map(|f| f.as_ref().clone()).chain([field("c", DataType::Int64)]).collect();
    let change = shape(fields, "id", &[]);
    writer.reshape(&change).await.unwrap();
    writer.flush(&after(3)).await.unwrap();
    assert_eq!(manifest(&place)["files"], before);
    let texts = |value: &str| Arc::new(StringArray::from(vec![value]));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![2])), texts("z"), texts("b"), Arc::new(Int64Array::from(vec![7]))];
    let rows = RecordBatch::try_new(change.schema.clone(), columns).unwrap();
    writer.apply(crate::changes::seeds::change_batch(rows, vec![Op::Update], vec![])).await.unwrap();
    writer.flush(&after(4)).await.unwrap();
    holds(&place, &["1|x|b|NULL", "2|z|b|7"]).await;
    tidy(&place);
}

#[tokio::test]
async fn a_frozen_contract_refuses_every_new_shape() {
    let place = Place::local();
    let target = StreamTarget { on_schema_change: SchemaChangePolicy::Freeze, ..state_target("r") };
    let (_, mut writer) = open(&place, small(), target).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x")]).await.unwrap();
    let with = |name: &str| {
        let fields = schema().fields().iter().map(|f| f.as_ref().clone()).chain([field(name, DataType::Utf8)]).collect();
        shape(fields, "id", &[])
    };
    let without = shape(schema().fields()[..2].iter().map(|f| f.as_ref().clone()).collect(), "id", &[]);
    for change in [with("c"), without] {
        assert_eq!(writer.reshape(&change).await.unwrap_err().code(), "WEIR-FILE-041");
    }
    applied(writer.as_mut(), &[row(2, "y")]).await.unwrap();
    holds(&place, &["1|x|b", "2|y|b"]).await;
}

#[tokio::test]
async fn a_folder_that_was_loaded_by_a_batch_goes_on_by_its_changes_and_back() {
    let place = Place::local();
    let batch_target = |run: &str| StreamTarget { changes: false, ..state_target(run) };
    let rows = |ids: std::ops::Range<i64>, a: &str| changes(&ids.map(|id| row(id, a)).collect::<Vec<_>>()).rows;
    let options = json!({"path": "lake", "keep_replaced_secs": 0});
    place.run(options.clone(), batch_target("r1"), &[rows(0..3, "batch")]).await.unwrap();
    let (stream, mut writer) = open(&place, options.clone(), state_target("r2")).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Update, 1, is("log"), None), delete(2)]).await.unwrap();
    stream.commit(&[]).await.unwrap();
    holds(&place, &["0|batch|b", "1|log|b"]).await;
    tidy(&place);
    place.run(options, batch_target("r3"), &[rows(1..2, "again")]).await.unwrap();
    holds(&place, &["0|batch|b", "1|again|b"]).await;
}

#[tokio::test]
async fn what_the_files_cannot_be_is_refused_before_the_first_change() {
    let code = |result: Result<(Box<dyn StreamSink>, Box<dyn ChangeWriter>)>| result.err().unwrap().code();
    let place = Place::local();
    for more in [json!({"format": "csv"}), json!({"format": "debezium"})] {
        let mut options = json!({"path": "lake"});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(code(open(&place, options, state_target("r")).await), "WEIR-FILE-052");
    }
    let keyless = StreamTarget { key: vec![], ..state_target("r") };
    assert_eq!(code(open(&place, small(), keyless).await), "WEIR-FILE-053");
    let marked = Arc::new(Schema::new(vec![field("id", DataType::Int64), field("_deleted", DataType::Boolean)]));
    let stream = place.prepare(small(), StreamTarget { schema: marked, ..state_target("r") }).await.unwrap();
    assert_eq!(stream.change_writer(DeleteMode::Soft).await.err().unwrap().code(), "WEIR-FILE-097");
    // Every change as a row, and the table as it is now, do not go into one folder.
    let append = |run| StreamTarget { write_mode: WriteMode::Append, ..state_target(run) };
    let (_, mut writer) = open(&place, json!({"path": "lake"}), append("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x")]).await.unwrap();
    assert_eq!(code(open(&place, json!({"path": "lake"}), state_target("r2")).await), "WEIR-FILE-103");
    let (_, mut writer) = open(&place, json!({"path": "other"}), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x")]).await.unwrap();
    assert_eq!(code(open(&place, json!({"path": "other"}), append("r2")).await), "WEIR-FILE-103");
}

/// How long a million rows and a hundred thousand random changes take, and what they cost. `cargo nextest run --run-ignored all`.
#[tokio::test]
#[ignore = "for measuring"]
async fn a_million_rows_and_a_hundred_thousand_changes() {
    let place = Place::local();
    let pgbench = crate::changes::seeds::pgbench(0, 1);
    let target = StreamTarget { schema: pgbench.schema(), ..state_target("r") };
    let (_, mut writer) = open(&place, json!({"path": "lake"}), target).await.unwrap();
    let batch_of = |from: i64, rows: i64, op: Op| {
        let rows = crate::changes::seeds::pgbench(from, rows);
        crate::changes::seeds::change_batch(rows.clone(), vec![op; rows.num_rows()], vec![])
    };
    let started = std::time::Instant::now();
    let mut bytes = 0;
    for from in (0..1_000_000).step_by(10_000) {
        writer.apply(batch_of(from, 10_000, Op::Read)).await.unwrap();
        if writer.full() {
            bytes += writer.flush(&after(from as usize)).await.unwrap().bytes;
        }
    }
    bytes += writer.flush(&after(1_000_000)).await.unwrap().bytes;
    println!("snapshot: {:?}, {bytes} bytes in {} files", started.elapsed(), place.visible().len());
    let size: u64 = place.visible().values().sum();
    let all: Vec<RecordBatch> = (0..100_000i64).map(|n| crate::changes::seeds::pgbench((n * 7919 * 13) % 1_000_000, 1)).collect();
    let batches = all.chunks(1000).map(|some| arrow::compute::concat_batches(&pgbench.schema(), some).unwrap());
    let batches: Vec<RecordBatch> = batches.collect();
    let started = std::time::Instant::now();
    for rows in &batches {
        let ops = vec![Op::Update; rows.num_rows()];
        writer.apply(crate::changes::seeds::change_batch(rows.clone(), ops, vec![])).await.unwrap();
    }
    let flushed = writer.flush(&after(1_100_000)).await.unwrap();
    println!("100,000 random updates: {:?}, {} bytes written of {size}", started.elapsed(), flushed.bytes);
    let started = std::time::Instant::now();
    writer.apply(batch_of(999_000, 1000, Op::Update)).await.unwrap();
    let flushed = writer.flush(&after(1_101_000)).await.unwrap();
    println!("1,000 updates of the newest rows: {:?}, {} bytes written", started.elapsed(), flushed.bytes);
    assert_eq!(known(&place).await.len(), 1_000_000);
}
