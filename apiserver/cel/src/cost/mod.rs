//! What expressions cost: estimated before, counted while they run.
//!
//! Invariant: the units of cel-go's `common/cost.go@v0.29.2`, and sums that stop at the largest number.

pub(crate) mod actual;
pub(crate) mod estimate;
mod functions;
mod kubernetes;

pub(crate) const SELECT_OR_IDENT: u64 = 1;
pub(crate) const LIST_CREATE: u64 = 10;
pub(crate) const MAP_CREATE: u64 = 30;
pub(crate) const STRUCT_CREATE: u64 = 40;
/// Of reading a string once, by character.
pub(crate) const STRING_FACTOR: f64 = 0.1;
/// Of applying a regular expression, by character of its pattern.
pub(crate) const REGEX_FACTOR: f64 = 0.25;
/// An authorization check; two fit into the budget of one call.
pub(crate) const AUTHORIZATION_CHECK: u64 = 350_000;
/// 2^64, which doubles reach and integers do not.
const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// From a least to a most; of sizes or of costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
    pub(crate) const ZERO: Range = Range::fixed(0);

    pub const fn fixed(value: u64) -> Range {
        Range { min: value, max: value }
    }

    fn plus(self, other: Range) -> Range {
        Range { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Range) -> Range {
        Range { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Times a factor, rounded up.
    fn scaled(self, factor: f64) -> Range {
        Range { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

fn scaled(value: u64, factor: f64) -> u64 {
    let product = (value as f64 * factor).ceil();
    if product >= TWO_TO_64 { u64::MAX } else { product as u64 }
}
