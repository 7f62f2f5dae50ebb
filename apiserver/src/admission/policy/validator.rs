//! A ValidatingAdmissionPolicy, compiled, and what it says of a request
//! (k8s.io/apiserver/pkg/admission/plugin/policy/validating/{plugin,validator}.go@v0.37.2).
//!
//! Invariant: everything a policy says for one binding and parameter costs no more than its budget; messages are paid
//! from what validations leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::value::Map;
use cel::types::Type;
use cel::value::Value;

use super::source::Evaluator;
use crate::admission::expression::compile::{Age, Compiled, Compiler, Uses};
use crate::admission::expression::conditions::MatchConditions;
use crate::admission::expression::evaluate::{Inputs, OutOfBudget, POLICY_COST_MAX, Session};

/// Longest message an expression may make, in bytes (MaxEvaluatedMessageExpressionSizeBytes).
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

#[derive(Debug)]
pub(crate) struct Validator {
    conditions: Option<MatchConditions>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Compiled)>,
    variables: Arc<BTreeMap<String, Compiled>>,
    /// `failurePolicy: Ignore`.
    ignores_failures: bool,
}

#[derive(Debug)]
struct Validation {
    rule: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: String,
}

/// What one validation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Admit,
    /// With the reason, which is empty where an error decides.
    Deny {
        message: String,
        reason: String,
    },
}

/// What one audit annotation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Annotation {
    Publish { key: String, value: String },
    Error(String),
    Exclude,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) decisions: Vec<Decision>,
    pub(super) annotations: Vec<Annotation>,
}

impl Evaluator for Validator {
    fn compile(spec: &Map) -> Validator {
        let params = spec.map("paramKind").is_some();
        let uses = Uses { params, authorizer: true, patches: false };
        let ignores_failures = spec.str("failurePolicy") == "Ignore";
        let mut compiler = Compiler::composed();
        for variable in spec.maps("variables") {
            // One that does not compile fails when it is used.
            let _ = compiler.variable(variable.str("name"), variable.str("expression"), uses, Age::Stored);
        }
        let conditional = spec.maps("matchConditions").next().is_some();
        let conditions =
            conditional.then(|| MatchConditions::of(&compiler, spec.maps("matchConditions"), uses, ignores_failures));
        let message_uses = Uses { authorizer: false, ..uses };
        let validation = |validation: &Map| {
            let expression = validation.str("messageExpression");
            let message = || compiler.compile(expression, &[Type::String], message_uses, Age::Stored);
            Validation {
                rule: compiler.compile(validation.str("expression"), &[Type::Bool], uses, Age::Stored),
                message: validation.str("message").trim().to_owned(),
                message_expression: (!expression.is_empty()).then(message),
                reason: validation.str("reason").to_owned(),
            }
        };
        let annotation = |annotation: &Map| {
            let value = annotation.str("valueExpression");
            let wanted = [Type::String, Type::Null];
            (annotation.str("key").to_owned(), compiler.compile(value, &wanted, uses, Age::Stored))
        };
        Validator {
            conditions,
            validations: spec.maps("validations").map(validation).collect(),
            annotations: spec.maps("auditAnnotations").map(annotation).collect(),
            variables: compiler.variables(),
            ignores_failures,
        }
    }
}

impl Validator {
    /// An error, as the failure policy has it.
    fn failure(&self, message: String) -> Decision {
        if self.ignores_failures { Decision::Admit } else { Decision::Deny { message, reason: String::new() } }
    }

    fn failed(&self, message: String) -> Verdict {
        Verdict { decisions: vec![self.failure(message)], annotations: Vec::new() }
    }

    /// What the policy says of a request that its conditions see as the first variables, all else as the second.
    pub(super) fn judge(&self, condition_inputs: impl FnOnce() -> Inputs, inputs: &Inputs) -> Verdict {
        if let Some(conditions) = &self.conditions {
            match conditions.matches(&Session::new(condition_inputs(), self.variables.clone())) {
                Ok(true) => {}
                Ok(false) => return Verdict::default(),
                Err(error) => return self.failed(error),
            }
        }
        let mut budget = POLICY_COST_MAX;
        let session = Session::new(inputs.clone(), self.variables.clone());
        let rules = self.validations.iter().map(|validation| session.evaluate(&validation.rule, &mut budget));
        let outcomes = match rules.collect::<Result<Vec<_>, OutOfBudget>>() {
            Ok(outcomes) => outcomes,
            Err(error) => return self.failed(error.to_string()),
        };
        // Neither messages nor annotations may ask who may do what.
        let plain = Inputs { authorizer: None, ..inputs.clone() };
        let messages = self.messages(&plain, budget);
        let decide = |(at, outcome)| self.decide(at, outcome, &messages);
        let decisions = outcomes.into_iter().enumerate().map(decide).collect();
        match self.annotate(plain) {
            Ok(annotations) => Verdict { decisions, annotations },
            Err(error) => self.failed(error.to_string()),
        }
    }

    /// What the message expressions come to; those that fail are as if there were none.
    fn messages(&self, inputs: &Inputs, mut budget: u64) -> Result<Vec<Option<Value>>, OutOfBudget> {
        let session = Session::new(inputs.clone(), self.variables.clone());
        let message = |validation: &Validation| {
            let Some(expression) = &validation.message_expression else { return Ok(None) };
            Ok(session.evaluate(expression, &mut budget)?.ok())
        };
        self.validations.iter().map(message).collect()
    }

    fn decide(
        &self,
        at: usize,
        outcome: Result<Value, String>,
        messages: &Result<Vec<Option<Value>>, OutOfBudget>,
    ) -> Decision {
        let value = match outcome {
            Ok(value) => value,
            Err(error) => return self.failure(error),
        };
        let made = match messages {
            Ok(messages) => messages[at].as_ref(),
            Err(error) => return self.failure(format!("failed messageExpression: {error}")),
        };
        if value.as_bool() == Some(true) {
            return Decision::Admit;
        }
        let validation = &self.validations[at];
        let made = made
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n'));
        let message = match made {
            Some(text) => text.to_owned(),
            None if !validation.message.is_empty() => validation.message.clone(),
            None => format!("failed expression: {}", validation.rule.text.trim()),
        };
        let reason = if validation.reason.is_empty() { "Invalid" } else { &validation.reason };
        Decision::Deny { message, reason: reason.to_owned() }
    }

    fn annotate(&self, inputs: Inputs) -> Result<Vec<Annotation>, OutOfBudget> {
        let mut budget = POLICY_COST_MAX;
        let session = Session::new(inputs, self.variables.clone());
        let annotation = |(key, compiled): &(String, Compiled)| {
            Ok(match session.evaluate(compiled, &mut budget)? {
                Ok(Value::String(text)) if text.trim().is_empty() => Annotation::Exclude,
                Ok(Value::String(text)) => Annotation::Publish { key: key.clone(), value: text.trim().to_owned() },
                Ok(Value::Null) => Annotation::Exclude,
                Ok(other) => Annotation::Error(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    compiled.text,
                    other.cel_type().name()
                )),
                Err(_) if self.ignores_failures => Annotation::Exclude,
                Err(error) => Annotation::Error(error),
            })
        };
        self.annotations.iter().map(annotation).collect()
    }
}
