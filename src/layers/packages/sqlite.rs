//! Rows of a table in an SQLite file, and nothing else of SQLite.
//!
//! Source: "Database File Format", <https://sqlite.org/fileformat2.html>: the header, B-tree pages of tables, records
//! and overflow pages. A write-ahead log beside the file is not looked at.

/// A column's value, as far as it is of use here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    Other,
}

/// Columns of a row that are looked at.
const COLUMNS: usize = 5;

/// Pages visited at most as often as the file has pages, so no loop of pages is followed for ever; and records do not
/// overlap, so all of them are no longer than the file.
struct File<'f> {
    bytes: &'f [u8],
    page_size: usize,
    /// Bytes at a page's end that do not count.
    reserved: usize,
    visits: usize,
    /// Bytes of records that may still be read.
    left: usize,
}

type Why = String;

pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"SQLite format 3\0")
}

/// Calls `take` with each row of a table.
pub(super) fn table(bytes: &[u8], name: &str, take: &mut dyn FnMut(&[Value])) -> Result<(), Why> {
    let mut file = File::new(bytes)?;
    let mut root = None;
    // The schema's columns: type, name, table, root page, text.
    file.walk(1, &mut |row| {
        if let [Value::Text(kind), Value::Text(found), _, Value::Number(page), ..] = row
            && kind == b"table"
            && found == name.as_bytes()
        {
            root = u32::try_from(*page).ok();
        }
    })?;
    let root = root.ok_or_else(|| format!("has no table {name}"))?;
    file.walk(root, take)
}

impl<'f> File<'f> {
    fn new(bytes: &'f [u8]) -> Result<File<'f>, Why> {
        if !is_one(bytes) || bytes.len() < 100 {
            return Err("is no SQLite file".to_owned());
        }
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => usize::from(size),
        };
        let reserved = usize::from(bytes[20]);
        if page_size < 512 || !page_size.is_power_of_two() || reserved + 480 > page_size {
            return Err("has an impossible page size".to_owned());
        }
        Ok(File { bytes, page_size, reserved, visits: bytes.len() / page_size + 1, left: bytes.len() })
    }

    fn page(&self, number: u32) -> Result<&'f [u8], Why> {
        let start = (number as usize).checked_sub(1).and_then(|index| index.checked_mul(self.page_size));
        let page = start.and_then(|start| self.bytes.get(start..start.checked_add(self.page_size)?));
        page.ok_or_else(|| format!("ends before its page {number}"))
    }

    fn visit(&mut self) -> Result<(), Why> {
        self.visits = self.visits.checked_sub(1).ok_or("leads in a circle")?;
        Ok(())
    }

    fn walk(&mut self, root: u32, take: &mut dyn FnMut(&[Value])) -> Result<(), Why> {
        let broken = |page: u32| format!("has a broken page {page}");
        let mut open = vec![root];
        while let Some(number) = open.pop() {
            self.visit()?;
            let page = self.page(number)?;
            // The first page begins with the file's header.
            let at = if number == 1 { 100 } else { 0 };
            let word = |at: usize| Some(usize::from(u16::from_be_bytes(*page.get(at..)?.first_chunk()?)));
            let long = |at: usize| Some(u32::from_be_bytes(*page.get(at..)?.first_chunk()?));
            let cells = word(at + 3).ok_or_else(|| broken(number))?;
            let (is_leaf, header) = match page.get(at) {
                Some(0x0d) => (true, 8),
                Some(0x05) => (false, 12),
                _ => return Err(broken(number)),
            };
            if !is_leaf {
                open.push(long(at + 8).ok_or_else(|| broken(number))?);
            }
            // Children that come first are visited first.
            for cell in (0..cells).rev() {
                let start = word(at + header + 2 * cell).ok_or_else(|| broken(number))?;
                if !is_leaf {
                    open.push(long(start).ok_or_else(|| broken(number))?);
                }
            }
            for cell in (0..cells).filter(|_| is_leaf) {
                let start = word(at + header + 2 * cell).ok_or_else(|| broken(number))?;
                let payload = self.payload(page, start)?.ok_or_else(|| broken(number))?;
                take(&record(&payload).ok_or_else(|| broken(number))?);
            }
        }
        Ok(())
    }

    /// A leaf cell's record, with what lies on overflow pages.
    fn payload(&mut self, page: &[u8], start: usize) -> Result<Option<Vec<u8>>, Why> {
        let Some(mut rest) = page.get(start..) else { return Ok(None) };
        let (Some(length), Some(_row)) = (varint(&mut rest), varint(&mut rest)) else { return Ok(None) };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.left) else {
            return Ok(None);
        };
        self.left -= length;
        let usable = self.page_size - self.reserved;
        let (most, least) = (usable - 35, (usable - 12) * 32 / 255 - 23);
        let local = match length <= most {
            true => length,
            false => {
                let local = least + (length - least) % (usable - 4);
                if local <= most { local } else { least }
            }
        };
        let Some(here) = rest.get(..local) else { return Ok(None) };
        let mut payload = here.to_vec();
        let next = |bytes: &[u8]| Some(u32::from_be_bytes(*bytes.first_chunk()?));
        let mut overflow = if local < length { next(&rest[local..]) } else { None };
        while payload.len() < length {
            let Some(number) = overflow else { return Ok(None) };
            self.visit()?;
            let page = self.page(number)?;
            let wanted = (length - payload.len()).min(usable - 4);
            payload.extend_from_slice(&page[4..4 + wanted]);
            overflow = next(page);
        }
        Ok(Some(payload))
    }
}

/// The first columns of a row.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut rest = payload;
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let mut types = payload.get(payload.len() - rest.len()..header)?;
    let mut body = payload.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() && values.len() < COLUMNS {
        let kind = varint(&mut types)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = body.get(..length)?;
        body = &body[length..];
        values.push(match kind {
            1..=6 => {
                let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
                let start = if negative { -1i64 } else { 0 };
                Value::Number(bytes.iter().fold(start, |value, byte| (value << 8) | i64::from(*byte)))
            }
            8 => Value::Number(0),
            9 => Value::Number(1),
            0 | 7 => Value::Other,
            kind if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(bytes.to_vec()),
        });
    }
    Some(values)
}

/// Seven bits a byte, the highest first; the ninth byte counts whole.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..9 {
        let byte = *bytes.get(at)?;
        if at == 8 {
            value = (value << 8) | u64::from(byte);
        } else {
            value = (value << 7) | u64::from(byte & 0x7f);
        }
        if at == 8 || byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::rpm::fixtures;
    use super::*;

    #[test]
    fn every_row_is_read() {
        let mut rows = Vec::new();
        table(&fixtures::sqlite(), "Name", &mut |row| rows.push(row.to_vec())).unwrap();
        assert_eq!(rows, [[Value::Text(b"p".to_vec()), Value::Number(-1000), Value::Number(1)]]);
        assert_eq!(table(&fixtures::sqlite(), "Other", &mut |_| ()), Err("has no table Other".to_owned()));
    }

    /// A leaf page whose cells all lie at the same place.
    fn page(size: usize, at: usize, cells: u16, cell: &[u8]) -> Vec<u8> {
        let mut page = vec![0; size];
        page[at] = 0x0d;
        page[at + 3..at + 5].copy_from_slice(&cells.to_be_bytes());
        let start = size - cell.len();
        page[start..].copy_from_slice(cell);
        (0..cells as usize).for_each(|it| page[at + 8 + 2 * it..][..2].copy_from_slice(&(start as u16).to_be_bytes()));
        page
    }

    #[test]
    fn records_are_no_longer_than_the_file() {
        let check = |cells: u16, expected: Result<(), &str>| {
            let mut bytes = page(4096, 100, 1, b"\x0e\x01\x06\x17\x0f\x0f\x01\x00tableTT\x02");
            bytes[..18].copy_from_slice(b"SQLite format 3\0\x10\0");
            let blob = [b"\x87\x6b\x01\x03\x8f\x5c".to_vec(), vec![7; 1000]].concat();
            bytes.extend(page(4096, 0, cells, &blob));
            let mut rows = 0;
            let result = table(&bytes, "T", &mut |row| {
                assert_eq!(row, [Value::Blob(vec![7; 1000])]);
                rows += 1;
            });
            assert_eq!(result, expected.map_err(str::to_owned));
            assert!(rows <= 8);
        };
        check(1, Ok(()));
        check(1000, Err("has a broken page 2"));
    }
}
