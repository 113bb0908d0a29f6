//! The client of Apache SeaTunnel.
