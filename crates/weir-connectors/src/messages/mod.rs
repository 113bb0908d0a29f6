//! Messages of brokers and sockets: payloads into columns, rows into payloads. What all connectors of messages share.
//!
//! * [`shape`]: what the batches of a stream look like: the columns of the payload, and those about the message itself.
//! * [`rows`]: a batch in the making. [`payloads`]: a batch taken apart. [`letters`]: messages that are no rows.
//!
//! Not here: where messages come from and how far they were read (the connectors), what JSON and CSV mean (`weir-formats`).

pub mod letters;
pub mod payloads;
pub mod rows;
pub mod shape;

pub use payloads::{Encoding, Payloads, SinkFormat};
pub use rows::{OwnValue, Rows};
pub use shape::{Format, Own, Payload, Shape, declared};
