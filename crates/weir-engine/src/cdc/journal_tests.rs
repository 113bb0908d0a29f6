//! The journal cut, damaged, rolled and read while it grows.

use serde_json::json;
use weir_connect::TransactionMark;

use super::*;

fn record(number: usize) -> Record {
    let mark = TransactionMark { end: number, position: "p".repeat(number % 50).into(), id: None, committed_at_us: 0 };
    Record::Truncate(format!("stream {number}").into(), mark)
}

fn start() -> Mark {
    Mark { seq: 0, position: Value::Null, committed_at_us: None }
}

const NOTHING: Retention = Retention { keep: None, max_bytes: u64::MAX };

/// Transactions of growing size; boundary n ends transaction n.
fn fill(writer: &mut JournalWriter, transactions: std::ops::Range<u64>) {
    for transaction in transactions {
        for part in 0..transaction % 4 {
            writer.write(&record(usize::try_from(transaction * 10 + part).unwrap())).unwrap();
        }
        writer.boundary(json!({"t": transaction}), None).unwrap();
        if transaction % 3 != 1 {
            writer.sync().unwrap();
        }
    }
    writer.sync().unwrap();
}

/// What a reader gets: names of records and numbers of boundaries.
async fn read(journal: &Arc<Journal>, after: u64) -> Vec<String> {
    let mut reader = journal.read_after(after).unwrap();
    let mut found = Vec::new();
    while let Some((record, last)) = reader.next().await.unwrap() {
        match record {
            Record::Truncate(stream, _) => found.push(stream.to_string()),
            Record::Boundary(mark) => {
                assert_eq!(last, mark.seq == journal.tail().mark.seq, "boundary {}", mark.seq);
                found.push(format!("boundary {}", mark.seq));
            }
            other => panic!("{other:?}"),
        }
    }
    found
}

fn expected(transactions: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let mut all = Vec::new();
    for transaction in transactions {
        all.extend((0..transaction % 4).map(|part| format!("stream {}", transaction * 10 + part)));
        all.push(format!("boundary {transaction}"));
    }
    all
}

#[tokio::test]
async fn readers_begin_anywhere_and_see_everything_over_all_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut writer) = Journal::open(folder.path(), &start(), 500).unwrap();
    let early = tokio::spawn({
        let journal = journal.clone();
        async move {
            let mut reader = journal.read_after(0).unwrap();
            let mut count = 0;
            while let Some((record, _)) = reader.next().await.unwrap() {
                count += usize::from(matches!(record, Record::Boundary(_)));
            }
            count
        }
    });
    fill(&mut writer, 1..41);
    // A transaction that has begun is nobody's business.
    writer.write(&record(7)).unwrap();
    assert!(std::fs::read_dir(folder.path()).unwrap().count() > 5, "it was rolled");
    writer.close();
    for after in 0..=40 {
        assert_eq!(read(&journal, after).await, expected(after + 1..=40), "after {after}");
    }
    assert_eq!(early.await.unwrap(), 40);
    assert_eq!(journal.read_after(41).unwrap_err().code(), "WEIR-JOURNAL-003");
    journal.trim(20, &NOTHING).unwrap();
    assert_eq!(read(&journal, 20).await, expected(21..=40));
    assert!(journal.read_after(0).is_err(), "what was trimmed is not read as if it had been empty");
    journal.trim(40, &NOTHING).unwrap();
    assert_eq!(journal.tail().mark, Mark { seq: 40, position: json!({"t": 40}), committed_at_us: None });
}

#[tokio::test]
async fn a_journal_that_was_cut_anywhere_goes_on_after_its_last_whole_boundary() {
    let whole = tempfile::tempdir().unwrap();
    let (_, mut writer) = Journal::open(whole.path(), &start(), u64::MAX).unwrap();
    fill(&mut writer, 1..8);
    let name = path_of(Path::new(""), 0);
    let bytes = std::fs::read(whole.path().join(&name)).unwrap();
    for cut in 0..bytes.len() {
        for damaged in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut left = bytes[..cut].to_vec();
            if damaged {
                // As a crash of the machine may leave it: the length is there, the content is not.
                left.resize(bytes.len(), 0);
            }
            std::fs::write(folder.path().join(&name), left).unwrap();
            let (journal, mut writer) = Journal::open(folder.path(), &start(), u64::MAX).unwrap();
            let kept = journal.tail().mark.seq;
            assert!(kept < 8 && journal.tail().mark.position == if kept == 0 { Value::Null } else { json!({"t": kept}) });
            fill(&mut writer, kept + 1..10);
            writer.close();
            assert_eq!(read(&journal, 0).await, expected(1..=9), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_byte_that_changed_in_what_is_durable_is_an_error_and_never_other_data() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut writer) = Journal::open(folder.path(), &start(), u64::MAX).unwrap();
    fill(&mut writer, 1..4);
    writer.close();
    let path = path_of(folder.path(), 0);
    let bytes = std::fs::read(&path).unwrap();
    for at in MAGIC.len()..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        std::fs::write(&path, &changed).unwrap();
        let mut reader = journal.read_after(0).unwrap();
        let mut good = true;
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    good = false;
                    break;
                }
            }
        }
        assert!(!good, "byte {at}");
    }
}

#[tokio::test]
async fn what_is_kept_stays_until_the_limit_needs_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut writer) = Journal::open(folder.path(), &start(), 300).unwrap();
    fill(&mut writer, 1..41);
    let all = journal.bytes();
    assert!(journal.exceeds(all - 1) && !journal.exceeds(all));
    let keep = |keep| Retention { keep: Some(keep), max_bytes: u64::MAX };
    journal.trim(40, &keep(Keep::Ms(3_600_000))).unwrap();
    assert_eq!(journal.bytes(), all, "it was written within the last hour");
    journal.trim(40, &keep(Keep::Bytes(all / 2))).unwrap();
    let half = journal.bytes();
    assert!(half >= all / 2 && half < all, "{half} of {all}");
    journal.trim(40, &Retention { keep: Some(Keep::Ms(3_600_000)), max_bytes: all / 4 }).unwrap();
    assert!(journal.bytes() <= all / 4);
    journal.trim(40, &keep(Keep::Ms(0))).unwrap();
    assert!(!journal.exceeds(0), "one segment stays whatever its size");
    assert_eq!(journal.tail().mark.seq, 40);
}

#[tokio::test]
async fn giving_up_the_wait_for_a_record_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut writer) = Journal::open(folder.path(), &start(), 500).unwrap();
    fill(&mut writer, 1..41);
    writer.close();
    let mut reader = journal.read_after(0).unwrap();
    let (mut found, mut given_up) = (0, false);
    loop {
        let next = tokio::select! {
            biased;
            next = reader.next() => next.unwrap(),
            // Whenever the reader has to wait it is left alone once.
            () = std::future::ready(()), if !given_up => {
                given_up = true;
                continue;
            }
        };
        given_up = false;
        let Some((record, _)) = next else { break };
        found += usize::from(matches!(record, Record::Boundary(_)));
    }
    assert_eq!(found, 40);
}
