//! Texts and symbols: Unicode normal forms, blank texts, qualified names.
//!
//! | function | result | NULL |
//! |---|---|---|
//! | `utf8_normalize(value[, form[, casefold]])` | the text in a normal form, NFC unless it is said | NULL in, NULL out |
//! | `utf8_null_if_blank(value)` | the text itself, or NULL if it has nothing but Unicode white space | NULL in, NULL out |
//! | `qname_normalize(symbol[, module[, lang]])` | the symbol's qualified name (`qualified_names`) | see below |
//!
//! - The result has the representation of the first argument, dictionaries included, and its field's metadata.
//! - `form` is NFC, NFD, NFKC or NFKD; `casefold` adds the full default case folding (`unicode_forms`).  Both are
//!   usually literals, and may be columns.
//! - White space is Unicode's property White_Space, so a no-break space is blank and a zero width space is not.
//! - A NULL symbol gives NULL, and so does one without a name in it; a NULL module means none; a NULL language means
//!   the neutral rules.
//! - A form or a language that does not exist is an error in rows that need it: not where the text is NULL.
//!
//! Invariant: every function of this family gives the same for its own result (`qname_normalize`: without a module).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericStringArray, OffsetSizeTrait, StringViewArray, make_view,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer};
use arrow::compute::kernels::nullif::nullif;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::types::logical_boolean;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, TypeSignatureClass,
};

use crate::arguments::{
    any_nullable, folded, listed, place, require_count, require_text, result_of, rows_of, string, wrong_type,
};
use crate::qualified_names::{Language, QualifiedNames};
use crate::tags::{STRING_NORM, SYMBOL};
use crate::text_arrays::{TextBuilder, Texts, map_values, text_type};
use crate::unicode_forms::{Form, Normalization, combined};
use crate::{Function, NullBehaviour, PlatformFunction};

const SECTION: DocSection = DocSection {
    include: true,
    label: "Text Normalization Functions",
    description: Some("Texts and names of symbols in one spelling."),
};

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    [TextKind::Normalize, TextKind::NullIfBlank, TextKind::QualifiedName]
        .into_iter()
        .map(|kind| PlatformFunction {
            function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(TextFunction::new(kind)))),
            tags: kind.tags(),
            null_behaviour: kind.null_behaviour(),
            return_rule: kind.return_rule(),
            version: 1,
        })
        .collect()
}

/// What a function does with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TextKind {
    Normalize,
    NullIfBlank,
    QualifiedName,
}

impl TextKind {
    fn name(self) -> &'static str {
        match self {
            Self::Normalize => "utf8_normalize",
            Self::NullIfBlank => "utf8_null_if_blank",
            Self::QualifiedName => "qname_normalize",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Normalize => "utf8_normalize(value[, form[, casefold]])",
            Self::NullIfBlank => "utf8_null_if_blank(value)",
            Self::QualifiedName => "qname_normalize(symbol[, module[, lang]])",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Normalize => &["value", "form", "casefold"],
            Self::NullIfBlank => &["value"],
            Self::QualifiedName => &["symbol", "module", "lang"],
        }
    }

    fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Normalize | Self::NullIfBlank => &[STRING_NORM],
            Self::QualifiedName => &[STRING_NORM, SYMBOL],
        }
    }

    fn null_behaviour(self) -> NullBehaviour {
        match self {
            Self::Normalize | Self::NullIfBlank => NullBehaviour::Propagates,
            Self::QualifiedName => NullBehaviour::Handles,
        }
    }

    fn return_rule(self) -> &'static str {
        match self {
            Self::Normalize => "the type and metadata of value (Utf8 for NULL), nullable if an argument is",
            Self::NullIfBlank => "the type and metadata of value (Utf8 for NULL), nullable",
            Self::QualifiedName => "the type and metadata of symbol (Utf8 for NULL), nullable",
        }
    }

    fn signature(self) -> Signature {
        let boolean = Coercion::new_exact(TypeSignatureClass::Native(logical_boolean()));
        let forms = match self {
            Self::Normalize => vec![vec![string()], vec![string(), string()], vec![string(), string(), boolean]],
            Self::NullIfBlank => vec![vec![string()]],
            Self::QualifiedName => vec![vec![string()], vec![string(); 2], vec![string(); 3]],
        };
        listed(forms.into_iter().map(TypeSignature::Coercible).collect(), self.arguments())
    }

    fn require(self, arg_types: &[DataType]) -> Result<()> {
        require_count(self.name(), arg_types.len(), 1..=self.arguments().len(), self.usage())?;
        for (argument, data_type) in self.arguments().iter().zip(arg_types) {
            if *argument == "casefold" {
                if !matches!(data_type, DataType::Boolean | DataType::Null) {
                    return wrong_type(self.name(), argument, "a boolean", data_type);
                }
            } else {
                require_text(self.name(), argument, data_type)?;
            }
        }
        Ok(())
    }

    fn documentation(self) -> Documentation {
        match self {
            Self::Normalize => Documentation::builder(
                SECTION,
                "Brings a text into a Unicode normal form: NFC, or the one that is named. With casefold it also folds \
                 case (full default folding, so that strasse and Straße are equal), and the result is normal after \
                 folding. Doing it twice changes nothing. NULL in any argument gives NULL; a form that does not exist \
                 is an error.",
                "utf8_normalize(value[, form[, casefold]])",
            )
            .with_sql_example(
                "```sql\n> SELECT utf8_normalize('ﬁle ①', 'NFKC') AS compatible, \
                 utf8_normalize('Straße', 'NFC', true) AS folded;\n\
                 +------------+---------+\n| compatible | folded  |\n+------------+---------+\n\
                 | file 1     | strasse |\n+------------+---------+\n```",
            )
            .with_argument("value", "The text: a string of any encoding.")
            .with_argument("form", "NFC (the default), NFD, NFKC or NFKD, in upper or lower case.")
            .with_argument("casefold", "Whether case is folded; false by default.")
            .build(),
            Self::NullIfBlank => Documentation::builder(
                SECTION,
                "Gives the text as it is, or NULL if it is empty or has nothing but white space (Unicode's property \
                 White_Space: a no-break space is blank, a zero width space is not). NULL gives NULL.",
                "utf8_null_if_blank(value)",
            )
            .with_sql_example(
                "```sql\n> SELECT utf8_null_if_blank(' a ') = ' a ' AS kept, utf8_null_if_blank('  ') IS NULL AS blank;\n\
                 +------+-------+\n| kept | blank |\n+------+-------+\n| true | true  |\n+------+-------+\n```",
            )
            .with_argument("value", "The text: a string of any encoding.")
            .build(),
            Self::QualifiedName => Documentation::builder(
                SECTION,
                "Makes the qualified name of a symbol: its parts, behind those of its module, joined by dots. White \
                 space around parts and empty parts are dropped. The neutral rules use NFC and split at '.' and '::'; \
                 those of python use NFKC, split at '.' and ':' and drop an __init__ at the end of the module. The \
                 symbol is relative to the module, always. A NULL symbol, or one without a name in it, gives NULL; a \
                 NULL module means none and a NULL lang the neutral rules; a language that does not exist is an error.",
                "qname_normalize(symbol[, module[, lang]])",
            )
            .with_sql_example(
                "```sql\n> SELECT qname_normalize('Shape :: area') AS neutral, \
                 qname_normalize('Shape.area', 'pkg.__init__', 'python') AS python;\n\
                 +------------+----------------+\n| neutral    | python         |\n+------------+----------------+\n\
                 | Shape.area | pkg.Shape.area |\n+------------+----------------+\n```",
            )
            .with_argument("symbol", "The name within the module: a string of any encoding.")
            .with_argument("module", "The qualified name of the module; none by default.")
            .with_argument("lang", "Whose rules hold: neutral (the default) or python.")
            .build(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    kind: TextKind,
    signature: Signature,
    documentation: Documentation,
}

impl TextFunction {
    fn new(kind: TextKind) -> Self {
        Self { kind, signature: kind.signature(), documentation: kind.documentation() }
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn is_strict(&self) -> bool {
        self.kind != TextKind::QualifiedName
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.kind.require(arg_types)?;
        Ok(text_type(&arg_types[0]))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        let nullable = self.kind != TextKind::Normalize || any_nullable(args.arg_fields);
        let field = Field::new(self.name(), data_type, nullable);
        Ok(Arc::new(field.with_metadata(args.arg_fields[0].metadata().clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (rows, constant) = rows_of(&args);
        let Some(first) = args.args.first() else {
            return exec_err!("{} takes arguments: {}", self.name(), self.kind.usage());
        };
        let array = first.to_array(rows)?;
        let data_type = text_type(array.data_type());
        // They differ only where there is no type, so that every row is NULL.
        let array = if array.data_type() == &data_type { array } else { new_null_array(&data_type, rows) };
        let result = match self.kind {
            TextKind::Normalize => normalize(&array, &args.args[1..], constant)?,
            TextKind::NullIfBlank => map_values(&array, &|values| null_if_blank(values))?,
            TextKind::QualifiedName => qualified_names(&array, &args.args[1..], constant)?,
        };
        result_of(result, constant)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let Some(literal) = folded(self, &args, info) {
            return Ok(ExprSimplifyResult::Simplified(literal));
        }
        Ok(match self.without_repetition(&args) {
            Some(simpler) => ExprSimplifyResult::Simplified(simpler),
            None => ExprSimplifyResult::Original(args),
        })
    }
}

impl TextFunction {
    /// A call over a call of the same function, as one call.
    fn without_repetition(&self, args: &[Expr]) -> Option<Expr> {
        let Some(Expr::ScalarFunction(inner)) = args.first() else { return None };
        if inner.func.inner().downcast_ref::<Self>()?.kind != self.kind {
            return None;
        }
        match self.kind {
            TextKind::NullIfBlank => Some(args[0].clone()),
            // Without a module and a language, so that it is the neutral rules twice.
            TextKind::QualifiedName if args.len() == 1 && inner.args.len() == 1 => Some(args[0].clone()),
            TextKind::QualifiedName => None,
            TextKind::Normalize => {
                let (first, second) = (literal_normalization(&inner.args[1..])?, literal_normalization(&args[1..])?);
                let once = combined(first, second)?;
                if once == first {
                    return Some(args[0].clone());
                }
                let outer = std::iter::once(inner.args[0].clone()).chain(args[1..].iter().cloned()).collect();
                // The other combinations need a form that neither call names.
                (once == second).then(|| {
                    let function = Arc::new(ScalarUDF::new_from_impl(Self::new(TextKind::Normalize)));
                    Expr::ScalarFunction(ScalarFunction::new_udf(function, outer))
                })
            }
        }
    }
}

/// The normalization that literal arguments behind the text ask for, if they are valid and not NULL.
fn literal_normalization(options: &[Expr]) -> Option<Normalization> {
    let literal = |index: usize| match options.get(index) {
        None => Some(None),
        Some(Expr::Literal(value, None)) => Some(Some(value)),
        Some(_) => None,
    };
    let form = match literal(0)? {
        None => Form::Nfc,
        Some(value) => Form::of_name(value.try_as_str()??)?,
    };
    let casefold = match literal(1)? {
        None => false,
        Some(ScalarValue::Boolean(Some(casefold))) => *casefold,
        Some(_) => return None,
    };
    Some(Normalization { form, casefold })
}

/// The rows of a boolean argument.
enum Flags<'a> {
    Constant(Option<bool>),
    Rows(&'a BooleanArray),
}

impl<'a> Flags<'a> {
    fn new(function: &str, argument: &str, value: &'a ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Scalar(ScalarValue::Boolean(flag)) => Self::Constant(*flag),
            ColumnarValue::Array(array) if array.data_type() == &DataType::Boolean => Self::Rows(array.as_boolean()),
            value if value.data_type().is_null() => Self::Constant(None),
            other => return exec_err!("{function}: argument \"{argument}\" is a boolean, not {}", other.data_type()),
        })
    }

    fn get(&self, row: usize) -> Option<bool> {
        match self {
            Self::Constant(flag) => *flag,
            Self::Rows(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

fn normalize(array: &ArrayRef, options: &[ColumnarValue], constant: bool) -> Result<ArrayRef> {
    let name = TextKind::Normalize.name();
    let forms = options.first().map_or(Ok(Texts::Constant(Some("NFC"))), |value| Texts::new(name, "form", value))?;
    let casefolds =
        options.get(1).map_or(Ok(Flags::Constant(Some(false))), |value| Flags::new(name, "casefold", value))?;
    let form_of = |form: &str, row: usize, constant: bool| {
        Form::of_name(form).ok_or_else(|| {
            let place = place(row, constant);
            exec_datafusion_err!("{name}: argument \"form\" is \"{form}\"{place}; the forms are {}", Form::NAMES)
        })
    };
    if let (Texts::Constant(form), Flags::Constant(casefold)) = (&forms, &casefolds) {
        let (Some(form), Some(casefold)) = (form, casefold) else {
            return Ok(new_null_array(array.data_type(), array.len()));
        };
        if array.logical_null_count() == array.len() {
            return Ok(Arc::clone(array));
        }
        let normalization = Normalization { form: form_of(form, 0, true)?, casefold: *casefold };
        return map_values(array, &|values| normalize_all(values, normalization));
    }
    let value = ColumnarValue::Array(Arc::clone(array));
    let texts = Texts::new(name, "value", &value)?;
    let mut builder = TextBuilder::new(array.data_type(), array.len());
    let mut normal = String::new();
    for row in 0..array.len() {
        let (Some(text), Some(form), Some(casefold)) = (texts.get(row), forms.get(row), casefolds.get(row)) else {
            builder.append(None);
            continue;
        };
        let normalization = Normalization { form: form_of(form, row, constant)?, casefold };
        builder.append(Some(if normalization.apply(text, &mut normal) { &normal } else { text }));
    }
    builder.finish(array.data_type())
}

/// Normalizes the texts of a plain array; the array itself if they are normal already.
fn normalize_all(array: &ArrayRef, normalization: Normalization) -> Result<ArrayRef> {
    let ascii = match array.data_type() {
        DataType::Utf8 => normalize_ascii(array.as_string::<i32>(), normalization)?,
        DataType::LargeUtf8 => normalize_ascii(array.as_string::<i64>(), normalization)?,
        DataType::Utf8View => normalize_ascii_views(array.as_string_view(), normalization.casefold)?,
        _ => None,
    };
    if let Some(ascii) = ascii {
        return Ok(ascii);
    }
    let value = ColumnarValue::Array(Arc::clone(array));
    let texts = Texts::new(TextKind::Normalize.name(), "value", &value)?;
    let mut normal = String::new();
    let changes =
        |row: &usize, normal: &mut String| texts.get(*row).is_some_and(|text| normalization.apply(text, normal));
    let Some(first) = (0..array.len()).find(|row| changes(row, &mut normal)) else {
        return Ok(Arc::clone(array));
    };
    let mut builder = TextBuilder::new(array.data_type(), array.len());
    for row in 0..first {
        builder.append(texts.get(row));
    }
    for row in first..array.len() {
        let text = texts.get(row);
        builder.append(text.map(|text| if normalization.apply(text, &mut normal) { normal.as_str() } else { text }));
    }
    builder.finish(array.data_type())
}

/// All texts at once, if they are ASCII: there is at most upper case to fold.
fn normalize_ascii<O: OffsetSizeTrait>(
    array: &GenericStringArray<O>,
    normalization: Normalization,
) -> Result<Option<ArrayRef>> {
    let offsets = array.value_offsets();
    let bytes = &array.value_data()[offsets[0].as_usize()..offsets[array.len()].as_usize()];
    if !bytes.is_ascii() {
        return Ok(None);
    }
    if !normalization.casefold || !bytes.iter().any(u8::is_ascii_uppercase) {
        return Ok(Some(Arc::new(array.clone())));
    }
    let first = offsets[0];
    let offsets = OffsetBuffer::new(offsets.iter().map(|offset| *offset - first).collect());
    let lower = Buffer::from_vec(bytes.to_ascii_lowercase());
    Ok(Some(Arc::new(GenericStringArray::<O>::try_new(offsets, lower, array.nulls().cloned())?)))
}

/// The letters of a view of at most 12 bytes are told 16 bytes at once; longer ones are where the view points to.
const SHORT_VIEW: u128 = 12;

/// [`normalize_ascii`] of views.
fn normalize_ascii_views(array: &StringViewArray, casefold: bool) -> Result<Option<ArrayRef>> {
    let is_short = |view: u128| view & u128::from(u32::MAX) <= SHORT_VIEW;
    let is_normal = |(row, view): (usize, &u128)| {
        if is_short(*view) {
            let text = *view >> 32;
            return (text | if casefold { upper_case(text) } else { 0 }) & HIGH_BITS == 0;
        }
        let text = array.value(row).as_bytes();
        text.is_ascii() && !(casefold && text.iter().any(u8::is_ascii_uppercase))
    };
    if array.views().iter().enumerate().all(is_normal) {
        return Ok(Some(Arc::new(array.clone())));
    }
    // Longer texts are copied, all into one buffer; more than one can hold are left to the other way.
    let mut lower: Vec<u8> = Vec::new();
    let mut views = Vec::with_capacity(array.len());
    for (row, view) in array.views().iter().enumerate() {
        if is_short(*view) {
            let text = *view >> 32;
            if text & HIGH_BITS != 0 {
                return Ok(None);
            }
            // The letter a is A with one bit more, two below the one that tells it.
            views.push(*view | upper_case(text) >> 2 << 32);
            continue;
        }
        let (start, text) = (lower.len(), array.value(row).as_bytes());
        lower.extend_from_slice(text);
        if !lower[start..].is_ascii() {
            return Ok(None);
        }
        lower[start..].make_ascii_lowercase();
        let Ok(offset) = i32::try_from(start) else { return Ok(None) };
        views.push(make_view(&lower[start..], 0, offset.cast_unsigned()));
    }
    let buffers = if lower.is_empty() { vec![] } else { vec![Buffer::from_vec(lower)] };
    Ok(Some(Arc::new(StringViewArray::try_new(views.into(), buffers, array.nulls().cloned())?)))
}

const EACH_BYTE: u128 = u128::MAX / 0xff;
const HIGH_BITS: u128 = EACH_BYTE * 0x80;

/// The high bits of those bytes of ASCII that are a letter in upper case.
fn upper_case(text: u128) -> u128 {
    // The high bit of a byte of the sum is set from this letter on; no byte of ASCII carries into the next one.
    const FROM_A: u128 = EACH_BYTE * (0x80 - b'A' as u128);
    const BEHIND_Z: u128 = EACH_BYTE * (0x80 - (b'Z' + 1) as u128);
    text.wrapping_add(FROM_A) & !text.wrapping_add(BEHIND_Z) & HIGH_BITS
}

/// Makes blank texts of a plain array NULL; all others keep their bytes where they are.
fn null_if_blank(array: &ArrayRef) -> Result<ArrayRef> {
    let value = ColumnarValue::Array(Arc::clone(array));
    let texts = Texts::new(TextKind::NullIfBlank.name(), "value", &value)?;
    let blank = BooleanBuffer::collect_bool(array.len(), |row| {
        texts.get(row).is_some_and(|text| text.chars().all(char::is_whitespace))
    });
    if blank.count_set_bits() == 0 {
        return Ok(Arc::clone(array));
    }
    Ok(nullif(array, &BooleanArray::new(blank, None))?)
}

fn qualified_names(array: &ArrayRef, options: &[ColumnarValue], constant: bool) -> Result<ArrayRef> {
    let name = TextKind::QualifiedName.name();
    let modules = options.first().map_or(Ok(Texts::Constant(None)), |value| Texts::new(name, "module", value))?;
    let languages = options.get(1).map_or(Ok(Texts::Constant(None)), |value| Texts::new(name, "lang", value))?;
    let language_of = |language: Option<&str>, row: usize, constant: bool| match language {
        None => Ok(Language::Neutral),
        Some(language) => Language::of_name(language).ok_or_else(|| {
            let place = place(row, constant);
            exec_datafusion_err!(
                "{name}: argument \"lang\" is \"{language}\"{place}; the languages are {}",
                Language::NAMES
            )
        }),
    };
    if array.logical_null_count() == array.len() {
        return Ok(Arc::clone(array));
    }
    if let (Texts::Constant(module), Texts::Constant(language)) = (&modules, &languages) {
        let language = language_of(*language, 0, true)?;
        return map_values(array, &|values| {
            let value = ColumnarValue::Array(Arc::clone(values));
            let symbols = Texts::new(name, "symbol", &value)?;
            let mut names = QualifiedNames::default();
            let mut builder = TextBuilder::new(values.data_type(), values.len());
            for row in 0..values.len() {
                builder.append(symbols.get(row).and_then(|symbol| names.name(symbol, *module, language)));
            }
            builder.finish(values.data_type())
        });
    }
    let value = ColumnarValue::Array(Arc::clone(array));
    let symbols = Texts::new(name, "symbol", &value)?;
    let mut names = QualifiedNames::default();
    let mut builder = TextBuilder::new(array.data_type(), array.len());
    for row in 0..array.len() {
        let Some(symbol) = symbols.get(row) else {
            builder.append(None);
            continue;
        };
        let language = language_of(languages.get(row), row, constant)?;
        builder.append(names.name(symbol, modules.get(row), language));
    }
    builder.finish(array.data_type())
}

#[cfg(test)]
#[path = "strings_tests.rs"]
mod tests;
