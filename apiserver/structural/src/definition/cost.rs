//! What the rules of a schema may cost, before any object is there
//! (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/{cel_validation,validation}.go@v0.37.2).

use api::field::{self, Errors, Path};

use crate::props::{Additional, Props};

/// Most one expression may cost, in estimated cost units.
pub(super) const EXPRESSION_COST_MAX: u64 = 10_000_000;
/// Most all expressions of a schema may cost.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// How many of the dearest rules an error names.
const NAMED_MAX: usize = 4;

/// How often a place can be there in an object; `None` for no bound.
#[derive(Clone, Copy)]
pub(super) struct Cardinality(Option<u64>);

impl Cardinality {
    pub(super) const ROOT: Cardinality = Cardinality(Some(1));

    /// Of the places below a schema.
    pub(super) fn below(self, schema: Props<'_>) -> Cardinality {
        let elements = match schema.ty() {
            "object" if matches!(schema.additional("additionalProperties"), Additional::Absent) => Some(1),
            "object" => schema.count("maxProperties").map(at_least_zero),
            "array" => schema.count("maxItems").map(at_least_zero),
            _ => Some(1),
        };
        Cardinality(self.0.zip(elements).map(|(count, elements)| times(count, elements)))
    }

    /// The cost of a rule there, which knows a bound of its own.
    pub(super) fn cost(self, once: u64, own: u64) -> u64 {
        times(once, self.0.unwrap_or(own))
    }
}

fn at_least_zero(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn times(cost: u64, count: u64) -> u64 {
    cost.saturating_mul(count)
}

/// What all rules of a schema cost.
#[derive(Default)]
pub(super) struct Total {
    sum: u64,
    dearest: Vec<(Path, u64)>,
}

impl Total {
    pub(super) fn add(&mut self, path: Path, cost: u64) {
        self.sum = self.sum.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.dearest.push((path, cost));
            self.dearest.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED_MAX);
        }
    }

    pub(super) fn errors(&self, path: &Path) -> Errors {
        if self.sum <= SCHEMA_COST_MAX {
            return Errors::new();
        }
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let mut errors: Errors = self.dearest.iter().map(|(path, _)| field::forbidden(path, why)).collect();
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(field::forbidden(path, exceeded(what, self.sum, SCHEMA_COST_MAX)));
        errors
    }
}

pub(super) fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".into()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
