//! A server that does to each connection what the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub type Peer = WebSocketStream<TcpStream>;
type Script = dyn Fn(usize, TcpStream) -> BoxFuture<'static, ()> + Send + Sync;

/// Listens until it is dropped.
pub struct Server {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// The script gets the number of the connection, from 0.
    pub async fn raw<F, W>(script: F) -> Self
    where
        F: Fn(usize, TcpStream) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let script: Arc<Script> = Arc::new(move |number, stream| Box::pin(script(number, stream)));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    taken = listener.accept() => {
                        let (stream, _) = taken.unwrap();
                        stream.set_nodelay(true).unwrap();
                        let number = counted.fetch_add(1, Ordering::SeqCst);
                        open.spawn(script(number, stream));
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Self { port, connections, task }
    }

    /// The same behind the handshake.
    pub async fn start<F, W>(script: F) -> Self
    where
        F: Fn(usize, Peer) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::raw(move |number, stream| {
            let script = script.clone();
            async move {
                if let Ok(peer) = tokio_tungstenite::accept_async(stream).await {
                    script(number, peer).await;
                }
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/feed", self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The next text, as JSON; `None` when the client is gone.
pub async fn heard(peer: &mut Peer) -> Option<Value> {
    loop {
        match peer.next().await? {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// Sends a message, or notices that nobody is there.
pub async fn say(peer: &mut Peer, value: Value) -> bool {
    peer.send(Message::text(value.to_string())).await.is_ok()
}

/// The message with this number.
pub fn tick(number: i64) -> Value {
    json!({"seq": number, "id": number, "name": format!("n{number}")})
}

/// Answers pings until the client goes.
pub async fn stay(peer: &mut Peer) {
    while let Some(Ok(_)) = peer.next().await {}
}
