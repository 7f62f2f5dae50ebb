//! Estimates of the functions of CEL's standard library and extensions.
//!
//! Invariant: the sums of cel-go's `checker/cost.go` (`functionCost`) and of the estimators in `ext/{sets,lists}.go` @v0.29.2.

use super::estimate::Path;
use super::{LIST_CREATE, REGEX_FACTOR, Range, STRING_FACTOR};
use crate::ast::Expr;
use crate::types::Type;
use crate::value::Value;

/// An argument as its cost is seen.
pub(super) struct View<'a> {
    pub(super) path: Path,
    pub(super) of: Type,
    pub(super) expr: Option<&'a Expr>,
    /// The size that follows from the expression.
    pub(super) size: Option<Range>,
}

impl View<'_> {
    pub(super) fn size_or_unknown(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }

    pub(super) fn literal(&self) -> Option<&Value> {
        self.expr.and_then(Expr::literal)
    }

    /// A literal integer as a size; negative ones are none at all.
    fn as_size(&self, otherwise: u64) -> u64 {
        match self.literal() {
            Some(Value::Int(value)) => u64::try_from(*value).unwrap_or(0),
            _ => otherwise,
        }
    }
}

/// What a call costs, and how large its result is where that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallCost {
    pub(super) cost: Range,
    pub(super) size: Option<Range>,
}

impl CallCost {
    pub(super) fn of(cost: Range) -> CallCost {
        CallCost { cost, size: None }
    }

    pub(super) fn sized(cost: Range, size: Range) -> CallCost {
        CallCost { cost, size: Some(size) }
    }
}

pub(super) fn extension(overload: &str, target: Option<&View<'_>>, args: &[View<'_>]) -> Option<CallCost> {
    let size = |view: &View<'_>| view.size_or_unknown();
    Some(match (overload, target, args) {
        ("list_sets_contains_list" | "list_sets_intersects_list", _, [a, b]) => sets(size(a), size(b), 1.0),
        ("list_sets_equivalent_list", _, [a, b]) => sets(size(a), size(b), 2.0),
        ("list_slice", Some(list), [start, end]) => {
            let end = end.as_size(size(list).max);
            list_call(1.0, Range::fixed(end.wrapping_sub(start.as_size(0))))
        }
        ("lists_range", None, [count]) => list_call(1.0, Range::fixed(count.as_size(u64::MAX))),
        ("list_reverse", Some(list), []) => list_call(1.0, size(list)),
        ("list_flatten", Some(list), []) => list_call(1.0, size(list)),
        ("list_flatten_int", Some(list), [depth]) => list_call(depth.as_size(u64::MAX) as f64, size(list)),
        ("list_distinct", Some(list), []) => list_call(2.0, size(list).times(size(list))),
        (sort, Some(list), []) if sort.starts_with("list_") && sort.ends_with("_sort") => sorted(overload, size(list)),
        (sort, Some(_), [keys]) if sort.ends_with("_sortByAssociatedKeys") => sorted(overload, size(keys)),
        _ => return None,
    })
}

fn sets(a: Range, b: Range, factor: f64) -> CallCost {
    CallCost::of(a.times(b).scaled(factor).plus(Range::fixed(1)))
}

fn list_call(factor: f64, size: Range) -> CallCost {
    CallCost::sized(size.scaled(factor).plus(Range::fixed(1)).plus(Range::fixed(LIST_CREATE)), size)
}

fn sorted(overload: &str, size: Range) -> CallCost {
    let text = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
    list_call(if text { 2.0 + STRING_FACTOR } else { 2.0 }, size.times(size))
}

/// A regular expression on a text. Even an empty text has a cost.
pub(super) fn matching(text: Range, pattern: Range) -> Range {
    text.plus(Range::fixed(1)).scaled(STRING_FACTOR).times(pattern.scaled(REGEX_FACTOR))
}

pub(super) fn standard(overload: &str, target: Option<&View<'_>>, args: &[View<'_>]) -> CallCost {
    let size = |view: &View<'_>| view.size_or_unknown();
    match (overload, target, args) {
        ("string_format", Some(format), _) => CallCost::of(size(format).scaled(STRING_FACTOR)),
        ("string_to_bytes", _, [text]) => {
            let text = size(text);
            let bytes = Range { min: text.min, max: text.max.wrapping_mul(4) };
            CallCost::sized(text.scaled(STRING_FACTOR), bytes)
        }
        ("bytes_to_string", _, [bytes]) => {
            let bytes = size(bytes);
            CallCost::sized(bytes.scaled(STRING_FACTOR), Range { min: bytes.min / 4, max: bytes.max })
        }
        ("strings_quote", _, [text]) => {
            let text = size(text);
            let quoted = Range { min: text.min.wrapping_add(2), max: text.max.wrapping_mul(2).wrapping_add(2) };
            CallCost::sized(text.scaled(STRING_FACTOR), quoted)
        }
        ("starts_with_string" | "ends_with_string", _, [part]) => CallCost::of(size(part).scaled(STRING_FACTOR)),
        ("in_list", _, [_, list]) => CallCost::of(size(list).scaled(1.0)),
        ("matches_string", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
            CallCost::of(matching(size(text), size(pattern)))
        }
        ("contains_string", Some(text), [part]) => {
            CallCost::of(size(text).scaled(STRING_FACTOR).times(size(part).scaled(STRING_FACTOR)))
        }
        ("add_list", _, [a, b]) => CallCost::sized(Range::fixed(1), size(a).plus(size(b))),
        ("add_string" | "add_bytes", _, [a, b]) => {
            let sum = size(a).plus(size(b));
            CallCost::sized(sum.scaled(STRING_FACTOR), sum)
        }
        (
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals",
            _,
            [a, b],
        ) => {
            let max = size(a).max.min(size(b).max);
            CallCost::of(Range { min: max.min(1), max }.scaled(STRING_FACTOR))
        }
        _ => CallCost::of(Range::fixed(1)),
    }
}
