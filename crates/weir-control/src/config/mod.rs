//! Settings of `weir serve`, `weir worker` and `weir runner`: defaults, then the JSON file, then the environment, then flags.

mod settings;

pub use settings::{CostSettings, Environment, LogFormat, OidcSettings, Settings, VaultAuth};
