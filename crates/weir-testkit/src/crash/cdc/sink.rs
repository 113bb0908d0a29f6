//! Where changes go: a table with triggers, or files in which every change is a row.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::files;
use super::history::{self, Compared};
use super::site::{Site, System};

/// Which kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Rows of a table, by `upsert`.
    Table(System),
    /// Parquet files of changes, by `append`.
    Parquet,
}

impl To {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Table(System::Postgres), Self::Table(System::Mysql), Self::Table(System::MariaDb), Self::Parquet];

    /// In the names of suites.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table(system) => system.name(),
            Self::Parquet => "parquet",
        }
    }
}

/// A target.
pub(super) enum Sink {
    Table(Site),
    /// The folder of a table's files.
    Parquet(PathBuf),
}

impl Sink {
    /// A new one; files go below `folder`.
    pub fn start(to: To, folder: &Path) -> Result<Self> {
        Ok(match to {
            To::Table(system) => Self::Table(Site::start(system)?),
            To::Parquet => Self::Parquet(folder.join("out/t")),
        })
    }

    /// Empty again.
    pub fn renew(self, folder: &Path) -> Result<Self> {
        Ok(match self {
            Self::Table(site) => Self::Table(site.renew()?),
            Self::Parquet(_) => Self::Parquet(folder.join("out/t")),
        })
    }

    /// The pipeline's `sink`.
    pub fn yaml(&self) -> String {
        match self {
            Self::Table(site) => {
                format!("{{{}: {{url: '{}', table: {}}}}}", site.system.connector(), site.url(), site.table())
            }
            Self::Parquet(_) => {
                "{file: {path: 'out/{table}', write_mode: append, roll_secs: 1, roll_rows: 2000, target_file_size: 1MiB}}".into()
            }
        }
    }

    /// Grows with what is visible.
    pub fn seen(&self) -> Result<u64> {
        match self {
            Self::Table(site) => site.last(),
            Self::Parquet(folder) => files::flushed(folder),
        }
    }

    /// The server, if it has one that can be restarted.
    pub fn server(&mut self) -> Option<&mut Site> {
        match self {
            Self::Table(site) => Some(site),
            Self::Parquet(_) => None,
        }
    }

    /// The target holds what the source has, and has got it in its order.
    pub fn compare(&self, source: &Site) -> Result<Compared> {
        match self {
            Self::Table(site) => {
                history::same_rows(&source.table_rows()?, &site.table_rows()?)?;
                history::in_order(&source.histories()?, &site.histories()?)
            }
            Self::Parquet(folder) => history::complete(&source.histories()?, &files::histories(folder)?),
        }
    }
}
