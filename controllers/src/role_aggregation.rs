//! clusterrole-aggregation-controller: an aggregated ClusterRole has the rules of those it selects
//! (pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go@v1.37.2).

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Selector;
use kube::{Api, Client};
use serde_json::json;

use crate::Context;
use crate::common::hash::canonical;
use crate::common::selector;
use crate::error::{Result, is_unsupported_media_type};

const NAME: &str = "clusterrole-aggregation-controller";
/// Upstream: 5 workers.
const WORKERS: usize = 5;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let roles = context.informers.of::<ClusterRole>();
    let (to, cache) = (queue.clone(), roles.clone());
    // Any role may be one that an aggregated role selects, or did.
    roles.on_change(move |_, _| {
        let aggregated = cache.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.for_each(|role| to.add(Key::of(&*role)));
    });
    let client = context.client(NAME);
    context.controller(NAME, queue, WORKERS, roles, move |key, roles| {
        let client = client.clone();
        async move { sync(&client, &key, &roles).await.map(|()| None) }
    });
}

/// The rules that `role` should have; `None` when it is not aggregated or has them.
fn plan(role: &ClusterRole, all: &[impl AsRef<ClusterRole>]) -> Result<Option<Vec<PolicyRule>>> {
    let Some(rule) = &role.aggregation_rule else { return Ok(None) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let selector: Selector = selector::parse(selector)?;
        let selected = all.iter().map(AsRef::as_ref).filter(|other| {
            other.metadata.name != role.metadata.name && selector::matches(&selector, other.metadata.labels.as_ref())
        });
        for rule in selected.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.iter().any(|known| canonical(known) == canonical(rule)) {
                rules.push(rule.clone());
            }
        }
    }
    let has = canonical(&role.rules.clone().unwrap_or_default());
    Ok((canonical(&rules) != has).then_some(rules))
}

async fn sync(client: &Client, key: &Key, roles: &Cache<ClusterRole>) -> Result<()> {
    let Some(role) = roles.by_key(key) else { return Ok(()) };
    let Some(rules) = plan(&role, &roles.list())? else { return Ok(()) };
    let api: Api<ClusterRole> = Api::all(client.clone());
    let apply = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": key.name}, "rules": rules,
    });
    match api.patch(&key.name, &PatchParams::apply(NAME).force(), &Patch::Apply(apply)).await {
        Ok(_) => Ok(()),
        Err(error) if is_unsupported_media_type(&error) => {
            let changed = ClusterRole { rules: Some(rules), ..(*role).clone() };
            api.replace(&key.name, &PostParams::default(), &changed).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn role(value: serde_json::Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).expect("role"))
    }

    #[test]
    fn rules_of_the_selected_once_each() {
        let rule = |verb: &str| json!({"verbs": [verb], "resources": ["pods"], "apiGroups": [""]});
        let aggregated = |rules: serde_json::Value| {
            role(json!({"metadata": {"name": "admin", "labels": {"a": "b"}}, "rules": rules,
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}))
        };
        let part = |name: &str, verbs: &[&str]| {
            let rules: Vec<_> = verbs.iter().map(|verb| rule(verb)).collect();
            role(json!({"metadata": {"name": name, "labels": {"a": "b"}}, "rules": rules}))
        };
        let other = role(json!({"metadata": {"name": "other"}, "rules": [rule("never")]}));
        let all = vec![aggregated(json!([])), part("one", &["get"]), part("two", &["list", "get"]), other];
        let rules = plan(&all[0], &all).expect("plan").expect("changed");
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
        let done = aggregated(serde_json::to_value(&rules).expect("json"));
        assert!(plan(&done, &all).expect("plan").is_none(), "stable");
        assert!(plan(&all[1], &all).expect("plan").is_none(), "not aggregated");
    }
}
