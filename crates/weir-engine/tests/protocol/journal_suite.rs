//! What every journal does, wherever it is: one suite for a folder, objects in memory and a real bucket.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weir_connect::TransactionMark;
use weir_engine::codec::{Mark, Record};
use weir_engine::journal::{Journal, JournalPlace, JournalWriter, Retention, SegmentRecords, segments_in};
use weir_spec::Keep;

pub fn record(number: usize) -> Record {
    let mark = TransactionMark { end: number, position: "p".repeat(number % 50).into(), id: None, committed_at_us: 0 };
    Record::Truncate(format!("stream {number}").into(), mark)
}

pub fn start() -> Mark {
    Mark { seq: 0, position: Value::Null, committed_at_us: None }
}

pub const NOTHING: Retention = Retention { keep: None, max_bytes: u64::MAX };

/// Transactions of growing size; boundary n ends transaction n.
pub async fn fill(writer: &mut JournalWriter, transactions: std::ops::Range<u64>) {
    for transaction in transactions {
        for part in 0..transaction % 4 {
            writer.write(&record(usize::try_from(transaction * 10 + part).unwrap())).await.unwrap();
        }
        writer.boundary(json!({"t": transaction}), None).await.unwrap();
        if transaction % 3 != 1 {
            writer.sync().await.unwrap();
        }
    }
    writer.sync().await.unwrap();
}

/// What a reader gets: names of records and numbers of boundaries.
pub async fn read(journal: &Arc<Journal>, after: u64) -> Vec<String> {
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

pub fn expected(transactions: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let mut all = Vec::new();
    for transaction in transactions {
        all.extend((0..transaction % 4).map(|part| format!("stream {}", transaction * 10 + part)));
        all.push(format!("boundary {transaction}"));
    }
    all
}

/// All of it, each part in a place of its own.
pub async fn passes(place: impl Fn() -> JournalPlace) {
    readers_begin_anywhere_and_see_everything_over_all_segments(&place()).await;
    who_opens_it_next_goes_on_after_the_last_boundary(&place()).await;
    what_is_kept_stays_until_the_limit_needs_its_room(&place()).await;
    giving_up_the_wait_for_a_record_loses_nothing(&place()).await;
    a_journal_that_was_cleared_begins_anew(&place()).await;
}

async fn readers_begin_anywhere_and_see_everything_over_all_segments(place: &JournalPlace) {
    let (journal, mut writer) = Journal::open(place, &start(), 500).await.unwrap();
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
    fill(&mut writer, 1..41).await;
    // A transaction that has begun is nobody's business.
    writer.write(&record(7)).await.unwrap();
    assert!(segments_in(place).await.unwrap().len() > 5, "it was rolled");
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

async fn who_opens_it_next_goes_on_after_the_last_boundary(place: &JournalPlace) {
    for (round, segment_bytes) in [400, 200, u64::MAX, 200].into_iter().enumerate() {
        let done = round as u64 * 10;
        let (journal, mut writer) = Journal::open(place, &start(), segment_bytes).await.unwrap();
        let position = if done == 0 { Value::Null } else { json!({"t": done}) };
        assert_eq!((journal.tail().mark.seq, journal.tail().mark.position), (done, position));
        fill(&mut writer, done + 1..done + 11).await;
        // The process ends in the middle of a transaction that is larger than a segment.
        for number in 0..20 {
            writer.write(&record(1000 + number)).await.unwrap();
        }
    }
    let mut seen = Vec::new();
    for segment in segments_in(place).await.unwrap() {
        let mut records = SegmentRecords::open(&segment).await.unwrap().unwrap();
        assert_eq!(segment.bytes > 0, records.read().unwrap().is_some(), "a segment begins with its boundary");
        seen.push(segment.after);
    }
    assert!(seen.is_sorted() && seen.len() > 10, "{seen:?}");
    let (journal, writer) = Journal::open(place, &start(), 200).await.unwrap();
    writer.close();
    for after in [0, 9, 10, 11, 25, 39, 40] {
        assert_eq!(read(&journal, after).await, expected(after + 1..=40), "after {after}");
    }
}

async fn what_is_kept_stays_until_the_limit_needs_its_room(place: &JournalPlace) {
    let (journal, mut writer) = Journal::open(place, &start(), 300).await.unwrap();
    fill(&mut writer, 1..41).await;
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

async fn giving_up_the_wait_for_a_record_loses_nothing(place: &JournalPlace) {
    let (journal, mut writer) = Journal::open(place, &start(), 500).await.unwrap();
    fill(&mut writer, 1..41).await;
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

async fn a_journal_that_was_cleared_begins_anew(place: &JournalPlace) {
    place.clear().await.unwrap();
    let (_, mut writer) = Journal::open(place, &start(), 500).await.unwrap();
    fill(&mut writer, 1..11).await;
    drop(writer);
    place.clear().await.unwrap();
    let (journal, mut writer) = Journal::open(place, &start(), 500).await.unwrap();
    assert_eq!(journal.tail().mark, start());
    fill(&mut writer, 1..4).await;
    writer.close();
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), read(&journal, 0)).await.unwrap(), expected(1..=3));
}
