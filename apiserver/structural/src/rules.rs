//! Rules (`x-kubernetes-validations`): where they are evaluated, in which order, with which budget, and what their
//! errors say (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go@v0.37.2).
//!
//! Invariant: rules see values that are not null; transition rules need an old value; a failed rule that does not look at
//! the old value is a warning where nothing changed. Non-goal: the language. [`Rules`] evaluates.

use std::any::Any;
use std::cell::OnceCell;

use api::field::{self, Errors};
use api::value::Value;

use crate::correlate::{self, Finder};
use crate::fieldpath::{self, Brackets};
use crate::schema::{Rule, RuleNode, Schema};
use crate::trail::Trail;

/// What all rules of a request may cost together (k8s.io/apiserver/pkg/apis/cel/config.go@v0.37.2), in cost units.
pub const REQUEST_COST_MAX: i64 = 10_000_000;
/// What one evaluation may cost, in cost units.
pub const CALL_COST_MAX: u64 = 1_000_000;
/// A message made by an expression, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// The compiled rules of a schema. Nodes are named by [`RuleNode::id`], rules by their place in it.
pub trait Rules {
    /// Whether the rule refers to `oldSelf`.
    fn uses_old_self(&self, node: usize, rule: usize) -> bool;

    /// Why the rule does not compile.
    fn compile_error(&self, _node: usize, _rule: usize) -> Option<String> {
        None
    }

    /// Whether the rule holds. With `optionalOldSelf`, `oldSelf` is an optional value.
    fn evaluate(&self, call: &Call<'_>) -> Evaluation<bool>;

    /// The rule's messageExpression, `oldSelf` never optional; `None` when it makes no string.
    fn message(&self, call: &Call<'_>) -> Evaluation<Option<String>>;
}

/// One evaluation; it may cost [`CALL_COST_MAX`].
pub struct Call<'a> {
    pub schema: &'a Schema,
    pub node: &'a RuleNode,
    /// Place of the rule in the node.
    pub rule: usize,
    pub value: &'a Value,
    pub old: Option<&'a Value>,
    pub kept: &'a Kept,
}

/// What an evaluator keeps of a value from one rule of a node to the next.
#[derive(Default)]
pub struct Kept(OnceCell<Box<dyn Any>>);

impl Kept {
    /// What was kept, else what `make` makes. One evaluator keeps one type.
    pub fn get_or<T: Any>(&self, make: impl FnOnce() -> T) -> &T {
        let kept = self.0.get_or_init(|| Box::new(make()));
        kept.downcast_ref().expect("an evaluator keeps one type")
    }
}

/// What came of an evaluation.
pub struct Evaluation<T> {
    /// Actual cost; `None` when it could not be told.
    pub cost: Option<u64>,
    /// The error is cel-go's text: `no such key: x`, `operation cancelled: actual cost limit exceeded`.
    pub result: Result<T, String>,
}

/// What the rules say about a value.
#[derive(Debug, Default)]
pub struct Findings {
    pub errors: Errors,
    /// Failures in unchanged parts of an update.
    pub warnings: Vec<String>,
    /// Cost units left; negative when the budget ran out.
    pub budget: i64,
}

/// Evaluates the rules of a schema on a value; `old` is there on updates.
pub fn validate(rules: &dyn Rules, schema: &Schema, value: &Value, old: Option<&Value>, budget: i64) -> Findings {
    let place = old.map(|old| Place { schema, new: value, old });
    run(rules, schema, Trail::default(), Pair { value, old }, Ratchet { current: place, nearest: None }, budget)
}

/// Evaluates the rules of a default: as if it replaced `old`, without ratcheting.
pub(crate) fn validate_at(
    rules: &dyn Rules,
    schema: &Schema,
    path: &str,
    value: &Value,
    old: Option<&Value>,
    budget: i64,
) -> Findings {
    run(rules, schema, Trail::new(path), Pair { value, old }, Ratchet::default(), budget)
}

fn run<'a>(
    rules: &'a dyn Rules,
    schema: &'a Schema,
    trail: Trail,
    pair: Pair<'a>,
    ratchet: Ratchet<'a>,
    budget: i64,
) -> Findings {
    let mut walk = Walk { rules, trail, found: Findings { budget, ..Findings::default() } };
    if schema.has_rules {
        walk.value(schema, pair, ratchet);
    }
    walk.found
}

#[derive(Clone, Copy)]
struct Pair<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
}

/// A part of the new object and the part of the old one that it was.
#[derive(Clone, Copy)]
struct Place<'a> {
    schema: &'a Schema,
    new: &'a Value,
    old: &'a Value,
}

impl Place<'_> {
    fn unchanged(&self) -> bool {
        correlate::equal(self.schema, self.new, self.old)
    }
}

/// Whether failures count: where the part, or the nearest part around it that correlates, is unchanged, they do not.
#[derive(Clone, Copy, Default)]
struct Ratchet<'a> {
    current: Option<Place<'a>>,
    nearest: Option<Place<'a>>,
}

impl<'a> Ratchet<'a> {
    fn unchanged(&self) -> bool {
        self.current.or(self.nearest).is_some_and(|place| place.unchanged())
    }

    fn field(self, name: &str) -> Ratchet<'a> {
        let Some(current) = self.current else { return self };
        // Both objects were converted to the same version: a change of these is not seen.
        if self.nearest.is_none() && matches!(name, "apiVersion" | "kind") {
            return Ratchet::default();
        }
        let below = correlate::field(current.schema, current.new, current.old, name).and_then(|(schema, old)| {
            let new = current.new.as_map()?.get(name)?;
            Some(Place { schema, new, old })
        });
        Ratchet { current: below, nearest: Some(current) }
    }

    fn item(self, item: &'a Value, finder: Option<&mut Finder<'a, 'a>>) -> Ratchet<'a> {
        let Some(current) = self.current else { return self };
        let below = finder.and_then(|finder| {
            let old = finder.find(item)?;
            Some(Place { schema: current.schema.items.as_deref()?, new: item, old })
        });
        Ratchet { current: below, nearest: Some(current) }
    }
}

/// The budget is spent or the answer makes no sense: nothing more is evaluated.
struct Stop;

struct Walk<'a> {
    rules: &'a dyn Rules,
    trail: Trail,
    found: Findings,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Schema, pair: Pair<'a>, ratchet: Ratchet<'a>) {
        if pair.value.is_null() {
            return;
        }
        let pair = Pair { old: pair.old.filter(|old| !old.is_null()), ..pair };
        if let Some(node) = &schema.rules
            && self.node(schema, node, pair, ratchet).is_err()
        {
            self.found.budget = -1;
        }
        if self.found.budget < 0 {
            return;
        }
        match pair.value {
            Value::List(list) => self.list(list, schema, pair, ratchet),
            Value::Map(map) => {
                for (name, value) in map.iter() {
                    let property = schema.properties.get(name);
                    let below = property.or_else(|| schema.additional.schema()).filter(|below| below.has_rules);
                    let Some(below) = below else { continue };
                    let old = pair.old.and_then(Value::as_map).and_then(|old| old.get(name));
                    let mark = if property.is_some() { self.trail.name(name) } else { self.trail.key(name) };
                    self.value(below, Pair { value, old }, ratchet.field(name));
                    self.trail.back(mark);
                    if self.found.budget < 0 {
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    fn list(&mut self, list: &'a [Value], schema: &'a Schema, pair: Pair<'a>, ratchet: Ratchet<'a>) {
        let Some(items) = schema.items.as_deref().filter(|items| items.has_rules) else { return };
        let mut finder = pair.old.map(|old| Finder::new(schema, old));
        let mut correlated = ratchet.current.map(|place| Finder::new(place.schema, place.old));
        for (at, value) in list.iter().enumerate() {
            let old = finder.as_mut().and_then(|finder| finder.find(value));
            let mark = self.trail.index(at);
            self.value(items, Pair { value, old }, ratchet.item(value, correlated.as_mut()));
            self.trail.back(mark);
            if self.found.budget < 0 {
                return;
            }
        }
    }

    fn node(&mut self, schema: &Schema, node: &RuleNode, pair: Pair<'_>, ratchet: Ratchet<'_>) -> Result<(), Stop> {
        if self.found.budget <= 0 {
            self.out_of_budget(schema);
            return Err(Stop);
        }
        let kept = Kept::default();
        for (at, rule) in node.rules.iter().enumerate() {
            let call = Call { schema, node, rule: at, value: pair.value, old: pair.old, kept: &kept };
            self.rule(&call, rule, ratchet)?;
        }
        Ok(())
    }

    fn rule(&mut self, call: &Call<'_>, rule: &Rule, ratchet: Ratchet<'_>) -> Result<(), Stop> {
        if let Some(error) = self.rules.compile_error(call.node.id, call.rule) {
            self.about_type(call.schema, &format!("rule compile error: {error}"));
            return Ok(());
        }
        let uses_old = self.rules.uses_old_self(call.node.id, call.rule);
        let skipped = uses_old && call.old.is_none() && rule.optional_old_self != Some(true);
        if rule.rule.trim().is_empty() || skipped {
            return Ok(());
        }
        let evaluation = self.rules.evaluate(call);
        self.spend(call.schema, rule, evaluation.cost)?;
        match evaluation.result {
            Ok(true) => Ok(()),
            Ok(false) => self.failed(call, rule, !uses_old && ratchet.unchanged()),
            Err(error) => self.not_evaluated(call.schema, rule, &error),
        }
    }

    fn spend(&mut self, schema: &Schema, rule: &Rule, cost: Option<u64>) -> Result<(), Stop> {
        let Some(cost) = cost else {
            let why = format!(
                "runtime cost could not be calculated for validation rule: {}, no further validation rules will be run",
                named(rule)
            );
            self.about_type(schema, &why);
            return Err(Stop);
        };
        match i64::try_from(cost) {
            Ok(cost) if cost <= self.found.budget => self.found.budget -= cost,
            _ => {
                self.out_of_budget(schema);
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn not_evaluated(&mut self, schema: &Schema, rule: &Rule, error: &str) -> Result<(), Stop> {
        let rule = named(rule);
        if error.starts_with("no such overload") {
            let why = format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
            );
            self.about_type(schema, &why);
        } else if error.starts_with("operation cancelled: actual cost limit exceeded") {
            let why = format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
            );
            self.about_type(schema, &why);
            return Err(Stop);
        } else {
            self.about_type(schema, &format!("{error} evaluating rule: {rule}"));
        }
        Ok(())
    }

    fn failed(&mut self, call: &Call<'_>, rule: &Rule, ratcheted: bool) -> Result<(), Stop> {
        let mut trail = self.trail.path();
        if !rule.field_path.is_empty()
            && let Ok((below, _)) = fieldpath::resolve(&rule.field_path, call.schema, Brackets::Allowed)
        {
            trail = trail.child(&below.to_string());
        }
        let detail = match self.message(call, rule) {
            Ok(Some(message)) => message,
            Ok(None) if rule.message.is_empty() => format!("failed rule: {}", named(rule)),
            Ok(None) => rule.message.trim().to_owned(),
            Err(error) => {
                let error = match error {
                    Fatal::Internal(text) => field::internal(&trail, text),
                    Fatal::Invalid(text) => field::invalid(&trail, call.schema.ty.name(), text),
                };
                self.report(error, ratcheted);
                return Err(Stop);
            }
        };
        let omitted = matches!(call.schema.ty.name(), "object" | "array");
        let value = crate::go::sorted(call.value);
        let error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => field::forbidden(&trail, detail),
            Some("FieldValueRequired") => field::required(&trail, detail),
            Some("FieldValueDuplicate") if omitted => {
                field::Error { kind: field::Kind::Duplicate, field: trail.to_string(), body: "Duplicate value".into() }
            }
            Some("FieldValueDuplicate") => field::duplicate(&trail, value),
            _ if omitted => field::invalid_hidden(&trail, detail),
            _ => field::invalid(&trail, value, detail),
        };
        self.report(error, ratcheted);
        Ok(())
    }

    /// The text of the message expression, if it makes a good one.
    fn message(&mut self, call: &Call<'_>, rule: &Rule) -> Result<Option<String>, Fatal> {
        if rule.message_expression.is_empty() {
            return Ok(None);
        }
        let evaluation = self.rules.message(call);
        let expression = field::go_quote(&rule.message_expression);
        let Some(cost) = evaluation.cost else {
            let text = format!("runtime cost could not be calculated for messageExpression: {expression}");
            return Err(Fatal::Internal(text));
        };
        let left = i64::try_from(cost).ok().and_then(|cost| self.found.budget.checked_sub(cost));
        let Some(left) = left.filter(|left| *left >= 0) else {
            let text = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            return Err(Fatal::Invalid(text.into()));
        };
        self.found.budget = left;
        match evaluation.result {
            Err(error) if error.starts_with("operation cancelled: actual cost limit exceeded") => {
                let text = format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {expression}"
                );
                Err(Fatal::Invalid(text))
            }
            Err(_) | Ok(None) => Ok(None),
            Ok(Some(text)) => {
                let text = text.trim();
                let good = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
                Ok(good.then(|| text.to_owned()))
            }
        }
    }

    fn report(&mut self, error: field::Error, ratcheted: bool) {
        if ratcheted {
            self.found.warnings.push(error.to_string());
        } else {
            self.found.errors.push(error);
        }
    }

    fn out_of_budget(&mut self, schema: &Schema) {
        let why = "validation failed due to running out of cost budget, no further validation rules will be run";
        self.about_type(schema, why);
    }

    fn about_type(&mut self, schema: &Schema, why: &str) {
        self.found.errors.push(field::invalid(&self.trail.path(), schema.ty.name(), why));
    }
}

/// An expression of a message that ends the evaluation.
enum Fatal {
    Internal(String),
    Invalid(String),
}

/// How errors name a rule.
fn named(rule: &Rule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}
