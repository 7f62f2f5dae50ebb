//! Runs compiled expressions over one request (k8s.io/apiserver/pkg/admission/plugin/cel/activation.go@v0.37.2).
//!
//! Invariant: a variable is computed when it is first read and once in a session; its cost is that of the expression
//! that read it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::Activation;
use cel::value::{Fault, Map, MapObject, Outcome, Value};
use parking_lot::Mutex;

use super::compile::{
    AUTHORIZER, Compiled, NAMESPACE, OBJECT, OLD_OBJECT, PARAMS, REQUEST, REQUEST_RESOURCE, VARIABLES,
};

/// The most one expression may cost (k8s.io/apiserver/pkg/apis/cel/config.go: PerCallLimit).
pub(crate) const CALL_COST_MAX: u64 = 1_000_000;
/// The most the expressions of a policy may cost for one binding and parameter (RuntimeCELCostBudget).
pub(crate) const POLICY_COST_MAX: u64 = 10_000_000;
/// The most the matchConditions of one webhook or policy may cost (RuntimeCELCostBudgetMatchConditions).
pub(crate) const CONDITIONS_COST_MAX: u64 = 2_500_000;

/// Evaluation has to end, because the budget is spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("validation failed due to running out of cost budget, no further validation rules will be run")]
pub(crate) struct OutOfBudget;

/// The values of variables. Absent objects are null.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) object: Value,
    pub(crate) old_object: Value,
    pub(crate) params: Value,
    pub(crate) request: Value,
    pub(crate) namespace: Value,
    /// `authorizer` and `authorizer.requestResource`.
    pub(crate) authorizer: Option<(Value, Value)>,
}

/// The variables of one evaluation, or of several that share what they compute.
#[derive(Debug)]
pub(crate) struct Session(Arc<State>);

#[derive(Debug)]
struct State {
    inputs: Inputs,
    definitions: Arc<BTreeMap<String, Compiled>>,
    computed: Mutex<HashMap<String, Option<Outcome>>>,
    /// Of variables, since it was last asked.
    cost: AtomicU64,
}

impl Session {
    pub(crate) fn new(inputs: Inputs, definitions: Arc<BTreeMap<String, Compiled>>) -> Session {
        Session(Arc::new(State { inputs, definitions, computed: Mutex::default(), cost: AtomicU64::new(0) }))
    }

    /// The value, or why there is none; what it cost is taken from the budget.
    ///
    /// # Errors
    /// The budget is spent.
    pub(crate) fn evaluate(&self, compiled: &Compiled, budget: &mut u64) -> Result<Result<Value, String>, OutOfBudget> {
        let program = match &compiled.program {
            Ok(program) => program,
            Err(failure) => return Ok(Err(format!("compilation error: {}", failure.detail()))),
        };
        let outcome = program.eval(&Variables(&self.0), CALL_COST_MAX);
        let cost = outcome.as_ref().map_or_else(|error| error.cost, |(_, cost)| *cost);
        for cost in [self.0.cost.swap(0, Ordering::Relaxed), cost] {
            *budget = budget.checked_sub(cost).ok_or(OutOfBudget)?;
        }
        let text = &compiled.text;
        Ok(outcome
            .map(|(value, _)| value)
            .map_err(|error| format!("expression '{text}' resulted in error: {}", error.fault)))
    }
}

struct Variables<'a>(&'a Arc<State>);

impl Activation for Variables<'_> {
    fn get(&self, name: &str) -> Option<Outcome> {
        let inputs = &self.0.inputs;
        let value = match name {
            OBJECT => &inputs.object,
            OLD_OBJECT => &inputs.old_object,
            PARAMS => &inputs.params,
            REQUEST => &inputs.request,
            NAMESPACE => &inputs.namespace,
            AUTHORIZER => &inputs.authorizer.as_ref()?.0,
            REQUEST_RESOURCE => &inputs.authorizer.as_ref()?.1,
            VARIABLES => return Some(Ok(Value::Map(Map::object(Arc::new(Composed(self.0.clone())))))),
            _ => return None,
        };
        Some(Ok(value.clone()))
    }
}

/// `variables`.
#[derive(Debug)]
struct Composed(Arc<State>);

impl Composed {
    fn compute(&self, name: &str, compiled: &Compiled) -> Outcome {
        let program = match &compiled.program {
            Ok(program) => program,
            Err(failure) => {
                let why = failure.detail();
                return Err(Fault::new(format!("composited variable {name:?} fails to compile: {why}")));
            }
        };
        let outcome = program.eval(&Variables(&self.0), CALL_COST_MAX);
        let cost = outcome.as_ref().map_or_else(|error| error.cost, |(_, cost)| *cost);
        self.0.cost.fetch_add(cost, Ordering::Relaxed);
        outcome
            .map(|(value, _)| value)
            .map_err(|error| Fault::new(format!("composited variable {name:?} fails to evaluate: {}", error.fault)))
    }
}

impl MapObject for Composed {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn len(&self) -> usize {
        self.0.definitions.len()
    }

    fn find(&self, key: &str) -> Option<Outcome> {
        let name = cel::escape::unescape(key)?;
        let compiled = self.0.definitions.get(&name)?;
        match self.0.computed.lock().get(&name) {
            Some(Some(outcome)) => return Some(outcome.clone()),
            // Of two variables of one name the last counts, even where it reads the first.
            Some(None) => return Some(Err(Fault::new(format!("composited variable {name:?} refers to itself")))),
            None => {}
        }
        self.0.computed.lock().insert(name.clone(), None);
        let outcome = self.compute(&name, compiled);
        self.0.computed.lock().insert(name, Some(outcome.clone()));
        Some(outcome)
    }

    fn keys(&self) -> Vec<Arc<str>> {
        self.0.definitions.keys().map(|name| Arc::from(name.as_str())).collect()
    }
}
