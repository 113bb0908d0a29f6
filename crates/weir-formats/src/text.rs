//! From an [`Input`] to a blocking stream of UTF-8: local files by plain reads, others by ranges fetched ahead; then
//! decompression and transcoding. Also the thread that decoders run on.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_error::{Error, Kind, Result};

use crate::compress::{carry, decompress};
use crate::format::Compression;
use crate::input::Input;
use crate::read::{DecodeStream, Decoded};

/// Bytes fetched at once from an input that is not local; two are under way or waiting.
const REMOTE_CHUNK: u64 = 4 << 20;

/// Opens a range for blocking reads. Must be called inside a tokio runtime; the reader is for a blocking thread.
/// A file that has become shorter is an error.
pub(crate) fn open(input: &Arc<dyn Input>, range: Range<u64>) -> Result<Raw> {
    let taken = Arc::new(AtomicU64::new(0));
    let left = range.end.saturating_sub(range.start);
    let source = match input.local_path() {
        Some(path) => {
            let mut file = std::fs::File::open(path)?;
            if range.start > 0 {
                file.seek(SeekFrom::Start(range.start))?;
            }
            Source::Local(file)
        }
        None => {
            let (sender, receiver) = mpsc::channel(1);
            let input = input.clone();
            tokio::spawn(async move {
                let mut at = range.start;
                while at < range.end {
                    let end = (at + REMOTE_CHUNK).min(range.end);
                    let chunk = input.range(at..end).await;
                    let failed = chunk.is_err();
                    if sender.send(chunk).await.is_err() || failed {
                        return;
                    }
                    at = end;
                }
            });
            Source::Remote(receiver, Bytes::new())
        }
    };
    Ok(Raw { source, left, taken })
}

/// The bytes of a range as they are in the file.
pub(crate) struct Raw {
    source: Source,
    left: u64,
    taken: Arc<AtomicU64>,
}

enum Source {
    Local(std::fs::File),
    Remote(mpsc::Receiver<Result<Bytes>>, Bytes),
}

impl Raw {
    /// Counts the bytes taken so far, while the reader is buried in decoders.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }
}

fn shorter() -> io::Error {
    carry(
        Error::new("WEIR-FMT-005", Kind::Conflict, "the file became shorter while it was read")
            .hint("do not write to files that are being read; run again"),
    )
}

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if limit == 0 {
            return Ok(0);
        }
        let count = match &mut self.source {
            Source::Local(file) => match file.read(&mut buf[..limit])? {
                0 => return Err(shorter()),
                count => count,
            },
            Source::Remote(receiver, rest) => {
                while rest.is_empty() {
                    *rest = match receiver.blocking_recv() {
                        Some(Ok(chunk)) => chunk,
                        Some(Err(error)) => return Err(carry(error)),
                        None => return Err(shorter()),
                    };
                }
                let count = limit.min(rest.len());
                buf[..count].copy_from_slice(&rest.split_to(count));
                count
            }
        };
        self.left -= count as u64;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The UTF-8 text of a file or range, and the counter of file bytes taken.
pub(crate) fn open_text(
    raw: Raw,
    compression: Compression,
    encoding: &'static encoding_rs::Encoding,
) -> Result<(Box<dyn Read + Send>, Arc<AtomicU64>)> {
    let counter = raw.counter();
    let plain = decompress(compression, Box::new(raw)).map_err(crate::compress::uncarry)?;
    if encoding == encoding_rs::UTF_8 {
        return Ok((plain, counter));
    }
    Ok((Box::new(Transcoded::new(plain, encoding)), counter))
}

/// Finds an encoding by its WHATWG name.
pub(crate) fn encoding_named(name: &str) -> Result<&'static encoding_rs::Encoding> {
    let found = match name.to_ascii_lowercase().as_str() {
        "utf8" | "utf-8-sig" => Some(encoding_rs::UTF_8),
        other => encoding_rs::Encoding::for_label(other.as_bytes()),
    };
    found.ok_or_else(|| {
        Error::new("WEIR-FMT-013", Kind::Spec, format!("`{name}` is not an encoding"))
            .hint("common ones: utf-8, windows-1252 (latin1), iso-8859-15, utf-16le, utf-16be, shift_jis, gb18030, euc-kr")
    })
}

/// Decodes to UTF-8. A malformed sequence becomes the byte 0xFF, which is never valid UTF-8: the record that contains it is
/// found later and becomes a dead letter, instead of silently carrying a replacement character.
struct Transcoded<R> {
    inner: R,
    decoder: encoding_rs::Decoder,
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
    sent: usize,
    ended: bool,
    finished: bool,
}

impl<R: Read> Transcoded<R> {
    fn new(inner: R, encoding: &'static encoding_rs::Encoding) -> Self {
        Self {
            inner,
            decoder: encoding.new_decoder_without_bom_handling(),
            input: Vec::new(),
            at: 0,
            output: Vec::new(),
            sent: 0,
            ended: false,
            finished: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.at == self.input.len() && !self.ended {
            self.input.resize(64 << 10, 0);
            let count = self.inner.read(&mut self.input)?;
            self.input.truncate(count);
            self.at = 0;
            self.ended = count == 0;
        }
        self.output.resize(256 << 10, 0);
        self.sent = 0;
        // The last bytes stay free, so that a malformed sequence always finds room for its mark.
        let room = self.output.len() - 16;
        let mut written = 0;
        while written < room {
            let (result, read, wrote) = self.decoder.decode_to_utf8_without_replacement(
                &self.input[self.at..],
                &mut self.output[written..room + 8],
                self.ended,
            );
            self.at += read;
            written += wrote;
            match result {
                encoding_rs::DecoderResult::Malformed(_, _) => {
                    self.output[written] = 0xff;
                    written += 1;
                }
                encoding_rs::DecoderResult::OutputFull => break,
                encoding_rs::DecoderResult::InputEmpty => {
                    self.finished = self.ended;
                    break;
                }
            }
        }
        self.output.truncate(written);
        Ok(())
    }
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.sent == self.output.len() {
            if self.finished {
                return Ok(0);
            }
            self.refill()?;
        }
        let count = buf.len().min(self.output.len() - self.sent);
        buf[..count].copy_from_slice(&self.output[self.sent..self.sent + count]);
        self.sent += count;
        Ok(count)
    }
}

/// Where a decoder sends what it makes. Sending waits while the consumer is behind.
pub(crate) struct Output {
    sender: mpsc::Sender<Result<Decoded>>,
}

impl Output {
    /// # Errors
    /// When the consumer is gone: the decoder should stop, nobody sees the error.
    pub(crate) fn send(&self, decoded: Decoded) -> Result<()> {
        self.sender.blocking_send(Ok(decoded)).map_err(|_| Error::cancelled())
    }
}

/// Runs a decoder on a blocking thread. A panic inside (a corrupted file in a foreign decoder) becomes an error.
pub(crate) fn decode_on_thread<F>(name: String, work: F) -> DecodeStream
where
    F: FnOnce(&Output) -> Result<()> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let output = Output { sender };
        if let Err(error) = guard(|| work(&output)) {
            // The consumer may be gone; then nobody wants the error.
            let _gone = output.sender.blocking_send(Err(error.at(name)));
        }
    });
    Box::pin(futures::stream::poll_fn(move |context| receiver.poll_recv(context)))
}

/// Runs blocking work for an async caller, panics made errors.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(move || guard(work))
        .await
        .map_err(|error| Error::internal("a decoding thread was lost").because(error))?
}

/// Makes a panic an error: decoders of other people's making panic on some corrupted files.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".into());
            Err(Error::new("WEIR-FMT-006", Kind::Data, "the decoder gave up on this file")
                .because(text)
                .hint("the file is most likely corrupted; check it with another tool, and report it if that can read it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcode(bytes: &[u8], name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Transcoded::new(io::Cursor::new(bytes.to_vec()), encoding_named(name).unwrap()).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn encodings_become_utf8_and_malformed_sequences_stay_visible() {
        assert_eq!(transcode(b"caf\xe9", "latin1"), "café".as_bytes());
        assert_eq!(transcode(b"\x80", "windows-1252"), "€".as_bytes());
        assert_eq!(transcode(b"a\0\xe9\0", "utf-16le"), "aé".as_bytes());
        assert_eq!(transcode(b"a\0\0\xd8b\0", "utf-16le"), b"a\xffb");
        assert_eq!(encoding_named("klingon").unwrap_err().code(), "WEIR-FMT-013");
        let long: Vec<u8> = std::iter::repeat_n(0xe9, 300_000).collect();
        assert_eq!(transcode(&long, "latin1").len(), 600_000);
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = guard(|| -> Result<()> { panic!("index out of bounds") }).unwrap_err();
        assert_eq!((error.code(), error.why()), ("WEIR-FMT-006", Some("index out of bounds")));
    }
}
