//! A queue bounded in bytes, not in items: ten thousand rows of two megabytes must not pass as "one batch".

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The sending half. Closing happens by drop.
pub struct Sender<T> {
    items: mpsc::UnboundedSender<(T, OwnedSemaphorePermit)>,
    bytes: Arc<Semaphore>,
    capacity: u32,
}

/// The receiving half.
pub struct Receiver<T> {
    items: mpsc::UnboundedReceiver<(T, OwnedSemaphorePermit)>,
}

/// A queue that holds about `capacity` bytes. An item larger than that passes alone, when the queue is empty.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = u32::try_from(capacity.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize / 2))).unwrap_or(1);
    let (send, receive) = mpsc::unbounded_channel();
    (Sender { items: send, bytes: Arc::new(Semaphore::new(capacity as usize)), capacity }, Receiver { items: receive })
}

impl<T> Sender<T> {
    /// Waits until there is room. `false` means that the receiver is gone.
    pub async fn send(&self, item: T, bytes: usize) -> bool {
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.capacity);
        tokio::select! {
            permit = self.bytes.clone().acquire_many_owned(weight) => match permit {
                Ok(permit) => self.items.send((item, permit)).is_ok(),
                Err(_) => false,
            },
            () = self.items.closed() => false,
        }
    }
}

impl<T> Receiver<T> {
    /// The next item; its room is free again as soon as this returns, because the caller holds it from now on.
    pub async fn recv(&mut self) -> Option<T> {
        self.items.recv().await.map(|(item, _permit)| item)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The next item, if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        self.items.try_recv().ok().map(|(item, _permit)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_makes_the_sender_wait_and_a_large_item_passes_alone() {
        let (send, mut receive) = bounded::<u8>(10);
        assert!(send.send(1, 6).await);
        let second = send.send(2, 6);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "6 + 6 bytes do not fit into 10");
        assert_eq!(receive.recv().await, Some(1));
        assert!(second.await);
        assert_eq!(receive.recv().await, Some(2));
        assert!(send.send(3, 1_000_000).await);
        assert_eq!(receive.recv().await, Some(3));
    }

    #[tokio::test]
    async fn a_dropped_receiver_frees_a_waiting_sender() {
        let (send, receive) = bounded::<u8>(1);
        assert!(send.send(1, 1).await);
        let waiting = tokio::spawn(async move { send.send(2, 1).await });
        drop(receive);
        assert!(!waiting.await.expect("the task ends"));
    }
}
