//! Brokers through the program: rows arrive as promised although servers, connections and the program itself are killed.

#[cfg(feature = "kafka")]
mod kafka;
mod nats_mqtt;
#[cfg(feature = "pulsar")]
mod pulsar;
mod redis_rabbitmq;
