//! The bytes of MySQL's protocol: packets over a stream, and the few forms that values have inside them. No meaning here.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_connect::{Error, Result};

use super::errors::{lost, protocol};
use super::tls::Wire;

const READ_BUFFER: usize = 256 * 1024;
/// A payload of this size goes on in the next packet.
const MAX_PAYLOAD: usize = 0xff_ffff;
/// Bytes before a payload: length and sequence number.
pub const HEAD: usize = 4;

/// Where the last payload lies.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    large: bool,
    start: usize,
    end: usize,
}

/// A stream of packets with a large read buffer.
pub struct Packets {
    stream: Option<Box<dyn Wire>>,
    place: String,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A payload that comes in several packets.
    large: Vec<u8>,
    /// What is known of the packet of it that is being read. Kept here so that a read that is dropped can be taken up again.
    piece: Option<Piece>,
    sequence: u8,
}

struct Piece {
    left: usize,
    last: bool,
}

impl Packets {
    /// Over a connection.
    pub fn new(stream: Box<dyn Wire>, place: String) -> Self {
        Self {
            stream: Some(stream),
            place,
            buffer: vec![0; 16 * 1024],
            start: 0,
            end: 0,
            large: Vec::new(),
            piece: None,
            sequence: 0,
        }
    }

    /// The stream, to put TLS around it. Nothing may have been read ahead.
    pub fn take_stream(&mut self) -> Result<Box<dyn Wire>> {
        if self.start != self.end {
            return Err(protocol(&self.place, "data before the TLS session"));
        }
        self.stream.take().ok_or_else(|| Error::internal("a session without a stream"))
    }

    /// Goes on over this stream.
    pub fn set_stream(&mut self, stream: Box<dyn Wire>) {
        self.stream = Some(stream);
    }

    /// The next packet sent begins a new exchange.
    pub fn begin(&mut self) {
        self.sequence = 0;
    }

    /// The payload of a frame; valid until the next one is asked for.
    pub fn body(&self, frame: Frame) -> &[u8] {
        let from = if frame.large { &self.large } else { &self.buffer };
        from.get(frame.start..frame.end).unwrap_or_default()
    }

    /// A packet that is whole in the buffer already.
    #[inline]
    pub fn buffered(&mut self) -> Option<Frame> {
        let available = self.end - self.start;
        if available < HEAD || self.piece.is_some() {
            return None;
        }
        let head = &self.buffer[self.start..self.start + HEAD];
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if available < HEAD + length || length == MAX_PAYLOAD {
            return None;
        }
        self.sequence = head[3].wrapping_add(1);
        let frame = Frame { large: false, start: self.start + HEAD, end: self.start + HEAD + length };
        self.start = frame.end;
        Some(frame)
    }

    /// The same if its payload begins with this byte. Others stay where they are.
    #[inline]
    pub fn buffered_with(&mut self, first: u8) -> Option<Frame> {
        let there = self.buffer[self.start..self.end].get(HEAD) == Some(&first);
        if there { self.buffered() } else { None }
    }

    /// The next packet, or the next several that make one payload. May be dropped while it waits and be called again.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(frame);
            }
            match &mut self.piece {
                Some(Piece { left: 0, last: true }) => {
                    self.piece = None;
                    return Ok(Frame { large: true, start: 0, end: self.large.len() });
                }
                Some(Piece { left, .. }) if *left > 0 => {
                    if self.start == self.end {
                        self.need(1).await?;
                        continue;
                    }
                    let taken = (*left).min(self.end - self.start);
                    self.large.extend_from_slice(&self.buffer[self.start..self.start + taken]);
                    self.start += taken;
                    *left -= taken;
                }
                _ => {
                    self.need(HEAD).await?;
                    let head = &self.buffer[self.start..self.start + HEAD];
                    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
                    let last = length < MAX_PAYLOAD;
                    if last && self.piece.is_none() {
                        self.need(HEAD + length).await?;
                        continue;
                    }
                    self.sequence = head[3].wrapping_add(1);
                    self.start += HEAD;
                    if self.piece.is_none() {
                        if self.large.capacity() > 4 * READ_BUFFER {
                            self.large = Vec::new();
                        }
                        self.large.clear();
                    }
                    self.piece = Some(Piece { left: length, last });
                }
            }
        }
    }

    /// Reads until so many bytes are in the buffer.
    async fn need(&mut self, bytes: usize) -> Result<()> {
        while self.end - self.start < bytes {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.buffer.len() < bytes || (self.end == self.buffer.len() && self.buffer.len() < READ_BUFFER) {
                self.buffer.resize(bytes.max(READ_BUFFER), 0);
            }
            let stream = self.stream.as_mut().ok_or_else(|| Error::internal("a session without a stream"))?;
            let read = stream.read(&mut self.buffer[self.end..]).await.map_err(|error| lost(&self.place, error))?;
            if read == 0 {
                return Err(lost(&self.place, std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.end += read;
        }
        Ok(())
    }

    /// Sends a payload that begins after [`HEAD`] bytes of room.
    pub async fn send(&mut self, message: &mut [u8]) -> Result<()> {
        let mut from = HEAD;
        loop {
            let length = (message.len() - from).min(MAX_PAYLOAD);
            let head = [length as u8, (length >> 8) as u8, (length >> 16) as u8, self.sequence];
            self.sequence = self.sequence.wrapping_add(1);
            // The head is written over bytes that have been sent already.
            message[from - HEAD..from].copy_from_slice(&head);
            let stream = self.stream.as_mut().ok_or_else(|| Error::internal("a session without a stream"))?;
            stream.write_all(&message[from - HEAD..from + length]).await.map_err(|error| lost(&self.place, error))?;
            from += length;
            if length < MAX_PAYLOAD {
                break;
            }
        }
        let stream = self.stream.as_mut().ok_or_else(|| Error::internal("a session without a stream"))?;
        stream.flush().await.map_err(|error| lost(&self.place, error))
    }

    /// Closes the connection.
    pub async fn shutdown(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.shutdown().await;
        }
    }
}

/// Reads forms of values off a payload. Everything is checked; the end of the payload is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// So many bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        if count > self.0.len() {
            return None;
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(taken)
    }

    /// A fixed number of bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number of 1 to 9 bytes.
    #[inline]
    pub fn length(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            small @ 0..=0xfa => small.into(),
            0xfc => u16::from_le_bytes(self.array()?).into(),
            0xfd => {
                let [a, b, c] = self.array()?;
                u32::from_le_bytes([a, b, c, 0]).into()
            }
            0xfe => u64::from_le_bytes(self.array()?),
            _ => return None,
        })
    }

    /// Bytes after their length.
    #[inline]
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    /// Bytes up to a zero, or all that is left.
    pub fn terminated(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let taken = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        taken
    }
}

/// Appends a number of 1 to 9 bytes.
pub fn put_length(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0xfa => out.push(value as u8),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&(value as u32).to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends bytes after their length.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_length(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_survive_the_way_there_and_back() {
        for value in [0, 250, 251, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_length(&mut out, value);
            assert_eq!(Reader(&out).length(), Some(value));
            assert_eq!(Reader(&out[..out.len() - 1]).length(), None);
        }
    }

    #[tokio::test]
    async fn a_payload_of_any_size_comes_out_as_it_went_in() {
        for size in [0, 1, 300_000, MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD] {
            let (here, there) = tokio::io::duplex(1 << 16);
            let mut sender = Packets::new(Box::new(here), "here".into());
            let mut receiver = Packets::new(Box::new(there), "there".into());
            let mut message: Vec<u8> = (0..size + HEAD).map(|at| (at % 251) as u8).collect();
            let expected = message[HEAD..].to_vec();
            let sent = async { sender.send(&mut message).await.unwrap() };
            let ((), frame) = tokio::join!(sent, receiver.next());
            assert!(receiver.body(frame.unwrap()) == expected, "{size}");
        }
    }

    #[tokio::test]
    async fn a_read_that_is_dropped_is_taken_up_again() {
        for size in [10, 300_000, MAX_PAYLOAD + 5] {
            let (here, there) = tokio::io::duplex(1 << 16);
            let mut sender = Packets::new(Box::new(here), "here".into());
            let mut receiver = Packets::new(Box::new(there), "there".into());
            let mut message: Vec<u8> = (0..size + HEAD).map(|at| (at % 251) as u8).collect();
            let expected = message[HEAD..].to_vec();
            let received = async {
                loop {
                    // Polled once, then dropped if it is not ready.
                    let mut next = Box::pin(receiver.next());
                    if let std::task::Poll::Ready(frame) = futures::poll!(&mut next) {
                        drop(next);
                        return receiver.body(frame.unwrap()).to_vec();
                    }
                    drop(next);
                    tokio::task::yield_now().await;
                }
            };
            let ((), got) = tokio::join!(async { sender.send(&mut message).await.unwrap() }, received);
            assert!(got == expected, "{size}");
        }
    }
}
