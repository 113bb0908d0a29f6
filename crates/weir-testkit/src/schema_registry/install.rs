//! Gets Apicurio Registry: the whole application from Maven Central.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::install_once;
use crate::java::fetch_artifact;
use crate::process::run_checked;

/// The version: the newest that runs on Java 17 and whose parent is there too.
pub const VERSION: &str = "2.6.13.Final";

/// The application's jar, with its libraries beside it; 142 MB are downloaded when it is missing, 150 MB kept.
pub fn jar() -> Result<PathBuf> {
    let dir = install_once(&format!("apicurio-registry-{VERSION}"), |dir| {
        fetch_artifact(dir, &format!("io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"))?;
        let archive = dir.join(format!("apicurio-registry-app-{VERSION}-all.tar.gz"));
        run_checked(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(dir))?;
        std::fs::remove_file(archive)?;
        Ok(())
    })?;
    Ok(dir.join(format!("apicurio-registry-app-{VERSION}-runner.jar")))
}
