//! Any bytes through the decoder of PostgreSQL's `COPY … (FORMAT binary)`.
//!
//! Promises that are checked: it never panics; rows, dead rows and errors do not depend on how the network cut the stream, nor on
//! when batches are taken.
//!
//! | byte | means |
//! | --- | --- |
//! | 0 | low nibble: how many columns; bit 4: a good header is put before the stream; bit 5: the cuts follow byte 1, else one byte at a time |
//! | 1 | how the stream is cut |
//! | 2 … | one byte per column: its type; then the stream |
#![no_main]

mod postgres;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use libfuzzer_sys::fuzz_target;
use postgres::copy_decode::{DeadRow, Decoder};
use postgres::types::Travel;

/// Every way that values travel; a byte of the input chooses.
fn travel(byte: u8) -> Travel {
    let one = |byte: u8| match byte % 20 {
        0 => Travel::Bool,
        1 => Travel::Int2,
        2 => Travel::Int4,
        3 => Travel::Int8,
        4 => Travel::Oid,
        5 => Travel::Float4,
        6 => Travel::Float8,
        7 => Travel::Decimal128 { precision: 15, scale: 2, round: false },
        8 => Travel::Decimal128 { precision: 38, scale: 38, round: true },
        9 => Travel::Decimal128 { precision: 38, scale: 0, round: true },
        10 => Travel::Decimal256 { precision: 76, scale: 10 },
        11 => Travel::Money { scale: 2 },
        12 => Travel::Text,
        13 => Travel::Jsonb,
        14 => Travel::Bytes,
        15 => Travel::Date,
        16 => Travel::Time,
        17 => Travel::Timestamp,
        18 => Travel::TimestampTz,
        _ => Travel::Interval,
    };
    match byte {
        0..100 => one(byte),
        100..120 => Travel::Uuid,
        120..220 => Travel::List(Box::new(one(byte))),
        220.. => Travel::List(Box::new(Travel::Uuid)),
    }
}

/// Everything that a reader of the stream can see.
#[derive(Debug, PartialEq)]
struct Outcome {
    rows: Option<RecordBatch>,
    dead: Vec<DeadRow>,
    error: Option<String>,
}

/// Decodes pieces. `often`: a batch is taken after every piece, not once at the end.
fn decode<'a>(schema: &SchemaRef, travels: &[Travel], pieces: impl Iterator<Item = &'a [u8]>, often: bool) -> Outcome {
    let mut decoder = Decoder::new(schema.clone(), travels);
    let (mut batches, mut dead, mut error) = (Vec::new(), Vec::new(), None);
    for piece in pieces {
        if let Err(failed) = decoder.feed(piece) {
            error = Some(failed.to_string());
            break;
        }
        if often {
            batches.extend(decoder.take_batch().expect("whole rows make a batch"));
            dead.extend(decoder.take_dead());
        }
    }
    if error.is_none() {
        error = decoder.end().err().map(|failed| failed.to_string());
    }
    dead.extend(decoder.take_dead());
    // After an error the columns are not whole: a batch may be refused then, not more.
    match decoder.take_batch() {
        Ok(last) => batches.extend(last),
        Err(refused) => assert!(error.is_some(), "whole rows make a batch: {refused}"),
    }
    // After an error the rows are thrown away with the attempt.
    let rows = match (&error, batches.is_empty()) {
        (None, false) => Some(concat_batches(schema, &batches).expect("batches of one schema")),
        _ => None,
    };
    Outcome { rows, dead, error }
}

/// Cuts a stream into pieces of 1 to 64 bytes that look random but follow from the seed.
struct Cuts<'a> {
    rest: &'a [u8],
    state: u32,
}

impl<'a> Iterator for Cuts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        let (piece, rest) = self.rest.split_at((self.state as usize % 64 + 1).min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [flags, seed, rest @ ..] = bytes else { return };
    let Some((types, stream)) = rest.split_at_checked(usize::from(flags & 15)) else { return };
    let travels: Vec<Travel> = types.iter().copied().map(travel).collect();
    let fields = travels.iter().enumerate().map(|(at, travel)| Field::new(format!("c{at}"), travel.arrow(), true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut whole = Vec::new();
    if flags & 16 != 0 {
        whole.extend(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    }
    whole.extend(stream);
    let expected = decode(&schema, &travels, std::iter::once(whole.as_slice()), false);
    let cut = if flags & 32 != 0 {
        let cuts = Cuts { rest: &whole, state: u32::from(*seed) + 1 };
        decode(&schema, &travels, cuts, seed % 2 == 0)
    } else {
        decode(&schema, &travels, whole.chunks(1), seed % 2 == 0)
    };
    assert_eq!(expected, cut, "the result depends on the cuts");
});
