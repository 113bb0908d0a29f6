//! Queries as Flink writes them, through the whole program, against what a real Flink answered (`goldens.py` writes the answers).
//!
//! Each folder of `cases` is one query: tables and query for Flink (`flink.sql`), the same for us (`pipeline.yaml`), the rows of each table
//! (`NAME.ndjson`), the answer (`expected.ndjson`; `expected.streaming.ndjson` where Flink's stream gives other rows) and what is to be known of it
//! (`case.json`, see [`case::Described`]). It is the test `NAME::batch`, and `NAME::streaming` over a real Kafka if `case.json` says how. A new folder
//! is a new test, so this binary speaks the few words of libtest's that cargo and nextest use.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)] // Helpers of tests are tests.

mod case;
mod play;
mod rows;

use std::process::ExitCode;

use case::Case;
use play::Mode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut tests: Vec<(String, Case, Mode)> = Vec::new();
    for case in case::all() {
        if Mode::STREAMING && !case.described.streaming.is_empty() {
            tests.push((format!("{}::streaming", case.name), case.clone(), Mode::Streaming));
        }
        tests.push((format!("{}::batch", case.name), case, Mode::Batch));
    }
    if has("--list") {
        // None is ignored.
        if !has("--ignored") {
            tests.iter().for_each(|(name, ..)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let mut words = arguments.iter();
    let mut filters = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--format" | "--test-threads" | "--color" | "--skip" | "-Z" => drop(words.next()),
            flag if flag.starts_with('-') => {}
            filter => filters.push(filter),
        }
    }
    let exact = has("--exact");
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| if exact { name == *filter } else { name.contains(filter) })
    };
    let mut failed = Vec::new();
    tests.retain(|(name, ..)| wanted(name));
    for (name, case, mode) in &tests {
        match play::play(case, *mode) {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                println!("test {name} ... FAILED\n{error:#}\n");
                failed.push(name);
            }
        }
    }
    println!("\n{} passed, {} failed {failed:?}", tests.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
