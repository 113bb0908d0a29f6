//! A durable queue on the local disk, for sources whose peers give every message once: a socket, a receiver of requests.
//!
//! What came is written here first, and counts as taken when it is on the disk. From then on it is read like a log: the position of a record is its
//! number, reading from a position gives the same records again, and what the engine says is durable is forgotten. So these sources are
//! replayable from the inbox on. What was lost before it came into the inbox is the peer's to know.
//!
//! * `options`: where the folder is and how large it may become. [`frame`]: records as bytes. `segments`: the files. [`queue`]: one named queue,
//!   append and forget. [`cursor`]: reading. `gathered`: what is on its way to the disk. [`folder`]: the folder with its lock and its queues.
//! * [`source`]: the `Source` over a peer, and [`reading`]: records into rows; the same for all connectors that have an inbox.
//!
//! Not here: how messages come (`websocket`, `webhook`, `sse`).

pub(crate) mod cursor;
pub(crate) mod folder;
pub(crate) mod frame;
mod gathered;
pub(crate) mod options;
pub(crate) mod queue;
pub(crate) mod reading;
mod segments;
pub(crate) mod source;
#[cfg(test)]
mod tests;

pub(crate) use folder::Inbox;
pub(crate) use frame::Record;
pub(crate) use gathered::Gathered;
pub(crate) use options::InboxOptions;
pub(crate) use queue::Queue;
pub(crate) use reading::{Column, Taken};
pub(crate) use source::{InboxSource, Offered, Peer};
#[cfg(any(feature = "sse", feature = "websocket"))]
pub(crate) use source::{OneStream, Work};

use weir_connect::Error;

/// Code of an append that found no room.
pub(crate) const FULL: &str = "WEIR-INBOX-003";

pub(crate) fn io(error: std::io::Error, path: &std::path::Path) -> Error {
    Error::from(error).at(path.display().to_string())
}
