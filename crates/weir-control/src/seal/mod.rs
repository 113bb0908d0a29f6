//! Sealing: secrets at rest.
//!
//! * [`KeyRing`]: the keys, and sealing and opening one value; each is bound to its [`Place`];
//! * [`reseal`]: everything that an older key sealed, sealed anew.

mod reseal;
mod ring;

pub use reseal::{Resealed, reseal};
pub use ring::{FILE, KeyRing, Place, VARIABLE};
