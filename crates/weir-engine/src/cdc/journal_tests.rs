//! A journal in a folder that was cut and damaged. What every journal does is in `tests/protocol/journal_suite.rs`.

use serde_json::json;
use weir_connect::TransactionMark;

use super::super::folder::{MAGIC, path_of};
use super::*;

fn record(number: usize) -> Record {
    let mark = TransactionMark { end: number, position: "p".repeat(number % 50).into(), id: None, committed_at_us: 0 };
    Record::Truncate(format!("stream {number}").into(), mark)
}

fn start() -> Mark {
    Mark { seq: 0, position: Value::Null, committed_at_us: None }
}

fn within(folder: &tempfile::TempDir) -> JournalPlace {
    JournalPlace::Folder(folder.path().to_owned())
}

/// Boundary n ends transaction n, which has n % 4 records.
async fn fill(writer: &mut JournalWriter, transactions: std::ops::Range<u64>) {
    for transaction in transactions {
        for part in 0..transaction % 4 {
            writer.write(&record(usize::try_from(transaction * 10 + part).unwrap())).await.unwrap();
        }
        writer.boundary(json!({"t": transaction}), None).await.unwrap();
        writer.sync().await.unwrap();
    }
}

async fn read(journal: &Arc<Journal>) -> Result<Vec<String>> {
    let mut reader = journal.read_after(0)?;
    let mut found = Vec::new();
    while let Some((record, _)) = reader.next().await? {
        match record {
            Record::Truncate(stream, _) => found.push(stream.to_string()),
            Record::Boundary(mark) => found.push(format!("boundary {}", mark.seq)),
            other => panic!("{other:?}"),
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_journal_that_was_cut_anywhere_goes_on_after_its_last_whole_boundary() {
    let whole = weir_testkit::memory_folder();
    let (_, mut writer) = Journal::open(&within(&whole), &start(), u64::MAX).await.unwrap();
    fill(&mut writer, 1..8).await;
    let name = path_of(Path::new(""), 0);
    let bytes = std::fs::read(whole.path().join(&name)).unwrap();
    let expected: Vec<String> = (1..10)
        .flat_map(|n: u64| (0..n % 4).map(move |part| format!("stream {}", n * 10 + part)).chain([format!("boundary {n}")]))
        .collect();
    for cut in 0..bytes.len() {
        for damaged in [false, true] {
            let folder = weir_testkit::memory_folder();
            let mut left = bytes[..cut].to_vec();
            if damaged {
                // As a crash of the machine may leave it: the length is there, the content is not.
                left.resize(bytes.len(), 0);
            }
            std::fs::write(folder.path().join(&name), left).unwrap();
            let (journal, mut writer) = Journal::open(&within(&folder), &start(), u64::MAX).await.unwrap();
            let kept = journal.tail().mark.seq;
            assert!(kept < 8 && journal.tail().mark.position == if kept == 0 { Value::Null } else { json!({"t": kept}) });
            fill(&mut writer, kept + 1..10).await;
            writer.close();
            assert_eq!(read(&journal).await.unwrap(), expected, "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_byte_that_changed_in_what_is_durable_is_an_error_and_never_other_data() {
    let folder = weir_testkit::memory_folder();
    let (journal, mut writer) = Journal::open(&within(&folder), &start(), u64::MAX).await.unwrap();
    fill(&mut writer, 1..4).await;
    writer.close();
    let path = path_of(folder.path(), 0);
    let bytes = std::fs::read(&path).unwrap();
    for at in MAGIC.len()..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        std::fs::write(&path, &changed).unwrap();
        assert!(read(&journal).await.is_err(), "byte {at}");
    }
}
