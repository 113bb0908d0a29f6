//! The header of a file: read with care, and written anew for the decoder, which then sees only blocks without compression and
//! a schema without anything that two readers of JSON could understand differently.

use std::sync::Arc;

use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use super::corrupted;
use super::schema::{Node, parse};
use super::unpack::Codec;
use crate::input::Input;

/// What a file says about itself.
#[derive(Debug)]
pub(super) struct Header {
    /// Where the first block begins.
    pub(super) length: u64,
    /// What stands behind every block.
    pub(super) sync: [u8; 16],
    pub(super) codec: Codec,
    /// The writer's schema.
    pub(super) row: Arc<Node>,
    /// The header of the same file without compression.
    pub(super) plain: Bytes,
}

/// A zigzag number with a variable length, and its length; `None` if more bytes are needed.
pub(super) fn long(bytes: &[u8]) -> Result<Option<(i64, usize)>> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate() {
        if at == 10 {
            return Err(corrupted("a number of more than ten bytes"));
        }
        value |= u64::from(byte & 0x7f) << (7 * at as u32).min(63);
        if byte & 0x80 == 0 {
            return Ok(Some(((value >> 1) as i64 ^ -((value & 1) as i64), at + 1)));
        }
    }
    if bytes.len() >= 10 { Err(corrupted("a number of more than ten bytes")) } else { Ok(None) }
}

/// Appends a count or a length.
pub(super) fn put_long(out: &mut Vec<u8>, value: u64) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Where the parts of a header lie.
struct Parts<'a> {
    length: usize,
    sync: [u8; 16],
    schema: Option<&'a [u8]>,
    codec: Option<&'a [u8]>,
}

/// The parts of the header; `None` if more bytes are needed.
fn parts(bytes: &[u8]) -> Result<Option<Parts<'_>>> {
    if bytes.len() >= 4 && &bytes[..4] != b"Obj\x01" {
        return Err(Error::new("WEIR-FMT-004", Kind::Data, "this is no Avro file").because("it does not begin with `Obj`"));
    }
    let mut at = 4;
    let number = |at: &mut usize| -> Result<Option<i64>> {
        Ok(match bytes.get(*at..).map(long).transpose()?.flatten() {
            Some((value, length)) => {
                *at += length;
                Some(value)
            }
            None => None,
        })
    };
    let (mut schema, mut codec) = (None, None);
    loop {
        let Some(count) = number(&mut at)? else { return Ok(None) };
        if count == 0 {
            break;
        }
        if count < 0 && number(&mut at)?.is_none() {
            return Ok(None);
        }
        for _ in 0..count.unsigned_abs() {
            let mut pair = [&bytes[..0]; 2];
            for part in &mut pair {
                let Some(length) = number(&mut at)? else { return Ok(None) };
                let length = usize::try_from(length).map_err(|_| corrupted("a negative length in the header"))?;
                let end = at.checked_add(length).ok_or_else(|| corrupted("a length in the header"))?;
                let Some(text) = bytes.get(at..end) else { return Ok(None) };
                (*part, at) = (text, end);
            }
            let place = match pair[0] {
                b"avro.schema" => &mut schema,
                b"avro.codec" => &mut codec,
                _ => continue,
            };
            if place.replace(pair[1]).is_some() {
                return Err(corrupted("the header names its schema or its codec twice"));
            }
        }
    }
    Ok(bytes.get(at..at + 16).map(|marker| {
        let mut sync = [0; 16];
        sync.copy_from_slice(marker);
        Parts { length: at + 16, sync, schema, codec }
    }))
}

/// Reads and checks the header of a file.
///
/// # Errors
/// No Avro file, cut off, a schema that is none or that is too large, a compression that is not supported.
pub(super) async fn header(input: &Arc<dyn Input>) -> Result<Header> {
    let mut want = 64u64 << 10;
    loop {
        let head = input.range(0..want.min(input.size())).await?;
        if let Some(parts) = parts(&head)? {
            return understood(&parts);
        }
        if want >= input.size() || want > 256 << 20 {
            return Err(corrupted("the header does not end"));
        }
        want *= 4;
    }
}

fn understood(parts: &Parts<'_>) -> Result<Header> {
    let codec = Codec::named(parts.codec)?;
    let schema = parts.schema.ok_or_else(|| corrupted("the header has no schema"))?;
    let schema: serde_json::Value =
        serde_json::from_slice(schema).map_err(|error| corrupted(format!("the schema in the header is no JSON: {error}")))?;
    let row = parse(&schema)?;
    let mut plain = b"Obj\x01".to_vec();
    put_long(&mut plain, 2);
    put_bytes(&mut plain, b"avro.schema");
    put_bytes(&mut plain, schema.to_string().as_bytes());
    put_bytes(&mut plain, b"avro.codec");
    put_bytes(&mut plain, b"null");
    put_long(&mut plain, 0);
    plain.extend_from_slice(&parts.sync);
    Ok(Header { length: parts.length as u64, sync: parts.sync, codec, row, plain: Bytes::from(plain) })
}
