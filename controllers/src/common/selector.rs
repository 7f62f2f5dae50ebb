//! Label selectors and int-or-percent values, as controllers use them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};

use crate::error::{Error, Result};

pub(crate) type Labels = BTreeMap<String, String>;

/// The selector of a workload.
pub(crate) fn parse(selector: &LabelSelector) -> Result<Selector> {
    Selector::try_from(selector.clone()).map_err(|error| Error::other(error.to_string()))
}

pub(crate) fn matches(selector: &Selector, labels: Option<&Labels>) -> bool {
    match labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&Labels::new()),
    }
}

/// A label selector as Go prints it, which events show.
pub(crate) fn in_go(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.clone().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", one.key, one.operator)
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        expressions.collect::<String>()
    )
}

/// True when each pair of `wanted` is among `labels` (a Service's selector, a template's labels).
pub(crate) fn has_all(wanted: &Labels, labels: Option<&Labels>) -> bool {
    wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// The value of an int or percentage of `total` (k8s.io/apimachinery/pkg/util/intstr@v0.37.2).
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Result<i32> {
    let text = match value {
        IntOrString::Int(value) => return Ok(*value),
        IntOrString::String(text) => text,
    };
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<i64>().ok());
    let percent = percent
        .ok_or_else(|| Error::other("invalid value for IntOrString: invalid type: string is not a percentage"))?;
    let product = percent * i64::from(total);
    let scaled = if round_up {
        product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
    } else {
        product.div_euclid(100)
    };
    Ok(i32::try_from(scaled).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_as_go_prints_them() {
        let selector: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["x","y"]}]}"#,
        )
        .expect("selector");
        assert_eq!(
            in_go(&selector),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
        );
    }

    #[test]
    fn percentages_round_as_asked() {
        for (value, total, up, expected) in
            [("25%", 10, true, 3), ("25%", 10, false, 2), ("100%", 7, false, 7), ("0%", 7, true, 0)]
        {
            assert_eq!(
                scaled(&IntOrString::String(value.into()), total, up).expect(value),
                expected,
                "{value} of {total}"
            );
        }
        assert_eq!(scaled(&IntOrString::Int(4), 1, true).expect("int"), 4);
        assert!(scaled(&IntOrString::String("4".into()), 1, true).is_err());
    }
}
