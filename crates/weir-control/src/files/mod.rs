//! Where tenants' files are: in the data folder, or in a bucket that every worker reaches.
//!
//! * [`FileBucket`]: the bucket, and a tenant's part of it; [`TenantFiles`]: how much a tenant has there, and whether the bucket works;
//! * `folder`: a tenant's folder on this machine; [`removal`], [`journals`]: what removed tenants and deleted jobs have left goes away.
//!
//! What is not here: reading and writing the files. That is done by connectors, in the process of a run, which is confined to its tenant's part.

mod bucket;
pub(crate) mod folder;
pub mod journals;
pub mod removal;
mod watch;

pub use bucket::FileBucket;
pub use watch::TenantFiles;
