//! The exact sums that statistics are made of, and the formulas.
//!
//! With `n` the number of rows, `X` and `Y` the sums of the arguments and `XX`, `XY`, `YY` those of their products, all of
//! them exact, let `Cxx = n XX - X X`, `Cxy = n XY - X Y` and `Cyy = n YY - Y Y`.  Then
//!
//! ```text
//! var_pop = Cxx / n²       var_samp = Cxx / (n (n - 1))        stddev = √var
//! covar_pop = Cxy / n²     covar_samp = Cxy / (n (n - 1))      corr = ±√(Cxy² / (Cxx Cyy))
//! slope = Cxy / Cxx        intercept = (Y XX - X XY) / Cxx     r2 = Cxy² / (Cxx Cyy)
//! sxx = Cxx / n            syy = Cyy / n                       sxy = Cxy / n
//! ```
//!
//! in whole numbers up to one quotient or one root, which is rounded: every result is the nearest float to the true one.
//! Subtracting large numbers, which makes these formulas useless in floats, loses nothing here.

use std::fmt::Debug;

use super::statistic::Statistic;
use crate::superaccumulator::blocks::Blocks;
use crate::superaccumulator::{Dyadic, FloatSum, ProductSum, Sign, read_count, write_count};

/// The first byte of a state: raised with every change of what follows.
const FORMAT: u8 = 1;

/// The arguments of one row.
pub(super) trait Row: Copy + Send + Sync {
    /// Reads a row of the columns.
    fn at(columns: &[&[f64]], row: usize) -> Self;
}

impl Row for f64 {
    #[inline]
    fn at(columns: &[&[f64]], row: usize) -> Self {
        columns[0][row]
    }
}

/// A pair, named as the functions name their arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    y: f64,
    x: f64,
}

impl Row for Pair {
    #[inline]
    fn at(columns: &[&[f64]], row: usize) -> Self {
        Self { y: columns[0][row], x: columns[1][row] }
    }
}

/// What is kept of a group.
pub(super) trait Moments: Clone + Debug + Default + Send + Sync + 'static {
    type Row: Row;

    /// Adds a row or takes it away; the bytes by which the heap grew.
    fn add(&mut self, row: Self::Row, sign: Sign) -> usize;

    /// Adds the rows of columns without NULL or takes them away.
    fn add_all(&mut self, columns: &[&[f64]], _blocks: &mut Blocks, sign: Sign) {
        for row in 0..columns[0].len() {
            self.add(Self::Row::at(columns, row), sign);
        }
    }

    /// Adds moments or takes them away; the bytes by which the heap grew.
    fn merge_moments(&mut self, other: &Self, sign: Sign) -> usize;

    /// Adds a row so many times, or takes it away where that is negative; the bytes by which the heap grew.
    fn add_weighted(&mut self, row: Self::Row, weight: i64) -> usize {
        let sign = if weight < 0 { Sign::Minus } else { Sign::Plus };
        if weight.unsigned_abs() == 1 {
            return self.add(row, sign);
        }
        // A sum of the rows for each bit of the weight: that many are few, however large it is.
        let (mut rest, mut grown) = (weight.unsigned_abs(), 0);
        let mut doubled = Self::default();
        doubled.add(row, Sign::Plus);
        while rest > 0 {
            if rest & 1 == 1 {
                grown += self.merge_moments(&doubled, sign);
            }
            rest >>= 1;
            if rest > 0 {
                let half = doubled.clone();
                doubled.merge_moments(&half, Sign::Plus);
            }
        }
        grown
    }

    /// Appends the bytes of the state, which are canonical.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// Adds a state; the bytes by which the heap grew, or none if these are no bytes of a state.
    fn merge(&mut self, bytes: &[u8]) -> Option<usize>;

    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;

    /// The value of a statistic that needs these moments; none is NULL.
    fn value(&self, statistic: Statistic) -> Option<f64>;
}

/// Declares moments whose state is a count and some sums.
macro_rules! state_of {
    ($($sum:ident),*) => {
        fn encode(&self, bytes: &mut Vec<u8>) {
            bytes.push(FORMAT);
            write_count(bytes, self.count);
            $(self.$sum.encode(bytes);)*
        }

        fn merge(&mut self, bytes: &[u8]) -> Option<usize> {
            let mut rest = bytes.strip_prefix(&[FORMAT])?;
            self.count += read_count(&mut rest)?;
            let mut grown = 0;
            $(grown += self.$sum.merge_encoded(&mut rest, Sign::Plus)?;)*
            rest.is_empty().then_some(grown)
        }

        fn merge_moments(&mut self, other: &Self, sign: Sign) -> usize {
            self.count += match sign {
                Sign::Plus => other.count,
                Sign::Minus => -other.count,
            };
            0 $(+ self.$sum.merge(&other.$sum, sign))*
        }

        fn heap_bytes(&self) -> usize {
            0 $(+ self.$sum.heap_bytes())*
        }
    };
}

fn one(sign: Sign) -> i64 {
    match sign {
        Sign::Plus => 1,
        Sign::Minus => -1,
    }
}

fn many(rows: usize, sign: Sign) -> i64 {
    one(sign) * i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Adds the products of two columns or takes them away.
fn add_products(sum: &mut ProductSum, columns: &[&[f64]], sign: Sign) {
    for (left, right) in columns[0].iter().zip(columns[1]) {
        sum.add_product(*left, *right, sign);
    }
}

/// The number of rows, if it is at least so many.
fn at_least(least: u64, count: i64) -> Option<u64> {
    u64::try_from(count).ok().filter(|count| *count >= least)
}

/// Sum and number of values.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    sum: FloatSum,
    count: i64,
}

impl Moments for Values {
    type Row = f64;

    #[inline]
    fn add(&mut self, row: f64, sign: Sign) -> usize {
        self.count += one(sign);
        self.sum.add(row, sign)
    }

    fn add_all(&mut self, columns: &[&[f64]], blocks: &mut Blocks, sign: Sign) {
        self.count += many(columns[0].len(), sign);
        blocks.add(&mut self.sum, columns[0], sign);
    }

    state_of!(sum);

    fn value(&self, statistic: Statistic) -> Option<f64> {
        let count = at_least(1, self.count)?;
        Some(if statistic == Statistic::Avg { self.sum.mean(count) } else { self.sum.value() })
    }
}

/// Sums of values and of their squares.
#[derive(Clone, Debug, Default)]
pub(super) struct Squares {
    x: FloatSum,
    count: i64,
    xx: ProductSum,
}

impl Moments for Squares {
    type Row = f64;

    #[inline]
    fn add(&mut self, row: f64, sign: Sign) -> usize {
        self.count += one(sign);
        self.x.add(row, sign) + self.xx.add_product(row, row, sign)
    }

    fn add_all(&mut self, columns: &[&[f64]], blocks: &mut Blocks, sign: Sign) {
        self.count += many(columns[0].len(), sign);
        blocks.add(&mut self.x, columns[0], sign);
        blocks.add_squares(&mut self.xx, columns[0], sign);
    }

    state_of!(x, xx);

    fn value(&self, statistic: Statistic) -> Option<f64> {
        let sample = matches!(statistic, Statistic::VarSamp | Statistic::StddevSamp);
        let count = at_least(if sample { 2 } else { 1 }, self.count)?;
        if !self.x.is_finite() {
            return Some(f64::NAN);
        }
        let x = self.x.exact();
        let spread = spread(count, &self.xx.exact(), &x, &x);
        let divisor = divisor(count, sample);
        Some(match statistic {
            Statistic::StddevSamp | Statistic::StddevPop => spread.root_over(&divisor, &spread),
            _ => spread.over(&divisor),
        })
    }
}

/// Sums of both values of pairs and of their products.
#[derive(Clone, Debug, Default)]
pub(super) struct Products {
    x: FloatSum,
    y: FloatSum,
    xy: ProductSum,
    count: i64,
}

impl Moments for Products {
    type Row = Pair;

    #[inline]
    fn add(&mut self, row: Pair, sign: Sign) -> usize {
        self.count += one(sign);
        self.x.add(row.x, sign) + self.y.add(row.y, sign) + self.xy.add_product(row.x, row.y, sign)
    }

    fn add_all(&mut self, columns: &[&[f64]], blocks: &mut Blocks, sign: Sign) {
        self.count += many(columns[0].len(), sign);
        blocks.add(&mut self.y, columns[0], sign);
        blocks.add(&mut self.x, columns[1], sign);
        add_products(&mut self.xy, columns, sign);
    }

    state_of!(x, y, xy);

    fn value(&self, statistic: Statistic) -> Option<f64> {
        let sample = statistic == Statistic::CovarSamp;
        let count = at_least(if sample { 2 } else { 1 }, self.count)?;
        match statistic {
            Statistic::AvgX => return Some(self.x.mean(count)),
            Statistic::AvgY => return Some(self.y.mean(count)),
            _ if !self.x.is_finite() || !self.y.is_finite() => return Some(f64::NAN),
            _ => {}
        }
        let spread = spread(count, &self.xy.exact(), &self.x.exact(), &self.y.exact());
        let divisor = if statistic == Statistic::Sxy { Dyadic::whole(count) } else { divisor(count, sample) };
        Some(spread.over(&divisor))
    }
}

/// Sums of both values of pairs, of their squares and of their products.
#[derive(Clone, Debug, Default)]
pub(super) struct Everything {
    x: FloatSum,
    y: FloatSum,
    xx: ProductSum,
    yy: ProductSum,
    xy: ProductSum,
    count: i64,
}

impl Moments for Everything {
    type Row = Pair;

    #[inline]
    fn add(&mut self, row: Pair, sign: Sign) -> usize {
        self.count += one(sign);
        self.x.add(row.x, sign)
            + self.y.add(row.y, sign)
            + self.xx.add_product(row.x, row.x, sign)
            + self.yy.add_product(row.y, row.y, sign)
            + self.xy.add_product(row.x, row.y, sign)
    }

    fn add_all(&mut self, columns: &[&[f64]], blocks: &mut Blocks, sign: Sign) {
        self.count += many(columns[0].len(), sign);
        for (sum, squares, column) in [(&mut self.y, &mut self.yy, columns[0]), (&mut self.x, &mut self.xx, columns[1])]
        {
            blocks.add(sum, column, sign);
            blocks.add_squares(squares, column, sign);
        }
        add_products(&mut self.xy, columns, sign);
    }

    state_of!(x, y, xx, yy, xy);

    fn value(&self, statistic: Statistic) -> Option<f64> {
        let (x, y) = (&self.x, &self.y);
        match statistic {
            Statistic::Sxx => return self.squared_distances(x, &self.xx),
            Statistic::Syy => return self.squared_distances(y, &self.yy),
            _ => {}
        }
        let count = at_least(2, self.count)?;
        if !x.is_finite() || !y.is_finite() {
            return Some(f64::NAN);
        }
        let (x, y, xx, xy) = (x.exact(), y.exact(), self.xx.exact(), self.xy.exact());
        let cxx = spread(count, &xx, &x, &x);
        if cxx.is_zero() {
            return None;
        }
        if statistic == Statistic::Intercept {
            return Some(y.times(&xx).minus(&x.times(&xy)).over(&cxx));
        }
        let cxy = spread(count, &xy, &x, &y);
        if statistic == Statistic::Slope {
            return Some(cxy.over(&cxx));
        }
        let cyy = spread(count, &self.yy.exact(), &y, &y);
        if cyy.is_zero() {
            return None;
        }
        let (square, both) = (cxy.times(&cxy), cxx.times(&cyy));
        Some(if statistic == Statistic::R2 { square.over(&both) } else { square.root_over(&both, &cxy) })
    }
}

impl Everything {
    fn squared_distances(&self, sum: &FloatSum, squares: &ProductSum) -> Option<f64> {
        let count = at_least(1, self.count)?;
        if !sum.is_finite() {
            return Some(f64::NAN);
        }
        let sum = sum.exact();
        Some(spread(count, &squares.exact(), &sum, &sum).over(&Dyadic::whole(count)))
    }
}

/// `count * product - left * right`.
fn spread(count: u64, product: &Dyadic, left: &Dyadic, right: &Dyadic) -> Dyadic {
    Dyadic::whole(count).times(product).minus(&left.times(right))
}

/// The square of the count, or for a sample the count times one less.
fn divisor(count: u64, sample: bool) -> Dyadic {
    Dyadic::whole(count).times(&Dyadic::whole(count - u64::from(sample)))
}
