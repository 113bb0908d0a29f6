//! Gets what Kafka Connect runs beside Kafka's own jars: Debezium's connector of PostgreSQL, and Kafka's connectors of files.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::install_once;
use crate::java::{fetch_artifact, resolve_jars};
use crate::kafka;
use crate::process::run_checked;

/// The newest connector of PostgreSQL that Maven Central carries.
pub const DEBEZIUM: &str = "3.7.0.Final";

/// The folder of plug-ins; 6 MB are downloaded when it is missing.
pub fn plugins() -> Result<PathBuf> {
    install_once(&format!("connect-plugins-{}-{DEBEZIUM}", kafka::install::VERSION), |dir| {
        let (down, files) = (dir.join("down"), dir.join("files"));
        for folder in [&down, &files] {
            std::fs::create_dir_all(folder)?;
        }
        fetch_artifact(&down, &format!("io.debezium:debezium-connector-postgres:{DEBEZIUM}:tar.gz:plugin"))?;
        for archive in std::fs::read_dir(&down)? {
            run_checked(Command::new("tar").arg("-xzf").arg(archive?.path()).arg("-C").arg(dir))?;
        }
        std::fs::remove_dir_all(&down)?;
        resolve_jars(&files, &[&format!("org.apache.kafka:connect-file:{}", kafka::install::VERSION)])
    })
}
