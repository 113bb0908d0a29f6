//! Settings of `weir serve`, `weir worker` and `weir runner`: defaults, then the JSON file, then the environment, then flags.
//!
//! * [`fields`] and `table`: the settings; parsing, `weir config show` and the reference page are made from it;
//! * [`load`]: reads the layers, tells everything that is wrong at once, and remembers where each value came from;
//! * [`show`]: the settings for people, without secrets;
//! * [`OtlpEndpoint`]: what `TRACING_ENDPOINT` means.
//!
//! What is not here: reading single variables elsewhere. A part that needs a setting gets it from [`Settings`].

mod build;
pub mod fields;
mod layers;
mod settings;
pub mod shape;
pub mod show;
mod table;
#[cfg(test)]
mod tests;
mod tracing;

pub(crate) use build::ASYMMETRIC;
pub use build::is_dns_label;
pub use layers::{Effective, Inputs, Loaded, Origin, load};
pub use settings::{CostSettings, Environment, KubernetesSettings, LogFormat, OidcSettings, Settings, VaultAuth};
pub use tracing::{OtlpEndpoint, OtlpProtocol};
