//! How things look on a terminal: numbers, tables, errors. Text in, text out; nothing here decides what to show.

pub mod error;
pub mod number;
pub mod rows;
pub mod style;
pub mod table;
