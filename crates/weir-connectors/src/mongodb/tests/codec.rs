//! Bytes, text and columns.
