//! A layer's archive under another compression: the content, and with it the diff_id, stays.

use super::compression::{self, Format};
use super::export::{ExportError, LayerToWrite, layer_of_file};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// How the layers of an image are compressed where the user says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packing {
    /// As they are, if `None`: gzip for those made here.
    pub format: Option<PackedAs>,
    /// The compression's own scale.
    pub level: Option<i32>,
    /// Also those that came from elsewhere.
    pub force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedAs {
    Plain,
    Gzip,
    Zstd,
}

/// Docker's levels.
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Writes a layer anew into the new file `into`, unless it is as wanted already.
pub fn recompress(layer: LayerToWrite, packing: Packing, into: &Path) -> Result<LayerToWrite, ExportError> {
    let Some(format) = packing.format else { return Ok(layer) };
    let unreadable = |error| ExportError::Layer { path: layer.path.clone(), error };
    let file = File::open(&layer.path).map_err(unreadable)?;
    let (found, content) = compression::decode(BufReader::with_capacity(128 << 10, file)).map_err(unreadable)?;
    let same = matches!(
        (found, format),
        (Format::Plain, PackedAs::Plain) | (Format::Gzip, PackedAs::Gzip) | (Format::Zstd, PackedAs::Zstd)
    );
    if same && packing.level.is_none() {
        return Ok(layer);
    }
    let unwritable = |error| ExportError::Write { path: into.to_owned(), error };
    let out = File::create_new(into).map_err(unwritable)?;
    write(content, BufWriter::with_capacity(256 << 10, out), format, packing.level).map_err(unwritable)?;
    layer_of_file(layer.diff_id, into)
}

fn write(mut content: impl Read, out: impl Write, format: PackedAs, level: Option<i32>) -> io::Result<()> {
    let mut out = match format {
        PackedAs::Plain => {
            let mut out = out;
            io::copy(&mut content, &mut out)?;
            return out.flush();
        }
        PackedAs::Gzip => {
            let level = flate2::Compression::new(level.unwrap_or(GZIP_LEVEL).clamp(0, 9) as u32);
            // No name and no time in the header: nothing but the content makes the bytes.
            let mut encoder = flate2::GzBuilder::new().mtime(0).write(out, level);
            io::copy(&mut content, &mut encoder)?;
            encoder.finish()?
        }
        PackedAs::Zstd => {
            let mut encoder = zstd::Encoder::new(out, level.unwrap_or(ZSTD_LEVEL).clamp(0, 22))?;
            encoder.include_checksum(true)?;
            io::copy(&mut content, &mut encoder)?;
            encoder.finish()?
        }
    };
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    #[test]
    fn the_content_stays() {
        let dir = tempfile::tempdir().unwrap();
        let content = b"a layer, as far as this is concerned".repeat(99);
        let plain = dir.path().join("plain");
        std::fs::write(&plain, &content).unwrap();
        let layer = layer_of_file(Digest::of(&content), &plain).unwrap();
        for (name, format, expected) in [("gzip", PackedAs::Gzip, Format::Gzip), ("zstd", PackedAs::Zstd, Format::Zstd)]
        {
            let packing = Packing { format: Some(format), level: Some(1), force: true };
            let packed = recompress(layer.clone(), packing, &dir.path().join(name)).unwrap();
            let bytes = std::fs::read(&packed.path).unwrap();
            assert_eq!((packed.diff_id.clone(), packed.size), (layer.diff_id.clone(), bytes.len() as u64));
            let (found, mut reader) = compression::decode(&bytes[..]).unwrap();
            let mut back = Vec::new();
            reader.read_to_end(&mut back).unwrap();
            assert_eq!((found, back), (expected, content.clone()));
            let again = dir.path().join(format!("{name}-plain"));
            let packing = Packing { format: Some(PackedAs::Plain), ..Packing::default() };
            assert_eq!(recompress(packed, packing, &again).unwrap().digest, layer.digest);
        }
        // What is as wanted is not written again.
        let packing = Packing { format: Some(PackedAs::Plain), ..Packing::default() };
        assert_eq!(recompress(layer.clone(), packing, &plain).unwrap(), layer);
    }
}
