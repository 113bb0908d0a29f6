//! What the API server asks a kubelet: `GET /containerLogs/NAMESPACE/POD/CONTAINER`, over TLS.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Parts, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};

use crate::process::run_checked;

/// The logs of all containers, by the path of their Pod.
#[derive(Debug, Clone, Default)]
pub(super) struct Logs {
    all: Arc<Mutex<HashMap<String, Arc<Log>>>>,
}

#[derive(Debug)]
struct Log {
    /// Time and text.
    lines: Mutex<Vec<(String, Vec<u8>)>>,
    /// How many lines, and how many pipes still write.
    state: watch::Sender<(usize, usize)>,
}

/// One of the pipes that write a log. The log is whole when all are dropped.
pub(super) struct Writer(Arc<Log>);

impl Writer {
    pub(super) fn line(&self, text: &[u8]) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((now(), text.to_vec()));
        let count = lines.len();
        self.0.state.send_modify(|state| state.0 = count);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.1 -= 1);
    }
}

impl Logs {
    pub(super) fn begin(&self, pod: &str) {
        let log = Log { lines: Mutex::default(), state: watch::channel((0, 0)).0 };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.to_owned(), Arc::new(log));
    }

    pub(super) fn writer(&self, pod: &str) -> Writer {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Log { lines: Mutex::default(), state: watch::channel((0, 0)).0 });
        let log = all.entry(pod.to_owned()).or_insert_with(fresh).clone();
        log.state.send_modify(|state| state.1 += 1);
        Writer(log)
    }

    /// Whether nothing more comes.
    pub(super) fn whole(&self, pod: &str) -> bool {
        self.find(pod).is_none_or(|log| log.state.borrow().1 == 0)
    }

    fn find(&self, pod: &str) -> Option<Arc<Log>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(pod).cloned()
    }
}

/// RFC 3339 with nanoseconds, UTC.
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (secs, nanos) = (since.as_secs(), since.subsec_nanos());
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Howard Hinnant's days_from_civil, the other way round.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Serves until the runtime ends; its port on 127.0.0.1.
pub(super) async fn serve(home: &Path, logs: Logs) -> Result<u16> {
    let (certificate, key) = (home.join("kubelet.crt"), home.join("kubelet.key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kubelet", "-keyout"]).arg(&key);
    run_checked(command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"]).arg(&certificate))?;
    let chain = vec![CertificateDer::from_pem_file(&certificate).map_err(|error| anyhow::anyhow!("{error}"))?];
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| anyhow::anyhow!("{error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(chain, key).context("the kubelet's certificate")?;
    let listener = Tls { listener: TcpListener::bind(("127.0.0.1", 0)).await?, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let port = listener.listener.local_addr()?.port();
    let app = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(log)).with_state(logs);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, from)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn log(
    State(logs): State<Logs>,
    Parts((namespace, pod, _)): Parts<(String, String, String)>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let Some(log) = logs.find(&format!("/api/v1/namespaces/{namespace}/pods/{pod}")) else {
        return (StatusCode::BAD_REQUEST, "container is waiting to start").into_response();
    };
    let is = |key: &str| asked.get(key).is_some_and(|value| value == "true");
    let (follow, times) = (is("follow"), is("timestamps"));
    let since = asked.get("sinceTime").cloned().unwrap_or_default();
    let state = log.state.subscribe();
    let pieces = futures::stream::unfold((0_usize, false), move |(mut at, over)| {
        let (log, since, mut state) = (log.clone(), since.clone(), state.clone());
        async move {
            if over {
                return None;
            }
            let (_, writers) = *state.borrow_and_update();
            let mut text = Vec::new();
            {
                let lines = log.lines.lock().unwrap_or_else(PoisonError::into_inner);
                for (time, line) in &lines[at..] {
                    // The API server gives whole seconds: the same second is given again.
                    if time.get(..19) < since.get(..19) {
                        continue;
                    }
                    if times {
                        text.extend_from_slice(time.as_bytes());
                        text.push(b' ');
                    }
                    text.extend_from_slice(line);
                    text.push(b'\n');
                }
                at = lines.len();
            }
            let over = writers == 0 || !follow;
            if text.is_empty() && !over {
                let _ = state.changed().await;
            }
            Some((Ok::<_, io::Error>(Bytes::from(text)), (at, over)))
        }
    });
    Body::from_stream(pieces).into_response()
}
