//! The short form of the crash suites: a few kills each. The full count is `cargo xtask crash --kills 200`, of changes `--suite cdc-pg-pg
//! --kills 500`.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use weir_testkit::crash::cdc::{self, CdcOptions, Pair, large, soak};
use weir_testkit::crash::stream::{self, Course, StreamOptions};
use weir_testkit::crash::{CrashOptions, Suite, run};

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

/// A few kills, a third as many restarts of servers.
fn follows(name: &str, kills: usize) {
    let options = CdcOptions {
        weir: env!("CARGO_BIN_EXE_weir").into(),
        kills,
        restarts: kills / 3,
        rows: 3_000,
        seed: 20_130_101,
        chatty: true,
    };
    let report = cdc::run(Pair::named(name).unwrap(), &options).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.kills == kills && report.restarts == kills / 3 && report.applied >= 3_000, "{report:?}");
}

#[test]
fn changes_of_postgres_arrive_in_postgres_once_and_in_order_over_kills() {
    follows("cdc-pg-pg", 9);
}

#[test]
fn changes_of_postgres_are_in_the_files_once_over_kills() {
    follows("cdc-pg-parquet", 6);
}

#[test]
fn changes_of_postgres_arrive_in_mysql_once_and_in_order_over_kills() {
    follows("cdc-pg-mysql", 3);
}

#[test]
fn changes_of_mysql_arrive_in_postgres_once_and_in_order_over_kills() {
    follows("cdc-mysql-pg", 6);
}

#[test]
fn changes_of_mariadb_are_in_the_files_once_over_kills() {
    follows("cdc-mariadb-parquet", 3);
}

#[test]
fn changes_of_mariadb_arrive_in_mysql_once_and_in_order_over_kills() {
    follows("cdc-mariadb-mysql", 3);
}

/// A few kills, and so many of the broker.
fn streams(name: &str, kills: usize, restarts: usize) {
    let options =
        StreamOptions { weir: env!("CARGO_BIN_EXE_weir").into(), kills, restarts, rate: 500, seed: 20_130_101, chatty: true };
    let report = stream::run(Course::named(name).unwrap(), &options).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.kills == kills && report.broker_kills == restarts && report.records > 300, "{report:?}");
    assert!(report.doubled == 0 || !report.once, "{report:?}");
}

#[test]
#[cfg(feature = "kafka")]
fn records_of_kafka_are_in_the_files_once_over_kills() {
    streams("stream-kafka-parquet", 3, 1);
}

#[test]
#[cfg(feature = "kafka")]
fn records_of_kafka_are_in_postgres_once_over_kills() {
    streams("stream-kafka-pg", 3, 1);
}

#[test]
#[cfg(feature = "kafka")]
fn windows_over_kafka_are_the_answer_over_all_records_after_kills() {
    streams("stream-kafka-window-pg", 3, 0);
}

#[test]
#[cfg(feature = "kafka")]
fn two_topics_that_meet_are_the_answer_over_all_records_after_kills() {
    streams("stream-kafka-join-pg", 3, 0);
}

#[test]
fn messages_of_nats_are_in_postgres_once_over_kills() {
    streams("stream-nats-pg", 3, 1);
}

#[test]
fn entries_of_redis_are_in_the_files_once_over_kills() {
    streams("stream-redis-parquet", 3, 1);
}

#[test]
fn messages_of_rabbitmq_are_in_postgres_by_key_over_kills() {
    streams("stream-rabbitmq-pg-upsert", 3, 0);
}

#[test]
fn messages_of_mqtt_are_in_postgres_and_none_is_lost_over_kills() {
    streams("stream-mqtt-pg", 3, 1);
}

/// Its server takes too long to start: `cargo nextest run --workspace --features weir/pulsar --test crash --run-ignored only -E
/// 'test(pulsar)'`.
#[test]
#[ignore = "more than a minute"]
#[cfg(feature = "pulsar")]
fn messages_of_pulsar_are_in_postgres_once_over_kills() {
    streams("stream-pulsar-pg", 3, 0);
}

#[test]
fn a_large_transaction_comes_in_one_piece_and_is_not_held_in_memory() {
    let options = large::LargeOptions { weir: env!("CARGO_BIN_EXE_weir").into(), rows: 1_000_000, chatty: true };
    let report = large::run(&options).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.peak_aside_bytes > 10 << 20, "it was not streamed: {report:?}");
}

#[test]
fn under_a_steady_load_the_log_is_let_go() {
    let options = soak::SoakOptions {
        weir: env!("CARGO_BIN_EXE_weir").into(),
        from: cdc::System::Postgres,
        to: cdc::System::Postgres,
        duration: std::time::Duration::from_secs(10),
        rate: 50,
        rows: 1_000,
        every: std::time::Duration::from_secs(1),
        seed: 20_130_101,
        chatty: true,
    };
    let report = soak::run(&options).unwrap_or_else(|error| panic!("{error:#}"));
    let kept = report.wal_retained_bytes.unwrap();
    assert!(report.transactions > 100 && kept.max < 64 << 20, "{} transactions, {kept:?}", report.transactions);
}
