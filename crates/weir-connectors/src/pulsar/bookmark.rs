//! Durable subscriptions beside a reading by positions: what is not durable here yet, the broker keeps. Nothing is ever read through them.

use std::collections::BTreeMap;

use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::command_ack::AckType;
use pulsar::message::proto::command_subscribe::SubType;
use pulsar::message::proto::{BaseCommand, CommandAck};
use tokio::sync::Mutex;
use weir_connect::Result;

use super::client::{Address, ONLY, Subscribing};
use super::errors::told;
use super::position::Entry;
use super::wire::Connection;

/// The bookmarks of one subscription, by partition.
#[derive(Default)]
pub struct Bookmarks {
    open: Mutex<BTreeMap<String, Connection>>,
}

async fn subscribe(address: &Address, topic: &str, name: &str) -> Result<Connection> {
    let how = Subscribing {
        topic,
        name,
        // Two attempts may overlap for a moment.
        kind: SubType::Failover,
        durable: true,
        start: None,
        rollback_secs: None,
        latest: false,
    };
    address.consumer(&how).await
}

/// Makes the subscription if it is not there; from now on the broker keeps what is behind it. The answer: the entry behind which it is.
pub async fn place(address: &Address, topic: &str, name: &str) -> Result<Option<Entry>> {
    let mut connection = subscribe(address, topic, name).await?;
    Ok(address.last(&mut connection).await?.1)
}

impl Bookmarks {
    /// Everything up to this entry is not needed again.
    pub async fn moved(&self, address: &Address, topic: &str, name: &str, done: Entry) -> Result<()> {
        let mut open = self.open.lock().await;
        if let Some(mut connection) = open.remove(topic)
            && acknowledge(address, &mut connection, topic, done).await.is_ok()
        {
            open.insert(topic.to_owned(), connection);
            return Ok(());
        }
        let mut connection = subscribe(address, topic, name).await?;
        acknowledge(address, &mut connection, topic, done).await?;
        open.insert(topic.to_owned(), connection);
        Ok(())
    }
}

async fn acknowledge(address: &Address, connection: &mut Connection, topic: &str, done: Entry) -> Result<()> {
    let number = connection.number();
    let request = BaseCommand {
        r#type: Type::Ack as i32,
        ack: Some(CommandAck {
            consumer_id: ONLY,
            ack_type: AckType::Cumulative as i32,
            message_id: vec![done.to_wire()],
            request_id: Some(number),
            ..CommandAck::default()
        }),
        ..BaseCommand::default()
    };
    let asked =
        connection.ask(request, number, |command| command.ack_response.take_if(|answer| answer.request_id == Some(number)));
    let answer = address.in_time(asked, topic).await?;
    match answer.error {
        None => Ok(()),
        Some(code) => Err(told(code, answer.message.as_deref().unwrap_or_default(), topic)),
    }
}
