//! The conformance kit. Filled by its own tests.
