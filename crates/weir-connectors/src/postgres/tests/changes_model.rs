//! The model of changes (see `crate::changes::model`) on real servers.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use weir_connect::{ChangeWriter, DeleteMode, Sink, StreamSink, StreamTarget, WriteMode};
use weir_testkit::{Database, PostgresServer};

use super::super::changes::PENDING_LIMIT;
use super::{database, server_lines, sink};
use crate::changes::model::{Scene, dice, follow, log};
use crate::changes::seeds::{changes_target, schema};

struct Run<'a> {
    database: &'a Database,
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
        server_lines(self.database, &format!("SELECT id, a, b::text, {deleted} FROM {}", self.table))
    }
}

fn check(database: &Database, cases: u32, table: &str, unique: bool) {
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
        let run = Run { database, table: name.clone(), sink: sink.clone(), mode, deletes };
        let checked = runtime.block_on(follow(&run, deletes, &log(&dice, unique)));
        database.execute(format!("DROP TABLE {name}")).unwrap();
        checked
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

const PLAIN: &str = "(id bigint PRIMARY KEY, a text, b text)";

#[test]
fn the_target_is_what_the_log_says_after_every_flush_and_every_crash() {
    check(&database(), 60, PLAIN, false);
}

#[test]
fn and_so_it_is_when_the_server_must_parse_the_values() {
    check(&database(), 20, "(id bigint PRIMARY KEY, a text, b cidr)", false);
}

#[test]
fn and_when_the_table_is_partitioned() {
    let database = database();
    // Partitions are made by the table's own name, so there is one function that makes them.
    database
        .execute(
            "CREATE FUNCTION parts() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made record; BEGIN \
             FOR made IN SELECT objid::regclass::text AS name FROM pg_event_trigger_ddl_commands() c JOIN pg_class p ON p.oid = c.objid \
             WHERE c.command_tag = 'CREATE TABLE' AND p.relkind = 'p' LOOP \
             EXECUTE format('CREATE TABLE %I PARTITION OF %s FOR VALUES FROM (0) TO (4)', made.name || '_low', made.name); \
             EXECUTE format('CREATE TABLE %I PARTITION OF %s DEFAULT', made.name || '_high', made.name); END LOOP; END $$; \
             CREATE EVENT TRIGGER parts ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION parts()",
        )
        .unwrap();
    check(&database, 20, "(id bigint PRIMARY KEY, a text, b text) PARTITION BY RANGE (id)", false);
}

#[test]
fn values_that_must_be_unique_may_go_from_row_to_row() {
    check(&database(), 40, "(id bigint PRIMARY KEY, a text UNIQUE, b text, made text GENERATED ALWAYS AS (a || b) STORED)", true);
}

#[test]
fn all_of_it_on_the_newest_server() {
    let server = PostgresServer::version(18).unwrap();
    let database = server.create_database().unwrap();
    check(&database, 20, PLAIN, false);
    check(&database, 20, "(id bigint PRIMARY KEY, a text UNIQUE, b text)", true);
}
