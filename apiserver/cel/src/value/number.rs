//! Arithmetic and comparison of numbers.
//!
//! Invariant: overflow is an error with cel-go's text (`common/types/overflow.go`), never a wrapped number; numbers of
//! different types compare by amount (`common/types/compare.go`).

use std::cmp::Ordering;

use super::{Fault, Outcome, Timestamp, Value};

const INT_OVERFLOW: &str = "integer overflow";
const UINT_OVERFLOW: &str = "unsigned integer overflow";
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// The order of two numbers; None when one is not a number at all.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => return a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Value::Double(a), Value::Int(b)) => double_with_int(*a, *b)?,
        (Value::Double(a), Value::Uint(b)) => double_with_uint(*a, *b)?,
        (Value::Uint(_), Value::Int(_)) | (Value::Int(_) | Value::Uint(_), Value::Double(_)) => {
            compare(b, a)?.reverse()
        }
        _ => return None,
    })
}

/// The integer is compared as a double, so that large neighbours are equal.
fn double_with_int(a: f64, b: i64) -> Option<Ordering> {
    match a {
        a if a < -TWO_TO_63 => Some(Ordering::Less),
        a if a > TWO_TO_63 => Some(Ordering::Greater),
        a => a.partial_cmp(&(b as f64)),
    }
}

fn double_with_uint(a: f64, b: u64) -> Option<Ordering> {
    match a {
        a if a < 0.0 => Some(Ordering::Less),
        a if a > TWO_TO_64 => Some(Ordering::Greater),
        a => a.partial_cmp(&(b as f64)),
    }
}

pub(crate) fn double_to_int(value: f64) -> Result<i64, Fault> {
    match value.is_nan() || value <= -TWO_TO_63 || value >= TWO_TO_63 {
        true => Err(Fault::new(INT_OVERFLOW)),
        false => Ok(value as i64),
    }
}

pub(crate) fn double_to_uint(value: f64) -> Result<u64, Fault> {
    match !(0.0..TWO_TO_64).contains(&value) {
        true => Err(Fault::new(UINT_OVERFLOW)),
        false => Ok(value as u64),
    }
}

fn int(value: Option<i64>) -> Outcome {
    value.map(Value::Int).ok_or_else(|| Fault::new(INT_OVERFLOW))
}

fn uint(value: Option<u64>) -> Outcome {
    value.map(Value::Uint).ok_or_else(|| Fault::new(UINT_OVERFLOW))
}

fn duration(value: Option<i64>) -> Outcome {
    value.map(Value::Duration).ok_or_else(|| Fault::new(INT_OVERFLOW))
}

fn timestamp(value: Option<Timestamp>) -> Outcome {
    value.map(Value::Timestamp).ok_or_else(|| Fault::new("timestamp overflow"))
}

impl Value {
    /// `+`; None when the first operand's type has none.
    pub(crate) fn add(&self, other: &Value) -> Option<Outcome> {
        Some(match (self, other) {
            (Value::Int(a), Value::Int(b)) => int(a.checked_add(*b)),
            (Value::Uint(a), Value::Uint(b)) => uint(a.checked_add(*b)),
            (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
            (Value::String(a), Value::String(b)) => Ok(Value::from([a.as_ref(), b.as_ref()].concat())),
            (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([a.as_ref(), b.as_ref()].concat().into())),
            (Value::Duration(a), Value::Duration(b)) => duration(a.checked_add(*b)),
            (Value::Duration(nanos), Value::Timestamp(time)) | (Value::Timestamp(time), Value::Duration(nanos)) => {
                timestamp(time.plus(*nanos))
            }
            (Value::List(list), _) => list.plus(other).map(Value::List),
            (
                Value::Int(_)
                | Value::Uint(_)
                | Value::Double(_)
                | Value::String(_)
                | Value::Bytes(_)
                | Value::Duration(_)
                | Value::Timestamp(_),
                _,
            ) => Err(Fault::no_overload()),
            _ => return None,
        })
    }

    /// `-` of two.
    pub(crate) fn subtract(&self, other: &Value) -> Option<Outcome> {
        Some(match (self, other) {
            (Value::Int(a), Value::Int(b)) => int(a.checked_sub(*b)),
            (Value::Uint(a), Value::Uint(b)) => uint(a.checked_sub(*b)),
            (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
            (Value::Duration(a), Value::Duration(b)) => duration(a.checked_sub(*b)),
            (Value::Timestamp(time), Value::Duration(nanos)) => match nanos.checked_neg() {
                Some(nanos) => timestamp(time.plus(nanos)),
                None => Err(Fault::new(INT_OVERFLOW)),
            },
            (Value::Timestamp(a), Value::Timestamp(b)) => duration(i64::try_from(a.instant() - b.instant()).ok()),
            (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_) | Value::Timestamp(_), _) => {
                Err(Fault::no_overload())
            }
            _ => return None,
        })
    }

    pub(crate) fn multiply(&self, other: &Value) -> Option<Outcome> {
        Some(match (self, other) {
            (Value::Int(a), Value::Int(b)) => int(a.checked_mul(*b)),
            (Value::Uint(a), Value::Uint(b)) => uint(a.checked_mul(*b)),
            (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
            (Value::Int(_) | Value::Uint(_) | Value::Double(_), _) => Err(Fault::no_overload()),
            _ => return None,
        })
    }

    pub(crate) fn divide(&self, other: &Value) -> Option<Outcome> {
        Some(match (self, other) {
            (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(Fault::new("division by zero")),
            (Value::Int(a), Value::Int(b)) => int(a.checked_div(*b)),
            (Value::Uint(a), Value::Uint(b)) => uint(a.checked_div(*b)),
            (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
            (Value::Int(_) | Value::Uint(_) | Value::Double(_), _) => Err(Fault::no_overload()),
            _ => return None,
        })
    }

    pub(crate) fn modulo(&self, other: &Value) -> Option<Outcome> {
        Some(match (self, other) {
            (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(Fault::new("modulus by zero")),
            (Value::Int(a), Value::Int(b)) => int(a.checked_rem(*b)),
            (Value::Uint(a), Value::Uint(b)) => uint(a.checked_rem(*b)),
            (Value::Int(_) | Value::Uint(_), _) => Err(Fault::no_overload()),
            _ => return None,
        })
    }

    /// `-` of one.
    pub(crate) fn negate(&self) -> Option<Outcome> {
        Some(match self {
            Value::Int(value) => int(value.checked_neg()),
            Value::Double(value) => Ok(Value::Double(-value)),
            Value::Duration(value) => duration(value.checked_neg()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_types_compare_by_amount() {
        let cases = [
            (Value::Int(1), Value::Double(1.5), Ordering::Less),
            (Value::Uint(3), Value::Double(2.5), Ordering::Greater),
            (Value::Int(-1), Value::Uint(0), Ordering::Less),
            (Value::Uint(u64::MAX), Value::Int(i64::MAX), Ordering::Greater),
            (Value::Double(1e300), Value::Int(i64::MAX), Ordering::Greater),
            (Value::Double(-1e300), Value::Uint(0), Ordering::Less),
            (Value::Double(1.0), Value::Uint(1), Ordering::Equal),
        ];
        for (a, b, want) in cases {
            assert_eq!(compare(&a, &b), Some(want), "{a:?} {b:?}");
            assert_eq!(compare(&b, &a), Some(want.reverse()), "{b:?} {a:?}");
        }
        assert_eq!(compare(&Value::Double(f64::NAN), &Value::Int(0)), None);
    }

    #[test]
    fn doubles_at_the_ends_of_integers() {
        assert!(double_to_int(-TWO_TO_63).is_err() && double_to_int(TWO_TO_63).is_err());
        assert_eq!(double_to_int(-1.9), Ok(-1));
        assert!(double_to_uint(-0.1).is_err() && double_to_uint(TWO_TO_64).is_err());
    }
}
