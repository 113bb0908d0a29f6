//! Run lengths: of bits, of bytes, and version 2 of integers (short repeat, direct, delta; no patched base: what a few
//! large values cost among small ones, the compression behind it takes back).

use super::proto::{put_varint, zigzag};
use super::stream::Stream;

/// Values of a run of integers, at most.
const RUN: usize = 512;
/// Equal values that end a run of different ones.
const WORTH_A_RUN: usize = 8;

/// Integers, zigzagged when they are signed. Unsigned ones are never negative.
pub(super) struct Ints {
    signed: bool,
    pending: Vec<i64>,
    stream: Stream,
}

impl Ints {
    pub(super) fn new(signed: bool) -> Self {
        Self { signed, pending: Vec::with_capacity(RUN), stream: Stream::default() }
    }

    pub(super) fn push(&mut self, value: i64) {
        self.pending.push(value);
        if self.pending.len() == RUN {
            self.encode();
        }
    }

    /// The stream so far. Nothing is pending in it.
    pub(super) fn stream(&mut self) -> &mut Stream {
        self.encode();
        &mut self.stream
    }

    pub(super) fn held(&self) -> usize {
        self.pending.len() * 8 + self.stream.held()
    }

    fn encode(&mut self) {
        let values = std::mem::take(&mut self.pending);
        let mut at = 0;
        while at < values.len() {
            let run = equal(&values[at..]);
            if run >= 3 {
                self.repeat(values[at], run);
                at += run;
                continue;
            }
            let mut end = at + run;
            while end < values.len() {
                let run = equal(&values[end..]);
                if run >= WORTH_A_RUN {
                    break;
                }
                end += run;
            }
            self.different(&values[at..end]);
            at = end;
        }
        self.pending = values;
        self.pending.clear();
    }

    fn raw(&self, value: i64) -> u64 {
        if self.signed { zigzag(value) } else { value as u64 }
    }

    fn repeat(&mut self, value: i64, count: usize) {
        let raw = self.raw(value);
        if count > 10 {
            self.delta_head(0, count, value, 0);
            return;
        }
        let bytes = (64 - raw.leading_zeros() as usize).div_ceil(8).max(1);
        self.stream.plain.push(((bytes - 1) << 3 | (count - 3)) as u8);
        self.stream.plain.extend_from_slice(&raw.to_be_bytes()[8 - bytes..]);
    }

    fn different(&mut self, values: &[i64]) {
        let widest = values.iter().fold(0, |bits, value| bits | self.raw(*value));
        let width = width_for(widest);
        if let Some((first, step_width)) = steps(values)
            && step_width < width
        {
            self.delta_head(step_width, values.len(), values[0], first);
            if step_width > 0 {
                let steps: Vec<u64> = values[1..].windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
                pack(&steps, step_width, &mut self.stream.plain);
            }
            return;
        }
        self.head(1, width, values.len());
        let raw: Vec<u64> = values.iter().map(|value| self.raw(*value)).collect();
        pack(&raw, width, &mut self.stream.plain);
    }

    fn head(&mut self, kind: u8, width: u32, count: usize) {
        let length = (count - 1) as u16;
        self.stream.plain.push(kind << 6 | width_code(width) << 1 | (length >> 8) as u8);
        self.stream.plain.push(length as u8);
    }

    fn delta_head(&mut self, step_width: u32, count: usize, first: i64, step: i64) {
        self.head(3, step_width, count);
        let raw = self.raw(first);
        put_varint(&mut self.stream.plain, u128::from(raw));
        put_varint(&mut self.stream.plain, u128::from(zigzag(step)));
    }
}

/// How many values at the beginning are equal.
fn equal(values: &[i64]) -> usize {
    values.iter().take_while(|value| **value == values[0]).count()
}

/// First step and width of the other steps, if the values only rise or only fall. Width 0: all steps are equal.
fn steps(values: &[i64]) -> Option<(i64, u32)> {
    let first = values.get(1)?.checked_sub(values[0])?;
    if first == 0 {
        return None;
    }
    let (mut even, mut widest) = (true, 0);
    for pair in values[1..].windows(2) {
        let step = pair[1].checked_sub(pair[0])?;
        if step != 0 && (step > 0) != (first > 0) {
            return None;
        }
        even &= step == first;
        widest |= step.unsigned_abs();
    }
    // A width of one bit has no code here.
    Some((first, if even { 0 } else { width_for(widest).max(2) }))
}

/// Bits per value, of the widths that the specification recommends.
fn width_for(value: u64) -> u32 {
    match 64 - value.leading_zeros() {
        0 | 1 => 1,
        2 => 2,
        3 | 4 => 4,
        bits => bits.next_multiple_of(8),
    }
}

fn width_code(width: u32) -> u8 {
    match width {
        0 => 0,
        1..=24 => width as u8 - 1,
        32 => 27,
        40 => 28,
        48 => 29,
        56 => 30,
        _ => 31,
    }
}

/// The low bits of each value, high ones first.
fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    if width >= 8 {
        let bytes = width as usize / 8;
        for value in values {
            out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
        }
        return;
    }
    for group in values.chunks(8 / width as usize) {
        let byte = group.iter().enumerate().fold(0, |byte, (at, value)| {
            let shift = 8 - width * (at as u32 + 1);
            byte | (*value as u8) << shift
        });
        out.push(byte);
    }
}

/// Bytes: runs of equal ones, and others as they are.
#[derive(Default)]
pub(super) struct Bytes {
    pending: Vec<u8>,
    stream: Stream,
}

impl Bytes {
    pub(super) fn push(&mut self, value: u8) {
        self.pending.push(value);
        if self.pending.len() == 4096 {
            self.encode();
        }
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        self.encode();
        &mut self.stream
    }

    pub(super) fn held(&self) -> usize {
        self.pending.len() + self.stream.held()
    }

    fn encode(&mut self) {
        let (values, out) = (&self.pending, &mut self.stream.plain);
        let run_at = |at: usize| values[at..].iter().take(130).take_while(|value| **value == values[at]).count();
        let mut at = 0;
        while at < values.len() {
            let run = run_at(at);
            if run >= 3 {
                out.extend_from_slice(&[(run - 3) as u8, values[at]]);
                at += run;
                continue;
            }
            let mut end = at + run;
            while end < values.len() && end - at < 128 {
                let run = run_at(end);
                if run >= 3 {
                    break;
                }
                end += run;
            }
            end = end.min(at + 128);
            out.push(((at as isize) - (end as isize)) as u8);
            out.extend_from_slice(&values[at..end]);
            at = end;
        }
        self.pending.clear();
    }
}

/// Bits in bytes, high ones first, the bytes in runs.
#[derive(Default)]
pub(super) struct Bits {
    open: u8,
    count: u8,
    bytes: Bytes,
}

impl Bits {
    pub(super) fn push(&mut self, value: bool) {
        self.open |= u8::from(value) << (7 - self.count);
        self.count += 1;
        if self.count == 8 {
            self.close();
        }
    }

    fn close(&mut self) {
        self.bytes.push(self.open);
        (self.open, self.count) = (0, 0);
    }

    /// Ends the open byte. For the end of a stripe only.
    pub(super) fn finish(&mut self) -> &mut Stream {
        if self.count > 0 {
            self.close();
        }
        self.bytes.stream()
    }

    /// The bytes that are whole.
    pub(super) fn stream(&mut self) -> &mut Stream {
        self.bytes.stream()
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(signed: bool, values: &[i64]) -> Vec<u8> {
        let mut ints = Ints::new(signed);
        values.iter().for_each(|value| ints.push(*value));
        ints.stream().plain.clone()
    }

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(ints(false, &[10000; 5]), [0x0a, 0x27, 0x10]);
        let direct = [0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(ints(false, &[23713, 43806, 57005, 48879]), direct);
        let delta = [0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46];
        assert_eq!(ints(false, &[2, 3, 5, 7, 11, 13, 17, 19, 23, 29]), delta);
        let mut bytes = Bytes::default();
        [0; 100].into_iter().chain([0x44, 0x45]).for_each(|byte| bytes.push(byte));
        assert_eq!(bytes.stream().plain, [0x61, 0x00, 0xfe, 0x44, 0x45]);
        let mut bits = Bits::default();
        [true, false, false, false, false, false, false, false].into_iter().for_each(|bit| bits.push(bit));
        assert_eq!(bits.finish().plain, [0xff, 0x80]);
    }

    #[test]
    fn steps_that_overflow_are_written_as_they_are() {
        let bytes = ints(true, &[i64::MIN, i64::MAX, 0]);
        assert_eq!((bytes[0], bytes[1], bytes.len()), (0x40 | 31 << 1, 2, 2 + 24));
    }
}
