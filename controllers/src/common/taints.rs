//! Taints of nodes: set arithmetic, tolerations, and the write
//! (pkg/util/taints and pkg/controller/util/node/controller_utils.go@v1.37.2).

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::error::{Error, Result};

pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
pub(crate) const NO_EXECUTE: &str = "NoExecute";
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Attempts of a write that meets conflicts (upstream: UpdateTaintBackoff.Steps).
const UPDATE_ATTEMPTS: usize = 5;

/// What identifies a taint on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaintKey<'a> {
    pub(crate) key: &'a str,
    pub(crate) effect: &'a str,
}

impl<'a> TaintKey<'a> {
    pub(crate) fn no_execute(key: &'a str) -> Self {
        TaintKey { key, effect: NO_EXECUTE }
    }

    pub(crate) fn no_schedule(key: &'a str) -> Self {
        TaintKey { key, effect: NO_SCHEDULE }
    }

    fn of(taint: &'a Taint) -> Self {
        TaintKey { key: &taint.key, effect: &taint.effect }
    }
}

pub(crate) fn of_node(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

pub(crate) fn has(node: &Node, wanted: TaintKey<'_>) -> bool {
    of_node(node).iter().any(|taint| TaintKey::of(taint) == wanted)
}

/// The taints after adding and removing; `None` when nothing changes.
fn changed(current: &[Taint], add: &[TaintKey<'_>], remove: &[TaintKey<'_>], now: Timestamp) -> Option<Vec<Taint>> {
    let keep = |taint: &&Taint| !remove.contains(&TaintKey::of(taint));
    let mut taints: Vec<Taint> = current.iter().filter(keep).cloned().collect();
    for wanted in add {
        if !taints.iter().any(|taint| TaintKey::of(taint) == *wanted) {
            taints.push(Taint {
                key: wanted.key.into(),
                effect: wanted.effect.into(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (taints != current).then_some(taints)
}

/// Adds and removes taints of the live node; no write when it has them so already, nor when it is gone.
pub(crate) async fn swap(client: &Client, node: &str, add: &[TaintKey<'_>], remove: &[TaintKey<'_>]) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    for _ in 0..UPDATE_ATTEMPTS {
        let Some(live) = api.get_opt(node).await? else { return Ok(()) };
        let Some(taints) = changed(of_node(&live), add, remove, Timestamp::now()) else { return Ok(()) };
        let patch = json!({
            "metadata": {"resourceVersion": live.metadata.resource_version},
            "spec": {"taints": if taints.is_empty() { None } else { Some(taints) }},
        });
        match api.patch(node, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => return Ok(()),
            Err(error) if crate::error::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::other(format!("failed to swap taints of node {node}: too many conflicts")))
}

/// True when the toleration tolerates the taint (k8s.io/component-helpers/scheduling/corev1@v0.37.2).
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let (wanted, has) = (toleration.value.as_deref(), taint.value.as_deref());
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => wanted.unwrap_or("") == has.unwrap_or(""),
        "Exists" => true,
        "Lt" => matches!((number(has), number(wanted)), (Some(has), Some(wanted)) if has < wanted),
        "Gt" => matches!((number(has), number(wanted)), (Some(has), Some(wanted)) if has > wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    #[test]
    fn adding_and_removing() {
        let current = [taint("a", NO_EXECUTE), taint("a", NO_SCHEDULE)];
        let (a, b) = (TaintKey::no_execute("a"), TaintKey::no_execute("b"));
        let keys = |taints: Option<Vec<Taint>>| {
            taints.map(|all| all.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect::<Vec<_>>())
        };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(keys(changed(&current, &[a], &[b], now)), None);
        let swapped = keys(changed(&current, &[b], &[a], now)).expect("changed");
        assert_eq!(swapped, ["a:NoSchedule", "b:NoExecute"]);
    }

    #[test]
    fn tolerations() {
        let t = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: Some(effect.into()),
            toleration_seconds: None,
        };
        let valued = Taint { value: Some("5".into()), ..taint("a", NO_EXECUTE) };
        for (toleration, expected) in [
            (t("a", "Exists", "", ""), true),
            (t("", "Exists", "", ""), true),
            (t("a", "Equal", "5", NO_EXECUTE), true),
            (t("a", "", "6", ""), false),
            (t("a", "Exists", "", NO_SCHEDULE), false),
            (t("b", "Exists", "", ""), false),
            (t("a", "Gt", "4", ""), true),
            (t("a", "Lt", "4", ""), false),
        ] {
            assert_eq!(tolerates(&toleration, &valued), expected, "{toleration:?}");
        }
    }
}
