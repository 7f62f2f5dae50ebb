//! `string.format`: clauses such as `%s` and `%.3f`, filled with values, and checked against types beforehand.
//!
//! Invariant: texts and errors of cel-go's `ext/formatting.go@v0.29.2` in its locale `en_US`, odd corners included: the
//! precision of `%e` is a width there.

use crate::types::Type;
use crate::value::{Fault, List, Map, Value};

const DEFAULT_PRECISION: usize = 6;
/// Past these, digits of a double are zeros.
const MAX_DIGITS: usize = 1100;
/// Most digits written; upstream would fill memory with zeros.
const MAX_PRECISION: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    Text,
    Decimal,
    Fixed(usize),
    Scientific(usize),
    Binary,
    Hex { upper: bool },
    Octal,
}

/// Why a text is not formatted, and the node at fault where one is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormatError {
    pub(crate) message: String,
    pub(crate) id: Option<i64>,
}

impl FormatError {
    pub(crate) fn new(message: impl Into<String>) -> FormatError {
        FormatError { message: message.into(), id: None }
    }

    fn within(self, context: &str) -> FormatError {
        FormatError { message: format!("{context}: {}", self.message), id: self.id }
    }
}

impl Clause {
    /// The error of a value whose type the clause does not take.
    pub(crate) fn wrong(self, type_name: &str) -> FormatError {
        let what = match self {
            Clause::Text => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
            Clause::Decimal => "decimal clause can only be used on integers",
            Clause::Fixed(_) => "fixed-point clause can only be used on doubles",
            Clause::Scientific(_) => "scientific clause can only be used on doubles",
            Clause::Binary => "only integers and bools can be formatted as binary",
            Clause::Hex { .. } => "only integers, byte buffers, and strings can be formatted as hex",
            Clause::Octal => "octal clause can only be used on integers",
        };
        FormatError::new(format!("{what}, was given {type_name}"))
    }

    /// Whether the checker lets a value of the type in.
    pub(crate) fn admits(self, of: &Type) -> bool {
        let among =
            |names: &[Type]| names.iter().any(|known| std::mem::discriminant(known) == std::mem::discriminant(of));
        match self {
            _ if *of == Type::Dyn => true,
            Clause::Text => !matches!(of, Type::Struct(_) | Type::Opaque(..) | Type::Param(_) | Type::Error),
            Clause::Decimal | Clause::Octal => among(&[Type::Int, Type::Uint]),
            Clause::Fixed(_) | Clause::Scientific(_) => among(&[Type::Double, Type::String]),
            Clause::Binary => among(&[Type::Int, Type::Uint, Type::Bool]),
            Clause::Hex { .. } => among(&[Type::Int, Type::Uint, Type::String, Type::Bytes]),
        }
    }
}

/// Fills a format's clauses. `fill` is given the index of the argument and the clause. When
/// values are not there yet, an early end is seen before a missing one.
pub(crate) fn scan(
    format: &str,
    count: usize,
    check: bool,
    mut fill: impl FnMut(usize, Clause) -> Result<String, FormatError>,
) -> Result<String, FormatError> {
    let (mut out, mut rest, mut next) = (String::new(), format, 0);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if rest.is_empty() && (check || next < count) {
            return Err(FormatError::new("unexpected end of string"));
        }
        if next >= count {
            return Err(FormatError::new(format!("index {next} out of range")));
        }
        let (clause, length) = clause(rest).map_err(|error| error.within("could not parse formatting clause"))?;
        rest = &rest[length..];
        out.push_str(&fill(next, clause).map_err(|error| error.within("error during formatting"))?);
        next += 1;
    }
    out.push_str(rest);
    Ok(out)
}

/// The clause after a percent sign, and its length.
fn clause(text: &str) -> Result<(Clause, usize), FormatError> {
    let (precision, length) = precision(text).map_err(|error| error.within("error while parsing precision"))?;
    let precision = precision.unwrap_or(DEFAULT_PRECISION);
    let clause = match text.as_bytes()[length] {
        b's' => Clause::Text,
        b'd' => Clause::Decimal,
        b'f' => Clause::Fixed(precision),
        b'e' => Clause::Scientific(precision),
        b'b' => Clause::Binary,
        b'x' => Clause::Hex { upper: false },
        b'X' => Clause::Hex { upper: true },
        b'o' => Clause::Octal,
        other => {
            return Err(FormatError::new(format!("unrecognized formatting clause \"{}\"", char::from(other))));
        }
    };
    Ok((clause, length + 1))
}

fn precision(text: &str) -> Result<(Option<usize>, usize), FormatError> {
    let Some(digits) = text.strip_prefix('.') else { return Ok((None, 0)) };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == digits.len() {
        return Err(FormatError::new("could not find end of precision specifier"));
    }
    let digits = &digits[..count];
    let error = |kind: &str| {
        let quoted = crate::value::go_quote(digits);
        FormatError::new(format!("error while converting precision to integer: strconv.Atoi: parsing {quoted}: {kind}"))
    };
    match digits.parse::<i64>() {
        Ok(value) if value as usize > MAX_PRECISION => {
            let message = format!("precision {value} exceeds maximum allowed precision {MAX_PRECISION}");
            Err(FormatError::new(message))
        }
        Ok(value) => Ok((Some(value as usize), count + 1)),
        Err(_) if digits.is_empty() => Err(error("invalid syntax")),
        Err(_) => Err(error("value out of range")),
    }
}

pub(super) fn format(format: &str, args: &[Value]) -> Result<String, Fault> {
    let filled = scan(format, args.len(), false, |at, clause| fill(clause, &args[at]));
    filled.map_err(|error| Fault::new(error.message))
}

fn fill(clause: Clause, arg: &Value) -> Result<String, FormatError> {
    let wrong = || Err(clause.wrong(arg.cel_type().name()));
    Ok(match (clause, arg) {
        (Clause::Text, arg) => return text(arg),
        (Clause::Decimal, Value::Int(value)) => value.to_string(),
        (Clause::Decimal, Value::Uint(value)) => value.to_string(),
        (Clause::Fixed(precision), arg) => match double(arg) {
            Some(value) => fixed(value, precision),
            None => return wrong(),
        },
        (Clause::Scientific(width), arg) => match double(arg) {
            Some(value) => scientific(value, width),
            None => return wrong(),
        },
        (Clause::Binary, Value::Int(value)) => signed(*value, |magnitude| format!("{magnitude:b}")),
        (Clause::Binary, Value::Uint(value)) => format!("{value:b}"),
        (Clause::Binary, Value::Bool(value)) => u8::from(*value).to_string(),
        (Clause::Octal, Value::Int(value)) => signed(*value, |magnitude| format!("{magnitude:o}")),
        (Clause::Octal, Value::Uint(value)) => format!("{value:o}"),
        (Clause::Hex { upper }, arg) => {
            let hex = match arg {
                Value::Int(value) => signed(*value, |magnitude| format!("{magnitude:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(value) => hex_bytes(value.as_bytes()),
                Value::Bytes(value) => hex_bytes(value),
                _ => return wrong(),
            };
            if upper { hex.to_uppercase() } else { hex }
        }
        _ => return wrong(),
    })
}

fn signed(value: i64, magnitude: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", magnitude(value.unsigned_abs()))
}

fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `%f` and `%e` take: doubles, and three words.
fn double(arg: &Value) -> Option<f64> {
    match arg {
        Value::Double(value) => Some(*value),
        Value::String(text) => match text.as_ref() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn infinite(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("∞"),
        f64::NEG_INFINITY => Some("-∞"),
        _ => None,
    }
}

/// With groups of three digits. Zero has no sign.
fn fixed(value: f64, precision: usize) -> String {
    if let Some(word) = infinite(value) {
        return word.to_owned();
    }
    let digits = precision.min(MAX_DIGITS);
    let written = format!("{:.digits$}", if value == 0.0 { 0.0 } else { value });
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if precision > 0 {
        out.push('.');
        out.push_str(fraction);
        out.extend(std::iter::repeat_n('0', precision - digits));
    }
    out
}

fn scientific(value: f64, width: usize) -> String {
    let written = match infinite(value) {
        Some(word) => word.to_owned(),
        None => {
            let written = format!("{:.DEFAULT_PRECISION$e}", if value == 0.0 { 0.0 } else { value });
            let (mantissa, exponent) = written.split_once('e').expect("the form always has an exponent");
            let (sign, digits) = exponent.strip_prefix('-').map_or(("", exponent), |digits| ("⁻", digits));
            let raised = format!("{digits:0>2}").chars().map(superscript).collect::<String>();
            format!("{mantissa}×10{sign}{raised}")
        }
    };
    format!("{written:>width$}")
}

fn superscript(digit: char) -> char {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    digit.to_digit(10).map_or(digit, |digit| DIGITS[digit as usize])
}

/// `%s` of a value.
fn text(arg: &Value) -> Result<String, FormatError> {
    match arg {
        Value::List(list) => of_list(list),
        Value::Map(map) => of_map(map),
        Value::Optional(_) | Value::Object(_) => Err(Clause::Text.wrong(arg.cel_type().name())),
        other => match other.convert(&Type::String) {
            Ok(Value::String(text)) => Ok(text.to_string()),
            Ok(other) => Ok(other.to_string()),
            Err(fault) => {
                Err(FormatError::new(format!("could not convert argument {:?} to string", fault.to_string())))
            }
        },
    }
}

/// A value within a list or map, as it could be written in CEL.
fn inner(value: &Value) -> Result<String, FormatError> {
    let quoted = crate::value::go_quote;
    Ok(match value {
        Value::List(list) => of_list(list)?,
        Value::Map(map) => of_map(map)?,
        Value::String(text) => quoted(text),
        Value::Bytes(_) => format!("b{}", quoted(&text(value)?)),
        Value::Timestamp(_) => format!("timestamp({})", quoted(&text(value)?)),
        Value::Duration(_) => format!("duration({})", quoted(&text(value)?)),
        Value::Double(double) if !double.is_finite() => quoted(&crate::value::go_double(*double)),
        Value::Double(double) => format!("{double:.DEFAULT_PRECISION$}"),
        Value::Optional(_) | Value::Object(_) => {
            return Err(FormatError::new(format!("no formatting function for {}", value.cel_type().name())));
        }
        other => text(other)?,
    })
}

fn of_list(list: &List) -> Result<String, FormatError> {
    let fault = |fault: Fault| FormatError::new(fault.to_string());
    let elements: Vec<String> = list.iter().map(|element| inner(&element.map_err(fault)?)).collect::<Result<_, _>>()?;
    Ok(format!("[{}]", elements.join(", ")))
}

fn of_map(map: &Map) -> Result<String, FormatError> {
    let mut entries = Vec::with_capacity(map.len());
    for key in map.keys() {
        let written = match &key {
            Value::String(text) => crate::value::go_quote(text),
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) => text(&key)?,
            other => {
                let name = other.cel_type().name().to_owned();
                return Err(FormatError::new(format!("no formatting function for map key of type {name}")));
            }
        };
        let value = map.find(&key).transpose().map_err(|fault| FormatError::new(fault.to_string()))?;
        entries.push((written, inner(&value.unwrap_or(Value::Null))?));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", entries.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(format: &str, arg: Value) -> String {
        super::format(format, &[arg]).unwrap_or_else(|fault| fault.to_string())
    }

    #[test]
    fn doubles() {
        let cases = [
            ("%.3f", 1_234_567.891, "1,234,567.891"),
            ("%f", -0.0, "0.000000"),
            ("%.0f", -0.4, "-0"),
            ("%.0f", 2.5, "2"),
            ("%f", f64::INFINITY, "∞"),
            ("%e", 1052.032911275, "1.052033×10⁰³"),
            ("%.15e", 1052.032911275, "  1.052033×10⁰³"),
            ("%e", -0.0000001, "-1.000000×10⁻⁰⁷"),
            ("%e", f64::INFINITY, "     ∞"),
        ];
        for (format, value, want) in cases {
            assert_eq!(one(format, Value::Double(value)), want, "{format} {value}");
        }
        assert_eq!(one("%.2000f", Value::Double(1.0)).len(), 2002);
    }

    #[test]
    fn errors() {
        let cases = [
            ("%q", "could not parse formatting clause: unrecognized formatting clause \"q\""),
            ("%", "unexpected end of string"),
            ("%s%s", "index 1 out of range"),
            ("%f", "error during formatting: fixed-point clause can only be used on doubles, was given int"),
        ];
        for (format, want) in cases {
            assert_eq!(one(format, Value::Int(1)), want);
        }
    }
}
