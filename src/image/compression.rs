//! Compressed streams, told apart by their first bytes. Media types and file names lie; content does not.

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::io::{self, BufRead, Read};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// An xz stream may ask for a dictionary of up to 4 GiB; the largest preset needs 65 MiB.
const XZ_MEMORY_KIB: u32 = 512 << 10;

/// A zstd frame may ask for a window of up to 2 GiB; `zstd --ultra` needs 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What the first bytes say.
pub fn sniff(start: &[u8]) -> Format {
    // A zstd stream may begin with a skippable frame, whose magic has sixteen forms.
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    match start {
        [0x1f, 0x8b, 0x08, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        _ if skippable => Format::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        _ => Format::Plain,
    }
}

/// Uncompresses whatever it is, all members or frames of it, with bounded memory.
pub fn decode<'a>(mut input: impl BufRead + 'a) -> io::Result<(Format, Box<dyn Read + 'a>)> {
    let format = sniff(input.fill_buf()?);
    let reader: Box<dyn Read + 'a> = match format {
        Format::Plain => Box::new(input),
        Format::Gzip => Streams::boxed(MultiGzDecoder::new(input), |members, error| {
            // The header of a further member is no header, or has too few bytes for one.
            members.header().is_none()
                && matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof)
        }),
        Format::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Streams::boxed(decoder, |_, error| {
                let cause: Option<&zstd::Error> = error.get_ref().and_then(|it| it.downcast_ref());
                cause.is_some_and(|it| it.is(ZSTD_ErrorCode::ZSTD_error_prefix_unknown))
            })
        }
        Format::Bzip2 => Streams::boxed(bzip2::bufread::MultiBzDecoder::new(input), |_, error| {
            let cause = error.get_ref().and_then(|it| it.downcast_ref());
            cause == Some(&bzip2::Error::DataMagic)
        }),
        Format::Xz => {
            let decoder = lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB);
            Streams::boxed(decoder, |_, error| error.to_string() == "invalid data after stream")
        }
    };
    Ok((format, reader))
}

/// As [`decode`], but what is behind the last member or frame and is none itself is passed over, as GNU gzip does and as
/// Docker does with all formats: it sets `behind`.
pub fn decode_leniently<'a>(
    input: impl BufRead + 'a,
    behind: &'a Cell<bool>,
) -> io::Result<(Format, Box<dyn Read + 'a>)> {
    let (format, reader) = decode(input)?;
    Ok((format, Box::new(Lenient { reader, behind })))
}

#[derive(Debug, thiserror::Error)]
#[error("behind the compressed stream there are bytes that are none")]
struct Behind;

/// Members or frames, one after the other.
struct Streams<R> {
    reader: R,
    begun: bool,
    /// Whether an error says that where a further one could begin there is something else.
    is_behind: fn(&R, &io::Error) -> bool,
}

impl<'a, R: Read + 'a> Streams<R> {
    fn boxed(reader: R, is_behind: fn(&R, &io::Error) -> bool) -> Box<dyn Read + 'a> {
        Box::new(Streams { reader, begun: false, is_behind })
    }
}

impl<R: Read> Read for Streams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        match &result {
            Ok(length) => self.begun |= *length > 0,
            Err(error) if self.begun && (self.is_behind)(&self.reader, error) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Behind));
            }
            Err(_) => {}
        }
        result
    }
}

struct Lenient<'a> {
    reader: Box<dyn Read + 'a>,
    behind: &'a Cell<bool>,
}

impl Read for Lenient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.behind.get() {
            return Ok(0);
        }
        match self.reader.read(buffer) {
            Err(error) if error.get_ref().is_some_and(|error| error.is::<Behind>()) => {
                self.behind.set(true);
                Ok(0)
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(content: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(content: &[u8]) -> Vec<u8> {
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(stream: &[u8], format: Format, expected: &[u8]) {
        let (found, mut reader) = decode(stream).unwrap();
        assert_eq!(found, format);
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        assert_eq!(content, expected);
    }

    #[test]
    fn each_format_is_told_by_its_content() {
        check(b"plain", Format::Plain, b"plain");
        check(b"", Format::Plain, b"");
        check(b"\x1f", Format::Plain, b"\x1f");
        check(&gzip(b"gzip"), Format::Gzip, b"gzip");
        check(&zstd::encode_all(&b"zstd"[..], 1).unwrap(), Format::Zstd, b"zstd");
        check(&bzip2(b"bzip2"), Format::Bzip2, b"bzip2");
        check(&xz(b"xz"), Format::Xz, b"xz");
    }

    #[test]
    fn all_members_count() {
        let mut stream = gzip(b"one ");
        stream.extend(gzip(b"two"));
        check(&stream, Format::Gzip, b"one two");
        let mut stream = b"\x51\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        stream.extend(zstd::encode_all(&b"one "[..], 1).unwrap());
        stream.extend(b"\x50\x2a\x4d\x18\x01\0\0\0a");
        stream.extend(zstd::encode_all(&b"two"[..], 1).unwrap());
        check(&stream, Format::Zstd, b"one two");
    }

    #[test]
    fn what_is_behind_a_stream_is_an_error_or_passed_over() {
        let check = |compress: fn(&[u8]) -> Vec<u8>, behind: &[&[u8]]| {
            for behind in behind {
                let stream = [&compress(b"one ")[..], &compress(b"two"), behind].concat();
                assert!(decode(&stream[..]).unwrap().1.read_to_end(&mut Vec::new()).is_err());
                let (noticed, mut content) = (Cell::new(false), Vec::new());
                let (format, mut reader) = decode_leniently(&stream[..], &noticed).unwrap();
                reader.read_to_end(&mut content).unwrap();
                assert_eq!((noticed.get(), &content[..]), (true, &b"one two"[..]), "{format:?} {behind:?}");
            }
        };
        let long = [b'x'; 600];
        check(gzip, &[b"\0", b"\n", b"123456789", b"0123456789", b"\x1f\x8b", &long, &[0; 512]]);
        check(|bytes| zstd::encode_all(bytes, 1).unwrap(), &[b"0123456789", &long, &[0; 512]]);
        check(bzip2, &[b"\0", b"\n", b"123456789", &long, &[0; 512]]);
        check(xz, &[b"\n", b"123456789", &long]);
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let stream = gzip(&[7; 4096]);
        let behind = Cell::new(false);
        let (_, mut reader) = decode_leniently(&stream[..stream.len() - 5], &behind).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
