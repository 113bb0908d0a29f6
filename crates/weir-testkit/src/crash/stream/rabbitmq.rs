//! RabbitMQ: a durable queue, written through the management API, which answers when the broker has confirmed.

use anyhow::{Result, ensure};
use serde_json::json;

use super::broker::{Broker, COLUMNS, Connect, Pen, Record};
use crate::Rabbitmq;

pub(super) struct Queues(Rabbitmq);

impl Queues {
    pub fn start(is_killed: bool) -> Result<Self> {
        Ok(Self(if is_killed { Rabbitmq::start()? } else { Rabbitmq::shared()? }))
    }
}

impl Broker for Queues {
    /// A queue in a virtual host of its own: its name is that of the virtual host.
    fn topic(&self, _: &str) -> Result<String> {
        let host = self.0.create_virtual_host()?;
        self.0.api("PUT", &format!("queues/{host}/{host}"), json!({"durable": true}))?;
        Ok(host)
    }

    fn source(&self, topic: &str) -> String {
        let port = self.0.port();
        let (user, password) = (crate::rabbitmq::USER, crate::rabbitmq::PASSWORD);
        format!(
            "{{rabbitmq: {{host: 127.0.0.1, port: {port}, virtual_host: {topic}, user: {user}, password: {password}, queue: {topic}, {COLUMNS}}}}}"
        )
    }

    fn kill_and_start(&mut self) -> Result<()> {
        self.0.restart()
    }

    fn pen(&self, topic: &str) -> Result<Connect> {
        let place = (self.0.management_url(), topic.to_owned());
        Ok(Box::new(move || Ok(Box::new(Exchange(place.0.clone(), place.1.clone())))))
    }
}

struct Exchange(String, String);

impl Pen for Exchange {
    fn write(&mut self, records: &[Record]) -> Result<()> {
        let url = format!("{}/api/exchanges/{}/amq.default/publish", self.0, self.1);
        let (queue, bodies): (String, Vec<String>) = (self.1.clone(), records.iter().map(Record::json).collect());
        crate::blocking::block_on(move || async move {
            let client = reqwest::Client::new();
            let all = bodies.into_iter().map(async |payload| {
                let message = json!({
                    "properties": {"delivery_mode": 2}, "routing_key": queue, "payload": payload, "payload_encoding": "string",
                });
                let request = client.post(&url).basic_auth(crate::rabbitmq::USER, Some(crate::rabbitmq::PASSWORD)).json(&message);
                let answer: serde_json::Value = request.send().await?.error_for_status()?.json().await?;
                ensure!(answer["routed"] == true, "RabbitMQ says {answer}");
                Ok(())
            });
            futures::future::try_join_all(all).await.map(drop)
        })
    }
}
