//! The character map of sentencepiece (`precompiled_charsmap`), checked: the crate that applies it indexes with what the
//! file says.
//!
//! Its layout is that of `Normalizer::DecodePrecompiledCharsMap` in `normalizer.cc` of sentencepiece: the size in bytes of a
//! double array as little-endian u32, the double array (units of u32, as in `darts.h` of darts-clone), and replacements, each
//! ended by a zero byte, which the values of the array point to.

use tokenizers::normalizers::Precompiled;

/// The map as a normalizer.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn normalizer(bytes: &[u8]) -> Result<Precompiled, String> {
    check(bytes)?;
    Precompiled::from(bytes).map_err(|_| "the character map of the normalizer is damaged".to_owned())
}

/// Every step that a search can take from any unit must stay inside the array, every value inside the replacements.
fn check(bytes: &[u8]) -> Result<(), String> {
    let damaged = |what: &str| {
        Err(format!("the character map of the normalizer is damaged: {what}; get the file again"))
    };
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else { return damaged("it is cut off") };
    let size = u32::from_le_bytes(*size) as usize;
    if size > rest.len() || !size.is_multiple_of(4) || size == 0 {
        return damaged("its size is wrong");
    }
    let (array, replacements) = rest.split_at(size);
    let Ok(replacements) = std::str::from_utf8(replacements) else { return damaged("it is not UTF-8") };
    let units: Vec<usize> =
        array.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();

    for (index, &unit) in units.iter().enumerate() {
        // A search never enters a unit that holds a value: no byte is equal to its label.
        if unit >> 31 == 1 {
            continue;
        }
        let offset = (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let children = index ^ offset;
        if children | 0xFF >= units.len() {
            return damaged("it points beyond its end");
        }
        if (unit >> 8) & 1 == 1 && !replacements.is_char_boundary(units[children] & ((1 << 31) - 1)) {
            return damaged("it points beyond its replacements");
        }
    }
    Ok(())
}
