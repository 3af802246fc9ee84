//! Makes a copied ELF file look for its loader and its libraries in another place.
//!
//! Strings in the file cannot grow where they are, so a segment is added at its end: the new interpreter, and a
//! copy of the dynamic string table with the new search path behind it. A slot for the segment is taken from a
//! program header that nothing needs in order to run.
//!
//! Source: the System V ABI (program headers, dynamic section); `DT_RPATH` rather than `DT_RUNPATH`, since it also
//! holds for the libraries of the libraries.

use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_DEBUG, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB};
use goblin::elf::program_header::{
    PF_R, PT_DYNAMIC, PT_GNU_PROPERTY, PT_GNU_RELRO, PT_INTERP, PT_LOAD, PT_NOTE, PT_NULL, ProgramHeader,
};

/// The file's bytes with `interpreter` (for a program) and `search_path`; `None` if it has no dynamic section,
/// or has none of the places that this needs.
pub(super) fn relocate(bytes: &[u8], interpreter: Option<&str>, search_path: &str) -> Option<Vec<u8>> {
    let elf = Elf::parse(bytes).ok()?;
    let format = Format { wide: elf.is_64, little_endian: elf.little_endian };
    let mut headers = elf.program_headers.clone();
    let dynamic = headers.iter().find(|it| it.p_type == PT_DYNAMIC)?.clone();
    let mut entries = format.read_dynamic(bytes.get(usize::try_from(dynamic.p_offset).ok()?..)?, dynamic.p_filesz)?;

    let strings = strings(bytes, &headers, &entries)?;
    let mut content = strings.to_vec();
    content.push(0);
    let path_at = content.len() as u64;
    content.extend(search_path.bytes().chain([0]));
    let strings_length = content.len() as u64;
    content.extend(interpreter.unwrap_or_default().bytes().chain([0]));

    let segment = new_segment(bytes.len() as u64, content.len() as u64, &headers)?;
    if let Some(interpreter) = interpreter {
        let header = headers.iter_mut().find(|it| it.p_type == PT_INTERP)?;
        header.p_offset = segment.p_offset + strings_length;
        header.p_vaddr = segment.p_vaddr + strings_length;
        header.p_paddr = header.p_vaddr;
        header.p_filesz = interpreter.len() as u64 + 1;
        header.p_memsz = header.p_filesz;
    }
    set(&mut entries, DT_STRTAB, segment.p_vaddr)?;
    set(&mut entries, DT_STRSZ, strings_length)?;
    set_search_path(&mut entries, path_at)?;

    let mut out = bytes.to_vec();
    let segment_at = usize::try_from(segment.p_offset).ok()?;
    insert(&mut headers, segment)?;
    for (index, header) in headers.iter().enumerate() {
        let at = usize::try_from(elf.header.e_phoff).ok()?.checked_add(index * format.header_size())?;
        format.write_header(out.get_mut(at..)?, header)?;
    }
    format.write_dynamic(out.get_mut(usize::try_from(dynamic.p_offset).ok()?..)?, &entries)?;
    out.resize(segment_at, 0);
    out.extend(content);
    Some(out)
}

/// The dynamic string table, where the segments put it.
fn strings<'a>(bytes: &'a [u8], headers: &[ProgramHeader], entries: &[(u64, u64)]) -> Option<&'a [u8]> {
    let value = |tag| entries.iter().find(|it| it.0 == tag).map(|it| it.1);
    let (address, length) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
    let holds = |it: &&ProgramHeader| {
        it.p_type == PT_LOAD && address.checked_sub(it.p_vaddr).is_some_and(|inside| inside < it.p_filesz)
    };
    let segment = headers.iter().find(holds)?;
    let start = segment.p_offset.checked_add(address - segment.p_vaddr)?;
    bytes.get(usize::try_from(start).ok()?..usize::try_from(start.checked_add(length)?).ok()?)
}

/// Behind all others in the file and in memory. The two places are equal modulo the alignment, as mapping needs.
fn new_segment(file_length: u64, length: u64, headers: &[ProgramHeader]) -> Option<ProgramHeader> {
    let loaded = || headers.iter().filter(|it| it.p_type == PT_LOAD);
    let align = loaded().map(|it| it.p_align).max()?.max(0x1000);
    if !align.is_power_of_two() {
        return None;
    }
    let ends = loaded().map(|it| it.p_vaddr.checked_add(it.p_memsz));
    let end = ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
    let offset = file_length.checked_next_multiple_of(16)?;
    let address = end.checked_next_multiple_of(align)?.checked_add(offset & (align - 1))?;
    Some(ProgramHeader {
        p_type: PT_LOAD,
        p_flags: PF_R,
        p_offset: offset,
        p_vaddr: address,
        p_paddr: address,
        p_filesz: length,
        p_memsz: length,
        p_align: align,
    })
}

/// Takes the place of a header that only describes (notes), or that only hardens (read-only after relocation).
/// Loaded segments have to stay sorted by address.
fn insert(headers: &mut Vec<ProgramHeader>, segment: ProgramHeader) -> Option<()> {
    let spare = [PT_NULL, PT_NOTE, PT_GNU_PROPERTY, PT_GNU_RELRO];
    let slot = spare.iter().find_map(|kind| headers.iter().rposition(|it| it.p_type == *kind))?;
    headers.remove(slot);
    let last = headers.iter().rposition(|it| it.p_type == PT_LOAD)?;
    headers.insert(last + 1, segment);
    Some(())
}

fn set(entries: &mut [(u64, u64)], tag: u64, value: u64) -> Option<()> {
    entries.iter_mut().find(|it| it.0 == tag)?.1 = value;
    Some(())
}

/// In the place of the paths there are, or of an entry that is spare, or of the one for debuggers.
fn set_search_path(entries: &mut [(u64, u64)], value: u64) -> Option<()> {
    let mut place = None;
    for (index, entry) in entries.iter_mut().enumerate().filter(|(_, it)| matches!(it.0, DT_RPATH | DT_RUNPATH)) {
        *entry = (DT_RPATH, value);
        place = Some(index);
    }
    let end = entries.iter().position(|it| it.0 == DT_NULL)?;
    let spare = (end + 1 < entries.len()).then_some(end);
    let place = place.or(spare).or_else(|| entries.iter().position(|it| it.0 == DT_DEBUG))?;
    entries[place] = (DT_RPATH, value);
    Some(())
}

#[derive(Clone, Copy)]
struct Format {
    wide: bool,
    little_endian: bool,
}

impl Format {
    fn word(self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    fn header_size(self) -> usize {
        if self.wide { 56 } else { 32 }
    }

    fn put(self, out: &mut [u8], at: usize, size: usize, value: u64) -> Option<()> {
        let place = out.get_mut(at..at.checked_add(size)?)?;
        if self.little_endian {
            place.copy_from_slice(value.to_le_bytes().get(..size)?);
        } else {
            place.copy_from_slice(value.to_be_bytes().get(8 - size..)?);
        }
        Some(())
    }

    fn read_word(self, bytes: &[u8]) -> u64 {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.little_endian { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) }
    }

    /// All entries that there is room for, the unused ones at the end too.
    fn read_dynamic(self, bytes: &[u8], length: u64) -> Option<Vec<(u64, u64)>> {
        let table = bytes.get(..usize::try_from(length).ok()?)?;
        let entry = |pair: &[u8]| {
            let (tag, value) = pair.split_at(self.word());
            (self.read_word(tag), self.read_word(value))
        };
        Some(table.chunks_exact(2 * self.word()).map(entry).collect())
    }

    fn write_dynamic(self, out: &mut [u8], entries: &[(u64, u64)]) -> Option<()> {
        for (index, (tag, value)) in entries.iter().enumerate() {
            self.put(out, index * 2 * self.word(), self.word(), *tag)?;
            self.put(out, (index * 2 + 1) * self.word(), self.word(), *value)?;
        }
        Some(())
    }

    fn write_header(self, out: &mut [u8], header: &ProgramHeader) -> Option<()> {
        let (kind, flags) = (u64::from(header.p_type), u64::from(header.p_flags));
        let mut fields = vec![(4, kind)];
        let word = self.word();
        if self.wide {
            fields.push((4, flags));
        }
        for value in [header.p_offset, header.p_vaddr, header.p_paddr, header.p_filesz, header.p_memsz] {
            fields.push((word, value));
        }
        if !self.wide {
            fields.push((4, flags));
        }
        fields.push((word, header.p_align));
        let mut at = 0;
        for (size, value) in fields {
            self.put(out, at, size, value)?;
            at += size;
        }
        Some(())
    }
}
