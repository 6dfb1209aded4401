//! The directory of a zip archive, as far as PyTorch needs it: all entries are stored as they are
//! (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, sections 4.3 and 4.5.3). Check sums are not checked: that
//! would read the whole file before a number of it is needed.

use std::collections::BTreeMap;

use super::shown;

/// Name → start and length of each entry.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, (usize, usize)>, String> {
    let archive = Archive(bytes);
    let (count, mut at) = archive.directory().ok_or_else(cut)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let (entry, next) = archive.entry(at).ok_or_else(cut)?;
        let name = shown(&entry.name);
        if entry.method != 0 || entry.packed != entry.size || entry.flags & 1 != 0 {
            return Err(format!("{name} is compressed or encrypted, which PyTorch does not do"));
        }
        let range = archive.data(&entry).ok_or_else(cut)?;
        if entries.insert(entry.name, range).is_some() {
            return Err(format!("the archive has {name} twice"));
        }
        at = next;
    }
    Ok(entries)
}

fn cut() -> String {
    "the archive is cut off".to_owned()
}

/// What the directory says about a file.
struct Entry {
    name: String,
    flags: u64,
    method: u64,
    packed: u64,
    size: u64,
    /// Where the file begins, with a header of its own.
    local: u64,
}

struct Archive<'a>(&'a [u8]);

impl Archive<'_> {
    /// A number of `N` bytes.
    fn number<const N: usize>(&self, at: usize) -> Option<u64> {
        let mut number = [0; 8];
        number[..N].copy_from_slice(self.0.get(at..at.checked_add(N)?)?);
        Some(u64::from_le_bytes(number))
    }

    fn has(&self, at: usize, signature: &[u8; 4]) -> bool {
        self.0.get(at..).is_some_and(|rest| rest.starts_with(signature))
    }

    /// How many entries the directory has and where it begins.
    fn directory(&self) -> Option<(u64, usize)> {
        // Its end is at the end of the file, before a comment of at most 65,535 bytes.
        let first = self.0.len().saturating_sub(22 + 65_535);
        let end = (first..self.0.len().saturating_sub(21)).rev().find(|&at| self.has(at, b"PK\x05\x06"))?;
        let (mut count, mut at) = (self.number::<2>(end + 10)?, self.number::<4>(end + 16)?);
        if let Some(locator) = end.checked_sub(20).filter(|&at| self.has(at, b"PK\x06\x07")) {
            let large = usize::try_from(self.number::<8>(locator + 8)?).ok()?;
            if !self.has(large, b"PK\x06\x06") {
                return None;
            }
            (count, at) = (self.number::<8>(large + 32)?, self.number::<8>(large + 48)?);
        }
        Some((count, usize::try_from(at).ok()?))
    }

    /// The entry at that position of the directory, and the position of the next.
    fn entry(&self, at: usize) -> Option<(Entry, usize)> {
        if !self.has(at, b"PK\x01\x02") {
            return None;
        }
        let length = |offset: usize| self.number::<2>(at + offset).map(|length| length as usize);
        let (name_end, extra_length, comment_length) = (at + 46 + length(28)?, length(30)?, length(32)?);
        let mut entry = Entry {
            name: String::from_utf8_lossy(self.0.get(at + 46..name_end)?).into_owned(),
            flags: self.number::<2>(at + 8)?,
            method: self.number::<2>(at + 10)?,
            packed: self.number::<4>(at + 20)?,
            size: self.number::<4>(at + 24)?,
            local: self.number::<4>(at + 42)?,
        };
        let extra_end = name_end + extra_length;
        let mut extra = name_end;
        while extra + 4 <= extra_end {
            let (kind, length) = (self.number::<2>(extra)?, self.number::<2>(extra + 2)? as usize);
            extra += 4;
            // The 64-bit values are those whose 32-bit ones are all ones, in this order.
            let mut value = extra;
            for wide in [&mut entry.size, &mut entry.packed, &mut entry.local] {
                if kind == 1 && *wide == u64::from(u32::MAX) && value + 8 <= extra + length {
                    *wide = self.number::<8>(value)?;
                    value += 8;
                }
            }
            extra += length;
        }
        Some((entry, extra_end + comment_length))
    }

    /// Start and length of the bytes of an entry.
    fn data(&self, entry: &Entry) -> Option<(usize, usize)> {
        let (local, size) = (usize::try_from(entry.local).ok()?, usize::try_from(entry.size).ok()?);
        if !self.has(local, b"PK\x03\x04") {
            return None;
        }
        let lengths = self.number::<2>(local + 26)? + self.number::<2>(local + 28)?;
        let start = local + 30 + lengths as usize;
        start.checked_add(size).filter(|&end| end <= self.0.len())?;
        Some((start, size))
    }
}
