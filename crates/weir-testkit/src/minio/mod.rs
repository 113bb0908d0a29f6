//! A real S3 server: MinIO over one temporary folder.

pub mod install;
