//! What is wrong with an expression whose types are right: literals that can be no duration, time or regular expression,
//! lists of several types, formats that do not fit their arguments.
//!
//! Invariant: the validators of cel-go's `cel/validator.go` and `ext/formatting.go` @v0.29.2 that Kubernetes uses.

use crate::ast::{Call, Element, Entry, Expr, Id, Kind};
use crate::check::Checked;
use crate::library::format::{self, Clause, FormatError};
use crate::plan::{self, Context};
use crate::source::Issues;
use crate::types::{self, Type};
use crate::value::Value;
use api::goregex;

pub(crate) fn validate(checked: &Checked, context: &Context<'_>) -> Result<(), Issues> {
    let mut validator = Validator { checked, issues: Issues::new(&checked.parsed.source) };
    let expr = &checked.parsed.expr;
    for function in ["duration", "timestamp"] {
        validator.literals(function, |call, _| plan::constant(checked, context, call).is_ok());
    }
    validator.literals("matches", |_, literal| literal.as_str().is_none_or(|text| goregex::compile(text).is_ok()));
    expr.walk(&mut |expr, calls| {
        if !calls.contains(&"format") {
            validator.homogeneous(expr);
        }
    });
    expr.walk(&mut |expr, _| {
        if let Kind::Call(call) = &expr.kind {
            validator.format(expr.id, call);
        }
    });
    if validator.issues.is_empty() { Ok(()) } else { Err(validator.issues) }
}

struct Validator<'a> {
    checked: &'a Checked,
    issues: Issues,
}

impl Validator<'_> {
    fn report(&mut self, id: Id, message: String) {
        let parsed = &self.checked.parsed;
        self.issues.report(parsed.places.location(id, &parsed.source), message);
    }

    /// The first argument of every call of a function, where it is a literal.
    fn literals(&mut self, function: &str, valid: impl Fn(&Expr, &Value) -> bool) {
        let checked = self.checked;
        checked.parsed.expr.walk(&mut |expr, _| {
            let Kind::Call(call) = &expr.kind else { return };
            let Some(arg) = call.args.first().filter(|_| call.function.as_ref() == function) else { return };
            if arg.literal().is_some_and(|literal| !valid(expr, literal)) {
                self.report(arg.id, format!("invalid {function} argument"));
            }
        });
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        let (expected, found) = (types::format(expected), types::format(found));
        self.report(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn homogeneous(&mut self, expr: &Expr) {
        match &expr.kind {
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            _ => {}
        }
    }

    fn type_of(&self, expr: &Expr, optional: bool) -> Type {
        let of = self.checked.type_of(expr.id);
        of.optional_value().filter(|_| optional).unwrap_or(of).clone()
    }

    fn list(&mut self, elements: &[Element]) {
        let Some((first, rest)) = elements.split_first() else { return };
        let expected = self.type_of(&first.value, first.optional);
        for element in rest {
            let found = self.type_of(&element.value, element.optional);
            if !expected.is_equivalent(&found) {
                return self.mismatch(element.value.id, &expected, &found);
            }
        }
    }

    fn map(&mut self, entries: &[Entry]) {
        let Some((first, rest)) = entries.split_first() else { return };
        let (key, value) = (self.type_of(&first.key, false), self.type_of(&first.value, first.optional));
        for entry in rest {
            let (own_key, own) = (self.type_of(&entry.key, false), self.type_of(&entry.value, entry.optional));
            if !key.is_equivalent(&own_key) {
                self.mismatch(entry.key.id, &key, &own_key);
            }
            if !value.is_equivalent(&own) {
                self.mismatch(entry.value.id, &value, &own);
            }
        }
    }

    fn format(&mut self, id: Id, call: &Call) {
        let known = self.checked.overloads(id).iter().any(|overload| overload.as_ref() == "string_format");
        let text = call.target.as_ref().filter(|_| known).and_then(Expr::literal).and_then(Value::as_str);
        let (Some(text), [Expr { kind: Kind::List(elements), .. }]) = (text, call.args.as_slice()) else { return };
        let mut asked = 0;
        let filled = format::scan(text, elements.len(), true, |at, clause| {
            asked = at + 1;
            self.clause(clause, &elements[at].value).map(|()| String::new())
        });
        match filled {
            Err(error) => self.report(error.id.unwrap_or(id), error.message),
            Ok(_) if elements.len() > asked => {
                let given = elements.len();
                let message = "too many arguments supplied to string.format";
                self.report(id, format!("{message} (expected {asked}, got {given})"));
            }
            Ok(_) => {}
        }
    }

    /// Whether a clause takes an argument; of list and map literals that are written as text, everything in them.
    fn clause(&self, clause: Clause, arg: &Expr) -> Result<(), FormatError> {
        let of = self.checked.type_of(arg.id).unwrapped();
        if !clause.admits(of) {
            return Err(FormatError { id: Some(arg.id), ..clause.wrong(of.name()) });
        }
        match &arg.kind {
            Kind::List(_) | Kind::Map(_) if clause == Clause::Text => {
                arg.children().into_iter().try_for_each(|part| self.clause(clause, part))
            }
            _ => Ok(()),
        }
    }
}
