//! The short form of the crash suites: twenty kills each. The full count is `cargo xtask crash --kills 200`.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use weir_testkit::crash::{CrashOptions, Suite, cdc, cdc_files, run};

fn survives(suite: Suite) {
    let options =
        CrashOptions { weir: env!("CARGO_BIN_EXE_weir").into(), kills: 20, rows: 40_000, seed: 20_130_101, chatty: true };
    let report = run(suite, &options).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(report.kills, 20);
    assert!(report.sequences > 1, "{report:?}");
}

#[test]
fn postgres_to_parquet_loses_and_doubles_nothing_over_kills() {
    survives(Suite::PgParquet);
}

#[test]
fn postgres_to_postgres_loses_and_doubles_nothing_over_kills() {
    survives(Suite::PgPg);
}

#[test]
fn csv_to_s3_loses_and_doubles_nothing_over_kills() {
    survives(Suite::CsvS3);
}

fn cdc_options() -> cdc::CdcOptions {
    cdc::CdcOptions {
        weir: env!("CARGO_BIN_EXE_weir").into(),
        kills: 20,
        restarts: 2,
        rows: 5_000,
        seed: 20_130_101,
        chatty: true,
    }
}

#[test]
fn every_change_of_postgres_is_in_the_files_once_over_kills() {
    let report = cdc_files::run(&cdc_options()).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.kills == 20 && report.applied > 5_000, "{report:?}");
}

#[test]
fn changes_of_postgres_arrive_once_and_in_order_over_kills() {
    let report = cdc::run(&cdc_options()).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.kills == 20 && report.applied > 5_000, "{report:?}");
}
