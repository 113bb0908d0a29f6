//! The codec on real BSON, and the connectors over the official driver against a peer of our own (`peer`).

mod applying;
mod codec;
mod following;
mod following_faults;
mod history;
mod peer;
mod peer_writes;
mod reading;
mod writing;
