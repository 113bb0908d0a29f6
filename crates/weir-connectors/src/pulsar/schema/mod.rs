//! Schemas that the broker keeps of a topic, by their versions. A message says by which version it was written.
//!
//! * [`kept`]: what the broker keeps of one. [`side`]: a payload, or half of one: what its bytes mean.
//! * [`incoming`]: which version says what the columns are, and how the messages of every other one are read. [`values`]: the columns in the making.
//! * [`announced`]: the schema that a sink writes by.
//!
//! Not here: what Avro and Protobuf mean (`weir_formats::registered`).

pub mod announced;
pub mod incoming;
pub mod kept;
pub mod side;
pub mod values;
