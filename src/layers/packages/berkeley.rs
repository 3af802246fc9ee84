//! Package headers in a hash table of Berkeley DB, which RPM before 4.16 keeps as `Packages`.
//!
//! Source: Berkeley DB, `dbinc/db_page.h`: the meta page, hash pages with pairs of items, and chains of overflow pages.
//! Every hash page is read wherever it belongs in the table, for all its pairs are wanted.

/// Bytes before a page's items, or before its part of an item that is too long for a page.
const PAGE_HEAD: usize = 26;
const MAGIC: u32 = 0x61561;
/// Types of pages.
const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
/// Types of items.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

struct File<'f> {
    bytes: &'f [u8],
    page_size: usize,
    big_endian: bool,
    /// Overflow pages that may still be visited: each belongs to one item.
    visits: usize,
}

pub(super) fn is_one(bytes: &[u8]) -> bool {
    File::new(bytes).is_some()
}

/// Calls `take` with the data of each pair.
pub(super) fn headers(bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let mut file = File::new(bytes).ok_or("is no hash table of Berkeley DB")?;
    let last = file.word(bytes, 32).ok_or("ends before its page 1")?;
    for number in 1..=last {
        let page = file.page(number)?;
        if matches!(page[25], HASH | HASH_UNSORTED) {
            file.pairs(page, take)?.ok_or_else(|| format!("has a broken page {number}"))?;
        }
    }
    Ok(())
}

impl<'f> File<'f> {
    fn new(bytes: &'f [u8]) -> Option<File<'f>> {
        let native = File { bytes, page_size: 0, big_endian: false, visits: 0 };
        let big_endian = match native.word(bytes, 12)? {
            MAGIC => false,
            other if other.swap_bytes() == MAGIC => true,
            _ => return None,
        };
        let page_size = File { big_endian, ..native }.word(bytes, 20)? as usize;
        let fits = (512..=65536).contains(&page_size) && page_size.is_power_of_two();
        fits.then(|| File { bytes, page_size, big_endian, visits: bytes.len() / page_size })
    }

    fn word(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    }

    fn short(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let short = *bytes.get(at..)?.first_chunk()?;
        Some(usize::from(if self.big_endian { u16::from_be_bytes(short) } else { u16::from_le_bytes(short) }))
    }

    fn page(&self, number: u32) -> Result<&'f [u8], String> {
        let start = (number as usize).checked_mul(self.page_size);
        let page = start.and_then(|start| self.bytes.get(start..start.checked_add(self.page_size)?));
        page.ok_or_else(|| format!("ends before its page {number}"))
    }

    /// Keys and data by turns, from the page's end towards its beginning. `None` if they do not lie like that.
    fn pairs(&mut self, page: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<Option<()>, String> {
        let Some(items) = self.short(page, 20) else { return Ok(None) };
        let mut end = page.len();
        for item in 0..items {
            let Some(start) = self.short(page, PAGE_HEAD + 2 * item).filter(|start| *start < end) else {
                return Ok(None);
            };
            let bytes = &page[start..end];
            end = start;
            match bytes[0] {
                _ if item % 2 == 0 => {}
                HERE => take(&bytes[1..]),
                ELSEWHERE => match (self.word(bytes, 4), self.word(bytes, 8)) {
                    (Some(first), Some(length)) => take(&self.overflow(first, length as usize)?),
                    _ => return Ok(None),
                },
                _ => {}
            }
        }
        Ok(Some(()))
    }

    fn overflow(&mut self, first: u32, length: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut number = first;
        while out.len() < length {
            let broken = || format!("has a broken page {number}");
            self.visits = self.visits.checked_sub(1).ok_or("leads in a circle")?;
            let page = self.page(number)?;
            let held = self.short(page, 22).filter(|_| page[25] == OVERFLOW).ok_or_else(broken)?;
            out.extend_from_slice(page.get(PAGE_HEAD..PAGE_HEAD + held).ok_or_else(broken)?);
            number = self.word(page, 16).ok_or_else(broken)?;
        }
        out.truncate(length);
        Ok(out)
    }
}
