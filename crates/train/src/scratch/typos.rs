//! Typing errors on purpose: a text as hasty fingers might write it.

use crate::order::Mt19937;

/// The text with an error in some words of four characters and more, each with the probability `rate`: a character left
/// out, two exchanged, or one doubled, never the first or the last alone. White space becomes single spaces.
pub(super) fn mistype(text: &str, rate: f64, random: &mut Mt19937) -> String {
    let mut written = String::with_capacity(text.len() + 8);
    for word in text.split_whitespace() {
        if !written.is_empty() {
            written.push(' ');
        }
        let mut characters: Vec<char> = word.chars().collect();
        // The word is drawn for before its length is looked at, so that the next ones do not depend on it.
        let drawn = f64::from(random.next_u32()) < rate * 2f64.powi(32);
        if drawn && characters.len() > 3 {
            let at = 1 + random.next_u32() as usize % (characters.len() - 2);
            match random.next_u32() % 3 {
                0 => drop(characters.remove(at)),
                1 => characters.swap(at, at + 1),
                _ => characters.insert(at, characters[at]),
            }
        }
        written.extend(characters);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_in_a_word() {
        let mut random = Mt19937::new(3);
        assert_eq!(mistype("  a few  words\nstay as ", 0.0, &mut random), "a few words stay as");
        assert_eq!(mistype("", 1.0, &mut random), "");
        let mut seen = [false; 3];
        for _ in 0..60 {
            let found = mistype("the мосты", 1.0, &mut random);
            let word: Vec<char> = found.strip_prefix("the ").unwrap().chars().collect();
            assert!(word[0] == 'м' && word.len().abs_diff(5) <= 1, "{found}");
            seen[word.len() - 4] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
