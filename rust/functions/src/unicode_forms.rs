//! Unicode normal forms, with and without case folding, of one text.
//!
//! The forms are those of Unicode Standard Annex #15.  With case folding the result is what definitions D145 and D146
//! of the Unicode Standard (section 3.13, "Default Caseless Matching") compare, in the form that is asked for:
//!
//! - NFC and NFD: `form(fold(NFD(text)))`, so texts get one result exactly if they are canonical caseless matches;
//! - NFKC and NFKD: `form(fold(NFKD(fold(NFD(text)))))`, the same for compatibility caseless matches.
//!
//! Folding is the full default folding (the common and full mappings of CaseFolding.txt), without the Turkic ones.
//! The tables are those of Unicode 18.0 for the forms and 16.0 for folding; both are stable for assigned characters
//! by Unicode's policies, so only characters that were not assigned then can change with newer tables.
//!
//! Invariant: applying a normalization twice is applying it once.

use std::sync::OnceLock;

use caseless::Caseless;
use unicode_normalization::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

/// A normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

impl Form {
    /// The names of the forms, for errors.
    pub(crate) const NAMES: &'static str = "NFC, NFD, NFKC and NFKD";

    /// The form of a name, in upper or lower case.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [("NFC", Self::Nfc), ("NFD", Self::Nfd), ("NFKC", Self::Nfkc), ("NFKD", Self::Nfkd)]
            .into_iter()
            .find_map(|(known, form)| name.eq_ignore_ascii_case(known).then_some(form))
    }

    /// Whether compatibility characters are replaced.
    pub(crate) fn is_compatible(self) -> bool {
        matches!(self, Self::Nfkc | Self::Nfkd)
    }

    fn quick_check(self, text: &str) -> IsNormalized {
        match self {
            Self::Nfc => is_nfc_quick(text.chars()),
            Self::Nfd => is_nfd_quick(text.chars()),
            Self::Nfkc => is_nfkc_quick(text.chars()),
            Self::Nfkd => is_nfkd_quick(text.chars()),
        }
    }

    fn extend(self, characters: impl Iterator<Item = char>, into: &mut String) {
        match self {
            Self::Nfc => into.extend(characters.nfc()),
            Self::Nfd => into.extend(characters.nfd()),
            Self::Nfkc => into.extend(characters.nfkc()),
            Self::Nfkd => into.extend(characters.nfkd()),
        }
    }
}

/// Before this character there are neither combining marks nor letters that compose with the one before them, so a text
/// of such characters is normalized character by character.
const LATIN_END: char = '\u{300}';

/// The first byte of [`LATIN_END`] in UTF-8: all bytes of the characters before it are smaller.
const LATIN_END_BYTE: u8 = 0xcc;

/// A normal form, perhaps of the case-folded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Normalization {
    pub(crate) form: Form,
    pub(crate) casefold: bool,
}

impl Normalization {
    /// Normalizes a text: false if it is normal already, true if the result was put into the buffer.
    pub(crate) fn apply(self, text: &str, into: &mut String) -> bool {
        if text.is_ascii() {
            if !self.casefold || !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return false;
            }
            into.clear();
            into.push_str(text);
            into.make_ascii_lowercase();
            return true;
        }
        if !self.casefold && self.form.quick_check(text) == IsNormalized::Yes {
            return false;
        }
        into.clear();
        let bytes = text.as_bytes();
        let mut done = 0;
        // An ASCII character never composes with what is before it, so a text can be cut there: what needs tables is
        // each run of other characters with the one ASCII character before it, which may take a mark from the run.
        while let Some(plain) = bytes[done..].iter().position(|byte| !byte.is_ascii()) {
            let run = done + plain;
            let start = if plain == 0 { run } else { run - 1 };
            let end = bytes[run..].iter().position(u8::is_ascii).map_or(text.len(), |length| run + length);
            self.put_ascii(&text[done..start], into);
            self.put(&text[start..end], into);
            done = end;
        }
        self.put_ascii(&text[done..], into);
        into != text
    }

    fn put_ascii(self, text: &str, into: &mut String) {
        let start = into.len();
        into.push_str(text);
        if self.casefold {
            into[start..].make_ascii_lowercase();
        }
    }

    fn put(self, text: &str, into: &mut String) {
        if text.bytes().all(|byte| byte < LATIN_END_BYTE) {
            let latin = self.latin();
            for character in text.chars() {
                into.push_str(&latin[u32::from(character) as usize]);
            }
        } else {
            self.put_by_tables(text, into);
        }
    }

    /// The results of the characters before [`LATIN_END`], each by itself.
    fn latin(self) -> &'static [String] {
        static LATIN: [OnceLock<Vec<String>>; 8] = [const { OnceLock::new() }; 8];
        LATIN[self.form as usize * 2 + usize::from(self.casefold)].get_or_init(|| {
            let result = |character: char| {
                let mut result = String::new();
                self.put_by_tables(character.encode_utf8(&mut [0; 4]), &mut result);
                result
            };
            ('\0'..LATIN_END).map(result).collect()
        })
    }

    fn put_by_tables(self, text: &str, into: &mut String) {
        if !self.casefold {
            self.form.extend(text.chars(), into);
        } else if self.form.is_compatible() {
            self.form.extend(text.nfd().default_case_fold().nfkd().default_case_fold(), into);
        } else {
            self.form.extend(text.nfd().default_case_fold(), into);
        }
    }
}

/// The normalization that equals two in a row, if there is one.
///
/// A canonical form keeps all that a compatible one needs, and a form that is applied later decides about composition.
/// Folding does not mix with a second, different normalization: folding a text and then decomposing it compatibly
/// can bring back letters in upper case.
pub(crate) fn combined(first: Normalization, second: Normalization) -> Option<Normalization> {
    if first == second {
        return Some(first);
    }
    if first.casefold || second.casefold {
        return None;
    }
    let composes = matches!(second.form, Form::Nfc | Form::Nfkc);
    let form = match (first.form.is_compatible() || second.form.is_compatible(), composes) {
        (false, true) => Form::Nfc,
        (false, false) => Form::Nfd,
        (true, true) => Form::Nfkc,
        (true, false) => Form::Nfkd,
    };
    Some(Normalization { form, casefold: false })
}

#[cfg(test)]
#[path = "unicode_forms_tests.rs"]
mod tests;
