//! Gets Apache Ignite: its jars from Maven Central.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::install_once;
use crate::java::resolve_jars;

/// The version. 2.18.0 is not whole on Maven Central (no REST module).
pub const VERSION: &str = "2.17.0";

/// The folder whose `lib` has the jars; about 30 MB, downloaded when missing.
pub fn home() -> Result<PathBuf> {
    install_once(&format!("ignite-{VERSION}"), |dir| {
        let modules = ["ignite-core", "ignite-rest-http", "ignite-indexing", "ignite-spring", "ignite-slf4j"];
        let coordinates: Vec<String> = modules.iter().map(|module| format!("org.apache.ignite:{module}:{VERSION}")).collect();
        resolve_jars(dir, &coordinates.iter().map(String::as_str).collect::<Vec<_>>())
    })
}
