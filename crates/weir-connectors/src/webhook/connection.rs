//! Sockets with a deadline: who holds a connection without sending requests on it, or sends one byte a minute, is cut off.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Accepts as many connections as may be open at once.
pub(super) struct Listener {
    listener: TcpListener,
    open: Arc<Semaphore>,
    idle: Duration,
}

impl Listener {
    pub(super) fn new(listener: TcpListener, max_connections: usize, idle: Duration) -> Self {
        Self { listener, open: Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS))), idle }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        loop {
            // Closed never: the semaphore is ours.
            let Ok(permit) = self.open.clone().acquire_owned().await else { return std::future::pending().await };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let deadline = Deadline::new(self.idle);
                    let sleep = Box::pin(tokio::time::sleep(self.idle));
                    return (Io { stream, deadline, sleep, _permit: permit }, peer);
                }
                Err(error) => {
                    tracing::debug!(target: "weir::webhook", "a connection was not accepted: {error}");
                    // Out of file handles, most often: others must end first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// When a connection must be done with what it does.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    at: Arc<Mutex<Instant>>,
    idle: Duration,
}

impl Deadline {
    fn new(idle: Duration) -> Self {
        Self { at: Arc::new(Mutex::new(Instant::now() + idle)), idle }
    }

    fn at(&self) -> Instant {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has begun.
    pub(super) fn within(&self, patience: Duration) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + patience;
    }

    /// It was answered.
    pub(super) fn idle(&self) {
        self.within(self.idle);
    }
}

impl Connected<IncomingStream<'_, Listener>> for Deadline {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().deadline.clone()
    }
}

/// A connection.
pub(super) struct Io {
    stream: TcpStream,
    deadline: Deadline,
    sleep: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Io {
    /// An error when the time is over; otherwise the task is woken then.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let at = self.deadline.at();
            if at <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.sleep.deadline() != at {
                self.sleep.as_mut().reset(at);
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                return Ok(());
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
