//! The three encoders, with one face.

use std::io::Write;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use structured_zstd::encoding::{CompressionContext, CompressionLevel};

use crate::config::Level;
use crate::negotiate::Coding;

/// Window of Brotli, as a power of two: 256 KiB, so that an instance stays small.
const BROTLI_WINDOW: i32 = 18;
/// Blocks of 64 KiB: the work is spread over the calls.
const BROTLI_BLOCK: i32 = 16;
/// Zstandard blocks as large as the chunks that come, for the same reason.
const ZSTD_BLOCK: u32 = 16 << 10;

/// An encoder of one body.
pub(crate) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Box<CompressionContext>),
    Finished,
}

impl Encoder {
    pub(crate) fn new(coding: Coding, level: Level) -> Self {
        match coding {
            Coding::Gzip => {
                let level = [1, 6, 9][level as usize];
                Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(level)))
            }
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    // Below 2 every piece would be a block of its own.
                    quality: [2, 4, 7][level as usize],
                    lgwin: BROTLI_WINDOW,
                    lgblock: BROTLI_BLOCK,
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), 4096, &params);
                Encoder::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let level = [1, 3, 7][level as usize];
                let mut context = CompressionContext::new(CompressionLevel::Level(level));
                // Refused only after the first write.
                let _ = context.set_max_block_size(Some(ZSTD_BLOCK));
                Encoder::Zstd(Box::new(context))
            }
        }
    }

    /// Compresses a piece. What comes back can be decoded as far as it goes if `flush`; else some is held back.
    pub(crate) fn write(&mut self, chunk: &[u8], flush: bool) -> Result<Vec<u8>, String> {
        let mut made = Vec::new();
        let written = match self {
            Encoder::Gzip(encoder) => write_to(encoder, chunk, flush).map(|()| {
                made = std::mem::take(encoder.get_mut());
            }),
            Encoder::Brotli(encoder) => write_to(encoder, chunk, flush).map(|()| {
                made = std::mem::take(encoder.get_mut());
            }),
            Encoder::Zstd(context) => write_zstd(context, chunk, flush, &mut made),
            Encoder::Finished => return Err(String::from("the encoder has finished")),
        };
        written.map_err(|error| format!("the encoder failed: {error}"))?;
        Ok(made)
    }

    /// The rest.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>, String> {
        let made = match std::mem::replace(self, Encoder::Finished) {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(mut context) => {
                let mut made = Vec::new();
                context.finish_frame(&mut made).map(|()| made)
            }
            Encoder::Finished => Ok(Vec::new()),
        };
        made.map_err(|error| format!("the encoder failed: {error}"))
    }
}

fn write_to(encoder: &mut impl Write, chunk: &[u8], flush: bool) -> std::io::Result<()> {
    encoder.write_all(chunk)?;
    if flush { encoder.flush() } else { Ok(()) }
}

fn write_zstd(
    context: &mut CompressionContext,
    mut chunk: &[u8],
    flush: bool,
    made: &mut Vec<u8>,
) -> std::io::Result<()> {
    while !chunk.is_empty() {
        let taken = context.write(made, chunk)?;
        chunk = chunk.get(taken..).unwrap_or_default();
    }
    if flush { context.flush(made) } else { Ok(()) }
}
