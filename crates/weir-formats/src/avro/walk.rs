//! Walks a block by the writer's schema, without keeping anything, to learn whether its records fill its bytes.

use std::sync::Arc;

use super::schema::{Kind, Node};

/// How many values without bytes (nulls in an array) a file may hold beyond one for each of its bytes. A few bytes can announce
/// any number of them, and each costs the decoder time.
pub(super) const FREE_VALUES: u64 = 1 << 24;

type Walked = Result<(), &'static str>;

/// Checks that exactly `count` records lie in exactly these bytes. `free` is what may still be spent on values without bytes.
///
/// # Errors
/// What is wrong, and with which record.
pub(super) fn check(row: &Node, bytes: &[u8], count: u64, free: &mut u64) -> Result<(), String> {
    if row.least == 0 && count > 0 {
        return Err(format!("it announces {count} records, and by the schema a record has no bytes at all"));
    }
    // Without this, a wrong count would be found only at its end.
    if count.checked_mul(row.least).is_none_or(|least| least > bytes.len() as u64) {
        return Err(format!("it announces {count} records, which do not fit into its {} bytes", bytes.len()));
    }
    let mut walk = Walk { bytes, at: 0, free };
    for record in 1..=count {
        walk.value(row).map_err(|why| format!("record {record} of {count}: {why}"))?;
    }
    match walk.left() {
        0 => Ok(()),
        left => Err(format!("{left} bytes are left over behind its {count} records")),
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    /// Never behind the end.
    at: usize,
    free: &'a mut u64,
}

const ENDS: &str = "it goes on behind the end of the block";

impl Walk<'_> {
    fn value(&mut self, node: &Node) -> Walked {
        match &node.kind {
            Kind::Null => Ok(()),
            Kind::Boolean => match self.bytes.get(self.at) {
                Some(0 | 1) => self.skip(1),
                Some(_) => Err("a boolean that is neither true nor false"),
                None => Err(ENDS),
            },
            Kind::Int => self.raw_int().map(drop),
            Kind::Long => self.raw_long().map(drop),
            Kind::Float => self.skip(4),
            Kind::Double => self.skip(8),
            Kind::Fixed(size) => self.skip(*size),
            Kind::Bytes | Kind::Text => self.sized(),
            Kind::Enum(symbols) => {
                // Zigzag: an odd number is a negative one.
                let raw = self.raw_int()?;
                if raw & 1 == 0 && raw >> 1 < *symbols { Ok(()) } else { Err("an enum symbol that the schema does not have") }
            }
            Kind::Union(branches) => {
                let raw = self.raw_long()?;
                let branch = usize::try_from(raw >> 1).ok().filter(|_| raw & 1 == 0).and_then(|index| branches.get(index));
                self.value(branch.ok_or("a union branch that the schema does not have")?)
            }
            Kind::Array(item) => self.items(item, false),
            Kind::Map(item) => self.items(item, true),
            Kind::Record(fields) => self.record(fields),
        }
    }

    fn record(&mut self, fields: &[Arc<Node>]) -> Walked {
        for field in fields {
            self.value(field)?;
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn skip(&mut self, length: u64) -> Walked {
        if length > self.left() as u64 {
            return Err(ENDS);
        }
        self.at += length as usize;
        Ok(())
    }

    fn sized(&mut self) -> Walked {
        let raw = self.raw_long()?;
        if raw & 1 == 1 {
            return Err("a text or bytes of a negative length");
        }
        self.skip(raw >> 1)
    }

    /// A number as it is written, before zigzag.
    #[inline]
    fn raw_long(&mut self) -> Result<u64, &'static str> {
        // The walk is a second reading of every byte: this and the next function are where its time goes.
        if self.at < self.bytes.len() {
            let byte = self.bytes[self.at];
            if byte < 0x80 {
                self.at += 1;
                return Ok(byte as u64);
            }
        }
        self.long_of_many_bytes()
    }

    fn long_of_many_bytes(&mut self) -> Result<u64, &'static str> {
        let (mut value, mut shift, mut at) = (0u64, 0u32, self.at);
        while at < self.bytes.len() {
            let byte = self.bytes[at];
            if shift == 63 && byte > 1 {
                return Err("a number of more than 64 bits");
            }
            value |= ((byte & 0x7f) as u64) << shift;
            at += 1;
            if byte < 0x80 {
                self.at = at;
                return Ok(value);
            }
            shift += 7;
        }
        Err(ENDS)
    }

    fn raw_int(&mut self) -> Result<u64, &'static str> {
        match self.raw_long()? {
            raw if raw <= u64::from(u32::MAX) => Ok(raw),
            _ => Err("an int of more than 32 bits"),
        }
    }

    /// The groups of an array or a map.
    fn items(&mut self, item: &Node, keyed: bool) -> Walked {
        loop {
            let raw = self.raw_long()?;
            if raw == 0 {
                return Ok(());
            }
            let count = (raw >> 1) + (raw & 1);
            let mut end = None;
            if raw & 1 == 1 {
                let size = self.raw_long()?;
                let left = usize::try_from(size >> 1).ok().filter(|_| size & 1 == 0);
                end = Some(left.and_then(|size| self.left().checked_sub(size)).ok_or("a group of items that is too long")?);
            }
            let least = item.least.saturating_add(u64::from(keyed));
            if least == 0 {
                let cost = count.saturating_mul(item.types);
                *self.free = self.free.checked_sub(cost).ok_or("too many items that have no bytes")?;
            } else {
                if count.checked_mul(least).is_none_or(|least| least > self.left() as u64) {
                    return Err("more items than fit into the block");
                }
                for _ in 0..count {
                    if keyed {
                        self.sized()?;
                    }
                    self.value(item)?;
                }
            }
            if end.is_some_and(|end| end != self.left()) {
                return Err("a group of items that has another length than it says");
            }
        }
    }
}
