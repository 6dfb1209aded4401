//! Texts as the doctor compares and shows them: normalised, alike, blank, shortened. Not how a model reads them.

/// Letters of a text that [`shorten`] leaves.
const SHOWN: usize = 80;
/// Letters of a normalised text that a signature is made of; what comes later is not compared.
const COMPARED: usize = 2_000;
/// Shorter normalised texts are too short to be alike: "yes" and "yet" are not.
const SHORTEST: usize = 12;
/// Hash functions of a signature.
const HASHES: usize = 12;
/// Hashes in a band: texts that agree in a whole band are compared.
const BAND: usize = 2;
/// Hashes that two texts must have in common to be compared exactly.
const COMMON: usize = 7;
/// How alike two texts must be, from 0 to 1.
const ALIKE: f64 = 0.8;

/// Lower case, with one space in the place of white space and punctuation, and none at the ends. A text of punctuation alone
/// stays as it is. Symbols (`+`, `#`, `%`, `$`, …) are no punctuation: C++ is not C#.
pub(super) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() || is_punctuation(c) || c.is_control() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out.truncate(out.trim_end().len());
    if out.is_empty() { text.trim().to_owned() } else { out }
}

fn is_punctuation(c: char) -> bool {
    matches!(
        c,
        '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '(' | ')' | '[' | ']' | '{' | '}' | '-' | '_' | '/' | '\\' | '*'
            | '`' | '¡' | '¿' | '«' | '»' | '\u{2010}'..='\u{2015}' | '\u{2018}'..='\u{201f}' | '…' | '\u{3001}'
            | '\u{3002}' | '\u{300a}'..='\u{300f}' | '\u{ff01}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0c}' | '\u{ff1a}'
            | '\u{ff1b}' | '\u{ff1f}' | '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{964}'
    )
}

/// Whether there is nothing to read: white space, control characters, characters without width.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_hidden(c))
}

/// Characters without a shape of their own: control characters, and those that have no width or set a direction.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text of at most 80 letters, in one line, that cannot change what is shown around it: white space becomes a space, control
/// characters and those that set the direction of writing become `\u{…}`. Of a long text only the beginning is read.
#[must_use]
pub fn shorten(text: &str) -> String {
    let mut out = String::new();
    let (mut letters, mut space) = (0, false);
    for (read, c) in text.chars().enumerate() {
        if letters >= SHOWN || read >= 4 * SHOWN {
            return out + "…";
        }
        if c.is_whitespace() {
            space = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
            letters += 1;
        }
        let start = out.len();
        if is_hidden(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        letters += out[start..].chars().count();
    }
    out
}

/// A few numbers that are equal, each with the probability of the Jaccard similarity, for texts with the same trigrams (MinHash;
/// Broder, "On the resemblance and containment of documents", 1997).
pub(super) type Signature = [u32; HASHES];

/// The signature of a normalised text; none if it is too short to be alike another.
pub(super) fn signature(normal: &str) -> Option<Signature> {
    let trigrams = trigrams(normal)?;
    let mut least = [u32::MAX; HASHES];
    for trigram in trigrams {
        for (i, least) in least.iter_mut().enumerate() {
            *least = (*least).min((trigram.wrapping_mul(multiplier(i)) >> 32) as u32);
        }
    }
    Some(least)
}

/// An odd number for each hash function (multiply-shift: Dietzfelbinger et al. 1997).
fn multiplier(i: usize) -> u64 {
    mix(i as u64 + 1) | 1
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for each three letters in a row.
fn trigrams(normal: &str) -> Option<impl Iterator<Item = u64>> {
    let letters: Vec<u64> = normal.chars().take(COMPARED).map(|c| u64::from(u32::from(c))).collect();
    let trigrams = letters.len().saturating_sub(2);
    (letters.len() >= SHORTEST)
        .then(|| (0..trigrams).map(move |i| mix(letters[i] | letters[i + 1] << 21 | letters[i + 2] << 42)))
}

/// The numbers of the bands of a signature; texts that share one may be alike.
pub(super) fn bands(signature: &Signature) -> impl Iterator<Item = (usize, u64)> {
    signature.chunks_exact(BAND).map(|band| u64::from(band[0]) << 32 | u64::from(band[1])).enumerate()
}

/// Whether it is worth while to compare the texts of two signatures.
pub(super) fn close(a: &Signature, b: &Signature) -> bool {
    a.iter().zip(b).filter(|(a, b)| a == b).count() >= COMMON
}

/// Whether two normalised texts have at least 0.8 of their trigrams in common (Jaccard).
pub(super) fn alike(a: &str, b: &str) -> bool {
    let set = |text: &str| {
        let mut set: Vec<u64> = trigrams(text).into_iter().flatten().collect();
        set.sort_unstable();
        set.dedup();
        set
    };
    let (a, b) = (set(a), set(b));
    let both = a.iter().filter(|trigram| b.binary_search(trigram).is_ok()).count();
    both as f64 >= ALIKE * (a.len() + b.len() - both) as f64
}
