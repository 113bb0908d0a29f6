//! Gets Apache Kafka: the broker's jars from Maven Central.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache::install_once;
use crate::java::resolve_jars;

/// The version: the newest whose tools Maven Central carries too.
pub const VERSION: &str = "4.3.1";

/// The folder with the jars; 54 MB are downloaded when it is missing.
pub fn jars() -> Result<PathBuf> {
    let dir = install_once(&format!("kafka-{VERSION}"), |dir| {
        let of = |artifact: &str| format!("org.apache.kafka:{artifact}:{VERSION}");
        let wanted = [of("kafka_2.13"), of("kafka-tools"), of("connect-runtime"), of("connect-json")];
        let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        // Without it nothing is logged at all.
        wanted.push("org.apache.logging.log4j:log4j-slf4j-impl:2.25.4");
        resolve_jars(dir, &wanted)?;
        std::fs::rename(dir.join("lib"), dir.join("libs")).context("Maven has brought no jars")
    })?;
    Ok(dir.join("libs"))
}
