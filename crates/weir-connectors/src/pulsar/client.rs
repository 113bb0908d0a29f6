//! The way to the broker that has a topic, and what brokers say of topics.
//!
//! Every address, also one that a broker names, is resolved and checked by the guard of the process before it is connected to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::command_lookup_topic_response::LookupType;
use pulsar::message::proto::command_subscribe::{InitialPosition, SubType};
use pulsar::message::proto::{
    BaseCommand, CommandFlow, CommandGetLastMessageId, CommandGetSchema, CommandGetTopicsOfNamespace, CommandLookupTopic,
    CommandPartitionedTopicMetadata, CommandSubscribe, MessageIdData, ServerError,
};
use tokio::time::{Instant, timeout};
use weir_connect::{Error, Kind, Result, Retry, Secret};

use super::config::{ConnectionOptions, host};
use super::errors::{garbled, told, unreachable};
use super::names::Topic;
use super::oauth::Oauth;
use super::position::Entry;
use super::schema::kept::Kept;
use super::tls;
use super::wire::{Connection, Login, Proof};

/// Brokers that may send us on before this is taken for a circle.
const REDIRECTS: usize = 10;
/// The number of the only consumer or producer of a connection.
pub const ONLY: u64 = 1;

/// A connection, not yet made.
#[derive(Clone)]
pub struct Address {
    options: Arc<ConnectionOptions>,
    base_dir: PathBuf,
    hosts: Vec<(String, u16)>,
    tls: Option<Arc<rustls::ClientConfig>>,
    login: Login,
}

/// How a consumer begins.
#[derive(Debug, Clone)]
pub struct Subscribing<'a> {
    /// The topic, or one partition of it.
    pub topic: &'a str,
    /// The subscription.
    pub name: &'a str,
    /// Who may share it.
    pub kind: SubType,
    /// Whether the broker remembers it.
    pub durable: bool,
    /// Behind which message; not for durable ones, which begin where they are.
    pub start: Option<MessageIdData>,
    /// At messages that are younger than this, instead.
    pub rollback_secs: Option<u64>,
    /// Where a durable subscription that is new begins: behind the last message, or at the first.
    pub latest: bool,
}

fn patience(options: &ConnectionOptions) -> Duration {
    Duration::from_secs(options.connect_timeout_secs.unwrap_or(20).max(1))
}

impl Address {
    /// By its options.
    pub fn new(options: ConnectionOptions, base_dir: PathBuf) -> Result<Self> {
        options.validate()?;
        let tls = if options.encrypted() { Some(Arc::new(tls::config(&options, &base_dir)?)) } else { None };
        let (method, data) = match (&options.token, &options.user, &options.password) {
            // Java's clients write the parameter of the plug-in so.
            (Some(token), _, _) => ("token", token.expose().strip_prefix("token:").unwrap_or(token.expose()).to_owned()),
            (None, Some(user), Some(password)) => ("basic", format!("{user}:{}", password.expose())),
            _ if options.ssl_cert.is_some() => ("tls", String::new()),
            _ => ("", String::new()),
        };
        let (method, proof) = match options.oauth()? {
            Some(oauth) => {
                let patience = patience(&options);
                ("token", Proof::Fetched(Arc::new(Oauth::new(oauth, base_dir.clone(), patience))))
            }
            None => (method, Proof::Fixed(Secret::new(data))),
        };
        let login = Login { method, proof };
        Ok(Self { hosts: options.hosts()?, options: Arc::new(options), base_dir, tls, login })
    }

    /// The brokers, for messages.
    pub fn place(&self) -> &str {
        &self.options.service_url
    }

    /// The options.
    pub fn options(&self) -> &ConnectionOptions {
        &self.options
    }

    /// Where relative paths start.
    pub fn base_dir(&self) -> &std::path::Path {
        &self.base_dir
    }

    /// How long a broker may take to answer.
    pub fn patience(&self) -> Duration {
        patience(&self.options)
    }

    /// What HTTP requests prove themselves with.
    pub async fn authorization(&self) -> Result<Option<Secret>> {
        let data = self.login.data().await?;
        Ok(match self.login.method {
            "token" => Some(Secret::new(format!("Bearer {}", data.expose()))),
            "basic" => Some(Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(data.expose())))),
            _ => None,
        })
    }

    /// A topic by the name that a person or a stream has for it.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        Topic::parse(name, self.options.namespace())
    }

    async fn dial(&self, host: &str, port: u16, proxy_to: Option<String>) -> Result<Connection> {
        let place = format!("{host}:{port}");
        let greeted = async {
            let wire = tls::open(host, port, self.tls.as_ref()).await?;
            Connection::greet(wire, &self.login, proxy_to, place.clone()).await
        };
        self.in_time(greeted, &place).await
    }

    /// The answer of something that a broker is asked, or that it does not answer.
    pub async fn in_time<T>(&self, asked: impl Future<Output = Result<T>>, place: &str) -> Result<T> {
        timeout(self.patience(), asked)
            .await
            .unwrap_or_else(|_| Err(unreachable(place, format!("no answer within {} s", self.patience().as_secs()))))
    }

    /// A connection to any of the brokers that `service_url` names.
    pub async fn connect(&self) -> Result<Connection> {
        self.service(None).await
    }

    async fn service(&self, proxy_to: Option<String>) -> Result<Connection> {
        let mut last = None;
        for (host, port) in &self.hosts {
            match self.dial(host, *port, proxy_to.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) if error.retryable() == Retry::Transient => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| unreachable(self.place(), "`service_url` names no broker")))
    }

    /// A connection to the broker that has a topic (or one partition).
    pub async fn owner(&self, topic: &str) -> Result<Connection> {
        let mut connection = self.connect().await?;
        let mut authoritative = false;
        for _ in 0..REDIRECTS {
            let number = connection.number();
            let request = BaseCommand {
                r#type: Type::Lookup as i32,
                lookup_topic: Some(CommandLookupTopic {
                    topic: topic.to_owned(),
                    request_id: number,
                    authoritative: Some(authoritative),
                    ..CommandLookupTopic::default()
                }),
                ..BaseCommand::default()
            };
            let asked = connection
                .ask(request, number, |command| command.lookup_topic_response.take_if(|answer| answer.request_id == number));
            let answer = self.in_time(asked, topic).await?;
            let kind = answer.response.and_then(|kind| LookupType::try_from(kind).ok());
            if !matches!(kind, Some(LookupType::Redirect | LookupType::Connect)) {
                return Err(told(answer.error.unwrap_or_default(), answer.message.as_deref().unwrap_or_default(), topic));
            }
            let url = if self.tls.is_some() { answer.broker_service_url_tls } else { answer.broker_service_url };
            let url = url.unwrap_or_default();
            let default = if self.tls.is_some() { 6651 } else { 6650 };
            let (name, port) =
                url.split_once("://").and_then(|(_, rest)| host(rest.trim_end_matches('/'), default)).ok_or_else(|| {
                    garbled(connection.place(), format!("the broker of `{topic}` is at `{url}`, which is no address"))
                })?;
            let place = format!("{name}:{port}");
            if answer.proxy_through_service_url == Some(true) {
                connection = self.service(Some(place)).await?;
            } else if connection.place() != place {
                connection = self.dial(&name, port, None).await?;
            }
            if kind == Some(LookupType::Connect) {
                return Ok(connection);
            }
            authoritative = answer.authoritative.unwrap_or_default();
        }
        Err(unreachable(self.place(), format!("the brokers send us in a circle when asked for `{topic}`")))
    }

    /// Does something that needs a connection, again and again until it works, fails for good, or `patience` is over.
    pub async fn persist<T, F: Future<Output = Result<T>>>(&self, patience: Duration, mut work: impl FnMut() -> F) -> Result<T> {
        let end = Instant::now() + patience;
        let mut pause = Duration::from_millis(50);
        loop {
            match work().await {
                Err(error) if error.retryable() == Retry::Transient && Instant::now() + pause < end => {
                    tracing::debug!(target: "weir::pulsar", "{error}; trying again");
                }
                other => return other,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// The partitions of a topic, 0 for none. Says nothing about whether the topic is there.
    pub async fn partitions(&self, topic: &Topic) -> Result<u32> {
        let mut connection = self.connect().await?;
        let number = connection.number();
        let request = BaseCommand {
            r#type: Type::PartitionedMetadata as i32,
            partition_metadata: Some(CommandPartitionedTopicMetadata {
                topic: topic.to_string(),
                request_id: number,
                ..CommandPartitionedTopicMetadata::default()
            }),
            ..BaseCommand::default()
        };
        let asked = connection
            .ask(request, number, |command| command.partition_metadata_response.take_if(|answer| answer.request_id == number));
        let answer = self.in_time(asked, &topic.to_string()).await?;
        match (answer.partitions, answer.error) {
            (_, Some(code)) => match told(code, answer.message.as_deref().unwrap_or_default(), &topic.to_string()) {
                error if error.code() == "WEIR-PULSAR-005" => Ok(0),
                error => Err(error),
            },
            (partitions, None) => Ok(partitions.unwrap_or_default()),
        }
    }

    /// Every persistent topic of a namespace by its full name, each partition for itself.
    pub async fn topics(&self, namespace: &str) -> Result<Vec<String>> {
        let mut connection = self.connect().await?;
        let number = connection.number();
        let request = BaseCommand {
            r#type: Type::GetTopicsOfNamespace as i32,
            get_topics_of_namespace: Some(CommandGetTopicsOfNamespace {
                request_id: number,
                namespace: namespace.to_owned(),
                ..CommandGetTopicsOfNamespace::default()
            }),
            ..BaseCommand::default()
        };
        let asked = connection.ask(request, number, |command| {
            command.get_topics_of_namespace_response.take_if(|answer| answer.request_id == number)
        });
        Ok(self.in_time(asked, namespace).await?.topics)
    }

    /// Whether a topic is there. Where the role may not list a namespace it is taken to be: who subscribes learns it then.
    pub async fn exists(&self, topic: &Topic) -> Result<bool> {
        if self.partitions(topic).await? > 0 {
            return Ok(true);
        }
        match self.topics(&topic.namespace).await {
            Ok(all) => Ok(all.contains(&topic.to_string())),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) if error.kind() == Kind::Privilege => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The newest schema that the broker has for a topic; `None`: bytes.
    pub async fn schema(&self, topic: &Topic) -> Result<Option<Kept>> {
        self.schema_on(&mut self.connect().await?, &topic.to_string(), None).await
    }

    /// A version of a topic's schema (default: the newest), asked of this connection's broker; `None`: it has none such.
    pub async fn schema_on(&self, connection: &mut Connection, topic: &str, version: Option<&[u8]>) -> Result<Option<Kept>> {
        let number = connection.number();
        let request = BaseCommand {
            r#type: Type::GetSchema as i32,
            get_schema: Some(CommandGetSchema {
                request_id: number,
                topic: topic.to_owned(),
                schema_version: version.map(<[u8]>::to_vec),
            }),
            ..BaseCommand::default()
        };
        let asked =
            connection.ask(request, number, |command| command.get_schema_response.take_if(|answer| answer.request_id == number));
        let answer = self.in_time(asked, topic).await?;
        match (answer.schema, answer.error_code) {
            (Some(schema), _) => Kept::of(schema, answer.schema_version).map_err(|error| error.at(topic)),
            (None, Some(code)) if code != ServerError::TopicNotFound as i32 => {
                Err(told(code, answer.error_message.as_deref().unwrap_or_default(), topic))
            }
            _ => Ok(None),
        }
    }

    /// A connection with a consumer on it that has asked for nothing yet.
    pub async fn consumer(&self, how: &Subscribing<'_>) -> Result<Connection> {
        let mut connection = self.owner(how.topic).await?;
        let number = connection.number();
        let position = if how.latest { InitialPosition::Latest } else { InitialPosition::Earliest };
        let request = BaseCommand {
            r#type: Type::Subscribe as i32,
            subscribe: Some(CommandSubscribe {
                topic: how.topic.to_owned(),
                subscription: how.name.to_owned(),
                sub_type: how.kind as i32,
                consumer_id: ONLY,
                request_id: number,
                durable: Some(how.durable),
                start_message_id: how.start.clone(),
                initial_position: Some(position as i32),
                force_topic_creation: Some(false),
                start_message_rollback_duration_sec: how.rollback_secs,
                ..CommandSubscribe::default()
            }),
            ..BaseCommand::default()
        };
        let asked = connection.ask(request, number, |command| command.success.take_if(|answer| answer.request_id == number));
        self.in_time(asked, how.topic).await?;
        Ok(connection)
    }

    /// The last message of the consumer's topic (entry -1: none), and behind what its subscription is.
    pub async fn last(&self, connection: &mut Connection) -> Result<(Entry, Option<Entry>)> {
        let number = connection.number();
        let request = BaseCommand {
            r#type: Type::GetLastMessageId as i32,
            get_last_message_id: Some(CommandGetLastMessageId { consumer_id: ONLY, request_id: number }),
            ..BaseCommand::default()
        };
        let place = connection.place().to_owned();
        let asked = connection
            .ask(request, number, |command| command.get_last_message_id_response.take_if(|answer| answer.request_id == number));
        let answer = self.in_time(asked, &place).await?;
        Ok((Entry::of(&answer.last_message_id), answer.consumer_mark_delete_position.as_ref().map(Entry::of)))
    }

    /// A reader of one partition that leaves no trace at the broker, with its last message.
    pub async fn look(&self, topic: &str, start: MessageIdData) -> Result<(Connection, Entry)> {
        let name = reader_name();
        let how = Subscribing {
            topic,
            name: &name,
            kind: SubType::Exclusive,
            durable: false,
            start: Some(start),
            rollback_secs: None,
            latest: false,
        };
        let mut connection = self.consumer(&how).await?;
        let (last, _) = self.last(&mut connection).await?;
        Ok((connection, last))
    }
}

/// A name that no other reader has.
pub fn reader_name() -> String {
    format!("weir-reader-{}", uuid::Uuid::new_v4().simple())
}

/// The place before the first message.
pub fn oldest() -> MessageIdData {
    Entry { ledger: -1, entry: -1 }.to_wire()
}

/// Asks for so many messages more.
pub fn flow(connection: &mut Connection, messages: u32) -> Result<()> {
    connection.send(BaseCommand {
        r#type: Type::Flow as i32,
        flow: Some(CommandFlow { consumer_id: ONLY, message_permits: messages }),
        ..BaseCommand::default()
    })
}

/// Whether an error says that something is not there.
pub fn is_missing(error: &Error) -> bool {
    error.code() == "WEIR-PULSAR-005"
}
