//! Java servers from Maven Central: their jars come through Maven, once, into the cache. The largest of them run one at a time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{FileLock, cache_dir};
use crate::process::run_checked;

/// The dependency plugin, pinned like everything else.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

const NEEDED: &str = "this server is a Java program: install a JDK 17 or later and Maven (`scripts/setup.sh test`)";

/// Copies the jars of `coordinates` (`group:artifact:version`) and of all they need into `dir/lib`.
pub(crate) fn resolve_jars(dir: &Path, coordinates: &[&str]) -> Result<()> {
    let mut dependencies = String::new();
    for coordinate in coordinates {
        let mut parts = coordinate.splitn(3, ':');
        let (group, artifact, version) = (parts.next(), parts.next(), parts.next());
        let (Some(group), Some(artifact), Some(version)) = (group, artifact, version) else {
            anyhow::bail!("`{coordinate}` is not group:artifact:version");
        };
        dependencies.push_str(&format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        ));
    }
    let pom = dir.join("pom.xml");
    std::fs::write(
        &pom,
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>weir.invalid</groupId>\
             <artifactId>server</artifactId><version>1</version><dependencies>\n{dependencies}</dependencies></project>\n"
        ),
    )?;
    maven(dir, &[&format!("{PLUGIN}:copy-dependencies"), &format!("-DoutputDirectory={}", dir.join("lib").display())])
}

/// Copies one artifact (`group:artifact:version:type:classifier`) into `dir`.
pub(crate) fn fetch_artifact(dir: &Path, coordinate: &str) -> Result<()> {
    maven(dir, &[&format!("{PLUGIN}:copy"), &format!("-Dartifact={coordinate}"), &format!("-DoutputDirectory={}", dir.display())])
}

fn maven(dir: &Path, args: &[&str]) -> Result<()> {
    run_checked(Command::new("mvn").args(["-B", "-q"]).args(args).current_dir(dir)).context(NEEDED)?;
    Ok(())
}

/// The Java program: `$JAVA_HOME`'s, or the one on the path.
pub(crate) fn java() -> PathBuf {
    match std::env::var_os("JAVA_HOME").filter(|v| !v.is_empty()) {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => PathBuf::from("java"),
    }
}

/// The turn of one large engine: others that want to start wait until this one has stopped, on the whole machine.
pub(crate) fn turn() -> Result<FileLock> {
    let locks = cache_dir()?.join("locks");
    std::fs::create_dir_all(&locks)?;
    FileLock::acquire(&locks.join("large-engine.lock"))
}

/// Whether an HTTP GET on this port of 127.0.0.1 answers 200 with a body that has `wanted` in it.
pub(crate) fn answers(port: u16, path: &str, wanted: &str) -> bool {
    use std::io::{Read, Write};
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let limit = std::time::Duration::from_secs(5);
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, limit) else { return false };
    let _ = stream.set_read_timeout(Some(limit));
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let _ = stream.take(65_536).read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.split("\r\n").next().is_some_and(|line| line.contains(" 200")) && text.contains(wanted)
}
