//! Values as text in messages.
//!
//! Invariant: what Go's `%v` and `%g` print for cel-go's values.

use super::Value;

pub(crate) use api::field::go_quote;

/// Go's `%g` of a double.
pub(crate) fn go_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the form always has an exponent");
    let exponent: i32 = exponent.parse().expect("exponents are small integers");
    // Shortest texts change to exponents from a million on, whatever digits they have.
    if (-4..21).contains(&exponent) && !(6..).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Go's `%v` of a value.
pub(super) fn go_text(value: &Value) -> String {
    match value {
        // A number to Go.
        Value::Null => "0".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => go_double(*value),
        Value::String(value) => value.to_string(),
        Value::Bytes(value) => {
            let bytes: Vec<String> = value.iter().map(u8::to_string).collect();
            format!("[{}]", bytes.join(" "))
        }
        Value::Duration(value) => api::duration::format(*value),
        Value::Timestamp(value) => value.go_text(),
        Value::List(list) => format!("[{}]", joined(list.iter().map(|element| fallible(&element)))),
        Value::Map(map) => {
            let entry = |key: &Value| {
                let value = map.find(key).map(|value| fallible(&value)).unwrap_or_default();
                format!("{}: {value}", go_text(key))
            };
            format!("{{{}}}", joined(map.keys().iter().map(entry)))
        }
        Value::Type(value) => value.to_string(),
        Value::Optional(None) => "optional.none()".to_owned(),
        Value::Optional(Some(value)) => format!("optional({})", go_text(value)),
        Value::Object(object) => object.text(),
    }
}

fn fallible(element: &super::Outcome) -> String {
    match element {
        Ok(value) => go_text(value),
        Err(fault) => fault.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles() {
        let cases = [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (123_456.0, "123456"),
            (1_000_000.0, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e100, "1e+100"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, want) in cases {
            assert_eq!(go_double(value), want);
        }
    }

    #[test]
    fn values() {
        let list = Value::list(vec![Value::from("a"), Value::Int(1), Value::Bytes([1, 2].as_slice().into())]);
        assert_eq!(list.to_string(), "[a, 1, [1 2]]");
        assert_eq!(Value::optional(Some(Value::Duration(90_000_000_000))).to_string(), "optional(1m30s)");
    }
}
