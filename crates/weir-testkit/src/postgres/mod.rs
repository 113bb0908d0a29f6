//! A real PostgreSQL for tests: one for the whole run, or one of one's own to kill.
//!
//! `url()`s are of the superuser `postgres`, who needs no password; [`PostgresServer::password_url`] is of a role that
//! does. Durability is off unless asked for: a `kill -9` of the server loses nothing all the same, because the
//! operating system keeps what was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

mod database;
pub mod install;
pub(crate) mod tls;

pub use database::Database;
pub use install::{SCRAM_PASSWORD, SCRAM_ROLE, Version};

use crate::process::{ServerProcess, Spawn, accepts, free_port, run_checked, signal};
use crate::shared::{Started, open_tempdir, shared};

/// How a server of one's own shall be.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    version: Version,
    tls: bool,
    settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// Another version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Accept TLS connections only, with a certificate for `localhost` and 127.0.0.1 of an authority made for this server.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Adds a line to `postgresql.conf`; the value is quoted.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<PostgresServer> {
        let dir = open_tempdir("weir-postgres-")?;
        let (process, facts) = launch(&self, dir.path(), false)?;
        Ok(PostgresServer { facts, owned: Some(Owned { process: Some(process), dir }) })
    }
}

/// What every user of a server must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    port: u16,
    bin: PathBuf,
    home: PathBuf,
    tls: bool,
    base_url: Option<String>,
}

#[derive(Debug)]
struct Owned {
    process: Option<ServerProcess>,
    #[allow(dead_code)]
    dir: tempfile::TempDir,
}

/// A running PostgreSQL. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct PostgresServer {
    facts: Facts,
    owned: Option<Owned>,
}

impl PostgresServer {
    /// The server of this test run; started by whoever asks first. `WEIR_TEST_POSTGRES_URL` (a superuser's URL with a
    /// database) names one that is already there. Use [`PostgresServer::create_database`]: others use it too.
    pub fn shared() -> Result<Self> {
        if let Some(url) = std::env::var("WEIR_TEST_POSTGRES_URL").ok().filter(|v| !v.is_empty()) {
            let facts =
                Facts { port: 0, bin: install::bin_dir(Version::System)?, home: PathBuf::new(), tls: false, base_url: Some(url) };
            return Ok(Self { facts, owned: None });
        }
        let facts = shared("postgres", |home| {
            let (process, facts) = launch(&Self::options(), home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGQUIT, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A server of one's own, from the system's packages.
    pub fn start() -> Result<Self> {
        Self::options().start()
    }

    /// A server of one's own of that major version: 18 comes from PyPI, others must be the system's.
    pub fn version(major: u32) -> Result<Self> {
        let version = if major == 18 { Version::V18 } else { Version::System };
        let server = Self::options().version(version).start()?;
        let said = run_checked(Command::new(server.facts.bin.join("postgres")).arg("--version"))?;
        if !said.contains(&format!(" {major}.")) {
            bail!("asked for PostgreSQL {major}, found {}", said.trim());
        }
        Ok(server)
    }

    /// Options of a server of one's own.
    pub fn options() -> PostgresOptions {
        PostgresOptions { version: Version::System, tls: false, settings: Vec::new() }
    }

    /// The superuser's URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The superuser's URL of any database.
    pub fn url_of(&self, database: &str) -> String {
        if let Some(base) = &self.facts.base_url {
            let (before, query) = base.split_once('?').map_or((base.as_str(), ""), |(b, q)| (b, q));
            let stem = before.rfind('/').filter(|at| before[..*at].contains("://") && !before[..*at].ends_with('/'));
            let joined = format!("{}/{database}", stem.map_or(before, |at| &before[..at]));
            return if query.is_empty() { joined } else { format!("{joined}?{query}") };
        }
        let mode = if self.facts.tls { "?sslmode=require" } else { "" };
        format!("postgresql://postgres@127.0.0.1:{}/{database}{mode}", self.facts.port)
    }

    /// The URL of a role that must give a password; the right one is [`SCRAM_PASSWORD`].
    pub fn password_url(&self, database: &str, password: &str) -> String {
        let escaped: String = password
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
            .collect();
        format!("postgresql://{SCRAM_ROLE}:{escaped}@127.0.0.1:{}/{database}", self.facts.port)
    }

    /// Its port on 127.0.0.1 (0 when it was named by the environment).
    pub fn port(&self) -> u16 {
        self.facts.port
    }

    /// The certificate authority's PEM file of a TLS server.
    pub fn ca_certificate(&self) -> PathBuf {
        self.facts.home.join("tls/ca.crt")
    }

    /// The folder of `psql` and the other programs.
    pub fn bin_dir(&self) -> &Path {
        &self.facts.bin
    }

    /// What the server wrote to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.facts.home.join("log")).unwrap_or_default()
    }

    /// A server that follows this one, from 17 on with the slots that are to outlive it; it shares this one's programs, so it must not outlive it.
    pub fn standby(&self) -> Result<Self> {
        let dir = open_tempdir("weir-postgres-")?;
        let user = install::server_user()?;
        let mut backup = Command::new(self.facts.bin.join("pg_basebackup"));
        backup.arg("-d").arg(format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.facts.port));
        backup.arg("-D").arg(dir.path().join("data")).args(["-R", "-X", "stream", "-c", "fast", "-C", "-S", "standby"]);
        backup.current_dir(dir.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = user {
            use std::os::unix::process::CommandExt;
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid))?;
            backup.uid(uid).gid(gid);
        }
        run_checked(&mut backup)?;
        let options = Self::options().set("hot_standby_feedback", "on").set("sync_replication_slots", "on");
        let facts = Facts { port: free_port()?, home: dir.path().to_owned(), ..self.facts.clone() };
        configure(&options, &facts)?;
        let process = run_server(&facts, false)?;
        Ok(Self { facts, owned: Some(Owned { process: Some(process), dir }) })
    }

    /// A new, empty database with a name of its own.
    pub fn create_database(&self) -> Result<Database> {
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        Database::create(&self.url(), self.url_of(&name), name)
    }

    /// Kills the server and all its backends at once, as a power cut would.
    pub fn kill_9(&mut self) -> Result<()> {
        let Some(process) = self.owned()?.process.as_mut() else { return Ok(()) };
        let children = children_of(process.pid());
        process.kill_9()?;
        for pid in &children {
            signal(*pid, libc::SIGKILL)?;
        }
        crate::wait_until("PostgreSQL's backends are gone", Duration::from_secs(20), || {
            !children.iter().any(|p| crate::process::is_alive(*p))
        })?;
        self.owned()?.process = None;
        Ok(())
    }

    /// Stops it cleanly ("fast": open transactions are rolled back).
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.owned()?.process.take() {
            process.stop(libc::SIGINT, Duration::from_secs(20))?;
        }
        Ok(())
    }

    /// Stops it if it runs, and starts it again on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let facts = self.facts.clone();
        self.owned()?.process = Some(run_server(&facts, false)?);
        Ok(())
    }

    fn owned(&mut self) -> Result<&mut Owned> {
        self.owned.as_mut().context("the shared server is not this test's to stop; start one with PostgresServer::start()")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(Owned { process: Some(process), .. }) = &mut self.owned {
            let _ = process.stop(libc::SIGQUIT, Duration::from_secs(5));
        }
    }
}

fn launch(options: &PostgresOptions, home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let bin = install::reachable_bin_dir(options.version, home)?;
    let data = home.join("data");
    install::make_cluster(&bin, &data)?;
    if options.tls {
        tls::make_certificates(&home.join("tls"), install::server_user()?)?;
    }
    // A port that was free may be taken when the server binds it: then the next one.
    let mut last = None;
    for _ in 0..5 {
        let facts = Facts { port: free_port()?, bin: bin.clone(), home: home.to_owned(), tls: options.tls, base_url: None };
        configure(options, &facts)?;
        match run_server(&facts, detached) {
            Ok(process) => return Ok((process, facts)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A server in `home` that survives this process; its process and URL.
pub(crate) fn start_detached(version: Version, home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(&PostgresServer::options().version(version), home, true)?;
    let url = PostgresServer { facts, owned: None }.url();
    Ok((process.leave_running(), url))
}

fn configure(options: &PostgresOptions, facts: &Facts) -> Result<()> {
    let data = facts.home.join("data");
    let mut conf = format!(
        "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nmax_connections = 100\n\
         wal_level = logical\nmax_wal_senders = 24\nmax_replication_slots = 24\nmax_prepared_transactions = 16\n\
         fsync = off\nfull_page_writes = off\ntimezone = 'UTC'\nlog_timezone = 'UTC'\nlogging_collector = off\nlog_statement = 'none'\n",
        facts.port
    );
    let mut kind = "host";
    if facts.tls {
        let tls = facts.home.join("tls");
        conf += &format!("ssl = on\nssl_cert_file = '{0}/server.crt'\nssl_key_file = '{0}/server.key'\n", tls.display());
        kind = "hostssl";
    }
    for (key, value) in &options.settings {
        conf += &format!("{key} = '{}'\n", value.replace('\'', "''"));
    }
    fs::write(data.join("postgresql.conf"), conf)?;
    let hba = format!(
        "{kind} all {SCRAM_ROLE} 127.0.0.1/32 scram-sha-256\n{kind} all all 127.0.0.1/32 trust\n{kind} replication all 127.0.0.1/32 trust\n"
    );
    fs::write(data.join("pg_hba.conf"), hba)?;
    Ok(())
}

fn run_server(facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let log = facts.home.join("log");
    let mut command = Command::new(facts.bin.join("postgres"));
    command.arg("-D").arg(facts.home.join("data")).current_dir(&facts.home).env("LC_ALL", "C");
    let how = Spawn { user: install::server_user()?, detached };
    let mut process = ServerProcess::spawn("PostgreSQL", &mut command, &log, how)?;
    let ready = facts.bin.join("pg_isready");
    process.wait_ready(&log, Duration::from_secs(60), || {
        accepts(facts.port)
            && run_checked(Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p"]).arg(facts.port.to_string())).is_ok()
    })?;
    Ok(process)
}

/// The processes whose parent is `pid`.
fn children_of(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is_child = |candidate: &u32| {
        let stat = fs::read_to_string(format!("/proc/{candidate}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&pid.to_string())
    };
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}
