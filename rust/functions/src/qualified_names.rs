//! Qualified names of symbols in one spelling: parts joined by dots, the module first.
//!
//! | step | `neutral` | `python` |
//! |---|---|---|
//! | characters | NFC | NFKC, as the parser of Python does with identifiers (PEP 3131) |
//! | separators | `.` and `::` | `.` and `:`, the latter as in entry points (`package.module:function`) |
//! | parts | white space around them is dropped, and so are parts without anything else | the same |
//! | module | as it is | without an `__init__` at its end: that file is the package itself |
//!
//! - A symbol is relative to its module, always: `datetime.now` in the module `datetime` is `datetime.datetime.now`,
//!   a method of a class that is named as its module.  Guessing that it was qualified already would give two symbols
//!   one name; who has absolute names passes no module.
//! - Case is kept, and so are names that a language makes up, such as `<locals>` and `<lambda>`.
//! - Leading dots of relative imports are separators like others: they are not resolved.
//! - A symbol without parts is no name, whatever its module.
//!
//! Invariant: a name that was made without a module stays as it is when it is made again.

use crate::unicode_forms::{Form, Normalization};

/// Whose rules a name follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    Neutral,
    Python,
}

impl Language {
    /// The names of the languages, for errors.
    pub(crate) const NAMES: &'static str = "neutral and python";

    /// The language of a name, in upper or lower case.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [("neutral", Self::Neutral), ("python", Self::Python)]
            .into_iter()
            .find_map(|(known, language)| name.eq_ignore_ascii_case(known).then_some(language))
    }

    fn normalization(self) -> Normalization {
        let form = match self {
            Self::Neutral => Form::Nfc,
            Self::Python => Form::Nfkc,
        };
        Normalization { form, casefold: false }
    }

    fn separator(self) -> &'static str {
        match self {
            Self::Neutral => "::",
            Self::Python => ":",
        }
    }
}

/// Makes names, with buffers that are used again and again.
#[derive(Default)]
pub(crate) struct QualifiedNames {
    name: String,
    normal: String,
}

impl QualifiedNames {
    /// The qualified name of a symbol, unless it has no parts.
    pub(crate) fn name(&mut self, symbol: &str, module: Option<&str>, language: Language) -> Option<&str> {
        self.name.clear();
        if let Some(module) = module {
            self.append(module, language);
            if language == Language::Python {
                self.drop_package_file();
            }
        }
        let module = self.name.len();
        self.append(symbol, language);
        (self.name.len() > module).then_some(self.name.as_str())
    }

    fn append(&mut self, text: &str, language: Language) {
        if is_plain(text) {
            push(&mut self.name, text);
            return;
        }
        let text = if language.normalization().apply(text, &mut self.normal) { &self.normal } else { text };
        for part in text.split('.').flat_map(|piece| piece.split(language.separator())).map(str::trim) {
            if !part.is_empty() {
                push(&mut self.name, part);
            }
        }
    }

    fn drop_package_file(&mut self) {
        if let Some(package) = self.name.strip_suffix("__init__")
            && (package.is_empty() || package.ends_with('.'))
        {
            self.name.truncate(package.trim_end_matches('.').len());
        }
    }
}

/// Whether a text is made of ASCII parts, joined by dots already, with nothing to split or to drop.
fn is_plain(text: &str) -> bool {
    let mut before = b'.';
    for byte in text.bytes() {
        if byte <= b' ' || byte == b':' || !byte.is_ascii() || (byte == b'.' && before == b'.') {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

fn push(name: &mut String, part: &str) {
    if !name.is_empty() {
        name.push('.');
    }
    name.push_str(part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn neutral(symbol: &str, module: Option<&str>) -> Option<String> {
        QualifiedNames::default().name(symbol, module, Language::Neutral).map(str::to_owned)
    }

    fn python(symbol: &str, module: Option<&str>) -> Option<String> {
        QualifiedNames::default().name(symbol, module, Language::Python).map(str::to_owned)
    }

    #[test]
    fn parts_are_joined_by_dots_behind_the_module() {
        assert_eq!(neutral("std::fmt :: Display", None).as_deref(), Some("std.fmt.Display"));
        assert_eq!(neutral(" Class . method ", Some("pkg.mod")).as_deref(), Some("pkg.mod.Class.method"));
        assert_eq!(neutral("..a...b.", Some("")).as_deref(), Some("a.b"));
        assert_eq!(neutral("a:b", None).as_deref(), Some("a:b"));
        assert_eq!(python("pkg.mod:Class.method", None).as_deref(), Some("pkg.mod.Class.method"));
        assert_eq!(python("f.<locals>.g", Some("m")).as_deref(), Some("m.f.<locals>.g"));
    }

    #[test]
    fn a_symbol_is_relative_even_if_it_begins_like_its_module() {
        assert_eq!(python("datetime.now", Some("datetime")).as_deref(), Some("datetime.datetime.now"));
    }

    #[test]
    fn python_names_a_package_by_its_folder() {
        assert_eq!(python("f", Some("pkg.__init__")).as_deref(), Some("pkg.f"));
        assert_eq!(python("f", Some("__init__")).as_deref(), Some("f"));
        assert_eq!(python("f", Some("pkg.my__init__")).as_deref(), Some("pkg.my__init__.f"));
        assert_eq!(python("C.__init__", Some("pkg")).as_deref(), Some("pkg.C.__init__"));
        assert_eq!(neutral("f", Some("pkg.__init__")).as_deref(), Some("pkg.__init__.f"));
    }

    #[test]
    fn python_takes_identifiers_as_its_parser_does() {
        assert_eq!(python("\u{fb01}le", None).as_deref(), Some("file"));
        assert_eq!(neutral("\u{fb01}le", None).as_deref(), Some("\u{fb01}le"));
        assert_eq!(neutral("e\u{301}", None).as_deref(), Some("\u{e9}"));
    }

    #[test]
    fn a_symbol_without_parts_is_no_name() {
        for symbol in ["", "  ", "...", " :: . "] {
            assert_eq!(neutral(symbol, Some("pkg")), None, "{symbol:?}");
        }
    }

    #[test]
    fn plain_names_are_those_that_stay_as_they_are() {
        for (text, plain) in [("a", true), ("a.b_c.<d>", true), ("", false), (".a", false), ("a.", false)] {
            assert_eq!(is_plain(text), plain, "{text:?}");
        }
        for text in ["a..b", "a b", "a:b", "a::b", "\u{e9}", "a\tb"] {
            assert!(!is_plain(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_stays_as_it_is_when_it_is_made_again(symbol in "[ab.: \u{2026}\u{fb01}\u{301}\u{e9}]{0,12}", is_python in any::<bool>()) {
            let make = if is_python { python } else { neutral };
            if let Some(name) = make(&symbol, None) {
                prop_assert_eq!(make(&name, None), Some(name));
            }
        }
    }
}
