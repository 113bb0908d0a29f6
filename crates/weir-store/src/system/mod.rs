//! What the platform's own loops ask across tenants: the queue, schedules, deliveries, alerts, tenants themselves. Nothing here answers a
//! request of a tenant (see [`crate::tenant`]).

mod audit;
mod monitoring;
pub mod outbox;
mod queue;
mod removal;
mod schedules;
mod sweep;
mod tenants;
mod totals;

pub use removal::DeletedLog;
pub use schedules::{Due, Fire};
pub use sweep::Swept;

use crate::backend::Backend;

/// The platform's own view. Cheap to make and to clone.
#[derive(Clone)]
pub struct System {
    pub(crate) backend: Backend,
}
