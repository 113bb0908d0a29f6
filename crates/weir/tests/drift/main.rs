//! DDL at the source of a running or stopped `mode: cdc`, against every contract, through the whole program on real servers.
//!
//! Each file of `cases` is one script (see [`case`] for its form); each script and contract is one test: `NAME::CONTRACT`. A new file is a new
//! test, so this binary has a harness of its own that speaks the few words of libtest's that cargo and nextest use.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)] // Helpers of tests are tests.

mod case;
mod compare;
mod play;
mod program;

use std::process::ExitCode;
use std::sync::Mutex;

use case::{CONTRACTS, Case, Contract};

/// Side by side without nextest.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut tests: Vec<(String, Case, Contract)> = Vec::new();
    for case in case::all() {
        tests.extend(CONTRACTS.iter().map(|contract| (format!("{}::{}", case.name, contract.word()), case.clone(), *contract)));
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
    tests.retain(|(name, ..)| wanted(name));
    let queue = Mutex::new(tests.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(tests.len()) {
            scope.spawn(|| {
                loop {
                    let Some((name, case, contract)) = queue.lock().unwrap().next() else { return };
                    match play::play(case, *contract) {
                        Ok(()) => println!("test {name} ... ok"),
                        Err(error) => {
                            println!("test {name} ... FAILED\n{error:#}\n");
                            failed.lock().unwrap().push(name.clone());
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("\n{} passed, {} failed {failed:?}", tests.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
