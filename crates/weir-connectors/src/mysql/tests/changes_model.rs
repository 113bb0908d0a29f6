//! The model of changes (see `crate::changes::model`) on real servers.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use weir_connect::{ChangeWriter, DeleteMode, Sink, StreamSink, StreamTarget, WriteMode};
use weir_testkit::MysqlDatabase;
use weir_testkit::mysql::Flavor;

use super::super::changes::PENDING_LIMIT;
use super::{database_of, server_lines, sink};
use crate::changes::model::{Scene, dice, follow, log};
use crate::changes::seeds::{changes_target, schema};

struct Run<'a> {
    database: &'a MysqlDatabase,
    table: String,
    sink: std::sync::Arc<dyn Sink>,
    mode: WriteMode,
    deletes: DeleteMode,
}

impl Scene for Run<'_> {
    async fn open(&self) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
        let target = StreamTarget { stream: self.table.clone(), ..changes_target("r", schema(), self.mode, &["id"]) };
        let stream = self.sink.prepare(target).await.unwrap();
        let writer = stream.change_writer(self.deletes).await.unwrap();
        (stream, writer)
    }

    fn found(&self) -> Vec<String> {
        let deleted = if self.deletes == DeleteMode::Soft { "_deleted" } else { "false" };
        server_lines(self.database, &format!("SELECT id, a, b, IF({deleted}, 't', 'f') FROM {}", self.table))
    }
}

fn check(flavor: Flavor, cases: u32, table: &str, unique: bool) {
    let database = database_of(flavor);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sink = runtime.block_on(sink(database.url(), json!({ "table": "{stream}" })));
    let number = std::cell::Cell::new(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let deletes = prop_oneof![Just(DeleteMode::Hard), Just(DeleteMode::Soft), Just(DeleteMode::Ignore)];
    let deletes = if unique { Just(DeleteMode::Hard).boxed() } else { deletes.boxed() };
    let mode = prop_oneof![Just(WriteMode::Upsert), Just(WriteMode::Merge)];
    // So small that nearly every batch goes ahead of its flush, or as it is.
    let limit = prop_oneof![Just(600_usize), Just(16 << 20)];
    let result = TestRunner::new(config).run(&(dice(), deletes, mode, limit), |(dice, deletes, mode, limit)| {
        number.set(number.get() + 1);
        let name = format!("t{}", number.get());
        database.execute(format!("CREATE TABLE {name} {table}")).unwrap();
        PENDING_LIMIT.set(limit);
        let run = Run { database: &database, table: name.clone(), sink: sink.clone(), mode, deletes };
        let checked = runtime.block_on(follow(&run, deletes, &log(&dice, unique)));
        database.execute(format!("DROP TABLE {name}")).unwrap();
        checked
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

const PLAIN: &str = "(id bigint PRIMARY KEY, a text, b text)";
const UNIQUE: &str =
    "(id bigint PRIMARY KEY, a varchar(50) UNIQUE, b text, made varchar(100) AS (CONCAT(a, b)) STORED, n int DEFAULT 5)";

#[test]
fn mariadb_has_what_the_log_says_after_every_flush_and_every_crash() {
    check(Flavor::MariaDb, 30, PLAIN, false);
}

#[test]
fn mysql_has_what_the_log_says_after_every_flush_and_every_crash() {
    check(Flavor::MySql, 30, PLAIN, false);
}

#[test]
fn and_when_the_table_is_partitioned() {
    check(Flavor::MySql, 10, "(id bigint PRIMARY KEY, a text, b text) PARTITION BY HASH (id) PARTITIONS 3", false);
}

#[test]
fn values_that_must_be_unique_may_go_from_row_to_row_on_mariadb() {
    check(Flavor::MariaDb, 25, UNIQUE, true);
}

#[test]
fn values_that_must_be_unique_may_go_from_row_to_row_on_mysql() {
    check(Flavor::MySql, 25, UNIQUE, true);
}
