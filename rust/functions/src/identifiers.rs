//! Identifiers and fingerprints: ids and hashes of several values, equal in every process and on every machine.
//!
//! A row's message is a scheme byte and the value bytes of its arguments in order (`value_bytes`), and
//! `h` is BLAKE3 of it (O'Connor, Aumasson, Neves, Wilcox-O'Hearn: "BLAKE3: one function, fast everywhere", 2020):
//!
//! | function | scheme | result |
//! |---|---|---|
//! | `stable_id_parts(prefix, part1, …)` | 1 | prefix, `:`, the first 128 bits of `h` as 32 hex digits |
//! | `prefixed_hash_parts64(prefix, part1, …)` | 1 | the first 64 bits of the same `h`, big endian, as Int64 |
//! | `stable_hash_any(value1, …)` | 2 | the first 64 bits of `h`, big endian, as Int64 |
//!
//! So the hash of parts is the first 16 digits of their id, and nothing depends on the process, the platform, the
//! batch, the physical representation or the place of a row.
//!
//! - **Parts do not run together.**  Value bytes say where each value ends: ("ab", "c") and ("a", "bc") are
//!   different, and no separator inside a text can imitate the end of a part.
//! - **NULL is a value of a part.**  It is equal to itself, whatever its type, and different from everything else, the
//!   empty string included.  Rows that agree in all parts, NULLs included, share their id; whoever wants no id for an
//!   unknown key filters first.
//! - **The prefix is required.**  It says what kind of thing is identified and is hashed with the parts, so equal parts
//!   under two prefixes have unrelated hashes.  A NULL prefix gives NULL; an empty one is a prefix like any other.
//!   `stable_hash_any` has no prefix and is never NULL.
//! - **At least one part.**  Without parts all rows would have one id: an error while planning.
//!
//! Collisions, for values that were not made to collide: among n distinct rows the expected number of pairs that share
//! `b` bits is n(n-1)/2^(b+1).
//!
//! | rows | 64 bits | 128 bits |
//! |---|---|---|
//! | 10^6 | 2.7e-8 | 1.5e-27 |
//! | 10^9 | 2.7e-2 | 1.5e-21 |
//! | 10^12 | 2.7e4 | 1.5e-15 |
//!
//! Use 64 bits to bucket, to join within some million rows or with a check of the parts, ids for keys.  Finding a
//! collision on purpose takes about 2^32 or 2^64 hashes; ids of hostile input should not decide about access.
//!
//! Invariant: these results are frozen; `golden/identifiers.json` holds samples that a second implementation made.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature,
};

use crate::arguments::{folded, integer, listed, require_count, require_text, result_of, rows_of, string};
use crate::tags::{HASH, ID};
use crate::text_arrays::Texts;
use crate::value_bytes::{Encoder, encoder, has_value_bytes};
use crate::{Function, NullBehaviour, PlatformFunction};

const SECTION: DocSection = DocSection {
    include: true,
    label: "Identifier Functions",
    description: Some("Ids and hashes of several values, equal in every process and on every machine."),
};

/// Hex digits of an id: 128 bits.
const ID_DIGITS: usize = 32;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    [Identifier::Id, Identifier::Hash, Identifier::HashOfAny]
        .into_iter()
        .map(|identifier| PlatformFunction {
            function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(IdentifierFunction::new(identifier)))),
            tags: &[ID, HASH],
            null_behaviour: NullBehaviour::Handles,
            return_rule: identifier.return_rule(),
            version: 1,
        })
        .collect()
}

/// What is made of a row's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Identifier {
    Id,
    Hash,
    HashOfAny,
}

impl Identifier {
    fn name(self) -> &'static str {
        match self {
            Self::Id => "stable_id_parts",
            Self::Hash => "prefixed_hash_parts64",
            Self::HashOfAny => "stable_hash_any",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Id => "stable_id_parts(prefix, part1, ...)",
            Self::Hash => "prefixed_hash_parts64(prefix, part1, ...)",
            Self::HashOfAny => "stable_hash_any(value1, ...)",
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Id | Self::Hash => Scheme::PrefixAndParts,
            Self::HashOfAny => Scheme::Values,
        }
    }

    fn has_prefix(self) -> bool {
        self != Self::HashOfAny
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Id => DataType::Utf8,
            Self::Hash | Self::HashOfAny => DataType::Int64,
        }
    }

    fn return_rule(self) -> &'static str {
        match self {
            Self::Id => "Utf8, nullable if the prefix is",
            Self::Hash => "Int64, nullable if the prefix is",
            Self::HashOfAny => "Int64, never NULL",
        }
    }

    fn signature(self) -> Signature {
        if self.has_prefix() {
            let forms = vec![
                TypeSignature::Coercible(vec![string(), string()]),
                TypeSignature::Coercible(vec![string(), integer()]),
            ];
            listed(forms, &["prefix", "part1"])
        } else {
            let forms = vec![TypeSignature::Coercible(vec![string()]), TypeSignature::Coercible(vec![integer()])];
            listed(forms, &["value1"])
        }
    }

    /// The name of an argument, for errors.
    fn argument(self, index: usize) -> String {
        match (self.has_prefix(), index) {
            (true, 0) => "prefix".to_owned(),
            (true, index) => format!("part{index}"),
            (false, index) => format!("value{}", index + 1),
        }
    }

    fn require(self, arg_types: &[DataType]) -> Result<()> {
        let least = if self.has_prefix() { 2 } else { 1 };
        require_count(self.name(), arg_types.len(), least..=usize::MAX, self.usage())?;
        if self.has_prefix() {
            require_text(self.name(), "prefix", &arg_types[0])?;
        }
        for (index, data_type) in arg_types.iter().enumerate() {
            if !has_value_bytes(data_type) {
                return plan_err!(
                    "{}: argument \"{}\" is {data_type}, and a union has no value bytes; pass one of its members",
                    self.name(),
                    self.argument(index)
                );
            }
        }
        Ok(())
    }

    fn documentation(self) -> Documentation {
        let builder = match self {
            Self::Id => Documentation::builder(
                SECTION,
                "Makes an identifier of typed parts: the prefix, a colon and 128 bits of BLAKE3 as 32 hex digits. It is \
                 the same in every process, on every platform and for every physical representation: Int32 5 and Int64 \
                 5, Utf8 and Utf8View, -0.0 and 0.0 are equal. Parts do not run together: ('ab', 'c') and ('a', 'bc') \
                 have different ids. A NULL part is a value of its own, different from the empty string; a NULL prefix \
                 gives NULL.",
                "stable_id_parts(prefix, part1, ...)",
            )
            .with_sql_example(
                "```sql\n> SELECT stable_id_parts('user', 'ab', 'c') AS id;\n\
                 +---------------------------------------+\n\
                 | id                                    |\n\
                 +---------------------------------------+\n\
                 | user:17bf920963008ecbe5e694dcd7ee2d39 |\n\
                 +---------------------------------------+\n```",
            ),
            Self::Hash => Documentation::builder(
                SECTION,
                "Hashes typed parts to 64 bits: the first 16 hex digits of stable_id_parts of the same arguments, as a \
                 signed integer. Among a thousand million rows a collision has a probability of about 3 in 100, so use \
                 stable_id_parts for keys. A NULL part is a value of its own; a NULL prefix gives NULL.",
                "prefixed_hash_parts64(prefix, part1, ...)",
            )
            .with_sql_example(
                "```sql\n> SELECT prefixed_hash_parts64('user', 'ab', 'c') AS hash;\n\
                 +---------------------+\n| hash                |\n+---------------------+\n\
                 | 1711246952437419723 |\n+---------------------+\n```",
            ),
            Self::HashOfAny => Documentation::builder(
                SECTION,
                "Hashes one or more values of any type, nested ones included, to 64 bits. Values that are equal have \
                 one hash whatever their width, unit or representation; NULL is a value like any other, so the result \
                 is never NULL.",
                "stable_hash_any(value1, ...)",
            )
            .with_sql_example(
                "```sql\n> SELECT stable_hash_any(5) = stable_hash_any(CAST(5 AS SMALLINT)) AS same, \
                 stable_hash_any([1, NULL]) AS hash;\n\
                 +------+----------------------+\n| same | hash                 |\n+------+----------------------+\n\
                 | true | -3982996897605529411 |\n+------+----------------------+\n```",
            ),
        };
        let builder = if self.has_prefix() {
            builder
                .with_argument("prefix", "What kind of thing is identified: a string of any encoding.")
                .with_argument("part1", "The first of one or more parts: a value of any type but a union.")
        } else {
            builder.with_argument("value1", "The first of one or more values: of any type but a union.")
        };
        builder.build()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IdentifierFunction {
    identifier: Identifier,
    signature: Signature,
    documentation: Documentation,
}

impl IdentifierFunction {
    fn new(identifier: Identifier) -> Self {
        Self { identifier, signature: identifier.signature(), documentation: identifier.documentation() }
    }
}

impl ScalarUDFImpl for IdentifierFunction {
    fn name(&self) -> &str {
        self.identifier.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.identifier.require(arg_types)?;
        Ok(self.identifier.data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        let nullable = self.identifier.has_prefix() && args.arg_fields[0].is_nullable();
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.is_empty() {
            return exec_err!("{} takes arguments: {}", self.name(), self.identifier.usage());
        }
        let (rows, constant) = rows_of(&args);
        let mut messages = Messages::new(self.identifier.scheme(), &args.args)?;
        let array: ArrayRef = match self.identifier {
            Identifier::Id => {
                let prefixes = Texts::new(self.name(), "prefix", &args.args[0])?;
                Arc::new(ids(&prefixes, &mut messages, rows, |_| false))
            }
            Identifier::Hash => {
                let prefixes = Texts::new(self.name(), "prefix", &args.args[0])?;
                Arc::new((0..rows).map(|row| prefixes.get(row).map(|_| messages.hash64(row))).collect::<Int64Array>())
            }
            Identifier::HashOfAny => Arc::new(Int64Array::from_iter_values((0..rows).map(|row| messages.hash64(row)))),
        };
        result_of(array, constant)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match folded(self, &args, info) {
            Some(literal) => ExprSimplifyResult::Simplified(literal),
            None => ExprSimplifyResult::Original(args),
        })
    }
}

/// What a message holds; its first byte, so that messages of two kinds are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    PrefixAndParts = 1,
    Values = 2,
}

/// The messages of the rows of a call, in one buffer that is used for row after row.
pub(crate) struct Messages<'a> {
    bytes: Vec<u8>,
    /// How many bytes at the start are the same in every row: the scheme and literals.
    fixed: usize,
    parts: Vec<Part<'a>>,
}

enum Part<'a> {
    Constant(Vec<u8>),
    Column(Encoder<'a>),
}

impl<'a> Messages<'a> {
    /// The messages of these arguments.
    pub(crate) fn new(scheme: Scheme, values: &'a [ColumnarValue]) -> Result<Self> {
        let mut bytes = vec![scheme as u8];
        let mut parts = Vec::with_capacity(values.len());
        for value in values {
            match value {
                ColumnarValue::Scalar(value) => {
                    let mut constant = Vec::new();
                    encoder(&value.to_array()?)?(0, &mut constant);
                    if parts.is_empty() {
                        bytes.extend_from_slice(&constant);
                    } else {
                        parts.push(Part::Constant(constant));
                    }
                }
                ColumnarValue::Array(array) => parts.push(Part::Column(encoder(array)?)),
            }
        }
        Ok(Self { fixed: bytes.len(), bytes, parts })
    }

    fn hash(&mut self, row: usize) -> blake3::Hash {
        self.bytes.truncate(self.fixed);
        for part in &self.parts {
            match part {
                Part::Constant(constant) => self.bytes.extend_from_slice(constant),
                Part::Column(encode) => encode(row, &mut self.bytes),
            }
        }
        blake3::hash(&self.bytes)
    }

    fn hash64(&mut self, row: usize) -> i64 {
        // A hash has 32 bytes; there are always eight to begin with.
        i64::from_be_bytes(self.hash(row).as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// The ids of rows, NULL where the prefix is or where the caller says so.
pub(crate) fn ids(
    prefixes: &Texts<'_>,
    messages: &mut Messages<'_>,
    rows: usize,
    is_null: impl Fn(usize) -> bool,
) -> StringArray {
    let width = prefixes_width(prefixes, rows) + 1 + ID_DIGITS;
    let mut ids = StringBuilder::with_capacity(rows, rows * width);
    let mut id = String::with_capacity(width);
    for row in 0..rows {
        match prefixes.get(row) {
            Some(prefix) if !is_null(row) => {
                id.clear();
                id.push_str(prefix);
                id.push(':');
                push_digits(messages.hash(row).as_bytes(), &mut id);
                ids.append_value(&id);
            }
            _ => ids.append_null(),
        }
    }
    ids.finish()
}

/// Writes the beginning of a hash in hex.
fn push_digits(hash: &[u8; 32], id: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; ID_DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    // Digits are UTF-8.
    id.push_str(std::str::from_utf8(&digits).unwrap_or_default());
}

/// A guess at the length of a prefix, to size a buffer by.
fn prefixes_width(prefixes: &Texts<'_>, rows: usize) -> usize {
    (0..rows.min(1)).find_map(|row| prefixes.get(row)).map_or(0, str::len)
}

#[cfg(test)]
#[path = "identifiers_tests.rs"]
mod tests;
