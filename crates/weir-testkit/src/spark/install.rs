//! Gets Apache Spark: the whole of it is PyPI's `pyspark`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::install_once;
use crate::java::fetch_artifact;
use crate::process::run_checked;

/// The version.
pub const VERSION: &str = "4.3.0";

/// What `SPARK_HOME` shall be; 460 MB are downloaded when it is missing, and pip needs minutes to unpack them.
pub fn home() -> Result<PathBuf> {
    let dir = install_once(&format!("spark-{VERSION}"), |dir| {
        let site = dir.join("site");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--target"]);
        run_checked(pip.arg(&site).arg(format!("pyspark=={VERSION}")))?;
        anyhow::ensure!(site.join("pyspark/bin/spark-submit").is_file(), "pip has brought no spark-submit");
        // JDBC wants a driver; what lies among the jars needs no `--jars`.
        fetch_artifact(&site.join("pyspark/jars"), "org.postgresql:postgresql:42.7.13").context("the JDBC driver of PostgreSQL")
    })?;
    Ok(dir.join("site/pyspark"))
}
