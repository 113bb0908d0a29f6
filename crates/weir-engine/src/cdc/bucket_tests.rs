//! A journal of objects: two writers, what is missing or damaged, what is put together.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use weir_connect::TransactionMark;

use super::super::journal::{JournalPlace, JournalWriter, Retention};
use super::*;

#[allow(clippy::unwrap_used)]
#[path = "../../tests/protocol/objects.rs"]
mod objects;
use objects::Shelf;

const NOTHING: Retention = Retention { keep: None, max_bytes: u64::MAX };

fn start() -> Mark {
    Mark { seq: 0, position: Value::Null, committed_at_us: None }
}

fn on(shelf: &Arc<Shelf>) -> JournalPlace {
    JournalPlace::Objects(shelf.clone(), "p/s".into())
}

fn record(name: &str) -> Record {
    Record::Truncate(name.into(), TransactionMark { end: 0, position: "0".into(), id: None, committed_at_us: 0 })
}

/// One transaction of two records.
async fn transaction(writer: &mut JournalWriter, name: &str) -> Result<()> {
    writer.write(&record(&format!("{name}-1"))).await?;
    writer.write(&record(&format!("{name}-2"))).await?;
    writer.boundary(json!(name), None).await?;
    writer.sync().await
}

async fn read(journal: &Arc<Journal>, after: u64) -> Result<Vec<String>> {
    let mut reader = journal.read_after(after)?;
    let mut found = Vec::new();
    while let Some((record, _)) = reader.next().await? {
        if let Record::Truncate(stream, _) = record {
            found.push(stream.to_string());
        }
    }
    Ok(found)
}

fn both(names: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| [format!("{name}-1"), format!("{name}-2")]).collect()
}

/// Waits until housekeeping has done what is seen.
async fn settles(what: &str, seen: impl Fn() -> bool) {
    let done = async {
        while !seen() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), done).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_writer_whose_journal_was_taken_over_makes_nothing_durable_any_more() {
    let shelf = Shelf::new();
    let (old, mut first) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    transaction(&mut first, "a").await.unwrap();
    // It has more in its hands, and is asleep for a while.
    first.write(&record("lost")).await.unwrap();
    first.boundary(json!("lost"), None).await.unwrap();

    let (new, mut second) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    assert_eq!(first.sync().await.unwrap_err().code(), "WEIR-JOURNAL-020");
    assert_eq!(old.tail().mark.position, json!("a"), "nobody was told of it");
    for name in ["b", "c", "d"] {
        transaction(&mut second, name).await.unwrap();
    }
    second.close();
    assert_eq!(read(&new, 0).await.unwrap(), both(&["a", "b", "c", "d"]));
}

#[tokio::test]
async fn a_stale_writer_finds_its_place_taken_also_when_everything_around_it_is_gone() {
    let shelf = Shelf::new();
    let (_old, mut first) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    transaction(&mut first, "a").await.unwrap();
    let (new, mut second) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    for number in 0..100 {
        transaction(&mut second, &format!("n{number}")).await.unwrap();
    }
    new.trim(100, &NOTHING).unwrap();
    settles("it is trimmed", || shelf.names("/log/").len() <= 5).await;
    assert_eq!(transaction(&mut first, "z").await.unwrap_err().code(), "WEIR-JOURNAL-020");
    second.close();
    let (again, writer) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    writer.close();
    assert_eq!(again.tail().mark.position, json!("n99"));
    assert_eq!(read(&again, 100).await.unwrap(), both(&["n99"]));
}

#[tokio::test]
async fn a_stale_writer_is_kept_out_of_a_journal_that_was_cleared() {
    let shelf = Shelf::new();
    let (_old, mut first) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    transaction(&mut first, "a").await.unwrap();
    on(&shelf).clear().await.unwrap();
    assert_eq!(transaction(&mut first, "z").await.unwrap_err().code(), "WEIR-JOURNAL-020");
    let (new, mut second) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
    transaction(&mut second, "b").await.unwrap();
    second.close();
    assert_eq!(read(&new, 0).await.unwrap(), both(&["b"]));
}

/// The first one is cut at its n-th call, before or after that took effect, and goes on when a second one has come.
#[tokio::test]
async fn wherever_a_second_writer_comes_in_between_nothing_that_was_told_is_lost_and_nothing_is_there_twice() {
    let mut cuts = 0;
    for (nth, after) in (1..30).flat_map(|nth| [(nth, false), (nth, true)]) {
        let calls = Arc::new(AtomicI64::new(i64::MAX));
        let counted = calls.clone();
        let shelf = Shelf::behind(Arc::new(move |effect: &mut dyn FnMut()| {
            let cut = counted.fetch_sub(1, Ordering::SeqCst) == 1;
            if !cut || after {
                effect();
            }
            if cut { Err(Error::new("WEIR-TEST-001", Kind::Connect, "the answer is lost")) } else { Ok(()) }
        }));
        let (_old, mut first) = Journal::open(&on(&shelf), &start(), 100).await.unwrap();
        let mut told = Vec::new();
        calls.store(nth, Ordering::SeqCst);
        let mut cut = None;
        for name in ["a", "b", "c", "d", "e"] {
            match transaction(&mut first, name).await {
                Ok(()) => told.push(name),
                Err(_) => {
                    cut = Some(name);
                    cuts += 1;
                    break;
                }
            }
        }
        calls.store(i64::MAX, Ordering::SeqCst);
        let (new, mut second) = Journal::open(&on(&shelf), &start(), 100).await.unwrap();
        transaction(&mut second, "f").await.unwrap();
        second.close();
        // As a process that does not know that it is over.
        assert!(transaction(&mut first, "late").await.is_err(), "call {nth}");
        let found = read(&new, 0).await.unwrap();
        let without = [told.as_slice(), &["f"]].concat();
        let with: Vec<&str> = told.iter().copied().chain(cut).chain(["f"]).collect();
        // What was written though nobody heard of it: once, in its place.
        assert!(found == both(&without) || after && found == both(&with), "call {nth}, after={after}: {found:?}");
    }
    assert!(cuts >= 10, "only {cuts}");
}

#[tokio::test]
async fn small_objects_are_put_together_under_a_reader_that_notices_nothing() {
    let shelf = Shelf::new();
    let (journal, mut writer) = Journal::open(&on(&shelf), &start(), 64 << 10).await.unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let mut slow = journal.read_after(0).unwrap();
    let mut found = Vec::new();
    for (number, name) in names.iter().enumerate() {
        transaction(&mut writer, name).await.unwrap();
        // It stays behind, in the middle of transactions too.
        if number % 2 == 0
            && let Some((Record::Truncate(stream, _), _)) = slow.next().await.unwrap()
        {
            found.push(stream.to_string());
        }
    }
    settles("they are put together", || shelf.names("/log/").len() < 100).await;
    writer.close();
    while let Some((record, _)) = slow.next().await.unwrap() {
        if let Record::Truncate(stream, _) = record {
            found.push(stream.to_string());
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(found, both(&names));
    for after in [0, 1, 63, 64, 200, 299] {
        assert_eq!(read(&journal, after).await.unwrap(), both(&names[usize::try_from(after).unwrap()..]), "after {after}");
    }
    let (again, writer) = Journal::open(&on(&shelf), &start(), 64 << 10).await.unwrap();
    writer.close();
    assert_eq!(read(&again, 0).await.unwrap(), both(&names));
}

/// A journal of ten transactions, an object each.
async fn ten(shelf: &Arc<Shelf>) -> Arc<Journal> {
    let (journal, mut writer) = Journal::open(&on(shelf), &start(), 1 << 20).await.unwrap();
    for number in 0..10 {
        transaction(&mut writer, &format!("t{number}")).await.unwrap();
    }
    writer.close();
    journal
}

#[tokio::test]
async fn a_missing_object_is_told_and_never_passed_over() {
    for missing in 0..10 {
        let shelf = Shelf::new();
        let journal = ten(&shelf).await;
        let name = shelf.names("/log/")[missing + 1].clone();
        shelf.objects.lock().unwrap().remove(&name);
        // While it is open.
        let error = read(&journal, 0).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-JOURNAL-021", "{missing}");
        // And for who opens it.
        let (again, writer) = Journal::open(&on(&shelf), &start(), 1 << 20).await.unwrap();
        writer.close();
        if missing == 9 {
            assert_eq!(again.tail().mark.seq, 9, "what is missing at the end cannot be known here: the sinks know");
            assert_eq!(again.holds(10).unwrap_err().code(), "WEIR-JOURNAL-003");
            continue;
        }
        let error = again.read_after(0).unwrap_err();
        assert_eq!(error.code(), "WEIR-JOURNAL-003");
        assert!(error.why().unwrap().contains(&format!("object {}", missing + 2)), "{error:?}");
        assert_eq!(read(&again, missing as u64 + 1).await.unwrap().len(), (9 - missing) * 2);
    }
}

#[tokio::test]
async fn a_part_of_a_transaction_whose_beginning_is_missing_is_not_read() {
    let shelf = Shelf::new();
    let (_, mut writer) = Journal::open(&on(&shelf), &start(), 100).await.unwrap();
    transaction(&mut writer, "a").await.unwrap();
    for number in 0..10 {
        writer.write(&record(&format!("long-{number}-{}", "x".repeat(100)))).await.unwrap();
    }
    writer.boundary(json!("long"), None).await.unwrap();
    writer.sync().await.unwrap();
    writer.close();
    let parts = shelf.names("-00000000000000000001.wj");
    assert!(parts.len() > 5, "{parts:?}");
    shelf.objects.lock().unwrap().remove(&parts[0]);
    let (again, writer) = Journal::open(&on(&shelf), &start(), 100).await.unwrap();
    writer.close();
    assert!(read(&again, 1).await.is_err());
    assert_eq!(read(&again, 2).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_byte_that_changed_is_an_error_and_never_other_data() {
    let shelf = Shelf::new();
    let journal = ten(&shelf).await;
    let name = shelf.names("/log/")[5].clone();
    let whole = shelf.objects.lock().unwrap()[&name].clone();
    let good = read(&journal, 0).await.unwrap();
    for at in 0..whole.0.len() {
        // Who wrote it is nobody's concern.
        if (9..HEAD).contains(&at) {
            continue;
        }
        let mut changed = whole.0.to_vec();
        changed[at] ^= 0x01;
        shelf.objects.lock().unwrap().insert(name.clone(), (changed.into(), whole.1));
        assert_eq!(read(&journal, 0).await.unwrap_err().code(), "WEIR-JOURNAL-001", "byte {at}");
    }
    for length in 0..whole.0.len() {
        shelf.objects.lock().unwrap().insert(name.clone(), (whole.0.slice(..length), whole.1));
        assert!(read(&journal, 0).await.is_err(), "cut at {length}");
    }
    shelf.objects.lock().unwrap().insert(name, whole);
    assert_eq!(read(&journal, 0).await.unwrap(), good);
}

#[test]
fn what_leads_to_the_last_object_is_the_journal() {
    let part = |first: u64, last: u64| Segment { first, last, seq: first, bytes: 1, written: SystemTime::now(), whole: true };
    let numbers = |segments: &[Segment]| segments.iter().map(|segment| (segment.first, segment.last)).collect::<Vec<_>>();
    // What was put together, beside what it was made of; a claim far before; and a hole.
    let found = vec![part(2, 2), part(5, 5), part(6, 9), part(6, 6), part(8, 12), part(12, 12), part(13, 13)];
    let (chain, ghosts, missing) = super::chain(found).unwrap();
    assert_eq!(numbers(&chain), [(5, 5), (6, 9), (8, 12), (13, 13)]);
    assert_eq!((numbers(&ghosts), missing), (vec![(2, 2), (6, 6), (12, 12)], Some(4)));
    let twice = vec![part(3, 3), Segment { seq: 9, ..part(3, 3) }];
    assert_eq!(super::chain(twice).unwrap_err().code(), "WEIR-JOURNAL-022");
}
