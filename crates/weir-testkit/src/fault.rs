//! A TCP proxy that misbehaves on command: cuts, stalls, slows down or refuses, between a client and a real server.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};

#[derive(Default)]
struct State {
    refuse: AtomicBool,
    delay_us: AtomicU64,
    /// Bytes from the server that may still pass before everything is cut; `u64::MAX` = no limit.
    budget: AtomicU64,
    bytes_down: AtomicU64,
    accepted: AtomicUsize,
    open: AtomicUsize,
    changed: Notify,
}

/// Stands before one server on a port of its own. Dropping it cuts every connection.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    /// Counts the cuts; a connection ends when it grows.
    cuts: watch::Sender<u64>,
    /// While true nothing is forwarded, and nothing is closed: the half-open connection.
    stalled: watch::Sender<bool>,
    _stop: oneshot::Sender<()>,
}

impl FaultProxy {
    /// A proxy to `target` (`host:port`).
    pub fn to(target: impl ToSocketAddrs) -> Result<Self> {
        let target = target.to_socket_addrs()?.next().context("no address to forward to")?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { budget: AtomicU64::new(u64::MAX), ..State::default() });
        let (cuts, cut_seen) = watch::channel(0);
        let (stalled, stall_seen) = watch::channel(false);
        let (_stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (shared, cut_sender) = (state.clone(), cuts.clone());
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                let accept = async {
                    while let Ok((client, _)) = listener.accept().await {
                        if shared.refuse.load(Ordering::SeqCst) {
                            reset(&client);
                            continue;
                        }
                        let link = Link {
                            state: shared.clone(),
                            cut: cut_seen.clone(),
                            stall: stall_seen.clone(),
                            cutter: cut_sender.clone(),
                        };
                        shared.accepted.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(link.serve(client, target));
                    }
                };
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        Ok(Self { address, state, cuts, stalled, _stop })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port where clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Resets every open connection, both sides, as a dying server does.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Lets `bytes` more come from the server, then resets every connection; new ones pass.
    pub fn cut_after_bytes(&self, bytes: u64) {
        self.state.budget.store(bytes, Ordering::SeqCst);
    }

    /// While true, new connections are reset at once.
    pub fn refuse(&self, refuse: bool) {
        self.state.refuse.store(refuse, Ordering::SeqCst);
    }

    /// While true, nothing passes in either direction and nothing is closed.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Holds back each chunk (up to 16 KiB) by this much.
    pub fn delay(&self, delay: Duration) {
        self.state.delay_us.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Bytes that came from the server so far.
    pub fn bytes_down(&self) -> u64 {
        self.state.bytes_down.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Waits until at least `bytes` have come from the server.
    pub async fn passed(&self, bytes: u64) {
        loop {
            let changed = self.state.changed.notified();
            if self.bytes_down() >= bytes {
                return;
            }
            // The timer covers a chunk that passed between the look and the wait.
            let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
        }
    }
}

struct Link {
    state: Arc<State>,
    cut: watch::Receiver<u64>,
    stall: watch::Receiver<bool>,
    cutter: watch::Sender<u64>,
}

impl Link {
    async fn serve(mut self, mut client: TcpStream, target: SocketAddr) {
        self.cut.mark_unchanged();
        let Ok(mut server) = TcpStream::connect(target).await else {
            reset(&client);
            return;
        };
        self.state.open.fetch_add(1, Ordering::SeqCst);
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let state = self.state.clone();
        {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut cut = self.cut.clone();
            let up = pump(&self, &mut from_client, &mut to_server, false);
            let down = pump(&self, &mut from_server, &mut to_client, true);
            tokio::select! {
                _ = cut.changed() => { }
                () = async { tokio::join!(up, down); } => {
                    state.open.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
            }
        }
        reset(&client);
        reset(&server);
        state.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn pump(link: &Link, from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin), down: bool) {
    let mut buffer = vec![0_u8; 16 * 1024];
    let mut stall = link.stall.clone();
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        if stall.wait_for(|stalled| !stalled).await.is_err() {
            break;
        }
        let delay = link.state.delay_us.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_micros(delay)).await;
        }
        let mut pass = read;
        if down {
            let budget = link.state.budget.load(Ordering::SeqCst);
            if budget != u64::MAX {
                pass = read.min(usize::try_from(budget).unwrap_or(usize::MAX));
                link.state.budget.store(budget - pass as u64, Ordering::SeqCst);
            }
        }
        if down {
            // Before the client has them: who got a byte finds it counted.
            link.state.bytes_down.fetch_add(pass as u64, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..pass]).await.is_err() {
            break;
        }
        if down {
            link.state.changed.notify_waiters();
            if pass < read || link.state.budget.load(Ordering::SeqCst) == 0 {
                link.state.budget.store(u64::MAX, Ordering::SeqCst);
                let _ = to.flush().await;
                link.cutter.send_modify(|n| *n += 1);
                std::future::pending::<()>().await;
            }
        }
    }
    let _ = to.shutdown().await;
}

/// Makes the close of `stream` a reset.
fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(std::mem::size_of::<libc::linger>()).unwrap_or(8);
    // SAFETY: the descriptor is open, and the option's value and size are those of `linger`.
    #[allow(unsafe_code)]
    unsafe {
        use std::os::fd::AsRawFd;
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut copy = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut stream, &mut copy);
                    let _ = copy.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        address
    }

    fn say(stream: &mut std::net::TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text)?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back)?;
        Ok(back)
    }

    fn connect(proxy: &FaultProxy) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    #[test]
    fn bytes_pass_until_the_cut_which_is_a_reset() {
        let proxy = FaultProxy::to(echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(say(&mut stream, b"hello").unwrap(), b"hello");
        assert_eq!((proxy.bytes_down(), proxy.accepted(), proxy.open()), (5, 1, 1));
        proxy.cut();
        let error = stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(say(&mut connect(&proxy), b"again").unwrap(), b"again");
    }

    #[test]
    fn a_byte_budget_cuts_in_the_middle_of_a_message() {
        let proxy = FaultProxy::to(echo()).unwrap();
        proxy.cut_after_bytes(3);
        let mut stream = connect(&proxy);
        let mut got = Vec::new();
        stream.write_all(b"hello").unwrap();
        let end = stream.read_to_end(&mut got);
        assert!(end.is_err(), "the end must be a reset, not an orderly close");
        assert!(b"hel".starts_with(&got), "{got:?}");
        assert_eq!(proxy.bytes_down(), 3);
    }

    #[test]
    fn a_stalled_connection_is_open_but_silent_and_goes_on_later() {
        let proxy = FaultProxy::to(echo()).unwrap();
        let mut stream = connect(&proxy);
        say(&mut stream, b"x").unwrap();
        proxy.stall(true);
        stream.write_all(b"late").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let error = stream.read(&mut [0; 4]).unwrap_err();
        assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
        proxy.stall(false);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"late");
    }

    #[test]
    fn a_refusing_proxy_answers_nobody() {
        let proxy = FaultProxy::to(echo()).unwrap();
        proxy.refuse(true);
        assert!(say(&mut connect(&proxy), b"hello").is_err());
        assert_eq!(proxy.accepted(), 0);
    }
}
