//! A socket that its owner can look at without being woken by it.
//!
//! A server that sends each row by itself wakes the runtime for each: a task may sleep as long as it likes, the runtime's thread that waits for all
//! sockets is woken none the less, and waking it costs the sender as much as the row. While a [`Quiet`] socket is set aside it is not among the
//! watched ones: its owner looks when it wants to ([`Switch::aside`]).

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A socket of the runtime that can leave it and come back.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Sized {
    /// The same socket outside of the runtime, not blocking.
    type Plain: Read + Write + Unpin;
    /// Out of the runtime's watch.
    fn leave(self) -> io::Result<Self::Plain>;
    /// Back into it. What has come meanwhile counts as new.
    fn come_back(plain: Self::Plain) -> io::Result<Self>;
}

impl Socket for TcpStream {
    type Plain = std::net::TcpStream;
    fn leave(self) -> io::Result<Self::Plain> {
        self.into_std()
    }
    fn come_back(plain: Self::Plain) -> io::Result<Self> {
        Self::from_std(plain)
    }
}

impl Socket for UnixStream {
    type Plain = std::os::unix::net::UnixStream;
    fn leave(self) -> io::Result<Self::Plain> {
        self.into_std()
    }
    fn come_back(plain: Self::Plain) -> io::Result<Self> {
        Self::from_std(plain)
    }
}

/// Says whether the socket is set aside; it may lie under a TLS session.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// While `true`, a read that finds nothing is pending and **nobody is woken**: poll it once, do something else, poll it again. With `false` the
    /// next poll watches the socket as usual.
    pub fn aside(&self, aside: bool) {
        self.0.store(aside, Ordering::Relaxed);
    }

    fn is_aside(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

enum Place<S: Socket> {
    Watched(S),
    Aside(S::Plain),
    /// Between the two, and after a move that failed.
    Gone,
}

/// See the module.
pub struct Quiet<S: Socket> {
    place: Place<S>,
    switch: Switch,
}

impl<S: Socket> Quiet<S> {
    /// Watched until the switch says otherwise.
    pub fn new(socket: S, switch: Switch) -> Self {
        Self { place: Place::Watched(socket), switch }
    }

    fn watched(&mut self) -> io::Result<Pin<&mut S>> {
        if matches!(self.place, Place::Aside(_))
            && let Place::Aside(plain) = std::mem::replace(&mut self.place, Place::Gone)
        {
            self.place = Place::Watched(S::come_back(plain)?);
        }
        match &mut self.place {
            Place::Watched(socket) => Ok(Pin::new(socket)),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn aside(&mut self) -> io::Result<&mut S::Plain> {
        if matches!(self.place, Place::Watched(_))
            && let Place::Watched(socket) = std::mem::replace(&mut self.place, Place::Gone)
        {
            self.place = Place::Aside(socket.leave()?);
        }
        match &mut self.place {
            Place::Aside(plain) => Ok(plain),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// Calls again what a signal has interrupted. `None`: it would have to wait.
fn at_once(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl<S: Socket> AsyncRead for Quiet<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.switch.is_aside() {
            return self.watched()?.poll_read(cx, buffer);
        }
        let plain = self.aside()?;
        match at_once(|| plain.read(buffer.initialize_unfilled()))? {
            Some(count) => {
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }
}

impl<S: Socket> AsyncWrite for Quiet<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Who writes waits until it is written, so it needs to be woken.
        if let Place::Aside(plain) = &mut self.place
            && let Some(count) = at_once(|| plain.write(bytes))?
        {
            return Poll::Ready(Ok(count));
        }
        self.watched()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.place {
            Place::Aside(plain) => Poll::Ready(plain.flush()),
            _ => self.watched()?.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair() -> (Quiet<TcpStream>, TcpStream, Switch) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let switch = Switch::default();
        (Quiet::new(ours.unwrap(), switch.clone()), theirs.unwrap().0, switch)
    }

    #[tokio::test]
    async fn what_comes_while_aside_is_there_when_somebody_looks_and_wakes_who_watches_again() {
        let (mut ours, mut theirs, switch) = pair().await;
        let mut bytes = [0; 16];
        switch.aside(true);
        assert!(futures::poll!(std::pin::pin!(ours.read(&mut bytes))).is_pending());
        theirs.write_all(b"one").await.unwrap();
        // Loopback: what was sent is there.
        let count = loop {
            if let Poll::Ready(read) = futures::poll!(std::pin::pin!(ours.read(&mut bytes))) {
                break read.unwrap();
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(&bytes[..count], b"one");
        theirs.write_all(b"two").await.unwrap();
        switch.aside(false);
        let count = ours.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], b"two");
    }

    #[tokio::test]
    async fn more_than_the_socket_takes_is_written_from_aside() {
        let (mut ours, mut theirs, switch) = pair().await;
        switch.aside(true);
        assert!(futures::poll!(std::pin::pin!(ours.read(&mut [0; 1]))).is_pending());
        let sent = vec![7_u8; 8 << 20];
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        ours.write_all(&sent).await.unwrap();
        ours.flush().await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(read.await.unwrap(), sent.len());
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_seen_from_aside() {
        let (mut ours, theirs, switch) = pair().await;
        drop(theirs);
        switch.aside(true);
        let count = loop {
            if let Poll::Ready(read) = futures::poll!(std::pin::pin!(ours.read(&mut [0; 4]))) {
                break read.unwrap();
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(count, 0);
    }
}
