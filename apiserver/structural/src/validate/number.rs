//! Numbers: limits, multiples, and whether the number and its limits fit the type
//! (k8s.io/kube-openapi/pkg/validation/validate/{validator,values}.go, github.com/go-openapi/swag/conv v0.27.1).

use api::field::go_float;
use api::value::Value;

use super::Types;
use super::issue::{Issue, Tally};
use crate::schema::Checks;

/// The largest whole number a float holds exactly: 2^53 - 1.
const SAFE_MAX: f64 = 9_007_199_254_740_991.0;
/// How near to a whole number counts as whole.
const EPSILON: f64 = 1e-9;

/// Whether a float is nearly a whole number.
pub(super) fn is_whole(number: f64) -> bool {
    if !number.is_finite() || number.abs() > SAFE_MAX {
        return false;
    }
    let rounded = number.round();
    number == rounded || rounded != 0.0 && (number - rounded).abs() < EPSILON * rounded.abs()
}

/// Go's conversion to int64 (amd64): out of range is the least integer.
pub(super) fn truncated(number: f64) -> i64 {
    let fits = number >= i64::MIN as f64 && number < i64::MAX as f64;
    if fits { number as i64 } else { i64::MIN }
}

pub(super) struct Number<'a> {
    pub(super) value: &'a Value,
    pub(super) types: &'a Types<'a>,
    pub(super) format: &'a str,
}

impl Number<'_> {
    pub(super) fn check(&self, at: &str, checks: Option<&Checks>) -> Tally {
        let mut tally = Tally::default();
        let shown = match self.value {
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            _ => return tally,
        };
        tally.merge(self.range(&shown, "Checked", at));
        let Some(checks) = checks else {
            tally.matches += 1;
            return tally;
        };
        let limits = [
            (checks.multiple_of, "MultipleOf", Limit::MultipleOf),
            (checks.minimum, "Minimum boundary", Limit::Minimum { exclusive: checks.exclusive_minimum }),
            (checks.maximum, "Maximum boundary", Limit::Maximum { exclusive: checks.exclusive_maximum }),
        ];
        for (bound, prefix, limit) in limits {
            let Some(bound) = bound else { continue };
            let mut result = self.range(&bound.to_string(), prefix, at);
            let whole = match self.value {
                // Only a limit that fits the type is compared as an integer.
                Value::Int(number) if result.issues.is_empty() => Some(*number),
                _ => None,
            };
            let issue = match whole {
                Some(number) => limit.check_integer(number, truncated(bound), at),
                None => limit.check_float(self.as_float(), bound, at),
            };
            issue.into_iter().for_each(|issue| result.add(issue));
            tally.merge(result);
        }
        tally.matches += 1;
        tally
    }

    fn as_float(&self) -> f64 {
        match self.value {
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            _ => 0.0,
        }
    }

    /// Whether a number (as Go writes it without an exponent) fits the type and format.
    fn range(&self, shown: &str, prefix: &str, at: &str) -> Tally {
        let ty = if self.types.int_or_string { "" } else { self.types.name() };
        let (fits, format) = match (ty, self.format) {
            ("integer", "int32") => (shown.parse::<i32>().is_ok(), "int32"),
            ("integer", format) => (shown.parse::<i64>().is_ok(), if format == "int64" { format } else { "" }),
            ("number", "float") => (shown.parse::<f32>().is_ok_and(f32::is_finite), "float"),
            _ => return Tally::default(),
        };
        if fits {
            return Tally::default();
        }
        let format = if format.is_empty() { "(default format)".into() } else { format!("with format {format}") };
        Tally::of(Issue::unplaced(format!("{prefix} value must be of type {ty} {format} in {at}")))
    }
}

#[derive(Clone, Copy)]
enum Limit {
    MultipleOf,
    Minimum { exclusive: bool },
    Maximum { exclusive: bool },
}

impl Limit {
    fn check_integer(self, number: i64, bound: i64, at: &str) -> Option<Issue> {
        let good = match self {
            Limit::MultipleOf if bound <= 0 => return Some(not_positive(at, Value::Int(bound), &bound.to_string())),
            Limit::MultipleOf => number % bound == 0,
            Limit::Minimum { exclusive } => number > bound || !exclusive && number == bound,
            Limit::Maximum { exclusive } => number < bound || !exclusive && number == bound,
        };
        (!good).then(|| Issue::other(at, number, &self.words(&bound.to_string())))
    }

    fn check_float(self, number: f64, bound: f64, at: &str) -> Option<Issue> {
        let good = match self {
            Limit::MultipleOf if bound <= 0.0 => return Some(not_positive(at, Value::Float(bound), &go_float(bound))),
            Limit::MultipleOf if bound < 1.0 => is_whole(1.0 / bound * number),
            Limit::MultipleOf => is_whole(number / bound),
            Limit::Minimum { exclusive } => number > bound || !exclusive && number == bound,
            Limit::Maximum { exclusive } => number < bound || !exclusive && number == bound,
        };
        (!good).then(|| Issue::other(at, number, &self.words(&go_float(bound))))
    }

    fn words(self, bound: &str) -> String {
        match self {
            Limit::MultipleOf => format!("should be a multiple of {bound}"),
            Limit::Minimum { exclusive: false } => format!("should be greater than or equal to {bound}"),
            Limit::Minimum { exclusive: true } => format!("should be greater than {bound}"),
            Limit::Maximum { exclusive: false } => format!("should be less than or equal to {bound}"),
            Limit::Maximum { exclusive: true } => format!("should be less than {bound}"),
        }
    }
}

fn not_positive(at: &str, value: Value, shown: &str) -> Issue {
    Issue::worded(at, value, format!("factor MultipleOf declared for {at} must be positive: {shown}"))
}
