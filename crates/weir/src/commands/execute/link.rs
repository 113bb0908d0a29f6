//! Which engine run belongs to which run of the platform.
//!
//! An attempt may die after the engine has recorded success and before the worker has heard of it. The next attempt must not begin anew then,
//! or rows would be appended twice. So the engine's run id is written down, durably, before the engine can record an end; the next attempt
//! looks first whether that run has come to its end.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use weir_engine::store::StateStore;
use weir_error::{Error, Result};

/// Links of runs that ended are of no use; none waits this long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The link of one run of the platform.
pub struct Link {
    folder: PathBuf,
    path: PathBuf,
}

impl Link {
    /// Of the run with that id, in the job's state folder.
    pub fn of(state_dir: &Path, run_id: &str) -> Result<Self> {
        if run_id.is_empty() || !run_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(Error::internal("a run's id cannot name a file"));
        }
        let folder = state_dir.join("runs");
        fs::create_dir_all(&folder).map_err(|error| at(error, &folder))?;
        Ok(Self { path: folder.join(run_id), folder })
    }

    /// The report of an attempt that came to its end and could not say so.
    pub async fn finished(&self, state_dir: &Path) -> Result<Option<Value>> {
        let engine_run = match fs::read_to_string(&self.path) {
            Ok(text) => text.trim().to_string(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(error, &self.path)),
        };
        StateStore::open(state_dir).await?.final_report(&engine_run).await
    }

    /// Links the run to the engine's; durable when this returns.
    pub fn write(&self, engine_run: &str) -> Result<()> {
        let new = self.path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(engine_run.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, &self.path)).map_err(|error| at(error, &self.path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|error| at(error, &self.folder))?;
        self.forget_old();
        Ok(())
    }

    fn forget_old(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > KEPT) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn at(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).at(path.display().to_string())
}
