//! The queue against a model of it, over crashes; and what it says when it cannot.

mod model;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use weir_connect::{Result, Retry};

use super::cursor::{Cursor, last_field};
use super::*;

const MAX: u64 = 1 << 20;

fn open(folder: &Path) -> Result<Inbox> {
    Inbox::open(folder, &["s".to_owned()], MAX)
}

fn queue(folder: &Path) -> Arc<Queue> {
    open(folder).unwrap().queue("s").unwrap().clone()
}

fn record(name: &str, bytes: usize) -> Record {
    let payload = name.bytes().chain(std::iter::repeat_n(b'.', bytes)).collect::<Vec<u8>>();
    Record { at_us: bytes as i64, refused: None, fields: vec![Some(Bytes::from(name.to_owned())), None], payload: payload.into() }
}

fn all(queue: &Arc<Queue>, from: u64) -> Vec<Record> {
    let mut cursor = Cursor::new(queue.clone(), from);
    let mut records = Vec::new();
    loop {
        let read = cursor.read(10_000).unwrap();
        if read.is_empty() {
            assert_eq!(cursor.next(), queue.end());
            return records;
        }
        records.extend(read);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_at_the_same_time_is_all_there_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    let appends = (0..300).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move { (queue.append(&[record(&format!("{n}a"), n), record(&format!("{n}b"), 1)]).await.unwrap(), n) })
    });
    let mut ends = Vec::new();
    for append in appends.collect::<Vec<_>>() {
        ends.push(append.await.unwrap());
    }
    let records = all(&queue, 0);
    assert_eq!((records.len(), queue.end()), (600, 600));
    for (end, n) in ends {
        let here = &records[end as usize - 2..end as usize];
        assert_eq!(here, [record(&format!("{n}a"), n), record(&format!("{n}b"), 1)]);
    }
    // From every record on, also in the middle of what was appended together.
    assert_eq!(all(&queue, 301).len(), 299);
    assert_eq!(last_field(&queue, 0).await.unwrap(), records[599].fields[0]);
}

#[tokio::test]
async fn a_full_inbox_says_so_and_takes_more_when_something_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    let mut count = 0;
    let error = loop {
        match queue.append(&[record("x", 10_000)]).await {
            Ok(end) => count = end,
            Err(error) => break error,
        }
    };
    assert_eq!((error.code(), error.retryable()), (FULL, Retry::Transient));
    assert!((90..=105).contains(&count), "{count} records of 10 kB in 1 MiB");
    queue.forget(count / 2).unwrap();
    assert_eq!(queue.append(&[record("y", 10_000)]).await.unwrap(), count + 1);
    assert_eq!(queue.begin(), count / 2);
    // Everything may be forgotten, and the newest messages can be looked at still.
    queue.forget(count + 1).unwrap();
    assert_eq!(all(&queue, queue.oldest()).pop().unwrap(), record("y", 10_000));
    for _ in 0..300 {
        let end = queue.append(&[record("z", 10_000)]).await.unwrap();
        queue.forget(end).unwrap();
    }
    let bytes: u64 =
        std::fs::read_dir(folder.path().join("s")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 400_000, "{bytes}");
    // What no inbox of this size could ever hold is another error.
    let error = queue.append(&[record("large", 300_000)]).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-INBOX-005", Retry::Never));
}

#[tokio::test]
async fn readers_are_woken_and_two_processes_cannot_share_an_inbox() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = open(folder.path()).unwrap();
    let queue = inbox.queue("s").unwrap().clone();
    let error = open(folder.path()).err().unwrap();
    assert_eq!(error.code(), "WEIR-INBOX-009");
    assert_eq!(inbox.queue("other").err().unwrap().code(), "WEIR-INBOX-010");
    let waits = tokio::spawn({
        let queue = queue.clone();
        async move { queue.reach(1).await }
    });
    queue.append(&[record("a", 1)]).await.unwrap();
    queue.append(&[record("b", 1)]).await.unwrap();
    waits.await.unwrap();
    // Somebody may look while it is open.
    let view = Inbox::view(folder.path(), "s").unwrap().unwrap();
    assert_eq!(all(&view, 0), [record("a", 1), record("b", 1)]);
    assert!(view.append(&[record("c", 1)]).await.is_err());
    assert!(Inbox::view(folder.path(), "never").unwrap().is_none());
    drop((inbox, queue));
    assert_eq!(all(&self::queue(folder.path()), 0).len(), 2);
}

#[tokio::test]
async fn a_disk_that_fails_takes_nothing_and_loses_nothing() {
    for step in ["inbox.write", "inbox.written"] {
        let folder = tempfile::tempdir().unwrap();
        let queue = queue(folder.path());
        queue.append(&[record("a", 1)]).await.unwrap();
        weir_connect::__fail::cfg(step, "2*return").unwrap();
        for _ in 0..2 {
            assert_eq!(queue.append(&[record("b", 10_000)]).await.unwrap_err().code(), "WEIR-TEST-001");
        }
        weir_connect::__fail::remove(step);
        assert_eq!(queue.append(&[record("c", 1)]).await.unwrap(), 2);
        assert_eq!(all(&queue, 0), [record("a", 1), record("c", 1)]);
        drop(queue);
        assert_eq!(all(&self::queue(folder.path()), 0), [record("a", 1), record("c", 1)]);
    }
}

#[tokio::test]
async fn a_file_that_was_changed_is_told_and_not_read_past() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue(folder.path());
    for n in 0..40 {
        queue.append(&[record(&n.to_string(), 10_000)]).await.unwrap();
    }
    let mut files: Vec<_> = std::fs::read_dir(folder.path().join("s")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "inbox"));
    files.sort();
    assert!(files.len() > 2);
    drop(queue);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(&files[0], &bytes).unwrap();
    let queue = self::queue(folder.path());
    assert_eq!(queue.end(), 40);
    let mut cursor = Cursor::new(queue, 0);
    let error = loop {
        match cursor.read(1) {
            Ok(read) => assert_eq!(read, [record(&(cursor.next() - 1).to_string(), 10_000)]),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code(), cursor.next()), ("WEIR-INBOX-006", 4));
    drop(cursor);
    // Without the file that names it nobody knows whose messages these are.
    std::fs::remove_file(folder.path().join("s/inbox.json")).unwrap();
    assert_eq!(open(folder.path()).err().unwrap().code(), "WEIR-INBOX-006");
}
