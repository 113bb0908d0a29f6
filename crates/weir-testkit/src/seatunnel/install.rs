//! Gets Apache SeaTunnel: there is no distribution on Maven Central, but its parts are; they are laid out as the distribution has them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::install_once;
use crate::java::{fetch_artifact, resolve_jars};

/// The version: the newest whose starter Maven Central carries.
pub const VERSION: &str = "2.3.4";

/// Connectors, and the names by which jobs call them.
const CONNECTORS: [(&str, &str, &str); 8] = [
    ("connector-fake", "source", "FakeSource"),
    ("connector-console", "sink", "Console"),
    ("connector-jdbc", "source", "Jdbc"),
    ("connector-jdbc", "sink", "Jdbc"),
    ("connector-file-local", "source", "LocalFile"),
    ("connector-file-local", "sink", "LocalFile"),
    ("connector-kafka", "source", "Kafka"),
    ("connector-kafka", "sink", "Kafka"),
];
/// Transforms; they are all in one jar.
const TRANSFORMS: [&str; 8] = ["Sql", "Filter", "FieldMapper", "Copy", "Replace", "Split", "FilterRowKind", "JsonPath"];

/// The folder with `connectors`, `lib` and `starter`; 140 MB are downloaded when it is missing.
pub fn home() -> Result<PathBuf> {
    install_once(&format!("seatunnel-{VERSION}-kafka"), |dir| {
        let mut wanted = vec![format!("org.apache.seatunnel:seatunnel-starter:{VERSION}")];
        for (artifact, ..) in CONNECTORS {
            let coordinate = format!("org.apache.seatunnel:{artifact}:{VERSION}");
            if !wanted.contains(&coordinate) {
                wanted.push(coordinate);
            }
        }
        resolve_jars(dir, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
        std::fs::rename(dir.join("lib"), dir.join("all")).context("Maven has brought no jars")?;
        let (lib, logging) = (dir.join("lib"), dir.join("starter/logging"));
        std::fs::create_dir_all(&lib)?;
        std::fs::create_dir_all(&logging)?;
        std::fs::create_dir_all(dir.join("connectors"))?;
        for jar in std::fs::read_dir(dir.join("all"))? {
            let jar = jar?.path();
            let name = jar.file_name().context("a jar has a name")?.to_string_lossy().into_owned();
            let place = match name.as_str() {
                name if name.starts_with("connector-") => dir.join("connectors").join(name),
                name if name.starts_with("seatunnel-starter") => dir.join("starter/seatunnel-starter.jar"),
                name if ["log4j", "slf4j", "jcl-", "disruptor"].iter().any(|of| name.starts_with(of)) => logging.join(name),
                name => lib.join(name),
            };
            std::fs::rename(&jar, place)?;
        }
        std::fs::remove_dir_all(dir.join("all"))?;
        // Without the first two the server starts and then refuses every job.
        fetch_artifact(&lib, &format!("org.apache.seatunnel:seatunnel-hadoop3-3.1.4-uber:{VERSION}:jar:optional"))?;
        fetch_artifact(&lib, "commons-lang:commons-lang:2.6")?;
        fetch_artifact(&lib, &format!("org.apache.seatunnel:seatunnel-transforms-v2:{VERSION}"))?;
        fetch_artifact(&lib, "org.postgresql:postgresql:42.7.13")?;
        std::fs::write(dir.join("connectors/plugin-mapping.properties"), mapping())
            .context("cannot write the list of plugins")?;
        check(dir)
    })
}

fn mapping() -> String {
    let connectors = CONNECTORS.iter().map(|(jar, role, name)| format!("seatunnel.{role}.{name} = {jar}\n"));
    let transforms = TRANSFORMS.iter().map(|name| format!("seatunnel.transform.{name} = seatunnel-transforms-v2\n"));
    connectors.chain(transforms).collect()
}

fn check(dir: &Path) -> Result<()> {
    anyhow::ensure!(dir.join("starter/seatunnel-starter.jar").is_file(), "Maven has brought no seatunnel-starter");
    Ok(())
}
