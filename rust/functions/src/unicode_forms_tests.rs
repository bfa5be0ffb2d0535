use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const GOLDEN: &str = include_str!("../golden/normal_forms.json");
const FORMS: [(&str, Form); 4] = [("NFC", Form::Nfc), ("NFD", Form::Nfd), ("NFKC", Form::Nfkc), ("NFKD", Form::Nfkd)];

fn normal(text: &str, form: Form, casefold: bool) -> String {
    let mut into = String::from("left over");
    if (Normalization { form, casefold }).apply(text, &mut into) { into } else { text.to_owned() }
}

fn normalizations() -> impl Iterator<Item = Normalization> {
    FORMS.into_iter().flat_map(|(_, form)| [false, true].map(|casefold| Normalization { form, casefold }))
}

#[test]
fn samples_are_those_of_unicodedata() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for sample in golden["samples"].as_array().unwrap() {
        let text = sample["text"].as_str().unwrap();
        for (name, form) in FORMS {
            assert_eq!(normal(text, form, false), sample[name].as_str().unwrap(), "{name} of {text:?}");
            assert_eq!(
                normal(text, form, true),
                sample[format!("{name} casefold")].as_str().unwrap(),
                "{name} of {text:?}"
            );
        }
    }
}

/// The file of the Unicode Consortium, which the sources of a dependency's dependency carry.
fn conformance_file() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(home.join("registry/src"))
        .unwrap()
        .flat_map(|index| std::fs::read_dir(index.unwrap().path()).unwrap())
        .map(|package| package.unwrap().path())
        .filter(|package| package.file_name().unwrap().to_str().unwrap().starts_with("icu_normalizer-"))
        .map(|package| package.join("tests/data/NormalizationTest.txt"))
        .filter(|file| file.exists())
        .collect();
    files.sort();
    std::fs::read_to_string(files.pop().expect("cargo has the sources of icu_normalizer, which idna needs")).unwrap()
}

/// The conformance criteria of UAX 15, section 9, over all lines of the file and over all characters it leaves out.
#[test]
fn the_forms_conform_to_the_normalization_test() {
    let file = conformance_file();
    let (major, minor, patch) = unicode_normalization::UNICODE_VERSION;
    let version = format!("NormalizationTest-{major}.{minor}.{patch}.txt");
    assert!(file.lines().next().unwrap().contains(&version), "the file is of another version than the tables");
    let mut lines = 0;
    let mut listed = std::collections::HashSet::new();
    let mut in_part_one = false;
    for line in file.lines() {
        if line.starts_with('@') {
            in_part_one = line.starts_with("@Part1");
            continue;
        }
        let Some((columns, _)) = line.split_once('#').filter(|(columns, _)| !columns.is_empty()) else { continue };
        let columns: Vec<String> = columns
            .split(';')
            .take(5)
            .map(|points| {
                points
                    .split(' ')
                    .map(|point| char::from_u32(u32::from_str_radix(point, 16).unwrap()).unwrap())
                    .collect()
            })
            .collect();
        let [source, composed, decomposed, compatible, apart] = columns.as_slice() else { panic!("{line}") };
        for text in [source, composed, decomposed] {
            assert_eq!(&normal(text, Form::Nfc, false), composed, "{line}");
            assert_eq!(&normal(text, Form::Nfd, false), decomposed, "{line}");
        }
        for text in [compatible, apart] {
            assert_eq!(&normal(text, Form::Nfc, false), compatible, "{line}");
            assert_eq!(&normal(text, Form::Nfd, false), apart, "{line}");
        }
        for text in &columns {
            assert_eq!(&normal(text, Form::Nfkc, false), compatible, "{line}");
            assert_eq!(&normal(text, Form::Nfkd, false), apart, "{line}");
        }
        if in_part_one {
            listed.insert(source.clone());
        }
        lines += 1;
    }
    assert!(lines > 19_000, "{lines}");
    for character in '\0'..=char::MAX {
        let text = character.to_string();
        if !listed.contains(&text) {
            for (name, form) in FORMS {
                assert_eq!(normal(&text, form, false), text, "{name} of {character:?}");
            }
        }
    }
}

#[test]
fn every_character_is_stable_once_it_is_normal() {
    for character in '\0'..=char::MAX {
        let text = character.to_string();
        for Normalization { form, casefold } in normalizations() {
            let once = normal(&text, form, casefold);
            assert_eq!(normal(&once, form, casefold), once, "{form:?} {casefold} of {character:?}");
        }
    }
}

#[test]
fn latin_characters_are_normalized_one_by_one() {
    assert_eq!(LATIN_END.to_string().as_bytes()[0], LATIN_END_BYTE);
    let mut pair = String::new();
    let (mut together, mut apart) = (String::new(), String::new());
    for normalization in normalizations() {
        for first in '\0'..LATIN_END {
            for second in '\0'..LATIN_END {
                pair.clear();
                pair.extend([first, second]);
                together.clear();
                normalization.put_by_tables(&pair, &mut together);
                apart.clear();
                normalization.put(&pair, &mut apart);
                assert_eq!(apart, together, "{normalization:?} of {pair:?}");
            }
        }
    }
}

#[test]
fn ascii_needs_no_tables() {
    assert_eq!(normal("Straight AHEAD", Form::Nfkd, true), "straight ahead");
    let mut into = String::new();
    for normalization in normalizations() {
        assert!(!normalization.apply("plain ascii", &mut into));
    }
    assert_eq!(Form::of_name("nfkc"), Some(Form::Nfkc));
    assert_eq!(Form::of_name("NFX"), None);
}

fn odd_text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select("aZ\u{e9}\u{301}\u{345}\u{3c2}\u{3a3}\u{130}\u{df}\u{1e9e}\u{fb01}\u{33a2}\u{1f88}\u{ac00}\u{1100}\u{1161}\u{11a8}\u{327}\u{1d165}\u{1e9b}\u{323}\u{2126}\u{f900}\u{149}".chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![3 => odd, 1 => any::<char>()], 0..8)
        .prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_normal_text_is_stable(text in odd_text()) {
        for Normalization { form, casefold } in normalizations() {
            let once = normal(&text, form, casefold);
            prop_assert_eq!(&normal(&once, form, casefold), &once);
        }
    }

    #[test]
    fn case_and_composition_do_not_matter_after_folding(text in odd_text()) {
        for (_, form) in FORMS {
            let folded = normal(&text, form, true);
            prop_assert_eq!(&normal(&normal(&text, Form::Nfd, false), form, true), &folded);
            prop_assert_eq!(&normal(&caseless::default_case_fold_str(&normal(&text, Form::Nfd, false)), form, true), &folded);
        }
    }

    #[test]
    fn two_that_combine_are_one(text in odd_text()) {
        for first in normalizations() {
            for second in normalizations() {
                if let Some(once) = combined(first, second) {
                    let twice = normal(&normal(&text, first.form, first.casefold), second.form, second.casefold);
                    prop_assert_eq!(normal(&text, once.form, once.casefold), twice, "{:?} {:?}", first, second);
                }
            }
        }
    }
}
