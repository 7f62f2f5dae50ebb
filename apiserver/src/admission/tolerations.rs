//! DefaultTolerationSeconds, ExtendedResourceToleration and TaintNodesByCondition: how pods and nodes start out with regard to
//! nodes that are not ready, or special
//! (plugin/pkg/admission/{defaulttolerationseconds,extendedresourcetoleration,nodetaint}@v1.37.2).

use std::collections::BTreeSet;

use api::map;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::amounts::{self, Part};
use super::{Attributes, Operation, Plugin, Reader};
use crate::options::Times;
use crate::resources::core::pod::resources::is_extended;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Taints, and for how many seconds pods bear them that say nothing of them.
pub(crate) struct DefaultTolerationSeconds([(&'static str, i64); 2]);

impl DefaultTolerationSeconds {
    pub(crate) fn new(times: &Times) -> Self {
        DefaultTolerationSeconds([
            (NOT_READY, times.not_ready_toleration_seconds),
            (UNREACHABLE, times.unreachable_toleration_seconds),
        ])
    }
}

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if attributes.is("", "pods", &[""])
                && let Some(pod) = attributes.object.as_deref_mut()
            {
                for (key, seconds) in self.0 {
                    tolerate(pod.map_mut("spec"), key, seconds);
                }
            }
            Ok(())
        })
    }
}

fn tolerate(spec: &mut Map, key: &str, seconds: i64) {
    let covers = |toleration: &Map| {
        matches!(toleration.str("key"), "" | NOT_READY | UNREACHABLE)
            && (toleration.str("key").is_empty() || toleration.str("key") == key)
            && matches!(toleration.str("effect"), "" | "NoExecute")
    };
    if spec.maps("tolerations").any(covers) {
        return;
    }
    let toleration =
        map! { "key" => key, "operator" => "Exists", "effect" => "NoExecute", "tolerationSeconds" => seconds };
    spec.list_mut("tolerations").push(Value::Map(toleration));
}

pub(crate) struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let is_pod = attributes.is("", "pods", &[""]);
            let Some(pod) = attributes.object.as_deref_mut().filter(|_| is_pod) else { return Ok(()) };
            let spec = pod.map_mut("spec");
            let asked: BTreeSet<String> = ["containers", "initContainers"]
                .iter()
                .flat_map(|list| spec.maps(list))
                .flat_map(|container| amounts::of_container(container, Part::Requests).into_keys())
                .filter(|name| is_extended(name))
                .collect();
            for key in asked {
                let there = |toleration: &Map| {
                    toleration.str("key") == key
                        && toleration.str("operator") == "Exists"
                        && toleration.str("effect") == "NoSchedule"
                };
                if !spec.maps("tolerations").any(there) {
                    let toleration = map! { "key" => key, "operator" => "Exists", "effect" => "NoSchedule" };
                    spec.list_mut("tolerations").push(Value::Map(toleration));
                }
            }
            Ok(())
        })
    }
}

pub(crate) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if attributes.is("", "nodes", &[""])
                && let Some(node) = attributes.object.as_deref_mut()
            {
                let spec = node.map_mut("spec");
                let there = |taint: &Map| taint.str("key") == NOT_READY && taint.str("effect") == "NoSchedule";
                if !spec.maps("taints").any(there) {
                    spec.list_mut("taints").push(Value::Map(map! { "key" => NOT_READY, "effect" => "NoSchedule" }));
                }
            }
            Ok(())
        })
    }
}
