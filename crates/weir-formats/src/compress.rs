//! Streaming compression of text files, both ways. A stream that ends inside a frame, or has something behind its last
//! one, is an error.
//!
//! What the formats themselves cannot tell: a snappy stream cut exactly between two chunks, and a gzip, zstd, lz4 or bzip2
//! file cut exactly between two members, look complete.

use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use crate::format::Compression;

/// A reader of the decompressed bytes. Its errors carry a [`weir_error::Error`].
pub(crate) fn decompress(compression: Compression, input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    if matches!(compression, Compression::None | Compression::Auto) {
        return Ok(input);
    }
    let mut input = BufReader::with_capacity(256 << 10, input);
    if input.fill_buf()?.is_empty() {
        return Err(carry(
            Error::new("WEIR-FMT-002", Kind::Data, "the file is empty, which is no valid compressed file")
                .because(format!("not a single byte of {} data", compression.as_str()))
                .hint("it was probably cut off while it was written; fetch it again"),
        ));
    }
    let inner: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Compression::Snappy => Box::new(snap::read::FrameDecoder::new(input)),
        Compression::Lz4 => Box::new(Lz4Reader(lz4_flex::frame::FrameDecoder::new(Lz4Frames::new(input)))),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::None | Compression::Auto => Box::new(input),
    };
    Ok(Box::new(Named { inner, compression }))
}

/// An I/O error that carries one of ours.
pub(crate) fn carry(error: Error) -> io::Error {
    io::Error::other(error)
}

/// Our error out of an I/O error, whether it carried one or not.
pub(crate) fn uncarry(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::from(error),
    }
}

/// Gives the decoder's errors a code, a cause and advice.
struct Named {
    inner: Box<dyn Read + Send>,
    compression: Compression,
}

impl Read for Named {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted || error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
                return error;
            }
            carry(
                Error::new("WEIR-FMT-002", Kind::Data, format!("the {} data is cut off or corrupted", self.compression.as_str()))
                    .because(error)
                    .hint("fetch the file again, or test it with the compression's own tool"),
            )
        })
    }
}

/// Reads frame after frame: the decoder alone reports an end after each.
struct Lz4Reader<R: BufRead>(lz4_flex::frame::FrameDecoder<Lz4Frames<R>>);

impl<R: BufRead> Read for Lz4Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(buf)?;
            if count > 0 || buf.is_empty() || self.0.get_mut().inner.fill_buf()?.is_empty() {
                return Ok(count);
            }
        }
    }
}

/// Passes LZ4 frames through and knows where they end: `lz4_flex` takes a missing end mark for a normal end.
struct Lz4Frames<R> {
    inner: R,
    state: Lz4State,
    /// Bytes of the current fixed-size piece still missing.
    need: usize,
    piece: Vec<u8>,
    block_checksum: bool,
    content_checksum: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Lz4State {
    Magic,
    Flags,
    HeaderRest,
    BlockSize,
    Body,
    EndChecksum,
    SkippableSize,
    SkippableBody,
    /// Not a frame we understand: the decoder will complain, or it is a legacy frame, which has no end mark.
    Opaque,
}

impl<R> Lz4Frames<R> {
    fn new(inner: R) -> Self {
        Self { inner, state: Lz4State::Magic, need: 4, piece: Vec::new(), block_checksum: false, content_checksum: false }
    }

    fn at_boundary(&self) -> bool {
        self.state == Lz4State::Opaque || (self.state == Lz4State::Magic && self.piece.is_empty())
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                Lz4State::Opaque => return,
                Lz4State::Body | Lz4State::SkippableBody => {
                    let taken = self.need.min(bytes.len());
                    self.need -= taken;
                    bytes = &bytes[taken..];
                }
                _ => {
                    let taken = self.need.min(bytes.len());
                    self.piece.extend_from_slice(&bytes[..taken]);
                    self.need -= taken;
                    bytes = &bytes[taken..];
                }
            }
            while self.need == 0 && self.state != Lz4State::Opaque {
                self.advance();
            }
        }
    }

    fn advance(&mut self) {
        let word = self.piece.get(..4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).unwrap_or(0);
        let flag = self.piece.first().copied().unwrap_or(0);
        self.piece.clear();
        (self.state, self.need) = match self.state {
            Lz4State::Magic if word == 0x184d_2204 => (Lz4State::Flags, 1),
            Lz4State::Magic if word & 0xffff_fff0 == 0x184d_2a50 => (Lz4State::SkippableSize, 4),
            Lz4State::Magic | Lz4State::Opaque => (Lz4State::Opaque, 0),
            Lz4State::Flags => {
                self.block_checksum = flag & 0x10 != 0;
                self.content_checksum = flag & 0x04 != 0;
                let rest = 2 + if flag & 0x08 != 0 { 8 } else { 0 } + if flag & 0x01 != 0 { 4 } else { 0 };
                (Lz4State::HeaderRest, rest)
            }
            Lz4State::HeaderRest | Lz4State::Body => (Lz4State::BlockSize, 4),
            Lz4State::BlockSize if word == 0 && self.content_checksum => (Lz4State::EndChecksum, 4),
            Lz4State::BlockSize if word == 0 => (Lz4State::Magic, 4),
            Lz4State::BlockSize => (Lz4State::Body, (word & 0x7fff_ffff) as usize + if self.block_checksum { 4 } else { 0 }),
            Lz4State::EndChecksum | Lz4State::SkippableBody => (Lz4State::Magic, 4),
            Lz4State::SkippableSize => (Lz4State::SkippableBody, word as usize),
        };
    }
}

impl<R: Read> Read for Lz4Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        if count == 0 && !buf.is_empty() && !self.at_boundary() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file ends inside a frame"));
        }
        self.follow(&buf[..count]);
        Ok(count)
    }
}

/// Compresses what is written to it; the output is taken with [`Compressor::drain`].
pub(crate) struct Compressor(Inner);

enum Inner {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Snappy(Box<snap::write::FrameEncoder<Vec<u8>>>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Bzip2(bzip2::write::BzEncoder<Vec<u8>>),
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        Ok(Self(match compression {
            Compression::None | Compression::Auto => Inner::None(Vec::new()),
            Compression::Gzip => Inner::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6))),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
                encoder.include_checksum(true)?;
                Inner::Zstd(encoder)
            }
            Compression::Snappy => Inner::Snappy(Box::new(snap::write::FrameEncoder::new(Vec::new()))),
            Compression::Lz4 => {
                let info =
                    lz4_flex::frame::FrameInfo::new().content_checksum(true).block_size(lz4_flex::frame::BlockSize::Max256KB);
                Inner::Lz4(Box::new(lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new())))
            }
            Compression::Bzip2 => Inner::Bzip2(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(9))),
        }))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.0 {
            Inner::None(out) => out.extend_from_slice(bytes),
            Inner::Gzip(encoder) => encoder.write_all(bytes)?,
            Inner::Zstd(encoder) => encoder.write_all(bytes)?,
            Inner::Snappy(encoder) => encoder.write_all(bytes)?,
            Inner::Lz4(encoder) => encoder.write_all(bytes)?,
            Inner::Bzip2(encoder) => encoder.write_all(bytes)?,
        }
        Ok(())
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match &mut self.0 {
            Inner::None(out) => out,
            Inner::Gzip(encoder) => encoder.get_mut(),
            Inner::Zstd(encoder) => encoder.get_mut(),
            Inner::Snappy(encoder) => encoder.get_mut(),
            Inner::Lz4(encoder) => encoder.get_mut(),
            Inner::Bzip2(encoder) => encoder.get_mut(),
        }
    }

    /// Bytes that are ready.
    pub(crate) fn ready(&self) -> usize {
        match &self.0 {
            Inner::None(out) => out.len(),
            Inner::Gzip(encoder) => encoder.get_ref().len(),
            Inner::Zstd(encoder) => encoder.get_ref().len(),
            Inner::Snappy(encoder) => encoder.get_ref().len(),
            Inner::Lz4(encoder) => encoder.get_ref().len(),
            Inner::Bzip2(encoder) => encoder.get_ref().len(),
        }
    }

    /// Takes what is ready.
    pub(crate) fn drain(&mut self) -> Option<Bytes> {
        let out = self.output();
        (!out.is_empty()).then(|| Bytes::from(std::mem::take(out)))
    }

    /// Ends the stream and gives the rest.
    pub(crate) fn finish(self) -> Result<Bytes> {
        Ok(Bytes::from(match self.0 {
            Inner::None(out) => out,
            Inner::Gzip(encoder) => encoder.finish()?,
            Inner::Zstd(encoder) => encoder.finish()?,
            // A stream without data still needs its identifier, else the file is empty and looks cut off.
            Inner::Snappy(encoder) => {
                let fresh = encoder.get_ref().is_empty();
                let mut out = encoder.into_inner().map_err(|error| Error::from(error.into_error()))?;
                if fresh && out.is_empty() {
                    out.extend_from_slice(b"\xff\x06\x00\x00sNaPpY");
                }
                out
            }
            Inner::Lz4(encoder) => encoder.finish().map_err(|error| Error::internal("lz4 stream does not end").because(error))?,
            Inner::Bzip2(encoder) => encoder.finish()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 5] =
        [Compression::Gzip, Compression::Zstd, Compression::Snappy, Compression::Lz4, Compression::Bzip2];

    fn packed(compression: Compression, parts: &[&[u8]]) -> Vec<u8> {
        let mut encoder = Compressor::new(compression).unwrap();
        let mut out = Vec::new();
        for part in parts {
            encoder.write(part).unwrap();
            if let Some(bytes) = encoder.drain() {
                out.extend_from_slice(&bytes);
            }
        }
        out.extend_from_slice(&encoder.finish().unwrap());
        out
    }

    fn unpacked(compression: Compression, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(compression, Box::new(io::Cursor::new(bytes)))
            .and_then(|mut reader| reader.read_to_end(&mut out))
            .map_err(uncarry)?;
        Ok(out)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8 % 17
            })
            .collect()
    }

    #[test]
    fn every_cut_inside_a_stream_is_an_error() {
        let data = noise(3000);
        for compression in ALL {
            let whole = packed(compression, &[&data]);
            for cut in 0..whole.len() {
                // Snappy's framing has no end: after its identifier (and after each chunk) it may stop.
                if compression == Compression::Snappy && cut == 10 {
                    continue;
                }
                let result = unpacked(compression, whole[..cut].to_vec());
                let error = result.expect_err(&format!("{compression:?} cut at {cut} of {}", whole.len()));
                assert_eq!(error.code(), "WEIR-FMT-002");
            }
            assert_eq!(unpacked(compression, whole).unwrap(), data);
        }
    }

    #[test]
    fn garbage_behind_the_stream_is_an_error() {
        for compression in ALL {
            let mut whole = packed(compression, &[b"a,b\n1,2\n"]);
            whole.extend_from_slice(b"garbage garbage");
            assert_eq!(unpacked(compression, whole).unwrap_err().code(), "WEIR-FMT-002", "{compression:?}");
        }
    }

    #[test]
    fn members_after_each_other_are_one_file() {
        for compression in ALL {
            let mut whole = packed(compression, &[b"a,b\n"]);
            whole.extend_from_slice(&packed(compression, &[b"1,2\n"]));
            assert_eq!(unpacked(compression, whole).unwrap(), b"a,b\n1,2\n", "{compression:?}");
        }
    }

    #[test]
    fn a_file_of_no_bytes_is_no_compressed_file_but_a_stream_of_no_bytes_is() {
        for compression in ALL {
            assert_eq!(unpacked(compression, Vec::new()).unwrap_err().code(), "WEIR-FMT-002");
            assert_eq!(unpacked(compression, packed(compression, &[])).unwrap(), b"", "{compression:?}");
        }
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        for compression in ALL {
            assert_eq!(Compression::from_magic(&packed(compression, &[b"x"])), Some(compression));
            assert_eq!(Compression::from_magic(&packed(compression, &[])), Some(compression));
        }
        assert_eq!(Compression::from_magic(b"BZh,name\n"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_goes_in_comes_out(data in proptest::collection::vec(any::<u8>(), 0..70_000), cut in 0usize..70_000) {
            let cut = cut.min(data.len());
            for compression in ALL {
                let whole = packed(compression, &[&data[..cut], &data[cut..]]);
                prop_assert_eq!(&unpacked(compression, whole).unwrap(), &data);
            }
        }
    }
}
