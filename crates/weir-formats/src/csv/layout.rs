//! What was found out about a CSV file and is fixed from then on.

use serde::{Deserialize, Serialize};

use crate::format::Compression;

/// Dialect, encoding and columns of one CSV file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CsvLayout {
    /// Compression of the file.
    pub compression: Compression,
    /// WHATWG name of the encoding.
    pub encoding: String,
    /// Byte between fields (after decoding to UTF-8).
    pub delimiter: u8,
    /// Quote byte; none = quotes are ordinary characters.
    pub quote: Option<u8>,
    /// Escape byte inside quotes.
    pub escape: Option<u8>,
    /// First byte of a comment line.
    pub comment: Option<u8>,
    /// Byte that ends a record: `\n` (a `\r` before it belongs to it) or `\r`.
    pub terminator: u8,
    /// Lines to skip at the beginning of the file.
    pub skip_lines: usize,
    /// Whether the first record after them is the header.
    pub header: bool,
    /// Columns in the order of the file, names made unique.
    pub columns: Vec<String>,
}
