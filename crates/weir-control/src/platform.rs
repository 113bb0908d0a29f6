//! Everything a service needs, made once.

use std::sync::Arc;

use crate::config::Settings;
use crate::workbench::Workbench;

/// The platform of one process. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    /// Settings in effect.
    pub settings: Arc<Settings>,
    /// Pipelines and connectors.
    pub workbench: Arc<dyn Workbench>,
}
