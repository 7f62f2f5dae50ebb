//! A ReplicationController seen as a ReplicaSet, and back (pkg/controller/replication/conversion.go@v1.37.2).

use client::informer::Object;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;

/// A kind that keeps a number of pods.
pub(crate) trait Replicated: Object + kube::Resource<Scope = NamespaceResourceScope> + Serialize {
    /// Whether its status has terminatingReplicas.
    const COUNTS_TERMINATING: bool;

    fn view(&self) -> ReplicaSet;
    fn from_view(view: ReplicaSet) -> Self;
}

impl Replicated for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;

    fn view(&self) -> ReplicaSet {
        self.clone()
    }

    fn from_view(view: ReplicaSet) -> Self {
        view
    }
}

impl Replicated for ReplicationController {
    const COUNTS_TERMINATING: bool = false;

    fn view(&self) -> ReplicaSet {
        let spec = self.spec.clone().unwrap_or_default();
        let spec = ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: spec.replicas,
            selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
            template: spec.template,
        };
        let status = self.status.clone().map(|status| ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(to_set_condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        });
        ReplicaSet { metadata: self.metadata.clone(), spec, status }
    }

    fn from_view(view: ReplicaSet) -> Self {
        let spec = ReplicationControllerSpec {
            min_ready_seconds: view.spec.min_ready_seconds,
            replicas: view.spec.replicas,
            selector: view.spec.selector.match_labels,
            template: view.spec.template,
        };
        let status = view.status.map(|status| ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(from_set_condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        });
        ReplicationController { metadata: view.metadata, spec: Some(spec), status }
    }
}

fn to_set_condition(condition: ReplicationControllerCondition) -> ReplicaSetCondition {
    ReplicaSetCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: Some(condition.status),
        type_: Some(condition.type_),
    }
}

fn from_set_condition(condition: ReplicaSetCondition) -> ReplicationControllerCondition {
    ReplicationControllerCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status.unwrap_or_default(),
        type_: condition.type_.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same() {
        let text = r#"{"metadata":{"name":"a","generation":2},"spec":{"replicas":2,"minReadySeconds":1,"selector":{"a":"b"},"template":{"metadata":{"labels":{"a":"b"}}}},
          "status":{"replicas":1,"readyReplicas":1,"observedGeneration":2,"conditions":[{"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"m"}]}}"#;
        let controller: ReplicationController = serde_json::from_str(text).expect("rc");
        assert_eq!(ReplicationController::from_view(controller.view()), controller);
    }
}
