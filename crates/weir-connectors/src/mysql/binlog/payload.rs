//! What the servers compress: whole transactions (MySQL, zstd) and single events (MariaDB, zlib). Both are read with an eye on the size that
//! they claim: no more than that is ever made of them.

use std::io::Read;

use bytes::buf::Reader as BytesReader;
use bytes::{Buf, Bytes, BytesMut};
use weir_connect::Result;

use super::super::wire::Reader;
use super::errors::{malformed, unsupported};

/// Bytes of the header of an event.
pub(super) const HEADER: usize = 19;
/// The server's own limit of one event.
const LARGEST: u64 = 1 << 30;

/// The body of an event that MariaDB has compressed.
pub(super) fn unpack(packed: &[u8]) -> Result<Bytes> {
    let broken = || malformed("a compressed event that cannot be unpacked");
    let (head, rest) = packed.split_first().ok_or_else(broken)?;
    let bytes = usize::from(head & 7);
    if head & 0x80 == 0 || !(1..=4).contains(&bytes) {
        return Err(broken());
    }
    if head & 0x70 != 0 {
        return Err(unsupported("an event is compressed in a way that is not known", "set log_bin_compress = OFF at the server"));
    }
    let (length, data) = rest.split_at_checked(bytes).ok_or_else(broken)?;
    let length = length.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    if length > LARGEST {
        return Err(broken());
    }
    let mut out = Vec::new();
    flate2::read::ZlibDecoder::new(data).take(length + 1).read_to_end(&mut out).map_err(|_| broken())?;
    if out.len() as u64 != length {
        return Err(broken());
    }
    Ok(out.into())
}

enum Source {
    Zstd(Box<zstd::stream::read::Decoder<'static, std::io::BufReader<BytesReader<Bytes>>>>),
    Plain(BytesReader<Bytes>),
}

/// The events of a compressed transaction, one after the other.
pub(super) struct Transaction {
    source: Source,
    /// Bytes that may still come.
    left: u64,
}

impl Transaction {
    /// From the body of the event.
    pub(super) fn open(body: &Bytes) -> Result<Self> {
        let cut = || malformed("a compressed transaction that is cut");
        let mut reader = Reader(body);
        let (mut compression, mut size, mut length) = (255_u64, 0_u64, None);
        loop {
            let field = reader.length().ok_or_else(cut)?;
            if field == 0 {
                break;
            }
            let mut value = Reader(reader.text().ok_or_else(cut)?);
            match field {
                1 => length = Some(value.length().ok_or_else(cut)?),
                2 => compression = value.length().ok_or_else(cut)?,
                3 => size = value.length().ok_or_else(cut)?,
                _ => {}
            }
        }
        let packed = body.slice(body.len() - reader.0.len()..);
        if length.is_some_and(|length| length != packed.len() as u64) {
            return Err(cut());
        }
        let (source, left) = match compression {
            0 => {
                let decoder = zstd::stream::read::Decoder::new(packed.reader())
                    .map_err(|error| malformed(format!("a compressed transaction: {error}")))?;
                (Source::Zstd(Box::new(decoder)), size)
            }
            255 => {
                let left = packed.len() as u64;
                (Source::Plain(packed.reader()), left)
            }
            _ => {
                return Err(unsupported(
                    "a transaction is compressed in a way that is not known",
                    "set binlog_transaction_compression = OFF at the server",
                ));
            }
        };
        Ok(Self { source, left })
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        let read = match &mut self.source {
            Source::Zstd(decoder) => decoder.read_exact(out),
            Source::Plain(reader) => reader.read_exact(out),
        };
        read.map_err(|error| malformed(format!("a compressed transaction: {error}")))?;
        self.left = self.left.saturating_sub(out.len() as u64);
        Ok(())
    }

    /// The next event without a checksum, in `room`; `None` after the last one.
    pub(super) fn next(&mut self, room: &mut BytesMut) -> Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let size = u64::from(u32::from_le_bytes([header[9], header[10], header[11], header[12]]));
        let body = size.checked_sub(HEADER as u64).filter(|body| *body <= self.left);
        let body = body.ok_or_else(|| malformed("an event that is longer than its compressed transaction"))?;
        room.clear();
        room.extend_from_slice(&header);
        room.resize(HEADER + body as usize, 0);
        self.fill(&mut room[HEADER..])?;
        Ok(Some(room.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_event_that_is_longer_or_shorter_than_it_says_is_an_error() {
        let data = vec![7; 3000];
        for (claimed, good) in [(3000_u16, true), (2999, false), (3001, false)] {
            let packed = [&[0x82][..], &claimed.to_be_bytes(), &zlib(&data)].concat();
            assert_eq!(unpack(&packed).is_ok_and(|out| out == data), good, "{claimed}");
        }
        for bad in [&[][..], &[0x02, 1, 2], &[0x92, 0, 1, 0], &[0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert!(unpack(bad).is_err());
        }
    }

    #[test]
    fn events_of_a_transaction_come_one_by_one_however_it_is_packed() {
        let event = |size: u32| {
            let mut event = vec![1; size as usize];
            event[9..13].copy_from_slice(&size.to_le_bytes());
            event
        };
        let plain = [event(19), event(30), event(70_000)].concat();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        for (compression, payload, size) in [(&[1, 0][..], &packed, plain.len()), (&[3, 0xfc, 255, 0], &plain, plain.len())] {
            let mut body = [&[2][..], compression, &[3, 4, 0xfd]].concat();
            body.extend_from_slice(&(size as u32).to_le_bytes()[..3]);
            body.push(0);
            body.extend_from_slice(payload);
            let mut room = BytesMut::new();
            let mut transaction = Transaction::open(&body.clone().into()).unwrap();
            let mut sizes = Vec::new();
            while let Some(event) = transaction.next(&mut room).unwrap() {
                sizes.push(event.len());
            }
            assert_eq!(sizes, [19, 30, 70_000]);
            body.truncate(body.len() - 5);
            let mut cut = Transaction::open(&body.into()).unwrap();
            assert!((0..4).any(|_| cut.next(&mut room).is_err()));
        }
    }
}
