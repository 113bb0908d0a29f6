//! What was delivered and is not acknowledged.
//!
//! The broker gives a consumer no more than its prefetch before something is acknowledged, and a message is acknowledged when it is durable, which with
//! files as the sink may be a minute later. So the messages of one session are divided into windows: a channel each, with a consumer that got as
//! many as its prefetch. When a window is full its consumer is cancelled and the next window opened; acknowledgements go to the
//! windows in order, and a window that has all of its own is closed. Messages keep one number over all windows.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::Notify;
use weir_connect::{Error, Result};

use super::client::Link;
use super::errors::{shown, unreachable};

/// Channels that are left for other things.
const SPARE: usize = 4;
/// Windows at most, whatever the broker allows.
const MOST: usize = 2000;

struct Window {
    channel: Channel,
    /// The number of the last message before it.
    base: u64,
    /// Messages that may be without acknowledgement.
    size: u64,
    /// Messages that were taken from it.
    taken: u64,
    /// Messages of it that are acknowledged.
    acknowledged: u64,
    /// Nothing more comes.
    over: bool,
}

/// A connection that reads one queue.
pub struct Session {
    link: Link,
    queue: ShortString,
    /// Tells positions of this session from those of others.
    id: String,
    windows: Mutex<VecDeque<Window>>,
    /// Something was acknowledged.
    pub freed: Notify,
}

impl Session {
    /// Over a connection of its own.
    pub fn new(link: Link, queue: ShortString) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self { link, queue, id, windows: Mutex::default(), freed: Notify::new() }
    }

    /// See the field.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn place(&self) -> String {
        format!("queue {}", self.queue)
    }

    fn windows(&self) -> MutexGuard<'_, VecDeque<Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer<T>(&self, asked: impl Future<Output = lapin::Result<T>>) -> Result<T> {
        let answered = tokio::time::timeout(self.link.patience(), asked).await;
        answered.map_err(|_| unreachable(&self.place(), "the broker is silent"))?.map_err(|error| shown(&error, &self.place()))
    }

    /// Opens a window behind the message `base`.
    pub async fn open(&self, size: u16, base: u64) -> Result<Consumer> {
        let channel = self.link.channel().await?;
        self.answer(channel.basic_qos(size, BasicQosOptions::default())).await?;
        // Before the first message can come.
        self.windows().push_back(Window {
            channel: channel.clone(),
            base,
            size: size.into(),
            taken: 0,
            acknowledged: 0,
            over: false,
        });
        let consuming =
            channel.basic_consume(self.queue.clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        self.answer(consuming).await
    }

    /// A message of the open window was taken: its number.
    ///
    /// # Errors
    /// Tags that do not go on one by one: acknowledgements would mean other messages.
    pub fn taken(&self, tag: u64) -> Result<u64> {
        let mut windows = self.windows();
        let Some(window) = windows.back_mut() else { return Err(Error::internal("a message came without a window")) };
        window.taken += 1;
        if window.taken != tag {
            return Err(
                Error::internal(format!("message {} has the tag {tag}", window.taken)).at(format!("queue {}", self.queue))
            );
        }
        Ok(window.base + window.taken)
    }

    /// Whether the broker gives nothing more through the open window until something is acknowledged.
    pub fn is_full(&self) -> bool {
        self.windows().back().is_some_and(|window| window.taken - window.acknowledged >= window.size)
    }

    /// Whether there may be no further window.
    pub fn is_at_limit(&self) -> bool {
        self.windows().len() >= self.link.most_channels().saturating_sub(SPARE).clamp(1, MOST)
    }

    fn open_channel(&self) -> Result<Channel> {
        let windows = self.windows();
        let window = windows.back().ok_or_else(|| Error::internal("there is no window"))?;
        Ok(window.channel.clone())
    }

    /// Ends the consumer of the open window. What it was given already still comes, then its end.
    pub async fn cancel(&self, consumer: &Consumer) -> Result<()> {
        let channel = self.open_channel()?;
        self.answer(channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await
    }

    /// The open window has come to its end.
    pub fn ended(&self) {
        if let Some(window) = self.windows().back_mut() {
            window.over = true;
        }
    }

    async fn ready(&self, channel: &Channel) -> Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.answer(channel.queue_declare(self.queue.clone(), passive, FieldTable::default())).await?;
        Ok(queue.message_count())
    }

    /// Whether the queue has nothing that was not given to a consumer. What was given to this session's before that was asked has arrived.
    pub async fn is_drained(&self) -> Result<bool> {
        let channel = self.open_channel()?;
        if self.ready(&channel).await? > 0 {
            return Ok(false);
        }
        // The broker may answer while the last messages are still on their way into the channel; they leave it before a second answer.
        Ok(self.ready(&channel).await? == 0)
    }

    /// Acknowledges every message up to this number, and waits until the broker has heard it. Idempotent.
    pub async fn acknowledge(&self, number: u64) -> Result<()> {
        let due: Vec<(Channel, u64, u64)> = self
            .windows()
            .iter()
            .filter_map(|window| {
                let tag = number.saturating_sub(window.base).min(window.taken);
                (tag > window.acknowledged).then(|| (window.channel.clone(), window.base, tag))
            })
            .collect();
        for (channel, base, tag) in due {
            self.answer(channel.basic_ack(tag, BasicAckOptions { multiple: true })).await?;
            // An acknowledgement has no answer; what comes after it on the same channel has.
            self.ready(&channel).await?;
            if let Some(window) = self.windows().iter_mut().find(|window| window.base == base) {
                window.acknowledged = tag;
            }
        }
        let mut done = Vec::new();
        self.windows().retain(|window| {
            let finished = window.over && window.acknowledged == window.taken;
            if finished {
                done.push(window.channel.clone());
            }
            !finished
        });
        for channel in done {
            self.answer(channel.close(200, "OK".into())).await?;
        }
        self.freed.notify_one();
        Ok(())
    }

    /// Messages that are not acknowledged: those that were taken, and as many as the broker may have given at most. None once the connection is gone:
    /// they are back in the queue.
    pub fn held(&self) -> (u64, u64) {
        if !self.link.is_connected() {
            return (0, 0);
        }
        self.windows().iter().fold((0, 0), |(taken, given), window| {
            let open = window.taken - window.acknowledged;
            (taken + open, given + if window.over { open } else { window.size })
        })
    }

    /// Gives everything that is not acknowledged back to the queue and closes the connection. When it is there again is not told. What fails on the way is done by the broker when
    /// the connection ends.
    pub async fn give_back(&self) {
        let windows = std::mem::take(&mut *self.windows());
        for window in windows {
            let options = BasicNackOptions { multiple: true, requeue: true };
            // The tag 0 means all.
            if let Err(error) = self.answer(window.channel.basic_nack(0, options)).await {
                tracing::debug!(target: "weir::rabbitmq", "queue {}: {error}", self.queue);
                break;
            }
        }
        self.link.close().await;
    }
}
