//! The codec on real BSON, and the connectors over the official driver against a peer of our own.

mod codec;
