//! Streams of a stripe and how they are compressed: in chunks of at most [`CHUNK`] bytes, each under a header of three bytes.

use std::io::Write;

use weir_error::{Error, Kind, Result};

use crate::format::Compression;

/// Bytes of a chunk before compression.
pub(super) const CHUNK: usize = 256 << 10;

pub(super) enum Codec {
    None,
    Zlib,
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    Zstd(zstd::bulk::Compressor<'static>),
}

fn not_compressed(error: impl std::fmt::Display) -> Error {
    Error::new("WEIR-FMT-032", Kind::Data, "the rows cannot be written as ORC").because(error)
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Zlib,
            Compression::Snappy => Self::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(1).map_err(not_compressed)?),
            Compression::None | Compression::Auto | Compression::Bzip2 => Self::None,
        })
    }

    /// The number of the `CompressionKind`.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Zlib => 1,
            Self::Snappy(_) => 2,
            Self::Lz4 => 4,
            Self::Zstd(_) => 5,
        }
    }

    /// Appends bytes as they stand in the file.
    pub(super) fn append(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            let packed = match self {
                Self::None => {
                    out.extend_from_slice(chunk);
                    continue;
                }
                Self::Zlib => {
                    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                    writer.write_all(chunk).and_then(|()| writer.finish()).map_err(not_compressed)?
                }
                Self::Snappy(encoder) => encoder.compress_vec(chunk).map_err(not_compressed)?,
                Self::Lz4 => lz4_flex::block::compress(chunk),
                Self::Zstd(compressor) => compressor.compress(chunk).map_err(not_compressed)?,
            };
            let original = packed.len() >= chunk.len();
            let body = if original { chunk } else { &packed };
            let header = (body.len() as u32) << 1 | u32::from(original);
            out.extend_from_slice(&header.to_le_bytes()[..3]);
            out.extend_from_slice(body);
        }
        Ok(())
    }
}

/// Bytes of one stream; what fills a chunk is compressed when [`Stream::press`] is called.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Stream {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.plain.len() + self.packed.len()
    }

    /// Compresses the full chunks.
    pub(super) fn press(&mut self, codec: &mut Codec) -> Result<()> {
        let full = self.plain.len() / CHUNK * CHUNK;
        if full > 0 && codec.kind() != 0 {
            codec.append(&self.plain[..full], &mut self.packed)?;
            self.plain.drain(..full);
        }
        Ok(())
    }

    /// The whole stream as it stands in the file; empties it.
    pub(super) fn take(&mut self, codec: &mut Codec) -> Result<Vec<u8>> {
        let plain = std::mem::take(&mut self.plain);
        if codec.kind() == 0 {
            return Ok(plain);
        }
        codec.append(&plain, &mut self.packed)?;
        Ok(std::mem::take(&mut self.packed))
    }
}
