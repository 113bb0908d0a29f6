//! Listing, resuming, new files only.

use super::*;
use weir_connect::{Resume, ResumeVerdict, SplitProgress, StreamReader};
use weir_error::Kind;

async fn lake(place: &Place, runs: i64) {
    for at in 0..runs {
        let rows = batch(at * 10..at * 10 + 10);
        place.run(json!({"path": "lake"}), target(&format!("r{at}"), WriteMode::Append), &[rows]).await.unwrap();
    }
}

async fn open(source: &Arc<dyn Source>, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
    let stream = source.streams().await?.remove(0).name;
    source.open(ReadRequest { stream, parallelism: 2, ..request }).await
}

async fn read_all(reader: &dyn StreamReader) -> Vec<String> {
    let mut rows = vec![];
    for split in reader.splits() {
        let mut events = reader.read(&split, None).await.unwrap();
        while let Some(event) = events.try_next().await.unwrap() {
            if let Event::Batch(batch) = event {
                rows.extend(text(&batch.records));
            }
        }
    }
    rows.sort();
    rows
}

#[tokio::test]
async fn a_read_resumes_after_every_position_and_skips_finished_splits() {
    for place in [Place::local(), Place::s3()] {
        lake(&place, 3).await;
        let source = place.source(json!({"path": "lake"})).await.unwrap();
        let reader = open(&source, ReadRequest::default()).await.unwrap();
        let splits = reader.splits();
        assert_eq!(splits.len(), 3);
        let mut events = reader.read(&splits[0], None).await.unwrap();
        let mut before = 0;
        while let Some(event) = events.try_next().await.unwrap() {
            let Event::Batch(batch) = event else { continue };
            before += batch.records.num_rows();
            let mut rest = reader.read(&splits[0], batch.position.clone()).await.unwrap();
            let mut after = 0;
            while let Some(event) = rest.try_next().await.unwrap() {
                if let Event::Batch(batch) = event {
                    after += batch.records.num_rows();
                }
            }
            assert_eq!(before + after, 10);
        }
        let done = SplitProgress { split: splits[0].clone(), position: None, done: true, rows: 10 };
        let resume = Resume { reader_state: reader.state(), progress: vec![done] };
        let again = open(&source, ReadRequest { resume: Some(resume), ..ReadRequest::default() }).await.unwrap();
        assert_eq!(again.verdict(), ResumeVerdict::Continued);
        assert_eq!(read_all(again.as_ref()).await.len(), 20);
    }
}

#[tokio::test]
async fn a_run_whose_files_changed_starts_over_and_new_files_wait_for_the_next_run() {
    let place = Place::local();
    lake(&place, 2).await;
    let source = place.source(json!({"path": "lake/*.parquet"})).await.unwrap();
    let first = open(&source, ReadRequest::default()).await.unwrap();
    let resume = Some(Resume { reader_state: first.state(), progress: vec![] });
    lake_more(&place, "r9", 90).await;
    let same = open(&source, ReadRequest { resume: resume.clone(), ..ReadRequest::default() }).await.unwrap();
    assert_eq!(same.verdict(), ResumeVerdict::Continued);
    assert_eq!(read_all(same.as_ref()).await, sorted(&[batch(0..20)]));

    place.run(json!({"path": "lake"}), target("r10", WriteMode::Overwrite), &[batch(50..55)]).await.unwrap();
    let over = open(&source, ReadRequest { resume, ..ReadRequest::default() }).await.unwrap();
    assert!(matches!(over.verdict(), ResumeVerdict::StartOver { .. }), "{:?}", over.verdict());
    assert_eq!(read_all(over.as_ref()).await, sorted(&[batch(50..55)]));
}

async fn lake_more(place: &Place, run: &str, at: i64) {
    place.run(json!({"path": "lake"}), target(run, WriteMode::Append), &[batch(at..at + 5)]).await.unwrap();
}

#[tokio::test]
async fn new_files_only_takes_each_file_once_and_stops_at_one_that_changed() {
    for place in [Place::local(), Place::s3()] {
        lake(&place, 2).await;
        let options = json!({"path": "lake", "new_files_only": true});
        let source = place.source(options.clone()).await.unwrap();
        let first = open(&source, ReadRequest::default()).await.unwrap();
        assert_eq!(read_all(first.as_ref()).await.len(), 20);
        let previous = first.next_state();
        let nothing = open(&source, ReadRequest { previous: previous.clone(), ..ReadRequest::default() }).await.unwrap();
        assert_eq!(nothing.splits().len(), 0);
        assert_eq!(nothing.next_state(), previous);
        lake_more(&place, "r7", 70).await;
        let second = open(&source, ReadRequest { previous, ..ReadRequest::default() }).await.unwrap();
        assert_eq!(read_all(second.as_ref()).await, sorted(&[batch(70..75)]));
    }
    let place = Place::local();
    place.run(json!({"path": "a"}), target("r1", WriteMode::Append), &[batch(0..3)]).await.unwrap();
    place.run(json!({"path": "b"}), target("r2", WriteMode::Append), &[batch(5..9)]).await.unwrap();
    let file = |folder: &str| place.visible().into_keys().find(|path| path.starts_with(folder)).unwrap();
    place.put_file("in/x.parquet", place.read_file(&file("a/")));
    let state = open(&place.source(json!({"path": "in", "new_files_only": true})).await.unwrap(), ReadRequest::default())
        .await
        .unwrap()
        .next_state();
    place.put_file("in/x.parquet", place.read_file(&file("b/")));
    for (policy, expected) in [("error", None), ("ignore", Some(vec![])), ("reread", Some(sorted(&[batch(5..9)])))] {
        let options = json!({"path": "in", "new_files_only": true, "changed_files": policy});
        let source = place.source(options).await.unwrap();
        let reader = open(&source, ReadRequest { previous: state.clone(), ..ReadRequest::default() }).await;
        match (reader, expected) {
            (Err(error), None) => assert_eq!((error.code(), error.kind()), ("WEIR-FILE-087", Kind::Conflict)),
            (Ok(reader), Some(rows)) => assert_eq!(read_all(reader.as_ref()).await, rows, "{policy}"),
            (other, _) => panic!("{policy}: {:?}", other.map(|_| ())),
        }
    }
}

#[tokio::test]
async fn globs_excludes_and_hidden_names_choose_the_files() {
    let place = Place::local();
    place.run(json!({"path": "w"}), target("r1", WriteMode::Append), &[batch(0..1)]).await.unwrap();
    let data = place.read_file(&place.visible().into_keys().next().unwrap());
    for path in [
        "in/a.parquet",
        "in/b.parquet",
        "in/_tmp.parquet",
        "in/.b.parquet",
        "in/x/c.parquet",
        "in/x/y/d.parquet",
        "in/[e].parquet",
        "in/notes.txt",
    ] {
        place.put_file(path, &data);
    }
    for (paths, count) in [
        (json!(["in/*.parquet"]), 3),
        (json!(["in/**/*.parquet"]), 5),
        (json!(["in"]), 5),
        (json!(["in/"]), 5),
        (json!(["in/{a,b}.parquet"]), 2),
        (json!(["in/*/c.parquet"]), 1),
        (json!(["in/**/*.parquet", "!b.parquet", "!in/x/**"]), 2),
        (json!(["in/_tmp.parquet"]), 1),
        (json!(["in/[e].parquet"]), 1),
        (json!(["in/a.parquet", "in/*.parquet"]), 3),
    ] {
        let rows = place.rows(json!({"paths": paths})).await.unwrap();
        assert_eq!(rows.len(), count, "{paths}");
    }
    let error = place.rows(json!({"path": "in/*.csv"})).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-FILE-080", Kind::NotFound));
}

#[tokio::test]
async fn folders_named_key_value_become_typed_columns() {
    let place = Place::local();
    place.run(json!({"path": "w"}), target("r1", WriteMode::Append), &[batch([4])]).await.unwrap();
    let data = place.read_file(&place.visible().into_keys().next().unwrap());
    place.put_file("in/year=2025/zip=01067/a.parquet", &data);
    place.put_file("in/year=2026/zip=__HIVE_DEFAULT_PARTITION__/b.parquet", &data);
    let source = place.source(json!({"path": "in"})).await.unwrap();
    let info = source.streams().await.unwrap().remove(0);
    assert_eq!(info.name, "in");
    assert_eq!(info.schema.field_with_name("year").unwrap().data_type(), &DataType::Int64);
    assert_eq!(info.schema.field_with_name("zip").unwrap().data_type(), &DataType::Utf8);
    let row = &text(&batch([4]))[0];
    assert_eq!(place.rows(json!({"path": "in"})).await.unwrap(), [format!("{row}|2025|01067"), format!("{row}|2026|NULL")]);
    assert_eq!(place.rows(json!({"path": "in", "partitioned": false})).await.unwrap(), [row.clone(), row.clone()]);
    place.put_file("clash/id=9/a.parquet", &data);
    assert_eq!(place.rows(json!({"path": "clash"})).await.unwrap_err().code(), "WEIR-FILE-083");
}

#[tokio::test]
async fn a_committed_file_that_is_gone_or_cut_is_an_error_not_a_short_read() {
    let place = Place::local();
    lake(&place, 2).await;
    let file = place.base.join(place.visible().into_keys().next().unwrap());
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(place.rows(json!({"path": "lake"})).await.unwrap_err().code(), "WEIR-FILE-012");
    std::fs::remove_file(&file).unwrap();
    for path in ["lake", "lake/*.parquet"] {
        assert_eq!(place.rows(json!({"path": path})).await.unwrap_err().code(), "WEIR-FILE-013");
    }
}

#[tokio::test]
async fn orphans_that_look_like_weirs_files_are_not_read() {
    let place = Place::local();
    lake(&place, 1).await;
    let data = place.read_file(&place.visible().into_keys().next().unwrap());
    place.put_file("lake/part-other-0a0b0c0d-0-00001.parquet", &data);
    assert_eq!(place.rows(json!({"path": "lake"})).await.unwrap().len(), 10);
    assert_eq!(place.rows(json!({"path": "lake/**/*.parquet"})).await.unwrap().len(), 10);
}

async fn letters(reader: &dyn StreamReader) -> Vec<String> {
    let mut places = vec![];
    for split in reader.splits() {
        let mut events = reader.read(&split, None).await.unwrap();
        while let Some(event) = events.try_next().await.unwrap() {
            if let Event::Dead(letter) = event {
                places.push(letter.place.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
    }
    places.sort();
    places
}

#[tokio::test]
async fn under_a_cursor_what_is_broken_in_a_file_is_told_once_until_the_file_changes() {
    let place = Place::local();
    place.put_file("in/a.csv", b"id,word\n1,a\n2\n3,c\n");
    let source = place.source(json!({"path": "in/*.csv", "cursor": "id"})).await.unwrap();
    let request = |lower: Option<&str>, previous: Option<Value>| ReadRequest {
        cursor: Some(weir_connect::CursorWindow { column: "id".into(), lower: lower.map(str::to_owned) }),
        previous,
        ..ReadRequest::default()
    };
    let first = open(&source, request(None, None)).await.unwrap();
    assert_eq!(letters(first.as_ref()).await, ["a.csv:3"]);
    // An interrupted attempt has not committed them: the next one tells them again.
    let resume = Some(Resume { reader_state: first.state(), progress: vec![] });
    let resumed = open(&source, ReadRequest { resume, ..request(None, None) }).await.unwrap();
    assert_eq!(letters(resumed.as_ref()).await, ["a.csv:3"]);

    place.put_file("in/b.csv", b"id,word\n4,d\n5\n");
    let second = open(&source, request(Some("3"), first.next_state())).await.unwrap();
    assert_eq!(letters(second.as_ref()).await, ["b.csv:3"]);
    assert_eq!(read_all(second.as_ref()).await, ["3|c", "4|d"], "rows at the bound still come");
    let resume = Some(Resume { reader_state: second.state(), progress: vec![] });
    let resumed = open(&source, ReadRequest { resume, ..request(Some("3"), first.next_state()) }).await.unwrap();
    assert_eq!(letters(resumed.as_ref()).await, ["b.csv:3"]);

    place.put_file("in/a.csv", b"id,word\n1,a\n2\n3,c\n6\n");
    let third = open(&source, request(Some("4"), second.next_state())).await.unwrap();
    assert_eq!(letters(third.as_ref()).await, ["a.csv:3", "a.csv:5"], "which part is new is not known");
}
