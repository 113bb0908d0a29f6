//! A replica takes over: the same transactions in another server's files.

use serde_json::json;
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::{BOTH, Follow, filled};

/// A server, a replica of it, and how the replica is made to wait for what the server has.
struct Two {
    first: MysqlServer,
    second: MysqlServer,
}

impl Two {
    fn start(flavor: Flavor) -> Self {
        let updates = if flavor == Flavor::MySql { "log-replica-updates" } else { "log-slave-updates" };
        let first = MysqlServer::start(flavor).unwrap();
        let second = MysqlServer::options(flavor).set("server-id", "2").set(updates, "ON").start().unwrap();
        let port = first.port();
        let follow = match flavor {
            Flavor::MySql => format!(
                "RESET MASTER; CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'weir', \
                 SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA"
            ),
            Flavor::MariaDb => format!(
                "RESET MASTER; SET GLOBAL gtid_slave_pos = ''; CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                 MASTER_USER = 'weir', MASTER_USE_GTID = slave_pos; START SLAVE"
            ),
        };
        Self::at(&second, "mysql").execute(follow).unwrap();
        Self { first, second }
    }

    fn at(server: &MysqlServer, database: &str) -> MysqlDatabase {
        MysqlDatabase::at(server.url_of(database))
    }

    /// Returns when the replica has everything.
    fn settle(&self) {
        let (have, wait) = match self.first.flavor() {
            Flavor::MySql => ("SELECT @@global.gtid_executed", "WAIT_FOR_EXECUTED_GTID_SET"),
            Flavor::MariaDb => ("SELECT @@global.gtid_binlog_pos", "MASTER_GTID_WAIT"),
        };
        let all = Self::at(&self.first, "mysql").value(have).unwrap().replace('\n', "");
        let waited = Self::at(&self.second, "mysql").value(format!("SELECT {wait}('{all}', 60)")).unwrap();
        assert_eq!(waited, "0", "the replica does not come along");
    }

    /// The first server is gone, and the replica is the primary.
    fn fail_over(&mut self) {
        self.first.kill_9().unwrap();
        let promote = match self.second.flavor() {
            Flavor::MySql => "STOP REPLICA; RESET REPLICA ALL",
            Flavor::MariaDb => "STOP SLAVE; RESET SLAVE ALL",
        };
        Self::at(&self.second, "mysql").execute(promote).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_gone_on_with_by_gtid() {
    for flavor in BOTH {
        let mut two = Two::start(flavor);
        let mut follow = Follow::at(&two.first, &filled(200), json!({ "tables": ["t"] }));
        follow.run().await;
        follow.database.execute("UPDATE t SET n = 1 WHERE id <= 20; UPDATE t SET n = 2 WHERE id <= 10").unwrap();
        follow.run().await;
        follow.expect("t");
        // These are read from the replica, in files of other names and lengths.
        follow
            .database
            .execute("UPDATE t SET n = 3 WHERE id <= 5; ALTER TABLE t ADD w int DEFAULT 7; DELETE FROM t WHERE id = 1")
            .unwrap();
        two.settle();
        two.fail_over();
        let name = follow.database.name().to_string();
        follow.database = Two::at(&two.second, &name);
        follow
            .database
            .execute("FLUSH BINARY LOGS; UPDATE t SET w = 8 WHERE id = 2; INSERT INTO t VALUES (900, 'new', 0, 1)")
            .unwrap();
        let reads = follow.state.ops.get("r").copied();
        follow.run().await;
        follow.expect("t");
        assert_eq!(follow.state.ops.get("r").copied(), reads, "no new snapshot");
        // And from there on as from any server.
        follow.database.execute("DELETE FROM t WHERE id % 2 = 0").unwrap();
        follow.run().await;
        follow.expect("t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_behind_is_another_history() {
    for flavor in BOTH {
        let mut two = Two::start(flavor);
        let mut follow = Follow::at(&two.first, &filled(3), json!({ "tables": ["t"] }));
        two.settle();
        let stop = if flavor == Flavor::MySql { "STOP REPLICA" } else { "STOP SLAVE" };
        Two::at(&two.second, "mysql").execute(stop).unwrap();
        follow.database.execute("UPDATE t SET n = 1").unwrap();
        follow.run().await;
        two.fail_over();
        let name = follow.database.name().to_string();
        follow.database = Two::at(&two.second, &name);
        // What was read was never there.
        let error = follow.try_run().await.unwrap_err();
        assert_eq!(error.code(), "WEIR-MY-075", "{error}");
        assert!(error.what().contains("another history"), "{error}");
    }
}
