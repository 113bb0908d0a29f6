//! Random lives of a queue: appends, forgets, closings, and crashes that leave any part of what was being written.

use std::io::Write;

use proptest::prelude::*;

use super::super::frame::{body_of, head_of};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Sizes of records that are appended together.
    Append(Vec<usize>),
    /// Up to a part of what is there.
    Forget(prop::sample::Index),
    /// Closed and opened.
    Close,
    /// While these were being written; so much of them came to the disk.
    Crash(Vec<usize>, prop::sample::Index),
    /// From a part of what is there.
    Read(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop::collection::vec(prop_oneof![0usize..100, 0usize..20_000], 1..5);
    prop_oneof![
        6 => sizes().prop_map(Step::Append),
        2 => any::<prop::sample::Index>().prop_map(Step::Forget),
        1 => Just(Step::Close),
        2 => (sizes(), any::<prop::sample::Index>()).prop_map(|(sizes, cut)| Step::Crash(sizes, cut)),
        2 => any::<prop::sample::Index>().prop_map(Step::Read),
    ]
}

/// What must be there.
#[derive(Default)]
struct Model {
    records: Vec<Record>,
    forgotten: usize,
}

fn newest_file(folder: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(folder.join("s")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "inbox")).max().unwrap()
}

fn made(model: &Model, sizes: &[usize]) -> Vec<Record> {
    sizes.iter().enumerate().map(|(at, size)| record(&(model.records.len() + at).to_string(), *size)).collect()
}

async fn live(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut queue = queue(folder.path());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let records = made(&model, &sizes);
                match queue.append(&records).await {
                    Ok(end) => {
                        model.records.extend(records);
                        assert_eq!(end as usize, model.records.len());
                    }
                    Err(error) => assert_eq!(error.code(), FULL),
                }
            }
            Step::Forget(to) => {
                model.forgotten = model.forgotten.max(to.index(model.records.len() + 1));
                queue.forget(model.forgotten as u64).unwrap();
                assert_eq!(queue.begin() as usize, model.forgotten);
            }
            Step::Close => {
                drop(queue);
                queue = self::queue(folder.path());
            }
            Step::Crash(sizes, cut) => {
                drop(queue);
                let records = made(&model, &sizes);
                let body = body_of(&records);
                let mut frame = head_of(model.records.len() as u64, records.len() as u32, &body).to_vec();
                frame.extend(body);
                let part = cut.index(frame.len() + 1);
                let mut file = std::fs::File::options().append(true).open(newest_file(folder.path())).unwrap();
                file.write_all(&frame[..part]).unwrap();
                if part == frame.len() {
                    // All of it came to the disk, only the word that it did never came back.
                    model.records.extend(records);
                }
                queue = self::queue(folder.path());
            }
            Step::Read(from) => {
                let from = model.forgotten + from.index(model.records.len() - model.forgotten + 1);
                assert_eq!(all(&queue, from as u64), model.records[from..]);
            }
        }
        assert_eq!(queue.end() as usize, model.records.len());
        assert!(queue.oldest() as usize <= model.forgotten);
    }
    let oldest = queue.oldest() as usize;
    assert_eq!(all(&queue, oldest as u64), model.records[oldest..]);
    let view = Inbox::view(folder.path(), "s").unwrap().unwrap();
    assert_eq!(all(&view, oldest as u64), model.records[oldest..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_is_what_was_promised_over_any_life(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(live(steps));
    }

    /// Worse than a crash: the file ends anywhere. What is left is a beginning of what was there, append by append.
    #[test]
    fn a_file_that_is_cut_anywhere_leaves_whole_appends(
        appends in prop::collection::vec(prop::collection::vec(0usize..200, 1..4), 1..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let queue = queue(folder.path());
        let mut ends = vec![0];
        runtime.block_on(async {
            for sizes in &appends {
                let records: Vec<Record> = sizes.iter().map(|size| record("x", *size)).collect();
                ends.push(queue.append(&records).await.unwrap());
            }
        });
        let before = all(&queue, 0);
        drop(queue);
        let path = newest_file(folder.path());
        let length = path.metadata().unwrap().len() as usize;
        std::fs::File::options().write(true).open(&path).unwrap().set_len(cut.index(length + 1) as u64).unwrap();
        let queue = self::queue(folder.path());
        prop_assert!(ends.contains(&queue.end()));
        prop_assert_eq!(all(&queue, 0), &before[..queue.end() as usize]);
        // And it goes on from there.
        let end = queue.end();
        prop_assert_eq!(runtime.block_on(queue.append(&[record("new", 5)])).unwrap(), end + 1);
        prop_assert_eq!(all(&queue, end), [record("new", 5)]);
    }
}
