//! Gets Apache Pulsar: the whole distribution from Maven Central.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::install_once;
use crate::java::fetch_artifact;
use crate::process::run_checked;

/// The version: the newest whose distribution Maven Central carries.
pub const VERSION: &str = "4.0.8";

/// The distribution's folder; 245 MB are downloaded when it is missing, 250 MB kept.
pub fn home() -> Result<PathBuf> {
    let dir = install_once(&format!("pulsar-{VERSION}"), |dir| {
        fetch_artifact(dir, &format!("org.apache.pulsar:pulsar-server-distribution:{VERSION}:tar.gz:bin"))?;
        let archive = dir.join(format!("pulsar-server-distribution-{VERSION}-bin.tar.gz"));
        run_checked(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(dir))?;
        std::fs::remove_file(archive)?;
        Ok(())
    })?;
    Ok(dir.join(format!("apache-pulsar-{VERSION}")))
}
