//! What the connectors of this process may touch: addresses and files.
//!
//! On the command line nothing is refused: the user's own rights are the limit. A run of the platform is a process of its own, for one tenant; it
//! installs a guard before anything else, once, for good. Every connector asks it at three places: before it connects
//! ([`Guard::resolve`], [`Guard::permit_url`]), before it opens a path ([`Guard::files`], [`Guard::file`]), and before it
//! uses credentials that belong to the machine ([`Guard::is_open`]).

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use url::Url;
pub use weir_egress::Policy;
use weir_error::{Error, Kind, Result, Secret};

/// Where the files are that paths of a pipeline mean.
#[derive(Debug)]
pub enum Files {
    /// Wherever the user may go.
    Anywhere,
    /// In this folder, and no path leads out of it.
    Below(PathBuf),
    /// In this part of a bucket; nothing on the local disk can be named.
    Bucket(Bucket),
}

/// A part of a bucket that holds one tenant's files. The platform names it, never a pipeline: its address is not subject to the egress policy.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Address of the service; `None` = AWS.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without slashes at the ends; never empty.
    pub prefix: String,
    /// Access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
}

/// The limits of a process.
#[derive(Debug)]
pub struct Guard {
    files: Files,
    egress: Policy,
}

static OPEN: Guard = Guard { files: Files::Anywhere, egress: Policy::open() };
static INSTALLED: OnceLock<Guard> = OnceLock::new();

/// Installs the guard of this process. A folder must exist. A second call is an error: a guard is never loosened.
pub fn install(files: Files, egress: Policy) -> Result<()> {
    let files = match files {
        Files::Below(root) => {
            Files::Below(root.canonicalize().map_err(|error| Error::from(error).at(root.display().to_string()))?)
        }
        Files::Bucket(bucket) if bucket.prefix.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            return Err(Error::internal("a tenant's part of a bucket has no proper prefix"));
        }
        other => other,
    };
    INSTALLED.set(Guard { files, egress }).map_err(|_| Error::internal("the guard of this process is installed already"))
}

/// The guard in effect; open unless one was installed.
pub fn current() -> &'static Guard {
    INSTALLED.get().unwrap_or(&OPEN)
}

impl Guard {
    /// Whether nothing is refused.
    pub fn is_open(&self) -> bool {
        matches!(self.files, Files::Anywhere) && self.egress.is_open()
    }

    /// Where the files are that paths mean. A folder is canonical.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// A file that an option names beside the data (a certificate): itself if it may be read, after links are followed. Relative paths start at the
    /// root.
    pub fn file(&self, path: &Path) -> Result<PathBuf> {
        let root = match &self.files {
            Files::Anywhere => return Ok(path.to_owned()),
            Files::Below(root) => root,
            Files::Bucket(_) => {
                return Err(Error::new(
                    "WEIR-GUARD-003",
                    Kind::Unsupported,
                    "this platform keeps files in a bucket, so no option can name one",
                )
                .at(path.display().to_string())
                .hint("write the PEM text itself in its place, or store it as a secret and write {{name}}"));
            }
        };
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
        match self.files {
            Files::Anywhere => Ok(()),
            Files::Below(_) | Files::Bucket(_) => {
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

    /// Whether a request may go to a URL. Hosts that are written as addresses are never resolved by a client, so they are asked for here; it also says
    /// properly what a resolver could only say as a failed connection. A name that does not resolve is the client's to report.
    pub async fn permit_request(&self, url: &Url) -> Result<()> {
        if self.egress.is_open() {
            return Ok(());
        }
        self.permit_url(url)?;
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => self.resolve(host, port).await.map_or(Ok(()), |found| found.map(|_| ())),
            _ => Ok(()),
        }
    }

    /// Whether a port may be opened to receive on. Where the platform has a policy, only on an address of the machine or of a private network
    /// that the policy allows with its port.
    pub fn permit_listen(&self, address: SocketAddr) -> Result<()> {
        if self.egress.is_open() {
            return Ok(());
        }
        let ip = address.ip();
        let inner = match ip {
            std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
            std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
        };
        if inner && self.egress.permit(&ip.to_string(), ip, address.port()).is_ok() {
            return Ok(());
        }
        Err(Error::new("WEIR-GUARD-004", Kind::Privilege, "the platform does not let pipelines open ports")
            .at(address.to_string())
            .hint("run the pipeline with `weir run`, or let an administrator allow this very address and port with WEIR_EGRESS_ALLOW"))
    }

    /// Whether a connection to this very address may be made, for clients that resolve names themselves.
    pub fn permit_address(&self, host: &str, address: IpAddr, port: u16) -> Result<()> {
        if self.egress.is_open() { Ok(()) } else { self.egress.permit(host, address, port) }
    }

    /// The addresses of a host that may be connected to. The caller connects to these and does not resolve again.
    pub async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Result<Vec<SocketAddr>>> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        #[cfg(feature = "conformance")]
        if let Some(found) = scripted::answer(bare, port) {
            return Ok(self.egress.permitted(bare, port, found.iter().map(SocketAddr::ip)).map(|_| found));
        }
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
        Ok(self.egress.permitted(bare, port, found.iter().map(SocketAddr::ip)).map(|_| found))
    }
}

/// Names that answer otherwise each time they are asked for, as the name server of an attacker does; for tests.
#[cfg(feature = "conformance")]
pub mod scripted {
    use std::collections::{HashMap, VecDeque};
    use std::net::{IpAddr, SocketAddr};
    use std::sync::{LazyLock, Mutex, PoisonError};

    type Names = Mutex<HashMap<String, (VecDeque<IpAddr>, usize)>>;
    static NAMES: LazyLock<Names> = LazyLock::new(Names::default);

    /// From now on `host` has these addresses, one after the other; the last one stays.
    pub fn name(host: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(host.to_owned(), (addresses.into_iter().collect(), 0));
    }

    /// How often it was asked for.
    pub fn asked(host: &str) -> usize {
        NAMES.lock().unwrap_or_else(PoisonError::into_inner).get(host).map_or(0, |(_, asked)| *asked)
    }

    pub(super) fn answer(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let (addresses, asked) = names.get_mut(host)?;
        *asked += 1;
        let now = if addresses.len() > 1 { addresses.pop_front() } else { addresses.front().copied() };
        now.map(|address| vec![SocketAddr::new(address, port)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_opened_only_where_the_policy_says_so() {
        let allow = ["127.0.0.1:8080".to_owned(), "10.0.0.0/8:9000".to_owned()];
        let guard = Guard { files: Files::Anywhere, egress: Policy::public_and(&allow).unwrap() };
        for (address, may) in [
            ("127.0.0.1:8080", true),
            ("127.0.0.1:8081", false),
            ("10.1.2.3:9000", true),
            ("192.168.1.1:9000", false),
            ("0.0.0.0:8080", false),
            // A public address may be connected to, and yet not be listened on.
            ("93.184.216.34:8080", false),
        ] {
            assert_eq!(guard.permit_listen(address.parse().unwrap()).is_ok(), may, "{address}");
            assert!(OPEN.permit_listen(address.parse().unwrap()).is_ok());
        }
    }
}
