//! Pods from YAML, for tests.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A pod `p` in namespace `ns` with uid `u` and this spec.
pub(crate) fn pod(spec: &str) -> Pod {
    let metadata = ObjectMeta {
        name: Some("p".into()),
        namespace: Some("ns".into()),
        uid: Some("u".into()),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: Some(yaml::<PodSpec>(spec)), status: None }
}

pub(crate) fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
