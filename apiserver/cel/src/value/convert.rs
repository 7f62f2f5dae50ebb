//! Conversions between types: `int("1")`, `string(1.5)`, `timestamp(0)`.
//!
//! Invariant: the results and errors of `ConvertToType` in cel-go's `common/types`.

use super::time::{TimestampError, parse_timestamp};
use super::{Fault, Outcome, Timestamp, Value, double_to_int, double_to_uint, go_double};
use crate::types::Type;

impl Value {
    /// The value as one of another type.
    pub(crate) fn convert(&self, to: &Type) -> Outcome {
        let converted = match self {
            Value::String(text) => text_to(text, to),
            Value::Int(value) => int_to(*value, to),
            Value::Uint(value) => uint_to(*value, to),
            Value::Double(value) => double_to(*value, to),
            Value::Bool(value) => (*to == Type::String).then(|| Ok(Value::from(value.to_string()))),
            Value::Bytes(value) => (*to == Type::String).then(|| {
                let invalid = |_| Fault::new("invalid UTF-8 in bytes, cannot convert to string");
                std::str::from_utf8(value).map(Value::from).map_err(invalid)
            }),
            Value::Duration(nanos) => match to {
                // As seconds, by way of a double.
                Type::String => Some(Ok(Value::from(format!("{}s", seconds(*nanos))))),
                Type::Int => Some(Ok(Value::Int(*nanos))),
                _ => None,
            },
            Value::Timestamp(time) => match to {
                Type::String => Some(Ok(Value::from(time.rfc3339()))),
                Type::Int => Some(Ok(Value::Int(time.seconds()))),
                _ => None,
            },
            Value::Null => (*to == Type::String).then(|| Ok(Value::from("null"))),
            Value::Type(own) => (*to == Type::String).then(|| Ok(Value::from(own.name().to_string()))),
            Value::Object(object) if *to == Type::String => object.to_text().map(|text| Ok(Value::from(text))),
            _ => None,
        };
        if let Some(converted) = converted {
            return converted;
        }
        let own = self.cel_type();
        match own == *to {
            true => Ok(self.clone()),
            false => Err(Fault::new(format!("type conversion error from '{own}' to '{to}'"))),
        }
    }
}

/// `time.Duration.Seconds`.
pub(crate) fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9
}

fn text_to(text: &str, to: &Type) -> Option<Outcome> {
    Some(Ok(match to {
        Type::Int => Value::Int(text.parse().ok()?),
        Type::Uint => Value::Uint(text.parse().ok().filter(|_| !text.starts_with('+'))?),
        Type::Double => Value::Double(parse_double(text)?),
        Type::Bool => match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Value::Bool(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Value::Bool(false),
            _ => return None,
        },
        Type::Bytes => Value::Bytes(text.as_bytes().into()),
        Type::Duration => Value::Duration(api::duration::parse(text).ok()?),
        Type::Timestamp => match parse_timestamp(text) {
            Ok(time) => Value::Timestamp(time),
            Err(TimestampError::Range) => return Some(Err(Fault::new("timestamp overflow"))),
            Err(TimestampError::Text) => return None,
        },
        _ => return None,
    }))
}

/// `strconv.ParseFloat`, hexadecimal aside.
fn parse_double(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let between = |at: usize| {
        let digit = |index: Option<usize>| index.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    if !text.match_indices('_').all(|(at, _)| between(at)) {
        return None;
    }
    let value: f64 = text.replace('_', "").parse().ok()?;
    let named = text.contains(['n', 'N']);
    (value.is_finite() || named).then_some(value)
}

fn int_to(value: i64, to: &Type) -> Option<Outcome> {
    Some(match to {
        Type::Uint => u64::try_from(value).map(Value::Uint).map_err(|_| Fault::new("unsigned integer overflow")),
        Type::Double => Ok(Value::Double(value as f64)),
        Type::String => Ok(Value::from(value.to_string())),
        Type::Timestamp => {
            Timestamp::new(value, 0).map(Value::Timestamp).ok_or_else(|| Fault::new("timestamp overflow"))
        }
        _ => return None,
    })
}

fn uint_to(value: u64, to: &Type) -> Option<Outcome> {
    Some(match to {
        Type::Int => i64::try_from(value).map(Value::Int).map_err(|_| Fault::new("integer overflow")),
        Type::Double => Ok(Value::Double(value as f64)),
        Type::String => Ok(Value::from(value.to_string())),
        _ => return None,
    })
}

fn double_to(value: f64, to: &Type) -> Option<Outcome> {
    Some(match to {
        Type::Int => double_to_int(value).map(Value::Int),
        Type::Uint => double_to_uint(value).map(Value::Uint),
        Type::String => Ok(Value::from(go_double(value))),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions() {
        let cases = [
            (Value::from("-5"), Type::Int, "-5"),
            (Value::from("1_000.5e1"), Type::Double, "10005"),
            (Value::from("90m"), Type::Duration, "1h30m0s"),
            (Value::from("inf"), Type::Double, "+Inf"),
            (Value::Duration(1_500_000_000), Type::String, "1.5s"),
            (Value::Double(-1e-7), Type::String, "-1e-07"),
            (Value::Int(0), Type::Timestamp, "1970-01-01 00:00:00 +0000 UTC"),
        ];
        for (value, to, want) in cases {
            assert_eq!(value.convert(&to).map(|value| value.to_string()), Ok(want.to_owned()));
        }
    }

    #[test]
    fn refusals() {
        let cases = [
            (Value::from("+5"), Type::Uint, "type conversion error from 'string' to 'uint'"),
            (Value::from("1e400"), Type::Double, "type conversion error from 'string' to 'double'"),
            (Value::from("1d"), Type::Duration, "type conversion error from 'string' to 'google.protobuf.Duration'"),
            (Value::Int(-1), Type::Uint, "unsigned integer overflow"),
            (Value::Int(i64::MAX), Type::Timestamp, "timestamp overflow"),
            (Value::Bytes([0xff].as_slice().into()), Type::String, "invalid UTF-8 in bytes, cannot convert to string"),
        ];
        for (value, to, want) in cases {
            assert_eq!(value.convert(&to).map(|value| value.to_string()), Err(Fault::new(want)));
        }
    }
}
