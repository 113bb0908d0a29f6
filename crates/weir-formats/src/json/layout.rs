//! What was found out about a JSON file and is fixed from then on.

use serde::{Deserialize, Serialize};

use crate::format::Compression;

/// Compression of a JSON file and whether its records are lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonLayout {
    /// Compression of the file.
    pub compression: Compression,
    /// One record per line: the file can be divided at line ends.
    pub lines: bool,
}
