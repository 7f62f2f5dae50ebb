//! The configured webhooks, parsed once for each change
//! (k8s.io/apiserver/pkg/admission/{configuration,plugin/webhook/accessors.go}@v0.37.2).
//!
//! Invariant: configurations in the order of their names, webhooks in the order of their configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::selector::labels::Selector;
use api::value::{Map, Value};
use api::view;
use arc_swap::ArcSwap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use parking_lot::Mutex;

use super::condition;
use super::matching::Rule;
use crate::admission::expression::conditions::MatchConditions;
use crate::webhook::Version;
use crate::webhook::place::Place;

/// How long a webhook may take when its configuration is silent (pkg/apis/admissionregistration/v1/defaults.go).
const DEFAULT_TIMEOUT_SECONDS: u64 = 10;

/// Whether a webhook may be asked about a request that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SideEffects {
    Unset,
    Possible,
    None,
}

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) configuration: String,
    pub(super) name: String,
    /// Distinguishes webhooks, whose names need not be unique.
    pub(super) uid: String,
    pub(super) place: Place,
    pub(super) rules: Vec<Rule>,
    /// An error is told to whom the webhook would concern.
    pub(super) namespaces: Result<Selector, String>,
    pub(super) objects: Result<Selector, String>,
    pub(super) conditions: Option<MatchConditions>,
    /// matchPolicy Equivalent.
    pub(super) any_version: bool,
    /// failurePolicy Ignore.
    pub(super) may_fail: bool,
    pub(super) side_effects: SideEffects,
    pub(super) timeout: Duration,
    pub(super) review: Option<Version>,
    /// reinvocationPolicy IfNeeded.
    pub(super) again: bool,
}

fn selector(webhook: &Map, name: &str) -> Result<Selector, String> {
    let typed: Option<LabelSelector> =
        webhook.map(name).map(view::of).transpose().map_err(|error| error.to_string())?;
    Selector::from_label_selector(typed.as_ref()).map_err(|error| error.to_string())
}

fn hook(configuration: &str, at: usize, webhook: &Map) -> Hook {
    let (name, may_fail) = (webhook.str("name"), webhook.str("failurePolicy") == "Ignore");
    let seconds = webhook.i64("timeoutSeconds").and_then(|seconds| u64::try_from(seconds).ok());
    Hook {
        configuration: configuration.into(),
        name: name.into(),
        uid: format!("{configuration}/{name}/{at}"),
        place: Place::of(webhook.map("clientConfig").unwrap_or(Map::EMPTY)),
        rules: webhook.maps("rules").map(Rule::of).collect(),
        namespaces: selector(webhook, "namespaceSelector"),
        objects: selector(webhook, "objectSelector"),
        conditions: condition::compiled(webhook, may_fail),
        any_version: webhook.str("matchPolicy") == "Equivalent",
        may_fail,
        side_effects: match webhook.get("sideEffects").and_then(Value::as_str) {
            None => SideEffects::Unset,
            Some("None" | "NoneOnDryRun") => SideEffects::None,
            Some(_) => SideEffects::Possible,
        },
        timeout: Duration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS)),
        review: Version::chosen(webhook.list("admissionReviewVersions")),
        again: webhook.str("reinvocationPolicy") == "IfNeeded",
    }
}

/// The webhooks of a configuration.
pub(super) fn hooks(configuration: &str, object: &Map) -> Vec<Arc<Hook>> {
    let mut named: HashMap<&str, usize> = HashMap::new();
    let webhooks = object.maps("webhooks").map(|webhook| {
        let seen = named.entry(webhook.str("name")).or_default();
        let at = *seen;
        *seen += 1;
        Arc::new(hook(configuration, at, webhook))
    });
    webhooks.collect()
}

/// The webhooks of one kind of configuration.
#[derive(Default)]
pub(super) struct Index {
    configurations: Mutex<BTreeMap<String, Vec<Arc<Hook>>>>,
    all: ArcSwap<Vec<Arc<Hook>>>,
}

impl Index {
    /// A configuration is there or has changed, or is gone.
    pub(super) fn set(&self, name: &str, object: Option<&Map>) {
        let mut configurations = self.configurations.lock();
        match object {
            Some(object) => drop(configurations.insert(name.into(), hooks(name, object))),
            None => drop(configurations.remove(name)),
        }
        self.all.store(Arc::new(configurations.values().flatten().cloned().collect()));
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Hook>>> {
        self.all.load_full()
    }
}

#[cfg(test)]
mod tests {
    use api::map;

    use super::*;

    #[test]
    fn in_the_order_of_names() {
        let index = Index::default();
        let configuration = |names: &[&str]| {
            let webhooks = names.iter().map(|name| Value::Map(map! { "name" => *name })).collect::<Vec<_>>();
            map! { "webhooks" => webhooks }
        };
        index.set("b", Some(&configuration(&["x", "w"])));
        index.set("a", Some(&configuration(&["x", "x"])));
        let all = || index.all().iter().map(|hook| hook.uid.clone()).collect::<Vec<_>>();
        assert_eq!(all(), ["a/x/0", "a/x/1", "b/x/0", "b/w/0"]);
        index.set("a", None);
        assert_eq!(all(), ["b/x/0", "b/w/0"]);
    }
}
