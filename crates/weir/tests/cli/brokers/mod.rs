//! Brokers through the program: rows arrive as promised although servers, connections and the program itself are killed.

mod nats_mqtt;
#[cfg(feature = "pulsar")]
mod pulsar;
mod redis_rabbitmq;
