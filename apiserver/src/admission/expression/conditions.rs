//! `matchConditions` of a policy or webhook (k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions@v0.37.2).
//!
//! Invariant: one condition that is false decides, whatever others fail of.

use api::value::Map;
use cel::types::Type;

use super::compile::{Age, Compiled, Compiler, Uses};
use super::evaluate::{CONDITIONS_COST_MAX, Session};

/// The conditions of one object, compiled.
#[derive(Debug)]
pub(crate) struct MatchConditions {
    conditions: Vec<Compiled>,
    /// What an error means: `failurePolicy: Ignore`.
    ignore_failures: bool,
}

impl MatchConditions {
    /// Of the entries of a `matchConditions` list as stored.
    pub(crate) fn of<'a>(
        compiler: &Compiler,
        conditions: impl Iterator<Item = &'a Map>,
        uses: Uses,
        ignore_failures: bool,
    ) -> Self {
        let compile = |condition: &Map| compiler.compile(condition.str("expression"), &[Type::Bool], uses, Age::Stored);
        MatchConditions { conditions: conditions.map(compile).collect(), ignore_failures }
    }

    /// Whether the request is one that the object is for.
    ///
    /// # Errors
    /// Conditions that failed, where none was false and failures count.
    pub(crate) fn matches(&self, session: &Session) -> Result<bool, String> {
        let mut budget = CONDITIONS_COST_MAX;
        let mut evaluated = Vec::with_capacity(self.conditions.len());
        for condition in &self.conditions {
            match session.evaluate(condition, &mut budget) {
                Ok(outcome) => evaluated.push(outcome),
                Err(_) if self.ignore_failures => return Ok(false),
                Err(error) => return Err(error.to_string()),
            }
        }
        if evaluated.iter().flatten().any(|value| value.as_bool() == Some(false)) {
            return Ok(false);
        }
        let failures: Vec<String> = evaluated.into_iter().filter_map(Result::err).collect();
        match failures.is_empty() {
            true => Ok(true),
            false if self.ignore_failures => Ok(false),
            false => Err(aggregate(&failures)),
        }
    }
}

/// Several errors in one text (k8s.io/apimachinery/pkg/util/errors/errors.go@v0.37.2: Aggregate).
fn aggregate(errors: &[String]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    errors.iter().for_each(|error| {
        if !seen.contains(&error.as_str()) {
            seen.push(error);
        }
    });
    match seen.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}
