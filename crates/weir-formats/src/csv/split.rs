//! Cuts an uncompressed local CSV file exactly between records.
//!
//! One pass that looks only at quotes (memchr): a quote opens a field when the byte before it is a delimiter or a line end, and
//! everything up to its partner is data. The places that come out are those where [`crate::csv::scan`] ends a record.

use std::io::Read;
use std::path::Path;

use weir_error::{Error, Kind, Result};

use crate::csv::scan::Dialect;

const CHUNK: usize = 1 << 20;

/// The state between two bytes.
struct State {
    /// The last byte, as far as it matters: a line end at the beginning of a record.
    previous: u8,
    quoted: bool,
    /// The byte before was the quote that (perhaps) closed the field.
    closed: bool,
    /// The next byte is made ordinary by an escape.
    escaped: bool,
}

impl State {
    fn quiet(&self) -> bool {
        !self.quoted && !self.closed && !self.escaped
    }

    /// One byte; true if a record ends with it.
    #[inline]
    fn step(&mut self, byte: u8, dialect: &Dialect) -> bool {
        if self.escaped {
            self.escaped = false;
            self.previous = byte;
            return false;
        }
        let mut ends = false;
        let mut closed = false;
        if self.quoted {
            if Some(byte) == dialect.quote {
                self.quoted = false;
                closed = true;
            } else if Some(byte) == dialect.escape {
                self.escaped = true;
            }
        } else if Some(byte) == dialect.quote {
            self.quoted = self.closed || self.previous == dialect.delimiter || self.previous == dialect.terminator;
        } else {
            ends = byte == dialect.terminator;
        }
        self.closed = closed;
        self.previous = byte;
        ends
    }
}

/// The first record ends at or after each of the ascending `targets` (offsets in the file), found by reading from `start`, where a record
/// begins. Targets behind the last record give nothing.
pub(crate) fn record_ends(path: &Path, start: u64, targets: &[u64], dialect: &Dialect) -> Result<Vec<u64>> {
    use std::io::{Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut ends = Vec::with_capacity(targets.len());
    let mut targets = targets.iter().copied().peekable();
    let mut state = State { previous: dialect.terminator, quoted: false, closed: false, escaped: false };
    let mut chunk = vec![0u8; CHUNK];
    let mut base = start;
    loop {
        let Some(mut target) = targets.peek().copied() else { return Ok(ends) };
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(ends);
        }
        let data = &chunk[..count];
        let mut at = 0;
        while at < count {
            if state.quiet() {
                // Nothing matters before the next quote, unless the target lies there.
                let quote = dialect.quote.and_then(|quote| memchr::memchr(quote, &data[at..])).map_or(count, |found| at + found);
                let mut looking = at;
                while target < base + quote as u64 {
                    let from = looking.max(target.saturating_sub(base) as usize);
                    match memchr::memchr(dialect.terminator, &data[from..quote]) {
                        Some(found) => {
                            let end = base + (from + found + 1) as u64;
                            ends.push(end);
                            looking = from + found + 1;
                            while targets.next_if(|next| *next < end).is_some() {}
                            match targets.peek() {
                                Some(next) => target = *next,
                                None => return Ok(ends),
                            }
                        }
                        None => break,
                    }
                }
                if quote > at {
                    state.previous = data[quote - 1];
                }
                at = quote;
                if at == count {
                    break;
                }
            } else if state.quoted && !state.escaped {
                let next = match (dialect.quote, dialect.escape) {
                    (Some(quote), Some(escape)) => memchr::memchr2(quote, escape, &data[at..]),
                    (Some(quote), None) => memchr::memchr(quote, &data[at..]),
                    (None, _) => None,
                };
                match next {
                    Some(found) => at += found,
                    None => break,
                }
            }
            if state.step(data[at], dialect) && base + at as u64 >= target {
                let end = base + at as u64 + 1;
                ends.push(end);
                while targets.next_if(|next| *next < end).is_some() {}
                match targets.peek() {
                    Some(next) => target = *next,
                    None => return Ok(ends),
                }
            }
            at += 1;
        }
        base += count as u64;
    }
}

/// How many line ends a file has before an offset; for the line numbers of dead letters.
pub(crate) fn lines_before(path: &Path, offset: u64, terminator: u8) -> Result<u64> {
    let mut file = std::fs::File::open(path)?.take(offset);
    let mut chunk = vec![0u8; CHUNK];
    let mut lines = 0;
    let mut seen = 0;
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        seen += count as u64;
        lines += memchr::memchr_iter(terminator, &chunk[..count]).count() as u64;
    }
    if seen < offset {
        return Err(Error::new("WEIR-FMT-005", Kind::Conflict, "the file became shorter while it was read"));
    }
    Ok(lines)
}
