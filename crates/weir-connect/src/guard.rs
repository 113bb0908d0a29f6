//! What the connectors of this process may touch: addresses and files.
//!
//! On the command line nothing is refused: the user's own rights are the limit. A run of the platform is a process of its own, for one tenant; it
//! installs a guard before anything else, once, for good. Every connector asks it at three places: before it connects
//! ([`Guard::resolve`], [`Guard::permit_url`]), before it opens a path ([`Guard::root`], [`Guard::file`]), and before it
//! uses credentials that belong to the machine ([`Guard::is_open`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use url::Url;
pub use weir_egress::Policy;
use weir_error::{Error, Kind, Result};

/// The limits of a process.
#[derive(Debug)]
pub struct Guard {
    file_root: Option<PathBuf>,
    egress: Policy,
}

static OPEN: Guard = Guard { file_root: None, egress: Policy::open() };
static INSTALLED: OnceLock<Guard> = OnceLock::new();

/// Installs the guard of this process. The root must exist. A second call is an error: a guard is never loosened.
pub fn install(file_root: &Path, egress: Policy) -> Result<()> {
    let root = file_root.canonicalize().map_err(|error| Error::from(error).at(file_root.display().to_string()))?;
    let guard = Guard { file_root: Some(root), egress };
    INSTALLED.set(guard).map_err(|_| Error::internal("the guard of this process is installed already"))
}

/// The guard in effect; open unless one was installed.
pub fn current() -> &'static Guard {
    INSTALLED.get().unwrap_or(&OPEN)
}

impl Guard {
    /// Whether nothing is refused.
    pub fn is_open(&self) -> bool {
        self.file_root.is_none() && self.egress.is_open()
    }

    /// The folder that all local paths must lie in, canonical; `None` = anywhere.
    pub fn root(&self) -> Option<&Path> {
        self.file_root.as_deref()
    }

    /// A file that an option names beside the data (a certificate): itself if it may be read, after links are followed. Relative paths start at the
    /// root.
    pub fn file(&self, path: &Path) -> Result<PathBuf> {
        let Some(root) = &self.file_root else { return Ok(path.to_owned()) };
        let real = root.join(path).canonicalize().map_err(|error| Error::from(error).at(path.display().to_string()));
        match real {
            Ok(real) if real.starts_with(root) => Ok(real),
            // What lies outside is nobody's business, not even whether it exists.
            _ => Err(Error::new("WEIR-GUARD-001", Kind::NotFound, format!("there is no file `{}`", path.display()))
                .hint("paths start at the tenant's folder and cannot lead out of it; or write the PEM text itself")),
        }
    }

    /// A local socket is outside of every tenant's reach.
    pub fn permit_local_socket(&self, path: &str) -> Result<()> {
        match self.file_root {
            None => Ok(()),
            Some(_) => {
                Err(Error::new("WEIR-GUARD-002", Kind::Privilege, "the platform does not let pipelines use local sockets")
                    .at(path)
                    .hint("name a host"))
            }
        }
    }

    /// What can be said of a URL before its host is resolved; see [`Policy::permit_url`].
    pub fn permit_url(&self, url: &Url) -> Result<()> {
        if self.egress.is_open() { Ok(()) } else { self.egress.permit_url(url) }
    }

    /// The addresses of a host that may be connected to. The caller connects to these and does not resolve again.
    pub async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Result<Vec<SocketAddr>>> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
        Ok(self.egress.permitted(bare, port, found.iter().map(SocketAddr::ip)).map(|_| found))
    }
}
