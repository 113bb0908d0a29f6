//! Whoever changes the source: transactions of random changes, until told to stop. They connect again when the server was restarted.
//!
//! Two at once. One has a few keys that it changes all the time, with savepoints, key changes and transactions that are rolled back; the other changes
//! keys from anywhere and now and then leaves its transaction open for a while, so that transactions lie across each other in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::site::{Site, System};
use crate::{Database, MysqlDatabase};

pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<()>>,
}

/// What all writers share.
struct Source {
    system: System,
    url: String,
    keys: i64,
    /// The next `v`.
    next: AtomicU64,
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    /// Between two transactions of a writer, on average, in microseconds.
    pause_us: u64,
}

impl Writers {
    /// Keys are `1..=2 * rows`. Without a `rate` in transactions per second they go as fast as the server lets them, with short pauses.
    pub fn start(site: &Site, rows: u64, seed: u64, rate: Option<u64>) -> Result<Self> {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let source = Source {
            system: site.system,
            url: site.url().to_owned(),
            keys: i64::try_from(rows)?.max(1),
            next: AtomicU64::new(1),
            stop: stop.clone(),
            committed: committed.clone(),
            pause_us: rate.map_or(2000, |rate| 2_000_000 / rate.max(1)),
        };
        let paced = rate.is_some();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let writers =
                    [true, false].map(|hot| source.write(hot, paced, StdRng::seed_from_u64(seed ^ 0x5eed ^ u64::from(hot))));
                futures::future::join_all(writers).await;
            });
            Ok(())
        });
        Ok(Self { stop, committed, thread })
    }

    /// Transactions that were committed.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the writer died"))?
    }
}

/// A session that changes the source.
enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

impl Session {
    async fn run(&mut self, sql: String) -> Result<()> {
        match self {
            Self::Postgres(client) => Ok(client.batch_execute(&sql).await?),
            Self::Mysql(client) => Ok(client.query_drop(sql).await?),
        }
    }
}

impl Source {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn write(&self, hot: bool, paced: bool, mut rng: StdRng) {
        while !self.stopped() {
            // A server that restarts ends the connection, and so does a deadlock; the next transaction is a new one.
            let _ = self.transactions(hot, paced, &mut rng).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn transactions(&self, hot: bool, paced: bool, rng: &mut StdRng) -> Result<()> {
        let mut session = match self.system {
            System::Postgres => Session::Postgres(Database::at(&self.url).client().await?),
            System::Mysql | System::MariaDb => Session::Mysql(MysqlDatabase::at(&self.url).client().await?),
        };
        let mut due = tokio::time::Instant::now();
        while !self.stopped() {
            let mut sql = String::from("BEGIN;");
            let changes = if hot { rng.random_range(1..12) } else { rng.random_range(1..4) };
            for _ in 0..changes {
                self.change(hot, rng, &mut sql);
            }
            if !hot && !paced && rng.random_bool(0.05) {
                session.run(std::mem::take(&mut sql)).await?;
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
                self.change(hot, rng, &mut sql);
            }
            let commits = rng.random_bool(0.9);
            sql.push_str(if commits { "COMMIT" } else { "ROLLBACK" });
            session.run(sql).await?;
            self.committed.fetch_add(u64::from(commits), Ordering::Relaxed);
            let pause = Duration::from_micros(rng.random_range(0..2 * self.pause_us));
            // At a rate the time that a transaction took is no pause on top.
            due = if paced {
                (due + pause).max(tokio::time::Instant::now() - Duration::from_secs(1))
            } else {
                tokio::time::Instant::now() + pause
            };
            tokio::time::sleep_until(due).await;
        }
        Ok(())
    }

    fn change(&self, hot: bool, rng: &mut StdRng, sql: &mut String) {
        let v = self.next.fetch_add(1, Ordering::Relaxed);
        let few = hot && rng.random_bool(0.7);
        let key = |rng: &mut StdRng| if few { rng.random_range(1..=40) } else { rng.random_range(1..=2 * self.keys) };
        let (id, other) = (key(rng), key(rng));
        let postgres = self.system == System::Postgres;
        // Over 2 KiB, so that PostgreSQL keeps it out of the row.
        let large = format!("repeat('{v:09}', 260)");
        sql.push_str(&match rng.random_range(0..10) {
            0..4 if postgres => format!(
                "INSERT INTO t VALUES ({id}, {v}, 's{v}', {large}) ON CONFLICT (id) DO UPDATE SET v = excluded.v, small = excluded.small;"
            ),
            0..4 => format!(
                "INSERT INTO t VALUES ({id}, {v}, 's{v}', {large}) ON DUPLICATE KEY UPDATE v = VALUES(v), small = VALUES(small);"
            ),
            4..7 => format!("UPDATE t SET v = {v}, small = 'u{v}' WHERE id = {id};"),
            7 => format!("UPDATE t SET v = {v}, large = {large} WHERE id = {id};"),
            8 => format!("DELETE FROM t WHERE id = {id};"),
            _ if postgres => format!(
                "UPDATE t SET id = {other}, v = {v} WHERE id = {id} AND NOT EXISTS (SELECT FROM t WHERE id = {other});"
            ),
            _ => format!("UPDATE IGNORE t SET id = {other}, v = {v} WHERE id = {id};"),
        });
        if rng.random_bool(0.05) {
            sql.push_str(&format!("SAVEPOINT s; DELETE FROM t WHERE id = {id}; ROLLBACK TO SAVEPOINT s;"));
        }
    }
}
