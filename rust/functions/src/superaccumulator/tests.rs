//! Exact sums against arbitrary precision arithmetic.

use num_bigint::{BigInt, Sign as BigSign};
use proptest::prelude::*;

use super::blocks::Blocks;
use super::natural::Natural;
use super::*;

/// The exponent in whose units the oracle counts: below that of every product.
const UNIT: i64 = -2200;

/// A finite float in units of `2^UNIT`.
fn oracle(value: f64) -> BigInt {
    let parts = Parts::of(value);
    let magnitude = BigInt::from(parts.significand) << usize::try_from(i64::from(parts.exponent) - UNIT).unwrap();
    if parts.negative { -magnitude } else { magnitude }
}

/// The nearest float, by another way than the code under test: the decimal form, which the standard library reads.
fn oracle_value(sum: &BigInt) -> f64 {
    // x = sum * 2^-2200 = sum * 5^2200 / 10^2200.
    let digits = sum * BigInt::from(5).pow(2200);
    format!("{digits}e-2200").parse().unwrap()
}

fn expected(terms: &[f64]) -> f64 {
    let nan = terms.iter().any(|term| term.is_nan());
    let up = terms.contains(&f64::INFINITY);
    let down = terms.contains(&f64::NEG_INFINITY);
    match (nan || up && down, up, down) {
        (true, ..) => f64::NAN,
        (_, true, _) => f64::INFINITY,
        (_, _, true) => f64::NEG_INFINITY,
        _ => oracle_value(&terms.iter().map(|term| oracle(*term)).sum::<BigInt>()),
    }
}

fn sum_of(terms: &[f64]) -> FloatSum {
    let mut sum = FloatSum::default();
    for term in terms {
        sum.add(*term, Sign::Plus);
    }
    sum
}

fn bytes<W: Window>(sum: &ExactSum<W>) -> Vec<u8> {
    let mut bytes = Vec::new();
    sum.encode(&mut bytes);
    bytes
}

#[track_caller]
fn same(left: f64, right: f64) {
    assert_eq!(left.to_bits(), right.to_bits(), "{left:e} and {right:e}");
}

/// Floats of every kind, close to each other and far apart.
fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<u64>().prop_map(f64::from_bits),
        4 => any::<u64>().prop_map(|bits| f64::from_bits(bits & !(0x7ff << 52) | (1023 << 52))),
        4 => (-1_000_000_i32..1_000_000).prop_map(|cents| f64::from(cents) / 100.0),
        2 => any::<u64>().prop_map(|bits| f64::from_bits(bits & !(0x7fe << 52))),
        2 => prop::sample::select(vec![
            0.0, -0.0, 1.0, -1.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::EPSILON, 5e-324, -5e-324, 1e16, -1e16,
            9_007_199_254_740_993.0, 1e308, -1e308, 1e-308,
        ]),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    float().prop_map(|value| if value.is_finite() { value } else { 1.0 })
}

fn special() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => float(),
        1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_sum_is_the_nearest_float(terms in prop::collection::vec(special(), 0..40)) {
        same(sum_of(&terms).value(), expected(&terms));
    }

    #[test]
    fn what_cancels_leaves_what_is_small(terms in prop::collection::vec(finite(), 1..20), small in finite()) {
        let mut all: Vec<f64> = terms.iter().chain(&[small]).copied().collect();
        all.extend(terms.iter().map(|term| -term));
        same(sum_of(&all).value(), if small == 0.0 { 0.0 } else { small });
    }

    #[test]
    fn order_parts_and_blocks_do_not_matter(
        terms in prop::collection::vec(special(), 0..300),
        cut in any::<prop::sample::Index>(),
        keys in prop::collection::vec(any::<u64>(), 300),
    ) {
        let sum = sum_of(&terms);
        let mut shuffled: Vec<(u64, f64)> = keys.into_iter().zip(terms.iter().copied()).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<f64> = shuffled.into_iter().map(|(_, term)| term).collect();
        prop_assert_eq!(bytes(&sum_of(&shuffled)), bytes(&sum));

        let cut = cut.index(terms.len() + 1);
        let mut merged = sum_of(&shuffled[..cut]);
        merged.merge(&sum_of(&shuffled[cut..]), Sign::Plus);
        prop_assert_eq!(bytes(&merged), bytes(&sum));
        let mut read = sum_of(&shuffled[..cut]);
        let encoded = bytes(&sum_of(&shuffled[cut..]));
        let mut rest = encoded.as_slice();
        prop_assert!(read.merge_encoded(&mut rest, Sign::Plus).is_some() && rest.is_empty());
        prop_assert_eq!(bytes(&read), bytes(&sum));

        let mut blocked = FloatSum::default();
        Blocks::default().add(&mut blocked, &shuffled, Sign::Plus);
        prop_assert_eq!(bytes(&blocked), bytes(&sum));
        same(blocked.value(), sum.value());
    }

    #[test]
    fn what_is_taken_away_was_never_there(
        kept in prop::collection::vec(special(), 0..30),
        gone in prop::collection::vec(special(), 0..100),
    ) {
        let mut sum = sum_of(&gone);
        for term in &kept {
            sum.add(*term, Sign::Plus);
        }
        let mut other = sum.clone();
        for term in &gone {
            sum.add(*term, Sign::Minus);
        }
        prop_assert_eq!(bytes(&sum), bytes(&sum_of(&kept)));
        same(sum.value(), expected(&kept));
        Blocks::default().add(&mut other, &gone, Sign::Minus);
        prop_assert_eq!(bytes(&other), bytes(&sum));
        other.merge(&sum, Sign::Minus);
        prop_assert_eq!(bytes(&other), vec![0]);
    }

    #[test]
    fn products_are_exact(pairs in prop::collection::vec((finite(), finite()), 0..40)) {
        let mut sum = ProductSum::default();
        for (left, right) in &pairs {
            sum.add_product(*left, *right, Sign::Plus);
        }
        let exact: BigInt = pairs.iter().map(|(left, right)| oracle(*left) * oracle(*right)).sum();
        let (negative, terms, exponent) = sum.terms();
        let magnitude = terms.iter().rev().fold(BigInt::ZERO, |all, term| (all << 128) + BigInt::from(*term));
        let signed = if negative { -magnitude } else { magnitude };
        let up = if signed == BigInt::ZERO { 0 } else { usize::try_from(i64::from(exponent) - 2 * UNIT).unwrap() };
        prop_assert_eq!(signed << up, exact);
        let mut rest: &[u8] = &bytes(&sum);
        let mut read = ProductSum::default();
        prop_assert!(read.merge_encoded(&mut rest, Sign::Plus).is_some());
        prop_assert_eq!(bytes(&read), bytes(&sum));
        for (left, right) in pairs.iter().rev() {
            read.add_product(*left, *right, Sign::Minus);
        }
        prop_assert_eq!(bytes(&read), vec![0]);
    }

    #[test]
    fn squares_in_blocks_are_exact(values in prop::collection::vec(special(), 0..300)) {
        let (mut one, mut all) = (ProductSum::default(), ProductSum::default());
        for value in &values {
            one.add_product(*value, *value, Sign::Plus);
        }
        Blocks::default().add_squares(&mut all, &values, Sign::Plus);
        prop_assert_eq!(bytes(&all), bytes(&one));
    }

    #[test]
    fn a_mean_is_rounded_once(terms in prop::collection::vec(finite(), 1..20), count in 1..u64::MAX) {
        let sum = sum_of(&terms);
        // count * mean is nearer to the sum than count times either neighbour of the mean, or as near.
        let mean = sum.mean(count);
        let exact: BigInt = terms.iter().map(|term| oracle(*term)).sum();
        let distance = |candidate: f64| {
            let difference = oracle(candidate) * BigInt::from(count) - &exact;
            if difference.sign() == BigSign::Minus { -difference } else { difference }
        };
        if mean.is_finite() {
            let nearest = distance(mean);
            for neighbour in [mean.next_up(), mean.next_down()] {
                if neighbour.is_finite() {
                    let other = distance(neighbour);
                    prop_assert!(nearest < other || nearest == other && mean.to_bits() & 1 == 0);
                }
            }
        }
        let mut wide = sum.clone();
        wide.widen();
        same(wide.mean(count), mean);
        same(wide.value(), sum.value());
    }

    #[test]
    fn quotients_and_roots_are_exact(
        left in prop::collection::vec(any::<u64>(), 0..9),
        right in prop::collection::vec(prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), Just(1 << 63)], 1..9),
    ) {
        let big = |words: &[u64]| words.iter().rev().fold(BigInt::ZERO, |all, word| (all << 64) + BigInt::from(*word));
        let (dividend, divisor) = (Natural::from_words(left.clone()), Natural::from_words(right.clone()));
        prop_assert_eq!(big(dividend.times(&divisor).words()), big(&left) * big(&right));
        prop_assert_eq!(big(dividend.plus(&divisor).words()), big(&left) + big(&right));
        if divisor.is_zero() {
            return Ok(());
        }
        for odd in [None, Some(false), Some(true)] {
            let quotient = dividend.quotient(&divisor, odd);
            let shift = usize::try_from(quotient.exponent.abs()).unwrap();
            let (scaled, by) = if quotient.exponent <= 0 {
                (big(&left) << shift, big(&right))
            } else {
                (big(&left), big(&right) << shift)
            };
            let whole = &scaled / &by;
            prop_assert_eq!(BigInt::from(quotient.bits), whole.clone());
            prop_assert_eq!(quotient.inexact, whole * by != scaled);
            prop_assert!(dividend.is_zero() || quotient.bits.leading_zeros() <= 2);
            if let Some(odd) = odd && !dividend.is_zero() {
                prop_assert_eq!(quotient.exponent.rem_euclid(2) == 1, odd);
            }
        }
    }
}

#[test]
fn known_sums() {
    same(sum_of(&[]).value(), 0.0);
    same(sum_of(&[-0.0, -0.0]).value(), 0.0);
    same(sum_of(&[0.1; 10]).value(), 1.0);
    same(sum_of(&[1e16, 1.0, -1e16]).value(), 1.0);
    same(sum_of(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX);
    same(sum_of(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
    same(sum_of(&[f64::MAX, f64::MAX]).mean(2), f64::MAX);
    same(sum_of(&[5e-324]).mean(2), 0.0);
    same(sum_of(&[1.5e-323]).mean(2), 1e-323);
    same(sum_of(&[f64::MIN_POSITIVE, -5e-324]).value(), f64::MIN_POSITIVE.next_down());
    // Halves go to the even neighbour, and a bit far below decides.
    same(sum_of(&[1.0, f64::EPSILON / 2.0]).value(), 1.0);
    same(sum_of(&[1.0, f64::EPSILON / 2.0, 5e-324]).value(), 1.0 + f64::EPSILON);
    same(sum_of(&[1.0, f64::EPSILON / 2.0, -5e-324]).value(), 1.0);
}

#[test]
fn infinities_come_and_go() {
    let mut sum = sum_of(&[1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
    same(sum.value(), f64::NAN);
    sum.add(-f64::NAN, Sign::Minus);
    same(sum.value(), f64::NAN);
    sum.add(f64::NEG_INFINITY, Sign::Minus);
    same(sum.value(), f64::INFINITY);
    sum.add(f64::INFINITY, Sign::Minus);
    same(sum.value(), 1.0);
    assert_eq!(bytes(&sum), bytes(&sum_of(&[1.0])));
}

#[test]
fn sums_of_like_terms_stay_small() {
    assert_eq!(size_of::<FloatSum>(), 24);
    assert_eq!(size_of::<ProductSum>(), 40);
    let prices: Vec<f64> = (0..100_000).map(|number| f64::from(number * 7919 % 1_000_003) / 100.0).collect();
    assert_eq!(sum_of(&prices).heap_bytes(), 0);
    let grown = sum_of(&[1e300, 1e-300, -1e300]);
    assert!((64..400).contains(&grown.heap_bytes()), "{}", grown.heap_bytes());
    let widest = sum_of(&[f64::MAX, 5e-324]);
    assert!(widest.heap_bytes() < 2 * 8 * 40, "{}", widest.heap_bytes());
}

#[test]
fn the_bytes_of_a_sum_are_frozen() {
    assert_eq!(bytes(&sum_of(&[])), [0]);
    assert_eq!(bytes(&sum_of(&[1.0])), [1, 0, 2, 1]);
    assert_eq!(bytes(&sum_of(&[-0.75])), [3, 3, 2, 3]);
    assert_eq!(bytes(&sum_of(&[f64::NAN, 2.0])), [5, 2, 2, 1, 2, 0, 0]);
    // The last bit is 2^-1049, and there are 256 bytes from it on.
    assert_eq!(bytes(&sum_of(&[1e300, 1e-300]))[..5], [1, 0xb1, 0x10, 0x80, 0x04]);
    let mut rest: &[u8] = &[0x09];
    assert!(FloatSum::default().merge_encoded(&mut rest, Sign::Plus).is_none());
    let mut rest: &[u8] = &[0x01, 0x00, 0x04, 0x01];
    assert!(FloatSum::default().merge_encoded(&mut rest, Sign::Plus).is_none());
}

#[test]
fn many_equal_terms_overflow_nothing() {
    let terms = vec![f64::MAX; 5000];
    let mut sum = FloatSum::default();
    Blocks::default().add(&mut sum, &terms, Sign::Plus);
    same(sum.mean(5000), f64::MAX);
    let mut squares = ProductSum::default();
    Blocks::default().add_squares(&mut squares, &vec![2.0 - f64::EPSILON; 5000], Sign::Plus);
    let exact = oracle(2.0 - f64::EPSILON);
    let total = &exact * &exact * BigInt::from(5000);
    same(squares.value(), oracle_value(&(total >> usize::try_from(-UNIT).unwrap())));
}
