//! Tar archives, read as a stream: ustar, GNU and PAX headers, long names, big numbers, sparse files.
//!
//! Archives are untrusted. Names, records and sparse maps are bounded, sizes are checked before they are used,
//! and a PAX size counts wherever one is given (CVE-2025-62518: two readers that disagree about it see different
//! files). Global PAX headers are passed over, as Go's reader does.

use super::pax::Pax;
use crate::layers::path::shown;
use bstr::{BStr, BString, ByteSlice};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

pub const BLOCK: usize = 512;

/// Bytes of a long name, a PAX header or a sparse map. Go's bound.
const MAX_SPECIAL: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarKind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// As written, with leading `./` or `/` and trailing `/`.
    pub path: BString,
    pub kind: TarKind,
    /// `0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a regular file's content, holes included; 0 for all other kinds.
    pub size: u64,
    /// Bytes of `size` that the archive does not store.
    pub holes: u64,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Target of a symbolic or hard link.
    pub target: BString,
    /// Major and minor number.
    pub device: (u32, u32),
    pub xattrs: BTreeMap<BString, BString>,
}

impl TarEntry {
    /// Whether a directory carries the mark of overlayfs for hiding what lower layers have in it: what is unpacked into
    /// a layer of Docker's or containerd's hides it.
    pub fn is_opaque(&self) -> bool {
        let mark = self.xattrs.get(BStr::new("trusted.overlay.opaque"));
        self.kind == TarKind::Directory && mark.is_some_and(|value| value == "y")
    }

    /// The time that what is unpacked has: one that nanoseconds since 1970 cannot say is taken for their beginning, as
    /// by Docker and containerd.
    pub fn unpacked_time(&self) -> (i64, u32) {
        let (seconds, nanoseconds) = self.mtime;
        let whole = seconds.checked_mul(1_000_000_000).and_then(|it| it.checked_add(nanoseconds.into()));
        match whole {
            Some(0..) => self.mtime,
            _ => (0, 0),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("the archive cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("not a tar archive: {0}")]
    NotTar(&'static str),
    /// The reader stands behind the entry, and may be asked for the next one.
    #[error("entry {} of the archive has {problem}", shown(path.as_ref()))]
    Bad { path: BString, problem: String },
    /// Where the next entry is cannot be told.
    #[error("entry {} of the archive has {problem}", shown(path.as_ref()))]
    Lost { path: BString, problem: String },
}

/// Reads members one after the other. After [`TarReader::next`], [`TarReader::chunk`] gives the member's content;
/// what is left of it is passed over by the next `next`.
pub struct TarReader<R> {
    input: R,
    /// Stored bytes of this member that have not been read.
    stored: u64,
    /// Zeros after them, up to a whole block.
    padding: u64,
    /// Where the stored bytes belong in the file, in order; one piece for a file without holes.
    pieces: Vec<(u64, u64)>,
    piece: usize,
    /// Bytes of this piece that have been read.
    within: u64,
    done: bool,
    strict: bool,
    /// Passes over so many bytes of the input, and answers how many there were.
    pass: fn(&mut R, u64) -> io::Result<u64>,
}

impl<R: Read> TarReader<R> {
    pub fn new(input: R) -> TarReader<R> {
        let pass = |input: &mut R, bytes| io::copy(&mut input.take(bytes), &mut io::sink());
        let pieces = Vec::new();
        TarReader { input, stored: 0, padding: 0, pieces, piece: 0, within: 0, done: false, strict: false, pass }
    }

    /// What is passed over need not be read where an input knows better.
    pub fn passing(self, pass: fn(&mut R, u64) -> io::Result<u64>) -> TarReader<R> {
        TarReader { pass, ..self }
    }

    /// Regular files of types that unpackers do not know, contiguous files and GNU's sparse ones, are entries that
    /// cannot be taken.
    pub fn strict(self) -> TarReader<R> {
        TarReader { strict: true, ..self }
    }

    /// Reads the rest of the input, whatever it is: a digest over an archive covers it. Answers whether there is more
    /// than zeros.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        let mut more = false;
        loop {
            match read_some(&mut self.input, &mut buffer)? {
                0 => return Ok(more),
                got => more |= buffer[..got].iter().any(|byte| *byte != 0),
            }
        }
    }

    /// The next member that can be taken; `bad` gets the names of those that cannot, and why.
    pub fn next_good(&mut self, mut bad: impl FnMut(BString, String)) -> Result<Option<TarEntry>, TarError> {
        loop {
            match self.next_entry() {
                Err(TarError::Bad { path, problem }) => bad(path, problem),
                next => return next,
            }
        }
    }

    /// The next member; `None` after the last. An empty input is an empty archive.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        let mut pax = Pax::default();
        let mut long_path: Option<BString> = None;
        let mut long_target: Option<BString> = None;
        let mut inside = false;
        loop {
            self.skip_content()?;
            if self.done {
                return Ok(None);
            }
            let Some(block) = self.header_block()? else {
                self.done = true;
                if inside {
                    return Err(TarError::Truncated("a long name or PAX header"));
                }
                return Ok(None);
            };
            let header = Header { block: &block };
            header.check()?;
            let flag = block[156];
            let name = header.path();
            match flag {
                b'x' => {
                    pax = Pax::parse(&self.special(&header, &name)?)
                        .map_err(|problem| TarError::Lost { path: name.clone(), problem: problem.into() })?
                }
                b'L' => long_path = Some(trim_nul(self.special(&header, &name)?)),
                b'K' => long_target = Some(trim_nul(self.special(&header, &name)?)),
                b'g' => {
                    self.special(&header, &name)?;
                    continue;
                }
                _ => return self.member(&header, pax, long_path, long_target).map(Some),
            }
            inside = true;
        }
    }

    /// The next stretch of the member's content: its offset in the file and its bytes. Holes are left out.
    pub fn chunk<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<(u64, &'b [u8])>, TarError> {
        let Some((at, left)) = self.stretch() else { return Ok(None) };
        let want = (buffer.len() as u64).min(left) as usize;
        let got = read_some(&mut self.input, &mut buffer[..want])?;
        self.took(got)?;
        Ok(Some((at, &buffer[..got])))
    }

    /// What of the content comes next: its offset in the file, and how many bytes lie together from there on.
    fn stretch(&mut self) -> Option<(u64, u64)> {
        loop {
            let (offset, length) = *self.pieces.get(self.piece)?;
            if self.within < length {
                return Some((offset + self.within, length - self.within));
            }
            self.piece += 1;
            self.within = 0;
        }
    }

    /// So many bytes of it have been read; none means that there are no more.
    fn took(&mut self, bytes: usize) -> Result<(), TarError> {
        if bytes == 0 {
            return Err(TarError::Truncated("a file"));
        }
        self.within += bytes as u64;
        self.stored -= bytes as u64;
        Ok(())
    }

    fn member(
        &mut self,
        header: &Header<'_>,
        mut pax: Pax,
        long_path: Option<BString>,
        long_target: Option<BString>,
    ) -> Result<TarEntry, TarError> {
        let flag = header.block[156];
        // Where both are there, GNU's name holds, as for Go's reader, and so for Docker.
        let path = long_path.or(pax.path.take()).unwrap_or_else(|| header.path());
        let bad = |problem: String| TarError::Bad { path: path.clone(), problem };
        let lost = |problem: &str| TarError::Lost { path: path.clone(), problem: problem.into() };
        let number = |range, what: &str| header.number(range).ok_or_else(|| bad(format!("no readable {what}")));
        let declared = match pax.size {
            Some(size) => size,
            None => {
                let size = header.number(124..136).ok_or_else(|| lost("no readable size"))?;
                unsigned(size).ok_or_else(|| lost("a negative size"))?
            }
        };
        // Links, directories and devices have no content, whatever their size says (as Go reads them).
        let is_bare = matches!(flag, b'1'..=b'6') || flag == 0 && path.ends_with(b"/");
        if !is_bare {
            if declared > i64::MAX as u64 - BLOCK as u64 {
                return Err(lost("an impossible size"));
            }
            self.expect(declared);
        }
        if pax.unreadable {
            return Err(bad("a PAX record that cannot be read".into()));
        }
        let kind = match flag {
            // Before POSIX, only the slash told a directory.
            0 if path.ends_with(b"/") => TarKind::Directory,
            b'7' | b'S' if !self.strict => TarKind::File,
            0 | b'0' => TarKind::File,
            b'1' => TarKind::HardLink,
            b'2' => TarKind::Symlink,
            b'3' => TarKind::CharDevice,
            b'4' => TarKind::BlockDevice,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            _ => return Err(bad(format!("the type {:?}, which no layer may have", char::from(flag)))),
        };
        let owner = |pax: Option<u64>, range, what: &str| -> Result<u32, TarError> {
            let id = match pax {
                Some(id) => Some(id),
                None => unsigned(number(range, what)?),
            };
            id.and_then(|id| u32::try_from(id).ok())
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| bad(format!("a {what} out of range")))
        };
        let device = |range, what: &str| -> Result<u32, TarError> {
            // FIFOs of some writers have no device numbers, and the field is blank.
            u32::try_from(header.number(range).unwrap_or(0)).map_err(|_| bad(format!("a {what} out of range")))
        };
        let mut entry = TarEntry {
            kind,
            mode: (number(100..108, "mode")? & 0o7777) as u32,
            uid: owner(pax.uid, 108..116, "user id")?,
            gid: owner(pax.gid, 116..124, "group id")?,
            size: 0,
            holes: 0,
            mtime: match pax.mtime {
                Some(time) => time,
                None => (number(136..148, "time")?, 0),
            },
            target: long_target.or(pax.target.take()).unwrap_or_else(|| header.text(157..257)),
            device: match kind {
                TarKind::CharDevice | TarKind::BlockDevice => {
                    (device(329..337, "device number")?, device(337..345, "device number")?)
                }
                _ => (0, 0),
            },
            xattrs: std::mem::take(&mut pax.xattrs),
            path: path.clone(),
        };
        if kind != TarKind::Symlink && kind != TarKind::HardLink {
            entry.target = BString::default();
        }
        self.pieces.clear();
        self.piece = 0;
        self.within = 0;
        if kind == TarKind::File {
            let sparse =
                if flag == b'S' { Some(self.gnu_sparse(header, &path)?) } else { self.pax_sparse(&pax, &path)? };
            match sparse {
                Some(sparse) => {
                    sparse.check(self.stored).map_err(bad)?;
                    entry.size = sparse.size;
                    entry.holes = sparse.size.saturating_sub(self.stored);
                    self.pieces = sparse.pieces;
                    if let Some(name) = pax.sparse_name.take() {
                        entry.path = name;
                    }
                }
                None => {
                    self.pieces.push((0, declared));
                    entry.size = declared;
                }
            }
        }
        Ok(entry)
    }

    /// Sets up `stored` and `padding` for so many bytes.
    fn expect(&mut self, size: u64) {
        self.stored = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let left = self.stored + self.padding;
        if left == 0 {
            return Ok(());
        }
        let skipped = (self.pass)(&mut self.input, left)?;
        // Some writers leave the last padding out.
        if skipped < self.stored {
            return Err(TarError::Truncated("a file"));
        }
        self.stored = 0;
        self.padding = 0;
        self.pieces.clear();
        Ok(())
    }

    /// One header; `None` at the end of the archive: two blocks of zeros, or the end of the input. Behind a single one
    /// some readers see more and others do not: it is refused, as by Go's.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        for zeros in 0..2 {
            match read_full(&mut self.input, &mut block)? {
                0 => return Ok(None),
                BLOCK => {}
                _ => return Err(TarError::Truncated("a header")),
            }
            if block.iter().any(|byte| *byte != 0) {
                return if zeros == 0 {
                    Ok(Some(block))
                } else {
                    Err(TarError::NotTar("a block of zeros stands alone"))
                };
            }
        }
        Ok(None)
    }

    /// Content of a long name or a PAX header.
    fn special(&mut self, header: &Header<'_>, name: &BString) -> Result<Vec<u8>, TarError> {
        let lost = |problem: &str| TarError::Lost { path: name.clone(), problem: problem.into() };
        let size = header.number(124..136).and_then(unsigned).ok_or_else(|| lost("no readable size"))?;
        if size > MAX_SPECIAL {
            return Err(lost("a name or attributes of more than 1 MiB"));
        }
        self.expect(size);
        let mut content = vec![0; size as usize];
        if read_full(&mut self.input, &mut content)? < content.len() {
            return Err(TarError::Truncated("a long name or PAX header"));
        }
        self.stored = 0;
        Ok(content)
    }

    /// The map of GNU's own sparse format: four pieces in the header, more in blocks behind it.
    fn gnu_sparse(&mut self, header: &Header<'_>, path: &BString) -> Result<Sparse, TarError> {
        let lost = || TarError::Lost { path: path.clone(), problem: "a broken sparse map".into() };
        let mut pieces = Vec::new();
        let size = header.number(483..495).and_then(unsigned).ok_or_else(lost)?;
        let mut take = |table: &[u8]| -> Result<(), TarError> {
            for cell in table.chunks_exact(24) {
                if cell[0] == 0 {
                    break;
                }
                let offset = number(&cell[..12]).and_then(unsigned).ok_or_else(lost)?;
                let length = number(&cell[12..]).and_then(unsigned).ok_or_else(lost)?;
                pieces.push((offset, length));
            }
            if pieces.len() as u64 * 24 > MAX_SPECIAL { Err(lost()) } else { Ok(()) }
        };
        take(&header.block[386..482])?;
        let mut more = header.block[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            if read_full(&mut self.input, &mut block)? < BLOCK {
                return Err(TarError::Truncated("a sparse map"));
            }
            take(&block[..504])?;
            more = block[504] != 0;
        }
        Ok(Sparse { pieces, size })
    }

    /// The maps of the PAX sparse formats: in records (0.0, 0.1), or in front of the content (1.0).
    fn pax_sparse(&mut self, pax: &Pax, path: &BString) -> Result<Option<Sparse>, TarError> {
        let bad = || TarError::Bad { path: path.clone(), problem: "a broken sparse map".into() };
        let pieces = match (pax.sparse_version, &pax.sparse_map) {
            (Some((1, 0)), _) => self.sparse_map_in_front(path)?,
            (Some((0, _)) | None, map) if !map.is_empty() => {
                let (pairs, rest) = map.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(bad());
                }
                pairs.iter().map(|[offset, length]| (*offset, *length)).collect()
            }
            (Some((0, 0 | 1)), _) if pax.sparse_size.is_some() => Vec::new(),
            (None, _) => return Ok(None),
            _ => return Err(bad()),
        };
        Ok(Some(Sparse { pieces, size: pax.sparse_size.ok_or_else(bad)? }))
    }

    fn sparse_map_in_front(&mut self, path: &BString) -> Result<Vec<(u64, u64)>, TarError> {
        let bad = || TarError::Bad { path: path.clone(), problem: "a broken sparse map".into() };
        let mut numbers: Vec<u64> = Vec::new();
        let mut digits = Vec::new();
        let mut count: Option<u64> = None;
        let mut read = 0;
        loop {
            let mut block = [0; BLOCK];
            if self.stored < BLOCK as u64 || read > MAX_SPECIAL {
                return Err(bad());
            }
            if read_full(&mut self.input, &mut block)? < BLOCK {
                return Err(TarError::Truncated("a sparse map"));
            }
            self.stored -= BLOCK as u64;
            read += BLOCK as u64;
            for byte in block {
                if count.is_some_and(|count| numbers.len() as u64 == count * 2) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(bad());
                    }
                    continue;
                }
                let value = digits.to_str().ok().and_then(|it| it.parse::<u64>().ok()).ok_or_else(bad)?;
                digits.clear();
                match count {
                    None if value > MAX_SPECIAL => return Err(bad()),
                    None => count = Some(value),
                    Some(_) => numbers.push(value),
                }
            }
            if let Some(count) = count
                && numbers.len() as u64 == count * 2
            {
                return Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
            }
        }
    }
}

/// A file with holes.
struct Sparse {
    /// Offsets and lengths of what is stored.
    pieces: Vec<(u64, u64)>,
    /// Bytes of the whole file.
    size: u64,
}

impl Sparse {
    /// Pieces must lie in order inside of the file and be as long as what is stored.
    fn check(&self, stored: u64) -> Result<(), String> {
        let mut end = 0u64;
        let mut total = 0u64;
        for (offset, length) in &self.pieces {
            let next = offset.checked_add(*length).filter(|next| *next <= self.size && *offset >= end);
            end = next.ok_or("a sparse map that is out of order")?;
            total += length;
        }
        match total == stored && self.size <= i64::MAX as u64 {
            true => Ok(()),
            false => Err("a sparse map that does not fit its content".into()),
        }
    }
}

impl<R: BufRead> TarReader<R> {
    /// The next stretch of the member's content, as [`TarReader::chunk`] gives it, without a copy: `take` gets its
    /// offset in the file and its bytes. `None` at the content's end.
    pub fn with_chunk<T>(&mut self, take: impl FnOnce(u64, &[u8]) -> T) -> Result<Option<T>, TarError> {
        let Some((at, left)) = self.stretch() else { return Ok(None) };
        let bytes = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                bytes => break bytes?,
            }
        };
        let got = (bytes.len() as u64).min(left) as usize;
        let taken = (got > 0).then(|| take(at, &bytes[..got]));
        self.input.consume(got);
        self.took(got)?;
        Ok(taken)
    }
}

struct Header<'a> {
    block: &'a [u8; BLOCK],
}

impl Header<'_> {
    /// The sum of all bytes, its own field counted as blanks; old writers added signed bytes.
    fn check(&self) -> Result<(), TarError> {
        let expected = self.number(148..156);
        let sum = |value: fn(&u8) -> i32| {
            let all: i32 = self.block.iter().map(value).sum();
            let field: i32 = self.block[148..156].iter().map(value).sum();
            Some(i64::from(all - field + 8 * i32::from(b' ')))
        };
        if expected == sum(|byte| i32::from(*byte)) || expected == sum(|byte| i32::from(*byte as i8)) {
            return Ok(());
        }
        Err(TarError::NotTar("a header's checksum is wrong"))
    }

    /// Name and prefix.
    fn path(&self) -> BString {
        let name = self.text(0..100);
        let posix = &self.block[257..263] == b"ustar\0";
        let prefix = if !posix {
            BString::default()
        } else if &self.block[508..512] == b"tar\0" {
            self.text(345..476)
        } else {
            self.text(345..500)
        };
        if prefix.is_empty() {
            return name;
        }
        let mut path = prefix;
        path.push(b'/');
        path.extend_from_slice(&name);
        path
    }

    fn text(&self, range: std::ops::Range<usize>) -> BString {
        let field = &self.block[range];
        let end = field.find_byte(0).unwrap_or(field.len());
        BString::from(&field[..end])
    }

    fn number(&self, range: std::ops::Range<usize>) -> Option<i64> {
        number(&self.block[range])
    }
}

/// Octal digits between blanks, or a big-endian number with the first bit set. A blank field is 0.
fn number(field: &[u8]) -> Option<i64> {
    if let Some(first) = field.first().filter(|first| **first & 0x80 != 0) {
        let mut value: i128 = if *first & 0x40 != 0 { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && value == 0 { *byte & 0x7f } else { *byte };
            value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        }
        return i64::try_from(value).ok();
    }
    let mut digits = field;
    while let [b' ' | 0, rest @ ..] | [rest @ .., b' ' | 0] = digits {
        digits = rest;
    }
    let mut value = 0i64;
    for digit in digits {
        // Some writers put more fields behind a NUL.
        if *digit == 0 {
            break;
        }
        let digit = char::from(*digit).to_digit(8)?;
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

fn unsigned(value: i64) -> Option<u64> {
    u64::try_from(value).ok()
}

fn trim_nul(mut content: Vec<u8>) -> BString {
    let end = content.find_byte(0).unwrap_or(content.len());
    content.truncate(end);
    content.into()
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Fills the buffer, or as much of it as there is input.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_some(input, &mut buffer[filled..])? {
            0 => break,
            got => filled += got,
        }
    }
    Ok(filled)
}
