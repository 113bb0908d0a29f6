//! Jobs: a request becomes a stored job, and everything that can be derived from its spec is derived from it.
//!
//! * [`JobService`]: create, update, roll back, clone, pause, resume, delete, validate;
//! * [`plan`], [`preview`]: what a pipeline that is still being written would do;
//! * [`Refused`]: every problem of a request at once;
//! * [`secret_references`], [`is_job_secret`]: what a run must open before it starts.
//!
//! What is not here: when a job runs ([`crate::schedule`]), what a run is ([`crate::runs`]), HTTP. Reading jobs needs no service: ask the store.

mod body;
mod covered;
mod derive;
mod draft;
mod refused;
mod secrets;
mod service;
pub(crate) mod spelling;
#[cfg(test)]
mod tests;

pub use body::MAX_SPEC_BYTES;
pub(crate) use covered::check;
pub(crate) use derive::kinds;
pub use draft::{Expected, Planned, Previewed, plan, preview};
pub use refused::{Refused, Understood, Validation};
pub use secrets::references as secret_references;
pub use service::{JobService, Saved};

/// Whether a tenant secret belongs to a job: it was taken out of a spec, and nobody but the platform sets it.
pub fn is_job_secret(name: &str) -> bool {
    name.starts_with(secrets::PREFIX)
}
