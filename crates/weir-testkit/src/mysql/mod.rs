//! A real MariaDB or MySQL for tests: one for the whole run, or one of one's own to kill.
//!
//! `url()`s are of the user `weir`, who may do everything and needs no password; [`PASSWORD_USER`] needs one. The binlog is on, in rows, with GTIDs.
//! A `kill -9` of the server loses nothing, because the operating system keeps what was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

mod database;
pub mod install;

pub use database::MysqlDatabase;

use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, open_tempdir, shared};

/// Which family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavor {
    /// The system's MariaDB.
    MariaDb,
    /// MySQL 8.0.33 from Maven Central.
    MySql,
}

impl Flavor {
    /// For files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        }
    }
}

/// A user with every privilege who must give [`PASSWORD`].
pub const PASSWORD_USER: &str = "weir_password";
/// The password of [`PASSWORD_USER`].
pub const PASSWORD: &str = "correct horse";

/// How a server of one's own shall be.
#[derive(Debug, Clone)]
pub struct MysqlOptions {
    flavor: Flavor,
    tls: bool,
    settings: Vec<(String, String)>,
}

impl MysqlOptions {
    /// With a certificate for `localhost` and 127.0.0.1 of an authority made for this server.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Adds a line to the server's configuration.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<MysqlServer> {
        let dir = open_tempdir("weir-mysql-")?;
        let (process, facts) = launch(&self, dir.path(), false)?;
        Ok(MysqlServer { facts, owned: Some(Owned { process: Some(process), dir }) })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    flavor: Flavor,
    port: u16,
    server: PathBuf,
    home: PathBuf,
}

#[derive(Debug)]
struct Owned {
    process: Option<ServerProcess>,
    #[allow(dead_code)]
    dir: tempfile::TempDir,
}

/// A running server. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct MysqlServer {
    facts: Facts,
    owned: Option<Owned>,
}

impl MysqlServer {
    /// The server of this test run; started by whoever asks first. Use [`MysqlServer::create_database`]: others use it too.
    pub fn shared(flavor: Flavor) -> Result<Self> {
        let facts = shared(flavor.name(), |home| {
            let (process, facts) = launch(&Self::options(flavor), home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A server of one's own.
    pub fn start(flavor: Flavor) -> Result<Self> {
        Self::options(flavor).start()
    }

    /// Options of a server of one's own.
    pub fn options(flavor: Flavor) -> MysqlOptions {
        MysqlOptions { flavor, tls: false, settings: Vec::new() }
    }

    /// Its family.
    pub fn flavor(&self) -> Flavor {
        self.facts.flavor
    }

    /// The administrator's URL of any database.
    pub fn url_of(&self, database: &str) -> String {
        format!("mysql://weir@127.0.0.1:{}/{database}", self.facts.port)
    }

    /// The URL of a user that must give a password; the right one is [`PASSWORD`].
    pub fn password_url(&self, database: &str, password: &str) -> String {
        let escaped: String = password
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
            .collect();
        format!("mysql://{PASSWORD_USER}:{escaped}@127.0.0.1:{}/{database}", self.facts.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.facts.port
    }

    /// The certificate authority's PEM file of a TLS server.
    pub fn ca_certificate(&self) -> PathBuf {
        self.facts.home.join("tls/ca.crt")
    }

    /// What the server wrote to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.facts.home.join("log")).unwrap_or_default()
    }

    /// A new, empty database with a name of its own.
    pub fn create_database(&self) -> Result<MysqlDatabase> {
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        MysqlDatabase::create(&self.url_of("mysql"), self.url_of(&name), name)
    }

    /// Kills the server at once, as a power cut would.
    pub fn kill_9(&mut self) -> Result<()> {
        self.owned()?.process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Stops it cleanly.
    pub fn stop(&mut self) -> Result<()> {
        self.owned()?.process.take().map_or(Ok(()), |mut process| process.stop(libc::SIGTERM, Duration::from_secs(30)))
    }

    /// Stops it if it runs, and starts it again on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let facts = self.facts.clone();
        self.owned()?.process = Some(run_server(&facts, false)?);
        Ok(())
    }

    fn owned(&mut self) -> Result<&mut Owned> {
        self.owned.as_mut().context("the shared server is not this test's to stop; start one with MysqlServer::start()")
    }
}

impl Drop for MysqlServer {
    fn drop(&mut self) {
        if let Some(Owned { process: Some(process), .. }) = &mut self.owned {
            let _ = process.kill_9();
        }
    }
}

fn launch(options: &MysqlOptions, home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let programs = install::reachable(options.flavor, home)?;
    let user = install::server_user()?;
    install::make_data(options.flavor, &programs, &home.join("data"))?;
    let run = home.join("run");
    fs::create_dir_all(&run)?;
    if let Some((uid, gid)) = user {
        crate::cache::chown(&run, uid, gid)?;
    }
    if options.tls {
        crate::postgres::tls::make_certificates(&home.join("tls"), user)?;
    }
    // A port that was free may be taken when the server binds it: then the next one.
    let mut last = None;
    for _ in 0..3 {
        let facts = Facts { flavor: options.flavor, port: free_port()?, server: programs.server.clone(), home: home.to_owned() };
        configure(options, &programs, &facts)?;
        match run_server(&facts, detached) {
            Ok(process) => return Ok((process, facts)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A server in `home` that survives this process; its process and URL.
pub(crate) fn start_detached(flavor: Flavor, home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(&MysqlServer::options(flavor), home, true)?;
    let url = MysqlServer { facts, owned: None }.url_of("mysql");
    Ok((process.leave_running(), url))
}

fn configure(options: &MysqlOptions, programs: &install::Programs, facts: &Facts) -> Result<()> {
    let home = facts.home.display();
    let mut conf = format!(
        "[mysqld]\ndatadir={home}/data\nsocket={home}/run/sock\npid-file={home}/run/pid\ninit-file={home}/init.sql\nbind-address=127.0.0.1\n\
         port={}\nskip-name-resolve\nserver-id=1\nlog-bin=binlog\nbinlog-format=ROW\nbinlog-row-image=FULL\nbinlog-row-metadata=FULL\n\
         innodb-buffer-pool-size=64M\ninnodb-flush-log-at-trx-commit=2\nsync-binlog=0\nmax-connections=300\nlocal-infile=ON\n\
         max-allowed-packet=64M\ndefault-time-zone=+02:00\nsecure-file-priv=\n",
        facts.port
    );
    match options.flavor {
        Flavor::MariaDb => conf += "gtid-strict-mode=ON\n",
        Flavor::MySql => {
            conf += "mysqlx=OFF\ngtid-mode=ON\nenforce-gtid-consistency=ON\n";
            if let Some(base) = &programs.base {
                conf += &format!("basedir={0}\nlc-messages-dir={0}/share\n", base.display());
            }
        }
    }
    if options.tls {
        conf += &format!("ssl-ca={home}/tls/ca.crt\nssl-cert={home}/tls/server.crt\nssl-key={home}/tls/server.key\n");
    }
    for (key, value) in &options.settings {
        conf += &format!("{key}={value}\n");
    }
    fs::write(facts.home.join("my.cnf"), conf)?;
    fs::write(
        facts.home.join("init.sql"),
        format!(
            "CREATE USER IF NOT EXISTS 'weir'@'%';\nGRANT ALL ON *.* TO 'weir'@'%' WITH GRANT OPTION;\n\
             CREATE USER IF NOT EXISTS '{PASSWORD_USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO '{PASSWORD_USER}'@'%' WITH GRANT OPTION;\n"
        ),
    )?;
    Ok(())
}

fn run_server(facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let log = facts.home.join("log");
    let mut command = Command::new(&facts.server);
    command.arg(format!("--defaults-file={}", facts.home.join("my.cnf").display())).current_dir(&facts.home);
    let how = Spawn { user: install::server_user()?, detached };
    let mut process = ServerProcess::spawn(facts.flavor.name(), &mut command, &log, how)?;
    let url = format!("mysql://weir@127.0.0.1:{}/mysql", facts.port);
    process.wait_ready(&log, Duration::from_secs(120), || database::execute_at(&url, "DO 1".into()).is_ok())?;
    Ok(process)
}
