//! The codec on real BSON, and the connectors over the official driver against a peer of our own (`peer`).

mod codec;
mod following;
mod following_faults;
mod history;
mod peer;
mod reading;
