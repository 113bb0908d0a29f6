//! The same pipelines on other engines, the real ones: `weir diff` against the native engine, and `weir run --engine`.
//!
//! Each folder of `cases` is a pipeline with its files, and `case.json` says what each engine makes of it (see `case`). One engine runs at a time, on the whole machine.
//! The test command takes five cases on SeaTunnel and on Flink; `cargo nextest run -p weir --test engines --run-ignored all` takes all of them and keeps the result in
//! `bench/results/engines-ENGINE.json` (`-E 'test(whole_matrix)'`: nothing else).
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod case;
#[cfg(feature = "kafka")]
mod seam;

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use case::{Case, Expected, folders};
use serde_json::{Value, json};
use weir_testkit::{FlinkCluster, SeaTunnel, Spark};

fn said(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What an engine has made of a case, and how long both together took.
fn tried(case: &Case, engine: &str, options: &[String]) -> (Option<Expected>, f64, Output) {
    let engines = format!("native,{engine}");
    let mut arguments = vec!["diff", "pipeline.yaml", "--engines", &engines, "--json"];
    options.iter().for_each(|option| arguments.extend(["--engine-option", option.as_str()]));
    let begin = Instant::now();
    let output = case.weir(&arguments);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let (native, other) = (&told["engines"][0], &told["engines"][1]);
    let sinks = other["sinks"].as_array().cloned().unwrap_or_default();
    let counted = sinks.iter().all(|sink| case.rows == sink["rows"].as_u64().is_some_and(|rows| rows > 0));
    let equal = sinks.iter().all(|sink| sink["equal"] == true);
    let found = match (native["status"].as_str(), other["status"].as_str(), output.status.code()) {
        (Some("done"), Some("done"), Some(0)) if !sinks.is_empty() && equal && counted => Some(Expected::Equal),
        (Some("done"), Some("done"), Some(1)) if !sinks.is_empty() && !equal => Some(Expected::Differs),
        (Some("done"), Some("refused"), Some(2)) => Some(Expected::Refused),
        (Some("done"), Some("failed"), Some(1)) => Some(Expected::Fails),
        _ => None,
    };
    (found, begin.elapsed().as_secs_f64(), output)
}

/// Cases on one engine; all that are not as expected are told together.
fn compare(engine: &str, options: &[String], whole: bool) {
    let (mut wrong, mut kept) = (Vec::new(), Vec::new());
    let wanted = |told: Value| told[engine].is_string() && (whole || told["short"] == true);
    for folder in folders().iter().filter(|folder| wanted(case::said(folder))) {
        let case = Case::copied(folder);
        let (found, took, output) = tried(&case, engine, options);
        let word = found.map_or("neither", Expected::word);
        println!("{engine} {}: {word} in {took:.1} s", case.name);
        kept.push(json!({"case": case.name, "result": word, "seconds": (took * 10.0).round() / 10.0}));
        if found != Some(case.expected(engine)) {
            wrong.push(format!("{} on {engine} shall be {}: {}", case.name, case.expected(engine).word(), said(&output)));
        }
    }
    assert!(kept.len() >= if whole { 20 } else { 5 });
    if whole {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../bench/results/engines-{engine}.json"));
        let lines: Vec<String> = kept.iter().map(|one| format!("  {one}")).collect();
        std::fs::write(place, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn at_flink(flink: &FlinkCluster) -> [String; 2] {
    [format!("url={}", flink.rest()), format!("sql_gateway_url={}", flink.gateway())]
}

fn at_spark(spark: &Spark) -> [String; 3] {
    [format!("home={}", spark.home().display()), "master=local[1]".into(), "driver_memory=512m".into()]
}

#[test]
fn seatunnel_writes_what_the_native_engine_writes() {
    let seatunnel = SeaTunnel::start().unwrap();
    compare("seatunnel", &[format!("url={}", seatunnel.url())], false);
    // The same as a run: its report, its exit code, and nothing left to follow.
    let case = Case::named("filter_rows");
    let place = format!("seatunnel.url={}", seatunnel.url());
    let mut arguments = vec!["run", "pipeline.yaml", "--engine", "seatunnel", "--engine-option", &place];
    arguments.extend(["--json", "--progress", "none", "--state-dir", "state"]);
    let output = case.weir(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stream = &report["streams"][0];
    assert_eq!(report["status"], "succeeded");
    assert_eq!(stream["rows_read"], 300);
    assert_eq!(
        stream["rows_read"].as_u64(),
        Some(stream["rows_written"].as_u64().unwrap() + stream["rows_filtered"].as_u64().unwrap())
    );
    assert!(!case.folder.path().join("state/engines/filter_rows.seatunnel.json").exists());
}

#[test]
fn flink_writes_what_the_native_engine_writes() {
    let flink = FlinkCluster::start().unwrap();
    compare("flink", &at_flink(&flink), false);
}

/// `cargo nextest run -p weir --test engines --run-ignored all -E 'test(spark_writes)'`
#[test]
#[ignore = "a JVM for each case, a minute on a quiet machine and five on a busy one: see the command above"]
fn spark_writes_what_the_native_engine_writes() {
    let spark = Spark::take().unwrap();
    compare("spark", &at_spark(&spark), false);
}

/// `cargo nextest run -p weir --test engines --run-ignored all -E 'test(whole_matrix_on_seatunnel)'`
#[test]
#[ignore = "three minutes: see the command above"]
fn the_whole_matrix_on_seatunnel() {
    let seatunnel = SeaTunnel::start().unwrap();
    compare("seatunnel", &[format!("url={}", seatunnel.url())], true);
}

/// `cargo nextest run -p weir --test engines --run-ignored all -E 'test(whole_matrix_on_flink)'`
#[test]
#[ignore = "five minutes: see the command above"]
fn the_whole_matrix_on_flink() {
    let flink = FlinkCluster::start().unwrap();
    compare("flink", &at_flink(&flink), true);
}

/// `cargo nextest run -p weir --test engines --run-ignored all -E 'test(whole_matrix_on_spark)'`
#[test]
#[ignore = "ten minutes, a JVM for each case: see the command above"]
fn the_whole_matrix_on_spark() {
    let spark = Spark::take().unwrap();
    compare("spark", &at_spark(&spark), true);
}

#[test]
fn an_engine_that_is_not_there_is_told_with_its_place_and_exit_code_three() {
    let case = Case::named("copy");
    let port = weir_testkit::process::free_port().unwrap();
    let url = format!("url=http://127.0.0.1:{port}");
    let output = case.weir(&["run", "pipeline.yaml", "--engine", "flink", "--engine-option", &url]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains(&format!("flink does not answer (http://127.0.0.1:{port})")), "{told}");
    let output = case.weir(&["run", "pipeline.yaml", "--engine", "storm"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = case.weir(&["run", "pipeline.yaml", "--engine", "flink", "--until-caught-up"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("for the native engine"), "{}", said(&output));
    let output = case.weir(&["diff", "pipeline.yaml", "--engines", "native"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}
