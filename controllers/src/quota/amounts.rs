//! Lists of named quantities, as quotas add and compare them (k8s.io/apiserver/pkg/quota/v1/resources.go@v0.37.2).

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// Resource name to amount.
pub(super) type Amounts = BTreeMap<String, Quantity>;
/// As the API has them.
pub(super) type Texts = BTreeMap<String, Text>;

/// What the API server stored parses; what does not counts as absent.
pub(super) fn parse(texts: Option<&Texts>) -> Amounts {
    let all = texts.into_iter().flatten();
    all.filter_map(|(name, text)| Some((name.clone(), Quantity::parse(&text.0).ok()?))).collect()
}

pub(super) fn texts(amounts: &Amounts) -> Texts {
    amounts.iter().map(|(name, amount)| (name.clone(), Text(amount.to_string()))).collect()
}

pub(super) fn number(value: i64) -> Quantity {
    Quantity::from_i64(value, Format::DecimalSI)
}

pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(value) => value.add(amount),
            None => drop(sum.insert(name.clone(), amount.clone())),
        }
    }
}

/// Raises each amount to at least that of `floor`.
pub(super) fn raise(amounts: &mut Amounts, floor: &Amounts) {
    for (name, amount) in floor {
        if amounts.get(name).is_none_or(|value| value < amount) {
            amounts.insert(name.clone(), amount.clone());
        }
    }
}
