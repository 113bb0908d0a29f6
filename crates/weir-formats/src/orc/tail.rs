//! A look at the footer, before the library sees it. The library follows the numbers of the types without minding where they
//! lead: a file whose types contain each other would end the process with its stack. And it does not add up the rows.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use super::read::failed;
use crate::input::Input;

/// Bytes that are fetched first; the specification's own advice.
const FIRST: u64 = 16 << 10;
/// Footers beyond this, packed or not, are not believed.
const LONGEST_FOOTER: u64 = 256 << 20;
/// A chunk cannot be larger: its header has 23 bits for the length.
const LONGEST_CHUNK: usize = 8 << 20;
/// Types inside types.
const DEEPEST: usize = 100;

/// Refuses a file whose types are no tree or whose stripes do not have the rows of the file.
///
/// # Errors
/// `WEIR-FMT-004` for a broken file, `WEIR-FMT-033` for one compressed with LZO.
pub(super) async fn check(input: &Arc<dyn Input>) -> Result<()> {
    let size = input.size();
    let tail = input.range(size.saturating_sub(FIRST)..size).await?;
    let cut_off = || failed("the file has no ORC footer");
    let (length, rest) = tail.split_last().ok_or_else(cut_off)?;
    let start = rest.len().checked_sub(usize::from(*length)).ok_or_else(cut_off)?;
    let (mut footer_length, mut compression, mut magic) = (0, 0, false);
    fields(&rest[start..], |field, value| {
        match (field, value) {
            (1, Value::Number(number)) => footer_length = number,
            (2, Value::Number(number)) => compression = number,
            (8000, Value::Bytes(b"ORC")) => magic = true,
            _ => {}
        }
        Ok(())
    })?;
    let end = size - 1 - u64::from(*length);
    if !magic || footer_length > LONGEST_FOOTER {
        return Err(cut_off());
    }
    let begin = end.checked_sub(footer_length).ok_or_else(cut_off)?;
    let packed: Bytes = match start.checked_sub(footer_length as usize) {
        Some(at) => tail.slice(at..start),
        None => input.range(begin..end).await?,
    };
    let footer = unpacked(&packed, compression)?;
    let (mut types, mut rows, mut rows_in_stripes) = (Vec::new(), 0u64, 0u64);
    fields(&footer, |field, value| {
        match (field, value) {
            (3, Value::Bytes(stripe)) => fields(stripe, |field, value| {
                if let (5, Value::Number(rows)) = (field, value) {
                    rows_in_stripes = rows_in_stripes.saturating_add(rows);
                }
                Ok(())
            })?,
            (4, Value::Bytes(message)) => types.push(children(message)?),
            (6, Value::Number(number)) => rows = number,
            _ => {}
        }
        Ok(())
    })?;
    if rows != rows_in_stripes {
        return Err(failed(format!("the footer tells of {rows} rows, its stripes of {rows_in_stripes}")));
    }
    is_tree(&types)
}

/// Children come after their parents, each has one parent.
fn is_tree(types: &[Vec<u64>]) -> Result<()> {
    let mut depths = vec![0; types.len()];
    for (at, children) in types.iter().enumerate() {
        for child in children {
            let child = usize::try_from(*child).ok().filter(|child| *child > at && *child < types.len());
            let child = child.ok_or_else(|| failed("a type contains one that is not below it"))?;
            if depths[child] != 0 {
                return Err(failed("a type is part of two others"));
            }
            depths[child] = depths[at] + 1;
            if depths[child] > DEEPEST {
                return Err(failed(format!("types are nested more than {DEEPEST} deep")));
            }
        }
    }
    Ok(())
}

fn children(message: &[u8]) -> Result<Vec<u64>> {
    let mut children = Vec::new();
    fields(message, |field, value| {
        match (field, value) {
            (2, Value::Number(child)) => children.push(child),
            (2, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    children.push(varint(&mut packed)?);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(children)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls for each field of a message; fields with a fixed width are passed over.
fn fields<'a>(mut message: &'a [u8], mut each: impl FnMut(u64, Value<'a>) -> Result<()>) -> Result<()> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => each(key >> 3, Value::Number(varint(&mut message)?))?,
            1 => drop(taken(&mut message, 8)?),
            2 => {
                let length = varint(&mut message)?;
                each(key >> 3, Value::Bytes(taken(&mut message, length)?))?;
            }
            5 => drop(taken(&mut message, 4)?),
            _ => return Err(failed("the footer is no message")),
        }
    }
    Ok(())
}

fn taken<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let length = usize::try_from(length).map_err(failed)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(|| failed("the footer is cut off"))?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = taken(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(failed("a number of more than ten bytes"))
}

fn unpacked(mut packed: &[u8], compression: u64) -> Result<Vec<u8>> {
    if compression == 0 {
        return Ok(packed.to_vec());
    }
    let mut out = Vec::new();
    while !packed.is_empty() {
        let header = taken(&mut packed, 3)?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let chunk = taken(&mut packed, u64::from(header >> 1))?;
        if header & 1 == 1 {
            out.extend_from_slice(chunk);
        } else {
            let limit = LONGEST_CHUNK as u64;
            match compression {
                1 => drop(flate2::read::DeflateDecoder::new(chunk).take(limit).read_to_end(&mut out).map_err(failed)?),
                2 => {
                    let length = snap::raw::decompress_len(chunk).map_err(failed)?;
                    if length > LONGEST_CHUNK {
                        return Err(failed("a chunk is too long"));
                    }
                    out.append(&mut snap::raw::Decoder::new().decompress_vec(chunk).map_err(failed)?);
                }
                3 => {
                    return Err(Error::new("WEIR-FMT-033", Kind::Unsupported, "ORC files compressed with LZO are not read")
                        .hint("write the file again with another compression"));
                }
                4 => out.append(&mut lz4_flex::block::decompress(chunk, LONGEST_CHUNK).map_err(failed)?),
                5 => drop(
                    zstd::stream::read::Decoder::new(chunk).map_err(failed)?.take(limit).read_to_end(&mut out).map_err(failed)?,
                ),
                other => return Err(failed(format!("there is no compression {other}"))),
            }
        }
        if out.len() as u64 > LONGEST_FOOTER {
            return Err(failed("the footer is too long"));
        }
    }
    Ok(out)
}
