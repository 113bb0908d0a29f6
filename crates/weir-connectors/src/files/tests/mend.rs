//! Rows that are corrected from outside: exactly these, at every moment as before or as after, and whoever writes the files goes on.

use super::cut::{die_at, let_live};
use super::state::{globbed, history, holds, known, manifest, open, result, row, state_target, tidy};
use super::*;
use crate::changes::seeds::{Line, after, applied, batch as changes, changes_target, delete, durable, is, line, schema};
use weir_connect::verify::canonical::Canonical;
use weir_connect::verify::{Comparison, Form, Key, Mend, VerifySink, VerifyStream};
use weir_connect::{DeleteMode, Op, Retry};

fn small() -> Value {
    json!({"path": "lake", "target_file_size": "1kB", "keep_replaced_secs": 0})
}

fn comparison() -> Comparison {
    let columns = vec![("id".into(), Form::Number), ("a".into(), Form::Text), ("b".into(), Form::Text)];
    Comparison { columns, key: vec![0], keyed: true, carried: vec!["id".into(), "a".into(), "b".into()] }
}

/// A log's sink, and a batch's.
fn log(write_mode: WriteMode, deletes: DeleteMode) -> VerifyStream {
    VerifyStream {
        pipeline: "p".into(),
        stream: "s".into(),
        schema: schema(),
        key: vec!["id".into()],
        write_mode,
        changes: true,
        deletes,
    }
}

fn load(write_mode: WriteMode) -> VerifyStream {
    VerifyStream { changes: false, ..log(write_mode, DeleteMode::Hard) }
}

async fn table(place: &Place, options: Value, of: &VerifyStream) -> Result<Arc<dyn VerifySink>> {
    place.sink(options).await?.verifiable().unwrap().verify_sink(of).await
}

async fn held(place: &Place, options: Value, of: &VerifyStream) -> Result<Box<dyn Mend>> {
    table(place, options, of).await?.hold("p", &comparison()).await
}

fn keys(ids: &[i64]) -> Vec<Key> {
    let rows: Vec<Line> = ids.iter().map(|id| row(*id, "")).collect();
    let rows = changes(&rows).rows;
    let mut forms = Canonical::new(&rows, &comparison()).unwrap();
    (0..ids.len()).map(|at| Key { digest: forms.key(at), values: vec![Some(ids[at].to_string())] }).collect()
}

async fn mended(place: &Place, options: Value, of: &VerifyStream, rows: &[Line], gone: &[i64]) -> Result<bool> {
    let mut mend = held(place, options, of).await?;
    mend.delete(&keys(gone)).await?;
    mend.put(&changes(rows).rows).await?;
    mend.commit().await
}

/// A folder that a batch loads beside the log.
async fn beside(place: &Place, mode: WriteMode, run: &str, rows: &[Line]) {
    let target = StreamTarget { changes: false, write_mode: mode, ..state_target(run) };
    place.run(json!({"path": "lake"}), target, &[changes(rows).rows]).await.unwrap();
}

/// The files' content by their names.
fn content(place: &Place) -> BTreeMap<String, String> {
    let files = manifest(place)["files"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    files.iter().map(|file| (text(&file["path"]), text(&file["content"]))).collect()
}

#[tokio::test]
async fn rows_that_are_missing_differ_come_twice_or_are_too_many_are_put_right_and_no_other() {
    for place in [Place::local(), Place::s3()] {
        let of = log(WriteMode::Upsert, DeleteMode::Hard);
        let (stream, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
        let first: Vec<Line> = (0..40).map(|id| row(id, "first")).collect();
        for (at, some) in first.chunks(10).enumerate() {
            writer.apply(changes(some)).await.unwrap();
            writer.flush(&after(at * 10 + some.len())).await.unwrap();
        }
        let before = content(&place);
        assert!(before.len() > 2, "{before:?}");
        // Some of one file; one is not there at all.
        let rows = [line(Op::Read, 3, is("mended"), Some(None)), row(4, "first"), row(100, "missing")];
        assert!(mended(&place, small(), &of, &rows, &[5, 999]).await.unwrap());
        let mut expected = result(&[&first, &[delete(5), row(100, "missing")]]);
        expected.iter_mut().filter(|row| row.starts_with("3|")).for_each(|row| *row = "3|mended|NULL".into());
        holds(&place, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let now = content(&place);
        let same = before.iter().filter(|(path, content)| now.get(*path) == Some(*content)).count();
        assert!(same + 2 >= before.len(), "{same} files of {} are as they were", before.len());
        assert_eq!(durable(stream.as_ref()).await, 40, "the log is where it was");
        // Whoever was writing has seen the files as they were: it is refused once, and goes on.
        writer.apply(changes(&[row(100, "log"), line(Op::Update, 3, None, is("log"))])).await.unwrap();
        let error = writer.flush(&after(42)).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), ("WEIR-FILE-104", Retry::Transient), "{error:?}");
        let (stream, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
        assert_eq!(durable(stream.as_ref()).await, 40);
        writer.apply(changes(&[row(100, "log"), line(Op::Update, 3, None, is("log"))])).await.unwrap();
        writer.flush(&after(42)).await.unwrap();
        for row in &mut expected {
            match row.split('|').next().unwrap() {
                "3" => *row = "3|mended|log".into(),
                "100" => *row = "100|log|b".into(),
                _ => {}
            }
        }
        holds(&place, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        tidy(&place);
    }
}

#[tokio::test]
async fn of_rows_that_are_there_several_times_one_stays() {
    let place = Place::local();
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x"), row(2, "y"), row(3, "z")]).await.unwrap();
    beside(
        &place,
        WriteMode::Append,
        "twice",
        &[row(1, "x"), row(1, "other"), row(2, "y"), row(2, "y"), row(9, "extra"), row(9, "extra")],
    )
    .await;
    let of = log(WriteMode::Upsert, DeleteMode::Hard);
    assert!(mended(&place, small(), &of, &[row(1, "x"), row(2, "y")], &[9]).await.unwrap());
    holds(&place, &["1|x|b", "2|y|b", "3|z|b"]).await;
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Update, 1, is("log"), None), delete(2)]).await.unwrap();
    holds(&place, &["1|log|b", "3|z|b"]).await;
    tidy(&place);
}

#[tokio::test]
async fn a_row_is_marked_as_the_pipeline_would_and_a_column_that_the_source_has_no_more_stays() {
    let place = Place::local();
    let stream = place.prepare(small(), state_target("r")).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Soft).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x"), row(2, "y"), delete(2)]).await.unwrap();
    let of = log(WriteMode::Upsert, DeleteMode::Soft);
    let mut mend = held(&place, small(), &of).await.unwrap();
    mend.delete(&keys(&[1])).await.unwrap();
    let rows = changes(&[row(2, "again"), row(3, "new")]).rows.project(&[0, 1]).unwrap();
    mend.put(&rows).await.unwrap();
    assert!(mend.commit().await.unwrap());
    holds(&place, &["1|x|b|true", "2|again|b|false", "3|new|NULL|false"]).await;
}

#[tokio::test]
async fn rows_that_a_repair_puts_right_are_in_the_folder_that_their_values_say() {
    let place = Place::local();
    let options = json!({"path": "lake", "partition_by": ["a"], "keep_replaced_secs": 0});
    let (_, mut writer) = open(&place, options.clone(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x"), row(2, "x"), row(3, "y")]).await.unwrap();
    let of = log(WriteMode::Upsert, DeleteMode::Hard);
    assert!(mended(&place, options.clone(), &of, &[row(1, "y"), row(4, "z")], &[3]).await.unwrap());
    holds(&place, &["1|y|b", "2|x|b", "4|z|b"]).await;
    let folders: Vec<String> = place.visible().into_keys().map(|path| path.split('/').nth(1).unwrap().to_owned()).collect();
    assert_eq!(folders, ["a=x", "a=y", "a=z"]);
    let (_, mut writer) = open(&place, options, state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Update, 2, is("z"), None)]).await.unwrap();
    holds(&place, &["1|y|b", "2|z|b", "4|z|b"]).await;
    tidy(&place);
}

#[tokio::test]
async fn a_repair_whose_rows_may_be_older_than_the_pipelines_changes_nothing() {
    let of = log(WriteMode::Upsert, DeleteMode::Hard);
    // A bucket has no lock: the pipeline is faster.
    let place = Place::s3();
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x")]).await.unwrap();
    let mut mend = held(&place, small(), &of).await.unwrap();
    mend.put(&changes(&[row(1, "old"), row(2, "old")]).rows).await.unwrap();
    applied(writer.as_mut(), &[row(1, "new")]).await.unwrap();
    assert!(!mend.commit().await.unwrap());
    holds(&place, &["1|new|b"]).await;
    tidy(&place);
    applied(writer.as_mut(), &[row(2, "log")]).await.unwrap();
    holds(&place, &["1|new|b", "2|log|b"]).await;
    // On a disk it waits.
    let place = Place::local();
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    applied(writer.as_mut(), &[row(1, "x")]).await.unwrap();
    let mut mend = held(&place, small(), &of).await.unwrap();
    mend.put(&changes(&[row(1, "mended")]).rows).await.unwrap();
    writer.apply(changes(&[row(1, "log")])).await.unwrap();
    let flush = tokio::spawn(async move { writer.flush(&after(2)).await });
    assert!(mend.commit().await.unwrap());
    assert_eq!(flush.await.unwrap().unwrap_err().code(), "WEIR-FILE-104");
    holds(&place, &["1|mended|b"]).await;
}

/// A repair that dies at an operation. False if it has fewer.
async fn dies_at(place: Place, operation: i64, after_it: bool) -> bool {
    let of = log(WriteMode::Upsert, DeleteMode::Hard);
    let (first, then) = history();
    let (before, now) = (result(&[&first]), result(&[&first, &then]));
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    for (at, some) in first.chunks(10).enumerate() {
        writer.apply(changes(some)).await.unwrap();
        writer.flush(&after(at * 10 + some.len())).await.unwrap();
    }
    drop(writer);
    let gone: Vec<i64> = then.iter().filter(|line| line.op == Op::Delete).map(|line| line.id).collect();
    let rows: Vec<Line> = then.iter().filter(|line| line.op != Op::Delete).cloned().collect();
    // As the source has them: with every value.
    let rows: Vec<Line> = rows.into_iter().map(|row| Line { b: is("b"), ..row }).collect();
    let knife = die_at(operation, after_it);
    let done = mended(&place, small(), &of, &rows, &gone).await;
    let died = done.is_err();
    assert_eq!(died, knife.has_cut(), "{done:?}");
    let_live();
    let seen = known(&place).await;
    assert!(seen == before || seen == now && (died || done.unwrap()), "operation {operation}, {after_it}: {seen:?}");
    assert!(died || seen == now);
    let mut ids: Vec<String> = globbed(&place).iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "operation {operation}, {after_it}: a row is there twice");
    // The pipeline is taken up again: it finishes what is half shown, and is where it was.
    let (stream, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    assert_eq!(durable(stream.as_ref()).await, first.len());
    assert_eq!(known(&place).await, seen);
    assert_eq!(globbed(&place), seen, "operation {operation}, {after_it}: a reader that globs");
    assert!(mended(&place, small(), &of, &rows, &gone).await.unwrap());
    assert_eq!((known(&place).await, globbed(&place)), (now.clone(), now.clone()));
    tidy(&place);
    // It was mended behind this one's back.
    writer.apply(changes(&then)).await.unwrap();
    assert_eq!(writer.flush(&after(first.len() + then.len())).await.unwrap_err().code(), "WEIR-FILE-104");
    let (_, mut writer) = open(&place, small(), state_target("r")).await.unwrap();
    writer.apply(changes(&then)).await.unwrap();
    writer.flush(&after(first.len() + then.len())).await.unwrap();
    assert_eq!((known(&place).await, globbed(&place)), (now.clone(), now));
    tidy(&place);
    died
}

#[tokio::test]
async fn a_repair_may_die_at_every_operation_locally() {
    let mut operation = 1;
    while dies_at(Place::local(), operation, false).await | dies_at(Place::local(), operation, true).await {
        operation += 1;
    }
    assert!(operation > 20, "only {operation} operations were cut");
}

#[tokio::test]
async fn a_repair_may_die_at_every_operation_on_s3() {
    let mut operation = 1;
    while dies_at(Place::s3(), operation, operation % 4 == 1).await {
        operation += 2;
    }
    assert!(operation > 20, "only {operation} operations were cut");
}

#[tokio::test]
async fn rows_of_a_batch_are_put_right_and_the_next_run_goes_on_from_them() {
    for place in [Place::local(), Place::s3()] {
        beside(&place, WriteMode::Overwrite, "r1", &[row(1, "x"), row(2, "y"), row(2, "y"), row(3, "z")]).await;
        let options = json!({"path": "lake"});
        let of = load(WriteMode::Overwrite);
        assert!(mended(&place, options.clone(), &of, &[row(2, "mended"), row(4, "missing")], &[3]).await.unwrap());
        holds(&place, &["1|x|b", "2|mended|b", "4|missing|b"]).await;
        beside(&place, WriteMode::Upsert, "r2", &[row(2, "again"), row(5, "new")]).await;
        holds(&place, &["1|x|b", "2|again|b", "4|missing|b", "5|new|b"]).await;
        assert!(mended(&place, options, &load(WriteMode::Upsert), &[row(1, "mended")], &[]).await.unwrap());
        beside(&place, WriteMode::Overwrite, "r3", &[row(7, "all")]).await;
        holds(&place, &["7|all|b"]).await;
    }
}

#[tokio::test]
async fn a_folder_that_rows_are_appended_to_gets_what_is_missing_in_a_file_of_its_own_and_nothing_is_replaced() {
    let place = Place::local();
    beside(&place, WriteMode::Append, "r1", &[row(1, "x"), row(2, "y")]).await;
    let before = content(&place);
    let (options, of) = (json!({"path": "lake"}), load(WriteMode::Append));
    let refused = mended(&place, options.clone(), &of, &[row(1, "other"), row(3, "missing")], &[]).await.unwrap_err();
    assert_eq!(refused.code(), "WEIR-FILE-124");
    holds(&place, &["1|x|b", "2|y|b"]).await;
    assert!(mended(&place, options, &of, &[row(3, "missing")], &[2]).await.unwrap());
    holds(&place, &["1|x|b", "2|y|b", "3|missing|b"]).await;
    let now = content(&place);
    assert_eq!((now.len(), before.iter().all(|(path, content)| now.get(path) == Some(content))), (before.len() + 1, true));
    beside(&place, WriteMode::Append, "r2", &[row(4, "z")]).await;
    holds(&place, &["1|x|b", "2|y|b", "3|missing|b", "4|z|b"]).await;
}

#[tokio::test]
async fn a_correction_of_changes_is_a_change_and_the_log_counts_on() {
    for place in [Place::local(), Place::s3()] {
        let options = json!({"path": "lake", "roll_secs": 0});
        let target = || changes_target("r", schema(), WriteMode::Append, &["id"]);
        let (_, mut writer) = open(&place, options.clone(), target()).await.unwrap();
        applied(writer.as_mut(), &[row(1, "x"), row(2, "y"), line(Op::Update, 2, is("z"), None)]).await.unwrap();
        let of = log(WriteMode::Append, DeleteMode::Hard);
        assert!(mended(&place, options.clone(), &of, &[row(1, "mended"), row(4, "missing")], &[2, 77]).await.unwrap());
        let error = applied(writer.as_mut(), &[row(5, "log")]).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), ("WEIR-FILE-104", Retry::Transient));
        let (stream, mut writer) = open(&place, options.clone(), target()).await.unwrap();
        assert_eq!(durable(stream.as_ref()).await, 3);
        applied(writer.as_mut(), &[row(5, "log")]).await.unwrap();
        let told = |row: &String| {
            let cells: Vec<&str> = row.split('|').collect();
            let place = if cells[5] == "repair" { "repair" } else { "log" };
            format!("{} {} {} {} {} {place}", cells[7], cells[3], cells[0], cells[1], cells[2])
        };
        let mut rows: Vec<String> = known(&place).await.iter().map(told).collect();
        rows.sort();
        assert_eq!(
            rows,
            [
                "1 c 1 x b log",
                "2 c 2 y b log",
                "3 u 2 z NULL log",
                "4 r 1 mended b repair",
                "5 r 4 missing b repair",
                "6 d 2 NULL NULL repair",
                "7 c 5 log b log"
            ]
        );
        assert_eq!(globbed(&place), known(&place).await);
    }
}

#[tokio::test]
async fn what_cannot_be_mended_is_refused_with_what_to_do_instead() {
    let place = Place::local();
    let of = load(WriteMode::Overwrite);
    let refused = async |options: Value, of: &VerifyStream| held(&place, options, of).await.err().unwrap();
    let error = refused(json!({"path": "lake"}), &of).await;
    assert_eq!((error.code(), error.advice()), ("WEIR-FILE-120", Some("run the pipeline first")));
    assert!(place.everything().is_empty(), "looking made something: {:?}", place.everything());
    for (options, word) in [
        (json!({"path": "one.parquet"}), "single file"),
        (json!({"path": "text/", "format": "avro"}), "only Parquet"),
        (json!({"path": "dated/", "partition_by": ["year"]}), "time of the run"),
    ] {
        let target = StreamTarget { changes: false, write_mode: WriteMode::Overwrite, ..state_target("r") };
        place.run(options.clone(), target, &[changes(&[row(1, "x")]).rows]).await.unwrap();
        let error = refused(options, &of).await;
        assert_eq!((error.code(), error.why().is_some_and(|why| why.contains(word))), ("WEIR-FILE-120", true), "{error:?}");
        assert!(error.advice().is_some());
    }
}
