//! The driver opens its connections itself, also to members that the server names. Where the process has limits, all of them go through this
//! SOCKS 5 server (RFC 1928, 1929) in the same process: it resolves names once, by the guard, and connects to what the guard permits.
//!
//! It listens on the loopback address and wants a password that only this process knows.

use std::sync::Arc;

use mongodb::options::Socks5Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use weir_connect::guard;

/// A running tunnel; ends when it is dropped.
#[derive(Debug)]
pub struct Tunnel {
    /// For the driver.
    pub proxy: Socks5Proxy,
    task: AbortHandle,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    /// Begins to listen.
    pub async fn open() -> std::io::Result<Arc<Self>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let password: Arc<str> = uuid::Uuid::new_v4().simple().to_string().into();
        let proxy = Socks5Proxy::builder()
            .host("127.0.0.1".to_owned())
            .port(port)
            .authentication(("weir".to_owned(), password.to_string()))
            .build();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    taken = listener.accept() => {
                        let Ok((stream, _)) = taken else { continue };
                        let password = password.clone();
                        connections.spawn(async move { let _ = serve(stream, &password).await; });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Arc::new(Self { proxy, task: task.abort_handle() }))
    }
}

fn refused(why: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::PermissionDenied, why)
}

async fn short(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn serve(mut stream: TcpStream, password: &str) -> std::io::Result<()> {
    const BY_PASSWORD: u8 = 2;
    if stream.read_u8().await? != 5 || !short(&mut stream).await?.contains(&BY_PASSWORD) {
        return Err(refused("not SOCKS 5 with a password"));
    }
    stream.write_all(&[5, BY_PASSWORD]).await?;
    let _version = stream.read_u8().await?;
    let (_user, given) = (short(&mut stream).await?, short(&mut stream).await?);
    if same_secret(&given, password.as_bytes()) {
        stream.write_all(&[1, 0]).await?;
    } else {
        stream.write_all(&[1, 1]).await?;
        return Err(refused("wrong password"));
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let host = match head {
        [5, 1, _, 1] => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        [5, 1, _, 4] => std::net::Ipv6Addr::from(stream.read_u128().await?).to_string(),
        [5, 1, _, 3] => String::from_utf8_lossy(&short(&mut stream).await?).into_owned(),
        _ => return Err(refused("only connections are made here")),
    };
    let port = stream.read_u16().await?;
    let reply = |code: u8| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    let addresses = match guard::current().resolve(&host, port).await {
        Ok(Ok(addresses)) => addresses,
        // 2: not allowed by the rules; 4: host unreachable.
        Ok(Err(_)) => return stream.write_all(&reply(2)).await,
        Err(_) => return stream.write_all(&reply(4)).await,
    };
    let mut onward = match TcpStream::connect(addresses.as_slice()).await {
        Ok(onward) => onward,
        Err(_) => return stream.write_all(&reply(5)).await,
    };
    onward.set_nodelay(true)?;
    stream.set_nodelay(true)?;
    stream.write_all(&reply(0)).await?;
    copy_bidirectional(&mut stream, &mut onward).await.map(drop)
}

/// Takes the same time wherever the difference is.
fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
