//! Decompression of blocks, each by itself, into a bounded buffer.

use std::io::Read;

use weir_error::{Error, Kind, Result};

/// How the blocks of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

impl Codec {
    /// By the name in the header; a header without one means no compression.
    pub(super) fn named(name: Option<&[u8]>) -> Result<Self> {
        Ok(match name {
            None | Some(b"null") => Self::Null,
            Some(b"deflate") => Self::Deflate,
            Some(b"snappy") => Self::Snappy,
            Some(b"zstandard") => Self::Zstandard,
            Some(other) => {
                let name = String::from_utf8_lossy(other).chars().take(40).collect::<String>();
                return Err(Error::new("WEIR-FMT-004", Kind::Data, "the compression of the Avro file is not supported")
                    .because(format!("the header names the codec {name:?}"))
                    .hint("write the file with null, deflate, snappy or zstandard"));
            }
        })
    }

    /// Appends the decompressed bytes of a block, at most `limit` of them.
    ///
    /// # Errors
    /// Why the block cannot be decompressed.
    pub(super) fn unpack(self, packed: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Null => {
                out.extend_from_slice(packed);
                Ok(())
            }
            Self::Deflate => inflate(packed, limit, out),
            Self::Snappy => unsnap(packed, limit, out),
            Self::Zstandard => {
                let before = out.len();
                zstd::stream::read::Decoder::with_buffer(packed)
                    .and_then(|decoder| decoder.take(limit.saturating_add(1)).read_to_end(out))
                    .map_err(|error| format!("its zstandard data is damaged: {error}"))?;
                if (out.len() - before) as u64 > limit { Err(too_large(limit)) } else { Ok(()) }
            }
        }
    }
}

fn too_large(limit: u64) -> String {
    format!("it has more than {limit} bytes after decompression")
}

/// Bytes behind the end of the stream are allowed: some writers leave a part of a checksum there.
fn inflate(packed: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), String> {
    let mut stream = flate2::Decompress::new(false);
    loop {
        if out.len() == out.capacity() {
            out.reserve(packed.len().max(32 << 10));
        }
        let (read, wrote) = (stream.total_in(), stream.total_out());
        let rest = packed.get(read as usize..).unwrap_or_default();
        let status = stream
            .decompress_vec(rest, out, flate2::FlushDecompress::None)
            .map_err(|error| format!("its deflate data is damaged: {error}"))?;
        if stream.total_out() > limit {
            return Err(too_large(limit));
        }
        if status == flate2::Status::StreamEnd {
            return Ok(());
        }
        if (stream.total_in(), stream.total_out()) == (read, wrote) {
            return Err("its deflate data ends too early".into());
        }
    }
}

/// Behind the data stands a checksum of what it holds.
fn unsnap(packed: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), String> {
    let damaged = |error: snap::Error| format!("its snappy data is damaged: {error}");
    let (data, stored) = packed.split_last_chunk::<4>().ok_or("its snappy data has no checksum")?;
    let length = snap::raw::decompress_len(data).map_err(damaged)?;
    if length as u64 > limit {
        return Err(too_large(limit));
    }
    let start = out.len();
    out.resize(start + length, 0);
    let wrote = snap::raw::Decoder::new().decompress(data, &mut out[start..]).map_err(damaged)?;
    out.truncate(start + wrote);
    let mut sum = flate2::Crc::new();
    sum.update(&out[start..]);
    if sum.sum() == u32::from_be_bytes(*stored) { Ok(()) } else { Err("its checksum does not fit its snappy data".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_block_cannot_unpack_to_more_than_the_limit() {
        let zeros = vec![0u8; 100_000];
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut deflate, &zeros).unwrap();
        let mut snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        let mut sum = flate2::Crc::new();
        sum.update(&zeros);
        snappy.extend(sum.sum().to_be_bytes());
        for (codec, packed) in [
            (Codec::Deflate, deflate.finish().unwrap()),
            (Codec::Snappy, snappy),
            (Codec::Zstandard, zstd::stream::encode_all(&zeros[..], 1).unwrap()),
        ] {
            let mut out = vec![7];
            codec.unpack(&packed, 100_000, &mut out).unwrap();
            assert!(out[0] == 7 && out[1..] == zeros, "{codec:?}");
            let mut out = Vec::new();
            assert_eq!(codec.unpack(&packed, 99_999, &mut out), Err(too_large(99_999)), "{codec:?}");
            assert!(out.len() < 200_000, "{codec:?} went on to {} bytes", out.len());
        }
    }
}
