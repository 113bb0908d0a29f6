//! Gets Apache Flink: its jars from PyPI, where the whole distribution is, and from Maven Central the SQL gateway's and those of connectors.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::install_once;
use crate::java::fetch_artifact;
use crate::process::run_checked;

/// The version.
pub const VERSION: &str = "2.3.0";

/// The folder with the jars; 330 MB are downloaded when it is missing.
pub fn jars() -> Result<PathBuf> {
    let dir = install_once(&format!("flink-{VERSION}"), |dir| {
        let target = dir.join("site");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--target"]);
        run_checked(pip.arg(&target).arg(format!("apache-flink-libraries=={VERSION}")))?;
        std::fs::rename(target.join("pyflink/lib"), dir.join("lib"))?;
        std::fs::remove_dir_all(&target)?;
        fetch_artifact(&dir.join("lib"), &format!("org.apache.flink:flink-sql-gateway:{VERSION}"))
    })?;
    Ok(dir.join("lib"))
}

/// The folder with the jars that jobs may want: JDBC with PostgreSQL, Kafka, and Parquet, which wants Hadoop's classes and Zstandard. 80 MB are downloaded when it is
/// missing.
pub fn connectors() -> Result<PathBuf> {
    install_once(&format!("flink-connectors-{VERSION}-parquet"), |dir| {
        for coordinate in [
            "org.apache.flink:flink-connector-jdbc-core:4.0.0-2.0",
            "org.apache.flink:flink-connector-jdbc-postgres:4.0.0-2.0",
            "org.postgresql:postgresql:42.7.13",
            "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
            "org.apache.flink:flink-sql-parquet:2.3.0",
            "org.apache.hadoop:hadoop-client-api:3.4.2",
            "org.apache.hadoop:hadoop-client-runtime:3.4.2",
            "com.github.luben:zstd-jni:1.5.7-6",
        ] {
            fetch_artifact(dir, coordinate)?;
        }
        Ok(())
    })
}
