//! A real Apache Spark: `spark-submit` of its Python package, which runs a job in a process of its own (`local[1]`). Nothing runs between the jobs.

use std::path::PathBuf;

use anyhow::Result;

pub mod install;

use crate::cache::FileLock;
use crate::java::turn;

/// An installed Spark, and the turn to use it. Only one large engine runs at a time.
#[derive(Debug)]
pub struct Spark {
    home: PathBuf,
    _turn: FileLock,
}

impl Spark {
    /// Waits for the turn.
    pub fn take() -> Result<Self> {
        let home = install::home()?;
        Ok(Self { home, _turn: turn()? })
    }

    /// What `SPARK_HOME` shall be.
    pub fn home(&self) -> PathBuf {
        self.home.clone()
    }
}
