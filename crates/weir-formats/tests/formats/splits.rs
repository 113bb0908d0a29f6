//! However a file is divided, and wherever reading goes on, the rows are the same.

use std::sync::Arc;

use proptest::prelude::*;
use weir_formats::{FileSplit, Format, Inferred, Input, ReadOptions, WriteOptions, infer_schema, plan_splits};

use crate::given::{Local, Read, both, csv, read_split, run, shown, written};

/// Rows and dead letters, as texts.
fn told(read: &Read, inferred: &Inferred) -> (Vec<String>, Vec<String>) {
    let dead = read.dead.iter().map(|d| format!("{} {} {:?}", d.code, d.place, d.payload)).collect();
    (shown(&read.table(&inferred.schema)), dead)
}

async fn check(input: &Arc<dyn Input>, options: &ReadOptions, inferred: &Inferred, target: u64) {
    let whole = FileSplit { start: 0, end: input.size(), bytes: input.size(), rows: None, layout: inferred.layout.clone() };
    let expected = read_split(input, &whole, &inferred.schema, options, None).await.unwrap();
    let expected = told(&expected, inferred);
    let splits = plan_splits(input, options, inferred, target).await.unwrap();
    let mut found = (Vec::new(), Vec::new());
    let mut next = 0;
    for split in &splits {
        assert_eq!(split.start, next, "splits join");
        next = split.end;
        let part = read_split(input, split, &inferred.schema, options, None).await.unwrap();
        let part_told = told(&part, inferred);
        // Going on after any batch gives the rest.
        let mut before = 0;
        for (at, (batch, position)) in part.batches.iter().enumerate() {
            before += batch.num_rows();
            if at % 3 != 0 {
                continue;
            }
            let rest = read_split(input, split, &inferred.schema, options, Some(*position)).await.unwrap();
            let rest = told(&rest, inferred);
            assert_eq!(rest.0, part_told.0[before..], "resumed at {position:?}");
            assert!(part_told.1.ends_with(&rest.1));
        }
        found.0.extend(part_told.0);
        found.1.extend(part_told.1);
    }
    assert_eq!(next, input.size());
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn csv_with_quotes_and_newlines(
        body in proptest::collection::vec("[a-c\"]{0,6}|\"([a-c,\n]|\"\"){0,8}\"|[0-9]{1,3}|\r", 3..120),
        columns in 1usize..4,
        windows: bool,
        target in 1u64..80,
        batch_rows in 1usize..7,
    ) {
        let end = if windows { "\r\n" } else { "\n" };
        let mut text = (0..columns).map(|c| format!("h{c}")).collect::<Vec<_>>().join(",");
        text.push_str(end);
        for (at, field) in body.iter().enumerate() {
            text.push_str(field);
            text.push_str(if (at + 1) % columns == 0 { end } else { "," });
        }
        run(async {
            let input = Local::holding("a.csv", text.as_bytes());
            let mut options = csv();
            options.csv.delimiter = Some(",".into());
            options.csv.quote = Some("\"".into());
            options.csv.header = weir_formats::Header::Present;
            // The layout of a good head: the body may be anything.
            let head = Local::holding("head.csv", text.lines().next().unwrap().as_bytes());
            let inferred = infer_schema(&head, &options).await.unwrap();
            options.batch_rows = batch_rows;
            check(&input, &options, &inferred, target).await;
        });
    }

    #[test]
    fn ndjson_lines(
        values in proptest::collection::vec(("[a-z\n\"\\\\]{0,12}", any::<i32>(), any::<bool>()), 1..60),
        target in 1u64..120,
        batch_rows in 1usize..7,
    ) {
        let mut text = String::new();
        for (s, n, blank) in &values {
            text.push_str(&serde_json::json!({"s": s, "n": n}).to_string());
            text.push_str(if *blank { "\n\n" } else { "\n" });
        }
        text.push_str("{broken\n");
        run(async {
            for input in both("a.ndjson", text.as_bytes()) {
                let mut options = ReadOptions::new(Format::Ndjson);
                let inferred = infer_schema(&input, &options).await.unwrap();
                options.batch_rows = batch_rows;
                // Line numbers are only known near a local file.
                if input.local_path().is_some() {
                    check(&input, &options, &inferred, target).await;
                } else {
                    let splits = plan_splits(&input, &options, &inferred, target).await.unwrap();
                    let mut rows = 0;
                    for split in &splits {
                        rows += read_split(&input, split, &inferred.schema, &options, None).await.unwrap().rows();
                    }
                    assert_eq!(rows, values.len());
                }
            }
        });
    }
}

#[test]
fn binary_files_resume_after_any_batch() {
    use arrow::array::{Int64Array, StringArray};
    let ids = Int64Array::from_iter_values(0..5000);
    let names = StringArray::from_iter_values((0..5000u64).map(|i| format!("{:016x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
    let batch = arrow::array::RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as arrow::array::ArrayRef),
        ("name", Arc::new(names) as _),
    ])
    .unwrap();
    for format in [Format::Parquet, Format::Avro, Format::Orc] {
        let mut write = WriteOptions::new(format);
        write.parquet.row_group_rows = 700;
        write.avro.block_rows = 300;
        write.orc.stripe_bytes = 1;
        // A stripe ends between two batches.
        let pieces: Vec<_> = (0..5000).step_by(500).map(|at| batch.slice(at, 500)).collect();
        let bytes = written(&pieces, &write).unwrap();
        for input in both("f", &bytes) {
            run(async {
                let mut options = ReadOptions::new(format);
                options.batch_rows = 128;
                let inferred = infer_schema(&input, &options).await.unwrap();
                let splits = plan_splits(&input, &options, &inferred, 1000).await.unwrap();
                assert!(splits.len() > 1 || input.local_path().is_none(), "{format:?} has one split");
                let mut rows = Vec::new();
                for split in &splits {
                    let part = read_split(&input, split, &inferred.schema, &options, None).await.unwrap();
                    let all = shown(&part.table(&inferred.schema));
                    assert!(split.rows.is_none_or(|rows| rows == all.len() as u64));
                    let mut before = 0;
                    for (batch, position) in &part.batches {
                        before += batch.num_rows();
                        let rest = read_split(&input, split, &inferred.schema, &options, Some(*position)).await.unwrap();
                        assert_eq!(shown(&rest.table(&inferred.schema)), all[before..], "{format:?} {position:?}");
                    }
                    rows.extend(all);
                }
                assert_eq!(rows, shown(&batch), "{format:?}");
            });
        }
    }
}

#[test]
fn compressed_text_resumes_after_any_batch() {
    let mut text = String::from("id,v\n");
    for id in 0..3000 {
        text.push_str(&if id % 500 == 7 { "bad\n".to_owned() } else { format!("{id},\"x\n{id}\"\n") });
    }
    let packed = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
    for input in both("a.csv.zst", &packed) {
        run(async {
            let mut options = csv();
            let inferred = infer_schema(&input, &options).await.unwrap();
            options.batch_rows = 250;
            check(&input, &options, &inferred, 100).await;
        });
    }
}
