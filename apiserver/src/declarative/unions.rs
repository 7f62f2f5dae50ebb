//! Rules between the fields of a struct
//! (k8s.io/apimachinery/pkg/api/validate/{union,zeroorone,discriminator,dependentrequired}.go).

use api::field::{self, Errors};
use api::rules::{Case, Rule};
use api::value::Value;

use super::walk::{At, Place, Walk, equal, inner, is_set, list, map};

fn holds(case: Case, value: Option<&Value>) -> bool {
    match case {
        Case::Field(name, set) => is_set(map(value).get(name), set),
        Case::Item(name, wanted) => list(value).iter().filter_map(Value::as_map).any(|item| item.str(name) == wanted),
    }
}

/// One of the members is there; on update that is asked only when another set of members is.
pub(super) fn union(
    walk: &Walk,
    exactly: bool,
    members: &[(&'static str, Case)],
    place: &Place,
    at: At,
    errors: &mut Errors,
) {
    let set: Vec<&str> = members.iter().filter(|member| holds(member.1, at.new)).map(|member| member.0).collect();
    let changed = members.iter().any(|member| holds(member.1, at.new) != holds(member.1, at.old));
    if walk.update && at.old.is_some() && !changed {
        return;
    }
    let all: Vec<String> = members.iter().map(|member| format!("`{}`", member.0)).collect();
    let (all, path) = (all.join(", "), place.path());
    let least = if exactly { "exactly" } else { "at most" };
    if set.len() > 1 {
        let shown = format!("{{{}}}", set.join(", "));
        errors.push(field::invalid(&path, shown, format!("must specify {least} one of: {all}")));
    }
    if set.is_empty() && exactly {
        errors.push(field::invalid(&path, "", format!("must specify one of: {all}")));
    }
}

/// A field whose rules depend on another's value.
pub(super) struct Choice {
    pub(super) field: &'static str,
    pub(super) by: &'static str,
    pub(super) cases: &'static [(&'static str, &'static [Rule])],
    pub(super) other: &'static [Rule],
}

pub(super) fn discriminated(walk: &Walk, choice: &Choice, place: &Place, at: At, errors: &mut Errors) {
    let member = |value: Option<&Value>| map(value).get(choice.field).filter(|value| !value.is_null()).cloned();
    let (new, old) = (member(at.new), member(at.old));
    let (by, was) = (map(at.new).str(choice.by), map(at.old).str(choice.by));
    if walk.update && at.old.is_some() && by == was && equal(new.as_ref(), old.as_ref()) {
        return;
    }
    let rules = choice.cases.iter().find(|case| case.0 == by).map_or(choice.other, |case| case.1);
    let ty = inner(at.ty, Some(choice.field));
    walk.rules(rules, &Place::Name(place, choice.field), At { new: new.as_ref(), old: old.as_ref(), ty }, errors);
}

/// The second is there, or is not, when the first is.
pub(super) fn dependent(
    walk: &Walk,
    forbidden: bool,
    [(trigger, trigger_set), (dependent, dependent_set)]: [(&'static str, Case); 2],
    place: &Place,
    at: At,
    errors: &mut Errors,
) {
    let now = [trigger_set, dependent_set].map(|case| holds(case, at.new));
    if walk.update && at.old.is_some() && now == [trigger_set, dependent_set].map(|case| holds(case, at.old)) {
        return;
    }
    let path = || place.path().child(dependent);
    match (forbidden, now) {
        (false, [true, false]) => {
            errors.push(field::required(&path(), format!("must be set when {trigger} is set")));
        }
        (true, [true, true]) => {
            errors.push(field::forbidden(&path(), format!("may not be set when {trigger} is set")));
        }
        _ => {}
    }
}
