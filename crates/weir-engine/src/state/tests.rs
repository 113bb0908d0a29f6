//! The state on disk: given back as it was, or refused; never something else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use weir_plan::keyed::StateChange;

use super::*;

const CACHE: usize = 1 << 20;

fn put(key: &str, value: &str) -> StateChange {
    StateChange::Put(key.into(), Bytes::copy_from_slice(value.as_bytes()))
}

fn all(state: &State) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    state.stored().scan(b"").map(|entry| entry.map(|(key, value)| (text(&key), text(&value))).unwrap()).collect()
}

fn open(folder: &Path, fingerprint: &str, mark: Option<&StateMark>) -> Result<State> {
    State::open_now(folder, fingerprint.into(), mark.cloned(), CACHE as u64)
}

/// Epochs 3, 6, 9 …: a counter, a key of each epoch, and now and then a prefix that goes. Gives the mark and the content after each.
async fn epochs(state: &mut State, count: u64) -> Vec<(StateMark, BTreeMap<String, String>)> {
    let mut marks = Vec::new();
    for number in 1..=count {
        let mut changes = vec![put("a/count", &number.to_string()), put(&format!("b/{number}"), "x"), put("c", "1")];
        changes.push(StateChange::Remove(b"c".to_vec()));
        if number % 3 == 0 {
            changes.push(StateChange::RemovePrefix(b"b/".to_vec()));
            changes.push(put("b/again", &number.to_string()));
        }
        let mark = state.append(number * 3, format!("own {number}").into_bytes(), changes).await.unwrap();
        state.apply().await.unwrap();
        marks.push((mark, all(state)));
    }
    marks
}

#[tokio::test]
async fn it_comes_back_as_it_was() {
    let folder = weir_testkit::memory_folder();
    let folder = folder.path().join("p").join("f");
    let mut state = open(&folder, "one", None).unwrap();
    let marks = epochs(&mut state, 7).await;
    drop(state);
    let (mark, content) = marks.last().unwrap();
    let expected = [("a/count", "7"), ("b/7", "x"), ("b/again", "6")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(*content, BTreeMap::from(expected));
    for _ in 0..2 {
        let state = open(&folder, "one", Some(mark)).unwrap();
        assert_eq!((all(&state), state.own().unwrap()), (content.clone(), Some(b"own 7".to_vec())));
        assert_eq!(state.stored().get(b"a/count").unwrap().as_deref(), Some(&b"7"[..]));
        assert_eq!(state.stored().get(b"c").unwrap(), None);
    }
}

#[tokio::test]
async fn an_epoch_that_was_not_confirmed_is_taken_or_left_as_the_mark_says() {
    for taken in [false, true] {
        let folder = weir_testkit::memory_folder();
        let mut state = open(folder.path(), "one", None).unwrap();
        let before = epochs(&mut state, 4).await.pop().unwrap();
        let next = state
            .append(20, b"own".to_vec(), vec![put("a/count", "new"), StateChange::RemovePrefix(b"b".to_vec())])
            .await
            .unwrap();
        drop(state);
        let mark = if taken { &next } else { &before.0 };
        let mut state = open(folder.path(), "one", Some(mark)).unwrap();
        let expected = if taken { BTreeMap::from([("a/count".to_owned(), "new".to_owned())]) } else { before.1.clone() };
        assert_eq!(all(&state), expected);
        // What was left does not come back.
        let after = state.append(21, Vec::new(), vec![put("z", "z")]).await.unwrap();
        state.apply().await.unwrap();
        drop(state);
        let state = open(folder.path(), "one", Some(&after)).unwrap();
        let mut expected = expected;
        expected.insert("z".into(), "z".into());
        assert_eq!(all(&state), expected);
        drop(state);
        // The other way does not lead here.
        let refused = open(folder.path(), "one", Some(if taken { &before.0 } else { &next })).err().unwrap();
        assert_eq!(refused.code(), "WEIR-STATE-011");
    }
}

#[tokio::test]
async fn a_log_that_is_torn_anywhere_gives_its_whole_epochs_and_refuses_the_others() {
    let source = weir_testkit::memory_folder();
    let mut state = open(source.path(), "one", None).unwrap();
    let first = epochs(&mut state, 1).await.pop().unwrap();
    state.store.persist().unwrap();
    let whole = fs::metadata(source.path().join("log")).unwrap().len();
    let next = state.append(4, b"own".to_vec(), vec![put("k", "v"), StateChange::Remove(b"b/1".to_vec())]).await.unwrap();
    drop(state);
    let log = fs::read(source.path().join("log")).unwrap();
    for length in whole as usize..=log.len() {
        // Cut off, or with a broken byte in the last record.
        for broken in [false, true] {
            let mut bytes = log.clone();
            match broken {
                false => bytes.truncate(length),
                true if length < log.len() => bytes[length] ^= 0x20,
                true => continue,
            }
            let folder = weir_testkit::memory_folder();
            copy(source.path(), folder.path());
            fs::write(folder.path().join("log"), &bytes).unwrap();
            let after = open(folder.path(), "one", Some(&next));
            if bytes == log {
                assert_eq!(all(&after.unwrap())["k"], "v");
                continue;
            }
            assert_eq!(after.err().unwrap().code(), "WEIR-STATE-011", "{length} {broken}");
            // Opening takes its time; a broken byte is found as a missing one is.
            if !broken || length % 8 == 0 {
                let before = open(folder.path(), "one", Some(&first.0)).unwrap();
                assert_eq!(all(&before), first.1, "{length} {broken}");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            // Sparse files stay small.
            let mut bytes = fs::read(entry.path()).unwrap();
            let length = bytes.len() as u64;
            // Compared block by block: byte by byte takes minutes without optimisation.
            let empty =
                bytes.rchunks(4096).take_while(|block| **block == [0; 4096][..block.len()]).map(<[u8]>::len).sum::<usize>();
            bytes.truncate(bytes.len() - empty);
            fs::write(&to, bytes).unwrap();
            fs::OpenOptions::new().write(true).open(&to).unwrap().set_len(length).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_that_lost_its_last_epochs_gets_them_from_the_log() {
    let folder = weir_testkit::memory_folder();
    let early = weir_testkit::memory_folder();
    let mut state = open(folder.path(), "one", None).unwrap();
    let mark = epochs(&mut state, 2).await.pop().unwrap().0;
    drop(state);
    copy(&folder.path().join("store"), early.path());
    let log = fs::read(folder.path().join("log")).unwrap();
    let mut state = open(folder.path(), "one", Some(&mark)).unwrap();
    let later = {
        let mut last = None;
        for number in 10..14 {
            last = Some(state.append(number, Vec::new(), vec![put("n", &number.to_string())]).await.unwrap());
            state.apply().await.unwrap();
        }
        last.unwrap()
    };
    let content = all(&state);
    drop(state);
    // As after a power failure: the log is durable, the store is as it was made durable last.
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    copy(early.path(), &folder.path().join("store"));
    let state = open(folder.path(), "one", Some(&later)).unwrap();
    assert_eq!(all(&state), content);
    drop(state);
    // An older log does not lead there.
    fs::write(folder.path().join("log"), log).unwrap();
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    copy(early.path(), &folder.path().join("store"));
    assert_eq!(open(folder.path(), "one", Some(&later)).err().unwrap().code(), "WEIR-STATE-011");
}

#[tokio::test]
async fn what_is_not_there_or_of_others_is_refused() {
    let folder = weir_testkit::memory_folder();
    let mut state = open(folder.path(), "one", None).unwrap();
    let marks = epochs(&mut state, 3).await;
    drop(state);
    let (mark, _) = marks.last().unwrap();
    assert_eq!(open(folder.path(), "two", Some(mark)).err().unwrap().code(), "WEIR-STATE-010");
    // One from before: the store has gone on.
    assert_eq!(open(folder.path(), "one", Some(&marks[0].0)).err().unwrap().code(), "WEIR-STATE-011");
    // The same epoch with another history.
    let other = StateMark { point: Point { hash: mark.point.hash ^ 1, ..mark.point }, ..mark.clone() };
    assert_eq!(open(folder.path(), "one", Some(&other)).err().unwrap().code(), "WEIR-STATE-011");
    for part in ["log", "store"] {
        let copied = weir_testkit::memory_folder();
        copy(folder.path(), copied.path());
        let path = copied.path().join(part);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        assert_eq!(open(copied.path(), "one", Some(mark)).err().unwrap().code(), "WEIR-STATE-011", "{part}");
        // Looking for it made nothing of it.
        assert!(!path.exists(), "{part}");
    }
    // Without a mark it is nobody's: a new one is empty.
    assert_eq!(all(&open(folder.path(), "one", None).unwrap()), BTreeMap::new());
}

#[tokio::test]
async fn a_copy_is_whole_and_needs_nothing_else() {
    let folder = weir_testkit::memory_folder();
    let (from, to, file) = (folder.path().join("from"), folder.path().join("to"), folder.path().join("copy"));
    let mut state = open(&from, "one", None).unwrap();
    epochs(&mut state, 5).await;
    let large = "v".repeat(1 << 20);
    let changes = (0..20).map(|number| put(&format!("l/{number}"), &large)).collect();
    let mark = state.append(50, b"own".to_vec(), changes).await.unwrap();
    state.apply().await.unwrap();
    let content = all(&state);
    drop(state);
    let copied = export(&from, &mark, &file).unwrap();
    import(&file, &copied, &to).unwrap();
    let state = open(&to, "one", Some(&copied)).unwrap();
    assert_eq!((all(&state), state.own().unwrap()), (content, Some(b"own".to_vec())));
    drop(state);
    // Whoever asks for the state of the original there does not get it.
    assert_eq!(open(&to, "one", Some(&mark)).err().unwrap().code(), "WEIR-STATE-011");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(import(&file, &copied, &to).err().unwrap().code(), "WEIR-STATE-013");
    // An empty state is one, too.
    let mut state = open(&from, "one", None).unwrap();
    let mark = state.append(1, Vec::new(), Vec::new()).await.unwrap();
    state.apply().await.unwrap();
    drop(state);
    let copied = export(&from, &mark, &file).unwrap();
    import(&file, &copied, &to).unwrap();
    assert_eq!(all(&open(&to, "one", Some(&copied)).unwrap()), BTreeMap::new());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_what_was_there_goes_on() {
    let folder = weir_testkit::memory_folder();
    let mut state = open(folder.path(), "one", None).unwrap();
    let (mark, content) = epochs(&mut state, 2).await.pop().unwrap();
    state.log.lock().unwrap().goes_to(Path::new("/dev/full")).unwrap();
    let error = state.append(20, Vec::new(), vec![put("k", "v")]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-IO-028");
    drop(state);
    let mut state = open(folder.path(), "one", Some(&mark)).unwrap();
    assert_eq!(all(&state), content);
    state.append(20, Vec::new(), vec![put("k", "v")]).await.unwrap();
    state.apply().await.unwrap();
    assert_eq!(all(&state)["k"], "v");
}

#[test]
fn folders_of_two_names_are_two() {
    let state = Path::new("s");
    assert_eq!(folder_of_flow(state, "p", "orders"), Path::new("s/state/p/orders"));
    assert_ne!(folder_of_flow(state, "p", "a.b"), folder_of_flow(state, "p", "a_b"));
}
