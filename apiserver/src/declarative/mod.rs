//! Declarative validation: what the rules of a kind say of an object, beside what its strategy says
//! (k8s.io/apiserver/pkg/registry/rest/validate.go, k8s.io/apimachinery/pkg/api/validate@v0.37.2).
//!
//! Must not know: HTTP, the store, kinds. The rules are facts (`api::rules`); here is what they mean.

mod custom;
mod format;
mod limits;
mod lists;
mod unions;
mod walk;

use api::facts::Struct;
use api::field::{Error, Errors};
use api::rules;
use api::value::Map;

use walk::Walk;

/// Options of rules are feature gates; these are on in v1.37 (pkg/features/kube_features.go), the rest is off.
const OPTIONS: &[&str] = &["HPAScaleToZero"];

/// Adds what the rules say to what was said by hand. A rule's error takes the place of the same one said by hand.
pub(crate) fn merge(errors: &mut Errors, ty: &'static Struct, subresource: &str, object: &Map, old: Option<&Map>) {
    let Some(rules) = rules::of(ty.name, subresource) else { return };
    let mut told = Errors::new();
    Walk { update: old.is_some() }.object(rules, [Some(object), old], ty, &mut told);
    if told.is_empty() {
        return;
    }
    errors.retain(|error| !told.iter().any(|rule| covers(rule, error)));
    errors.extend(told);
}

/// The same in both words: what was written by hand calls bytes characters.
fn covers(rule: &Error, by_hand: &Error) -> bool {
    let words = |error: &Error| error.body.replace("must be no more than", "").replace(" characters", " bytes");
    rule.kind == by_hand.kind && rule.field == by_hand.field && words(rule) == words(by_hand)
}

fn option(name: &str) -> bool {
    OPTIONS.contains(&name)
}

#[cfg(test)]
mod tests;
