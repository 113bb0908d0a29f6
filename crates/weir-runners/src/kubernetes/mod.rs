//! Kubernetes, where native runs are Jobs, and pipelines become manifests.
//!
//! * `access`: where a cluster is; `api`: the few requests that are needed;
//! * `names`, `manifests`: the objects of a run and of a tenant's namespace, pure;
//! * `run`: a run handed over and followed to its end; `log`: its log; `trouble`: what Kubernetes says when it does not go;
//! * [`compile`]: a pipeline as manifests, for `weir compile --target kubernetes`.
//!
//! What is not here: which runs go there (the platform's settings and the pipeline's `placement`, decided where the platform is put
//! together), and what an outcome means for a run (`weir-control`).

mod access;
mod api;
pub mod compile;
mod engines;
mod log;
mod manifests;
mod names;
mod run;
mod trouble;

pub use access::{Access, Login};
pub use api::Api;
pub use log::{Line, MAX_LINE_BYTES};
pub use manifests::{Bounds, ORDER_FOLDER, ORDER_KEY, RunJob, Tenancy, Volume, millicores, to_yaml};
pub use names::label;
pub use run::{Ended, Launch, Told, Wishes, follow};
pub use trouble::Terminated;
