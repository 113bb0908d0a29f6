//! Finds the records of a JSON text: lines, the elements of an array, or values after each other.

use weir_error::{Error, Kind, Result};

use crate::text_buffer::{CHUNK, TextBuffer};

/// What comes next.
pub(crate) enum Next {
    /// A record: so many bytes at the front of the buffer; then `taken` bytes to take.
    Record { from: usize, to: usize, taken: usize },
    /// A record over the limit was read past: its size. Its beginning is in the first field.
    TooLong { kept: Vec<u8>, size: u64 },
    /// No more.
    End,
}

/// Walks over a buffer.
pub(crate) struct Records {
    lines: bool,
    /// Inside the array that is the document.
    in_array: bool,
    /// The first byte was looked at.
    begun: bool,
    /// A value was read: a comma or the end comes next.
    after_value: bool,
    /// The array has ended.
    closed: bool,
    max: usize,
    kept: usize,
}

impl Records {
    pub(crate) fn new(lines: bool, max: usize, kept: usize) -> Self {
        Self { lines, in_array: false, begun: false, after_value: false, closed: false, max: max.clamp(1, 1 << 30), kept }
    }

    /// The next record. The caller takes `taken` bytes from the buffer when done with it.
    pub(crate) fn next(&mut self, buffer: &mut TextBuffer) -> Result<Next> {
        if self.lines { self.next_line(buffer) } else { self.next_value(buffer) }
    }

    fn next_line(&mut self, buffer: &mut TextBuffer) -> Result<Next> {
        let mut from = 0;
        loop {
            let data = buffer.data();
            match memchr::memchr(b'\n', &data[from..]) {
                Some(found) => {
                    let end = from + found;
                    let to = if end > 0 && data[end - 1] == b'\r' { end - 1 } else { end };
                    return Ok(Next::Record { from: 0, to, taken: end + 1 });
                }
                None if buffer.at_end() => {
                    let len = data.len();
                    return Ok(if len == 0 { Next::End } else { Next::Record { from: 0, to: len, taken: len } });
                }
                None => {
                    from = data.len();
                    if from >= self.max {
                        return self.skip_line(buffer);
                    }
                    buffer.fill((from * 2).max(CHUNK))?;
                }
            }
        }
    }

    fn skip_line(&self, buffer: &mut TextBuffer) -> Result<Next> {
        let kept = buffer.data()[..self.kept.min(buffer.data().len())].to_vec();
        let mut size = 0u64;
        loop {
            let data = buffer.data();
            let end = memchr::memchr(b'\n', data).map(|at| at + 1);
            let count = end.unwrap_or(data.len());
            size += count as u64;
            buffer.take(count);
            if end.is_some() || (buffer.at_end() && buffer.data().is_empty()) {
                return Ok(Next::TooLong { kept, size });
            }
            buffer.fill(CHUNK)?;
        }
    }

    /// Skips white space; the next byte, if there is one.
    fn peek(&self, buffer: &mut TextBuffer) -> Result<Option<u8>> {
        loop {
            let data = buffer.data();
            if let Some(at) = data.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
                let byte = data[at];
                buffer.take(at);
                return Ok(Some(byte));
            }
            let all = data.len();
            buffer.take(all);
            if buffer.at_end() {
                return Ok(None);
            }
            buffer.fill(CHUNK)?;
        }
    }

    fn next_value(&mut self, buffer: &mut TextBuffer) -> Result<Next> {
        let mut byte = self.peek(buffer)?;
        if !self.begun {
            self.begun = true;
            if byte == Some(b'[') {
                self.in_array = true;
                buffer.take(1);
                byte = self.peek(buffer)?;
                if byte == Some(b']') {
                    self.closed = true;
                    buffer.take(1);
                    byte = self.peek(buffer)?;
                }
            }
        }
        if self.in_array && !self.closed {
            if self.after_value {
                match byte {
                    Some(b',') => {
                        buffer.take(1);
                        byte = self.peek(buffer)?;
                    }
                    Some(b']') => {
                        self.closed = true;
                        buffer.take(1);
                        byte = self.peek(buffer)?;
                    }
                    Some(_) => return Err(broken(buffer, "a comma is missing between two elements of the array")),
                    None => return Err(cut_off(buffer, "the array does not end")),
                }
            }
            if !self.closed && byte.is_none() {
                return Err(cut_off(buffer, "the array does not end"));
            }
        }
        if self.closed {
            return match byte {
                None => Ok(Next::End),
                Some(_) => Err(broken(buffer, "something stands behind the array")),
            };
        }
        if byte.is_none() {
            return Ok(Next::End);
        }
        self.after_value = true;
        let mut walk = ValueEnd::default();
        let mut from = 0;
        loop {
            if let Some(end) = walk.find(&buffer.data()[from..]) {
                let to = from + end;
                if to == 0 {
                    return Err(broken(buffer, "this is no JSON value"));
                }
                return Ok(Next::Record { from: 0, to, taken: to });
            }
            from = buffer.data().len();
            if buffer.at_end() {
                if walk.complete_at_end() {
                    return Ok(Next::Record { from: 0, to: from, taken: from });
                }
                return Err(cut_off(buffer, "the last value does not end"));
            }
            if from >= self.max {
                return self.skip_value(buffer, walk);
            }
            buffer.fill((from * 2).max(CHUNK))?;
        }
    }

    fn skip_value(&self, buffer: &mut TextBuffer, mut walk: ValueEnd) -> Result<Next> {
        let kept = buffer.data()[..self.kept.min(buffer.data().len())].to_vec();
        let mut size = buffer.data().len() as u64;
        buffer.take(size as usize);
        loop {
            buffer.fill(CHUNK)?;
            let data = buffer.data();
            let end = walk.find(data);
            let count = end.unwrap_or(data.len());
            size += count as u64;
            buffer.take(count);
            if end.is_some() {
                return Ok(Next::TooLong { kept, size });
            }
            if buffer.at_end() {
                return Err(cut_off(buffer, "the last value does not end"));
            }
        }
    }
}

fn cut_off(buffer: &TextBuffer, why: &str) -> Error {
    Error::new("WEIR-FMT-002", Kind::Data, "the JSON document is cut off")
        .because(format!("{why} (byte {})", buffer.taken() + buffer.data().len() as u64))
        .hint("fetch the file again")
}

fn broken(buffer: &TextBuffer, why: &str) -> Error {
    Error::new("WEIR-FMT-004", Kind::Data, "this is no JSON document")
        .because(format!("{why} (byte {})", buffer.taken()))
        .hint("one JSON object per line is `format: ndjson`")
}

/// Finds the end of a value by its brackets and quotes alone.
#[derive(Default)]
struct ValueEnd {
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// A scalar at the top: ends before a delimiter.
    bare: bool,
}

impl ValueEnd {
    /// Bytes up to the end of the value, if it is in `data`.
    fn find(&mut self, data: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < data.len() {
            if self.in_text {
                if std::mem::take(&mut self.escaped) {
                    at += 1;
                    continue;
                }
                match memchr::memchr2(b'"', b'\\', &data[at..]) {
                    None => return None,
                    Some(found) => {
                        at += found + 1;
                        if data[at - 1] == b'\\' {
                            self.escaped = true;
                        } else {
                            self.in_text = false;
                            if self.depth == 0 {
                                return Some(at);
                            }
                        }
                    }
                }
                continue;
            }
            match data[at] {
                b'"' if !self.bare => self.in_text = true,
                b'{' | b'[' if !self.bare => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'{' | b'[' | b'"' if self.depth == 0 => return Some(at),
                _ if self.depth == 0 => self.bare = true,
                _ => {}
            }
            at += 1;
        }
        None
    }

    fn complete_at_end(&self) -> bool {
        self.bare && !self.in_text && self.depth == 0
    }
}
