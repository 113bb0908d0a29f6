//! A database server to kill, with one database at a time: the tables, what their triggers remember, and what is asked of them. The same for a
//! source and for a target.

use std::time::Duration;

use anyhow::{Context, Result};

use super::history::Histories;
use crate::mysql::Flavor;
use crate::{Database, MysqlDatabase, MysqlServer, PostgresServer};

/// Which family of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// PostgreSQL, the system's.
    Postgres,
    /// MySQL 8.0.
    Mysql,
    /// MariaDB 10.11.
    MariaDb,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Mysql, Self::MariaDb];

    /// In the names of suites.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "pg",
            Self::Mysql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    /// The connector that writes into it; the one that reads its log is called so with `-cdc`.
    pub(super) fn connector(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }
}

/// `v` is a number that is never used twice. `past` is what the trigger saw: the key's new `v`, or NULL when the row went.
const POSTGRES: &str = "
CREATE TABLE t (id bigint PRIMARY KEY, v bigint NOT NULL, small text, large text);
ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
CREATE TABLE past (at bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bigint NOT NULL, v bigint);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN INSERT INTO public.past (id, v) VALUES (OLD.id, NULL); RETURN OLD; END IF;
  IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN INSERT INTO public.past (id, v) VALUES (OLD.id, NULL); END IF;
  INSERT INTO public.past (id, v) VALUES (NEW.id, NEW.v); RETURN NEW;
END $$;
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION remember()";
const MYSQL: [&str; 5] = [
    "CREATE TABLE t (id bigint PRIMARY KEY, v bigint NOT NULL, small longtext, `large` longtext)",
    "CREATE TABLE past (at bigint AUTO_INCREMENT PRIMARY KEY, id bigint NOT NULL, v bigint)",
    "CREATE TRIGGER made AFTER INSERT ON t FOR EACH ROW INSERT INTO past (id, v) VALUES (NEW.id, NEW.v)",
    "CREATE TRIGGER gone AFTER DELETE ON t FOR EACH ROW INSERT INTO past (id, v) VALUES (OLD.id, NULL)",
    "CREATE TRIGGER changed AFTER UPDATE ON t FOR EACH ROW BEGIN \
     IF OLD.id <> NEW.id THEN INSERT INTO past (id, v) VALUES (OLD.id, NULL); END IF; \
     INSERT INTO past (id, v) VALUES (NEW.id, NEW.v); END",
];

enum Server {
    Postgres(PostgresServer),
    Mysql(MysqlServer),
}

enum At {
    Postgres(Database),
    Mysql(MysqlDatabase),
}

/// A server of one's own and its database of the moment.
pub(super) struct Site {
    pub system: System,
    server: Server,
    at: At,
}

impl Site {
    /// Starts the server; the tables are there, empty.
    pub fn start(system: System) -> Result<Self> {
        let flavor = match system {
            System::Postgres => {
                let server = PostgresServer::options().set("max_wal_size", "256MB").set("checkpoint_timeout", "30s").start()?;
                let at = At::Postgres(server.create_database()?);
                return Self { system, server: Server::Postgres(server), at }.with_tables();
            }
            System::Mysql => Flavor::MySql,
            System::MariaDb => Flavor::MariaDb,
        };
        // Rounds throw the log away; what one round writes stays below a few gigabytes.
        let server = MysqlServer::options(flavor).set("max-binlog-size", "64M").start()?;
        let at = At::Mysql(server.create_database()?);
        Self { system, server: Server::Mysql(server), at }.with_tables()
    }

    fn with_tables(self) -> Result<Self> {
        match &self.at {
            At::Postgres(database) => database.execute(POSTGRES)?,
            At::Mysql(database) => MYSQL.iter().try_for_each(|sql| database.execute(*sql))?,
        }
        Ok(self)
    }

    /// Throws the database away, with what the server kept of its log, and makes a new one.
    pub fn renew(self) -> Result<Self> {
        let Self { system, server, at } = self;
        let at = match (&server, at) {
            (Server::Postgres(server), At::Postgres(old)) => {
                let admin = Database::at(server.url());
                let slots = format!("FROM pg_replication_slots WHERE database = '{}'", old.name());
                crate::wait_until("nobody reads the slot any more", Duration::from_secs(20), || {
                    admin.execute(format!("SELECT pg_drop_replication_slot(slot_name) {slots}")).is_ok()
                })?;
                admin.execute(format!("DROP DATABASE {} WITH (FORCE)", old.name()))?;
                At::Postgres(server.create_database()?)
            }
            (Server::Mysql(server), At::Mysql(old)) => {
                old.execute(format!("DROP DATABASE {}", old.name()))?;
                let admin = MysqlDatabase::at(server.url_of("mysql"));
                admin.execute("FLUSH BINARY LOGS")?;
                admin.execute("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")?;
                At::Mysql(server.create_database()?)
            }
            (_, at) => at,
        };
        Self { system, server, at }.with_tables()
    }

    /// Of the database.
    pub fn url(&self) -> &str {
        match &self.at {
            At::Postgres(database) => database.url(),
            At::Mysql(database) => database.url(),
        }
    }

    /// How a pipeline names the table.
    pub fn table(&self) -> &'static str {
        match self.system {
            System::Postgres => "public.t",
            System::Mysql | System::MariaDb => "t",
        }
    }

    pub fn execute(&self, sql: String) -> Result<()> {
        match &self.at {
            At::Postgres(database) => database.execute(sql),
            At::Mysql(database) => database.execute(sql),
        }
    }

    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        match &self.at {
            At::Postgres(database) => database.rows(sql),
            At::Mysql(database) => database.rows(sql),
        }
    }

    /// Rows `1..=rows` with large values that no later update needs to touch.
    pub fn fill(&self, rows: u64) -> Result<()> {
        match self.system {
            System::Postgres => self
                .execute(format!("INSERT INTO t SELECT g, -g, 'first', repeat('large', 600) FROM generate_series(1, {rows}) g")),
            System::Mysql | System::MariaDb => (1..=rows).step_by(1000).try_for_each(|first| {
                let last = rows.min(first + 999);
                let values: Vec<String> =
                    (first..=last).map(|id| format!("({id}, -{id}, 'first', REPEAT('large', 600))")).collect();
                self.execute(format!("INSERT INTO t VALUES {}", values.join(", ")))
            }),
        }
    }

    /// The last thing that the trigger saw.
    pub fn last(&self) -> Result<u64> {
        let row = self.rows("SELECT max(at) FROM past")?;
        row.first().and_then(|row| row.first().cloned()).flatten().map_or(Ok(0), |text| Ok(text.parse()?))
    }

    /// All rows, by key.
    pub fn table_rows(&self) -> Result<Vec<Vec<Option<String>>>> {
        self.rows("SELECT id, v, small, md5(large) FROM t ORDER BY id")
    }

    /// Takes the triggers away: nobody will ask for histories.
    pub fn without_histories(&self) -> Result<()> {
        match self.system {
            System::Postgres => self.execute("DROP TRIGGER remember ON t".into()),
            System::Mysql | System::MariaDb => {
                ["made", "gone", "changed"].iter().try_for_each(|name| self.execute(format!("DROP TRIGGER {name}")))
            }
        }
    }

    /// Bytes of the log that a slot keeps at the server.
    pub fn log_kept(&self) -> Result<Option<u64>> {
        if self.system != System::Postgres {
            return Ok(None);
        }
        let rows =
            self.rows("SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint FROM pg_replication_slots")?;
        Ok(rows.first().and_then(|row| row.first().cloned()).flatten().map(|text| text.parse()).transpose()?)
    }

    /// What happened to each key, in order.
    pub fn histories(&self) -> Result<Histories> {
        const PAGE: usize = 100_000;
        let mut histories = Histories::new();
        let mut after = 0;
        loop {
            let rows = self.rows(&format!("SELECT at, id, v FROM past WHERE at > {after} ORDER BY at LIMIT {PAGE}"))?;
            for row in &rows {
                let number = |at: usize| row[at].as_deref().map(str::parse::<i64>).transpose();
                after = number(0)?.context("a place")?;
                histories.entry(number(1)?.context("an id")?).or_default().push(number(2)?);
            }
            if rows.len() < PAGE {
                return Ok(histories);
            }
        }
    }

    /// Ends the server, at once (as a power cut would) or cleanly, and starts it again.
    pub fn restart(&mut self, at_once: bool) -> Result<()> {
        match &mut self.server {
            Server::Postgres(server) => {
                if at_once {
                    server.kill_9()?;
                }
                server.restart()
            }
            Server::Mysql(server) => {
                if at_once {
                    server.kill_9()?;
                }
                server.restart()
            }
        }
    }
}
