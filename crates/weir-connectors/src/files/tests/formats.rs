//! Every format through sink and source: the values come back, whatever the file looks like.

use super::*;

/// The types that the text formats cannot know by looking.
fn declared() -> Value {
    json!({"id": "int64", "name": "text", "day": "date", "at": "timestamptz"})
}

#[tokio::test]
async fn every_format_and_compression_brings_the_rows_back() {
    let rows = [batch(1..400), batch(400..777)];
    for (format, compressions) in [
        ("parquet", &["auto", "none", "snappy", "gzip", "lz4"][..]),
        ("csv", &["none", "gzip", "zstd", "lz4", "snappy", "bzip2"]),
        ("tsv", &["none"]),
        ("ndjson", &["none", "gzip", "zstd"]),
        ("json", &["none", "gzip"]),
        ("avro", &["auto", "none", "snappy"]),
        ("orc", &["auto", "none", "snappy", "gzip", "lz4"]),
    ] {
        for compression in compressions {
            let place = Place::local();
            let options = json!({"path": "lake", "format": format, "compression": compression, "partition_by": ["day"]});
            let report = place.run(options, target("r1", WriteMode::Append), &rows).await.unwrap();
            assert_eq!(report.rows, 776, "{format} {compression}");
            let mut read = json!({"path": "lake"});
            if matches!(format, "csv" | "tsv" | "json" | "ndjson") {
                read["columns"] = declared();
            }
            assert_eq!(place.rows(read).await.unwrap(), sorted(&rows), "{format} {compression}");
        }
    }
}

#[tokio::test]
async fn a_single_text_file_has_one_header_and_every_row() {
    for (path, expected_header) in [
        ("out.csv", Some("id,name,day,at\n")),
        ("out.tsv", Some("id\tname\tday\tat\n")),
        ("out.ndjson", None),
        ("out.csv.gz", None),
        ("out.json", None),
        ("out.avro", None),
    ] {
        let place = Place::local();
        let stream = place.prepare(json!({"path": path}), target("r1", WriteMode::Append)).await.unwrap();
        let (mut one, mut two) = (stream.writer(0).await.unwrap(), stream.writer(1).await.unwrap());
        let mut tokens = vec![];
        for at in 0..3 {
            tokens.push(write(one.as_mut(), &[batch(at * 20..at * 20 + 10)], at as u64 * 2).await.unwrap());
            tokens.push(write(two.as_mut(), &[batch(at * 20 + 10..at * 20 + 20)], at as u64 * 2 + 1).await.unwrap());
        }
        assert_eq!(stream.commit(&tokens).await.unwrap().rows, 60, "{path}");
        assert_eq!(place.visible().into_keys().collect::<Vec<_>>(), [path]);
        let mut read = json!({"path": path});
        if !path.ends_with("avro") {
            read["columns"] = declared();
        }
        assert_eq!(place.rows(read.clone()).await.unwrap(), sorted(&[batch(0..60)]), "{path}");
        if let Some(header) = expected_header {
            let text = String::from_utf8(place.read_file(path)).unwrap();
            assert!(text.starts_with(header), "{text}");
            assert_eq!(text.matches(header).count(), 1);
        }
        // Appending keeps one header; another shape is refused.
        place.run(json!({"path": path}), target("r2", WriteMode::Append), &[batch(60..70)]).await.unwrap();
        assert_eq!(place.rows(read).await.unwrap(), sorted(&[batch(0..70)]), "{path}");
    }
}

#[tokio::test]
async fn an_empty_run_makes_a_valid_empty_file() {
    let place = Place::local();
    place.run(json!({"path": "out.csv"}), target("r1", WriteMode::Overwrite), &[]).await.unwrap();
    assert_eq!(place.read_file("out.csv"), b"id,name,day,at\n");
    place.run(json!({"path": "out.parquet"}), target("r1", WriteMode::Overwrite), &[]).await.unwrap();
    assert_eq!(place.rows(json!({"path": "out.parquet"})).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_header_that_differs_stops_an_append_to_a_text_file() {
    let place = Place::local();
    place.put_file("out.csv", "id,somebody,else\n1,2,3");
    let error = place.run(json!({"path": "out.csv"}), target("r1", WriteMode::Append), &[batch(0..3)]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-FILE-071");
    assert_eq!(place.read_file("out.csv"), b"id,somebody,else\n1,2,3");
    place.put_file("out.csv", "id,name,day,at\n7,x,,");
    place.run(json!({"path": "out.csv"}), target("r2", WriteMode::Append), &[batch(1..2)]).await.unwrap();
    let text = String::from_utf8(place.read_file("out.csv")).unwrap();
    assert!(text.starts_with("id,name,day,at\n7,x,,\n1,"), "{text}");
}

#[tokio::test]
async fn a_large_text_file_is_read_by_several_splits_each_row_once() {
    let place = Place::local();
    let mut text = String::from("id,note\n");
    for id in 0..200_000 {
        text.push_str(&format!("{id},\"line {id}\nsecond, with comma\"\n"));
    }
    place.put_file("big.csv", &text);
    let source = place.source(json!({"path": "big.csv", "split_size": "1MiB"})).await.unwrap();
    let stream = source.streams().await.unwrap().remove(0);
    assert_eq!(stream.name, "big");
    let reader = source.open(ReadRequest { stream: stream.name, parallelism: 2, ..ReadRequest::default() }).await.unwrap();
    assert!(reader.splits().len() >= 4, "{}", reader.splits().len());
    let mut seen = vec![];
    for split in reader.splits() {
        let mut events = reader.read(&split, None).await.unwrap();
        while let Some(event) = events.try_next().await.unwrap() {
            let Event::Batch(batch) = event else { panic!("{event:?}") };
            seen.extend(ids(&batch.records));
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..200_000).collect::<Vec<i64>>());
}

#[tokio::test]
async fn files_with_different_columns_are_united_by_name() {
    let place = Place::local();
    place.put_file("in/a.csv", "id,name\n1,x\n");
    place.put_file("in/b.csv", "name,id,extra\ny,2,true\n");
    place.put_file("in/empty.csv", "");
    assert_eq!(place.rows(json!({"path": "in"})).await.unwrap(), ["1|x|NULL", "2|y|true"]);
    place.put_file("in/c.json", "{}");
    let error = place.rows(json!({"path": "in"})).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-FILE-082");
}
