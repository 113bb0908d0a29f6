//! Sets of GTIDs, judged by the server's own functions, and as the log says them.

use uuid::Uuid;

use super::*;

#[tokio::test]
async fn sets_are_compared_and_subtracted_as_the_server_does() {
    let database = database_of(Flavor::MySql);
    let sources = [Uuid::from_u128(1), Uuid::from_u128(u128::MAX - 5), Uuid::new_v4()];
    let random = || {
        let mut set = GtidSet::default();
        for _ in 0..rand::random_range(0..8) {
            let first = rand::random_range(1..40);
            set.add_interval(sources[rand::random_range(0..3)], first, first + rand::random_range(0..12));
        }
        set
    };
    let pairs: Vec<(GtidSet, GtidSet)> = (0..300).map(|_| (random(), random())).collect();
    let asked: Vec<String> =
        pairs.iter().map(|(a, b)| format!("SELECT GTID_SUBSET('{a}', '{b}'), GTID_SUBTRACT('{a}', '{b}')")).collect();
    let answers = database.rows(asked.join(" UNION ALL ")).unwrap();
    for ((a, b), answer) in pairs.iter().zip(answers) {
        assert_eq!(a.is_subset_of(b), answer[0].as_deref() == Some("1"), "{a} in {b}");
        assert_eq!(a.subtract(b), answer[1].as_deref().unwrap().parse().unwrap(), "{a} without {b}");
    }
}

/// What was executed before and what the log says since make what is executed now.
#[tokio::test]
async fn the_gtids_of_the_log_are_those_of_the_server() {
    let server = MysqlServer::start(Flavor::MySql).unwrap();
    let database = server.create_database().unwrap();
    let executed = || database.value("SELECT @@global.gtid_executed").unwrap().parse::<GtidSet>().unwrap();
    let before = executed();
    for sql in ["CREATE TABLE t (i INT)", "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", "FLUSH LOGS", "DROP TABLE t"] {
        database.execute(sql).unwrap();
    }
    let events = everything(&database, StartAt::Gtid(before.clone())).await;
    let mut seen = before.clone();
    for event in &events {
        match &event.body {
            Body::Gtid { uuid, gno, commit } => {
                assert!(!before.contains(*uuid, *gno), "a transaction that was asked not to come");
                assert!(commit.committed_at_us.unwrap() > 1_600_000_000_000_000 && commit.length.unwrap() > 100);
                seen.add(*uuid, *gno);
            }
            Body::PreviousGtids(set) => assert!(set.is_subset_of(&executed())),
            _ => {}
        }
    }
    assert_eq!(seen, executed());
}

#[tokio::test]
async fn a_position_of_mariadb_is_gone_on_from() {
    let server = MysqlServer::start(Flavor::MariaDb).unwrap();
    let database = server.create_database().unwrap();
    let now = || database.value("SELECT @@gtid_binlog_pos").unwrap().parse::<MariaGtidList>().unwrap();
    database
        .execute("CREATE TABLE t (i INT); SET gtid_domain_id = 7; INSERT INTO t VALUES (1); SET gtid_domain_id = 0; INSERT INTO t VALUES (2)")
        .unwrap();
    let before = now();
    assert_eq!(before.iter().count(), 2);
    database
        .execute(
            "INSERT INTO t VALUES (3); SET gtid_domain_id = 7; INSERT INTO t VALUES (4); FLUSH LOGS; INSERT INTO t VALUES (5)",
        )
        .unwrap();
    let events = everything(&database, StartAt::Maria(before.clone())).await;
    let mut list = before.clone();
    let mut started = 0;
    for event in &events {
        if let Body::MariaGtid(transaction) = &event.body {
            assert!(!before.covers(transaction.gtid));
            started += 1;
            list.add(transaction.gtid);
        }
    }
    assert_eq!((list, started), (now(), 5));
    assert_eq!(of_table(&events, &database, "t").len(), 3);
    let ddl: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::MariaGtid(transaction) => Some((transaction.ddl, transaction.standalone)),
            _ => None,
        })
        .collect();
    assert_eq!(ddl, [(false, false), (false, false), (false, false), (true, true), (false, false)]);
}
