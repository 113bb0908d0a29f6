//! The binlog of MySQL and MariaDB as a library: a stream of events, GTIDs, and rows that read as the batch reader reads them.
//!
//! No knowledge of streams, changes or positions of Weir: that is the business of whoever uses this.
//!
//! * [`stream`]: [`BinlogStream::open`] registers a session as a replica; [`BinlogStream::next`] gives owned [`Event`]s in the log's order.
//!   `next` may be dropped at any await and called again: nothing is lost. Compressed transactions come unpacked, event by event.
//! * [`event`]: what an event says. A [`Body::Rows`] carries its [`TableMap`]; the same `Arc` comes as long as the server describes the
//!   table with the same bytes, so `Arc::ptr_eq` tells whether anything made for it still fits.
//! * [`table_map`], [`rows`]: columns as the log knows them; the rows of an event, before and after, cell by cell.
//! * [`translate`]: [`Translator`] turns an image of a row into the very bytes that `SELECT` would have sent over the binary protocol, so that
//!   `values::Decoder::feed` makes the same Arrow values, the same dead rows and the same NULLs from both.
//! * [`gtid`]: [`GtidSet`] of MySQL, [`MariaGtid`] and [`MariaGtidList`] of MariaDB.
//!
//! Rows to Arrow:
//!
//! ```text
//! let wanted = [Wanted { index, column: &raw_column, to: &source_column }, …];   // index: ordinal in the table
//! let mut translator = Translator::new(&rows.table, &wanted, place)?;
//! let mut decoder = Decoder::new(schema, &source_columns, translator.kinds());
//! for row in rows.rows() {
//!     let row = row?;
//!     if let Some(after) = &row.after {
//!         decoder.feed(translator.row(after, row.before.as_ref())?, place)?;       // then translator.absent()
//!     }
//! }
//! ```
//!
//! Errors: `WEIR-MY-060` the position is not in the log any more, `061` an event cannot be understood, `062` a checksum, `063` text that has no
//! exact form in UTF-8, `064` the table had another shape, `065` another replica has the same id, `066` not supported, `067` an event
//! larger than the server sends, `068` a text that is no GTID.

mod cells;
mod charset;
mod errors;
pub mod event;
pub mod gtid;
mod json;
mod json_diff;
mod payload;
pub mod rows;
pub mod stream;
pub mod table_map;
#[cfg(test)]
mod tests;
mod text;
pub mod translate;
mod values;

pub use cells::kind;
pub use errors::POSITION_GONE;
pub use event::{Body, Commit, Event, MariaTransaction, QueryEvent};
pub use gtid::{GtidSet, MariaGtid, MariaGtidList};
pub use rows::{Cell, Image, Row, RowKind, RowsEvent};
pub use stream::{BinlogStream, StartAt};
pub use table_map::TableMap;
pub use translate::{Translator, Wanted};
