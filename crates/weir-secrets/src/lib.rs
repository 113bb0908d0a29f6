//! References → values: `${ENV}`, `file://`, `vault://path#key`, `{{name}}`.
//!
//! A pipeline file holds references, never secrets. They are parsed into [`Template`]s (pure, [`reference`]) and turned into
//! values late, just before a connector is made, by a [`Resolver`]. All references that cannot be resolved are
//! reported together; a message names the reference and never its value.
//!
//! * [`reference`]: the grammar, and splicing into URLs;
//! * [`provider`]: where values come from; one trait, small implementations;
//! * [`vault`]: the client behind `vault://` (feature `vault`, on by default);
//! * [`resolver`]: walks a JSON value and puts everything together.
//!
//! `${last_run_time}` and `${cursor}` belong to the run and are left as they are: the connectors bind them as
//! parameters.
#![deny(missing_docs)]

pub mod provider;
pub mod reference;
pub mod resolver;
#[cfg(feature = "vault")]
pub mod vault;
#[cfg(not(feature = "vault"))]
#[path = "no_vault.rs"]
pub mod vault;

pub use provider::{Credentials, Environment, Provider, SecretFiles};
pub use reference::{Part, Reference, Template};
pub use resolver::{OptionFacts, Plain, Resolver, Unresolved, unresolved_error};
pub use vault::Vault;
