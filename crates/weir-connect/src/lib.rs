//! What a connector is: the contract between the engine and every system that Weir reads or writes.
//!
//! * [`connector`]: [`Connector`], its [`Descriptor`] and what it is given ([`SourceContext`], [`SinkContext`]).
//! * [`source`]: [`Source`] → [`StreamReader`] → events; splits, positions, resumption.
//! * [`sink`]: [`Sink`] → [`StreamSink`] → [`StreamWriter`]; the two-step commit.
//! * [`change`]: [`ChangeSource`] → [`ChangeLog`] → changes of several tables in order; [`ChangeWriter`] applies them.
//! * [`cursor`]: how far an incremental read got, and what was given at that very value.
//! * [`stream`]: names and shapes of streams, contracts, write modes, dead letters.
//! * [`letters`]: dead letters as rows, for a sink of their own.
//! * [`fidelity`]: the type-loss lattice: every edge source → Arrow → sink is exact, widening or lossy.
//! * [`registry`]: the open list of connectors, and the option schemas derived from their structs.
//! * [`objects`]: a place of whole objects, for who needs one of its own.
//! * [`guard`]: what the connectors of this process may touch.
//! * [`verify`]: comparing a stream with what a sink holds of it.
//! * [`conformance`] (feature `conformance`): the kit that every connector's tests call.
//!
//! This crate depends on Arrow, `weir-error` and `weir-egress` only, so a connector outside this repository is a small crate.
#![deny(missing_docs)]

pub mod change;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connector;
pub mod cursor;
pub mod fidelity;
pub mod guard;
pub mod letters;
pub mod objects;
pub mod registry;
pub mod sink;
pub mod source;
pub mod stream;
pub mod verify;

pub use change::{
    Boundary, ChangeBatch, ChangeEvent, ChangeLog, ChangeRequest, ChangeSource, ChangeStream, ChangeWriter, DeleteMode, Op,
    SchemaChange, SnapshotAgain, TransactionMark,
};
pub use connector::{CheckItem, CheckReport, Connector, Descriptor, OptionSchema, RunIdentity, SinkContext, SourceContext};
pub use fidelity::{Edge, SinkType};
pub use objects::{ObjectInfo, Objects};
pub use registry::Registry;
pub use sink::{
    Barrier, CommitKind, CommitReport, CommitToken, Flushed, Recovery, Sink, SinkCapabilities, StreamSink, StreamTarget,
    StreamWriter,
};
pub use source::{
    Batch, CursorWindow, Event, EventStream, Position, ReadRequest, Resume, ResumeVerdict, Source, SourceCapabilities, Split,
    SplitProgress, StreamReader,
};
pub use stream::{DeadLetter, OnLoss, SchemaChangePolicy, StreamInfo, WriteMode};
pub use weir_error::{Error, Kind, Result, Retry, Secret};

/// Stops the process or injects an error at a named place when the `failpoints` feature is on; otherwise nothing.
///
/// `failpoint!("sink.flush.before")` may panic/abort/sleep as configured by `FAILPOINTS`; when configured with
/// `return`, the surrounding function returns a transient `WEIR-TEST-001` error.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::fail_point_impl!($name)
    };
}

#[doc(hidden)]
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point_impl {
    ($name:expr) => {
        $crate::__fail::fail_point!($name, |_| Err($crate::Error::new(
            "WEIR-TEST-001",
            $crate::Kind::Internal,
            concat!("failpoint ", $name)
        )
        .transient()))
    };
}
#[doc(hidden)]
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point_impl {
    ($name:expr) => {};
}
#[doc(hidden)]
pub use fail as __fail;
