//! Stable hashes of API objects, and template equality.
//!
//! Upstream hashes a Go value dump with FNV-32a (pkg/controller/controller_utils.go@v1.37.2, ComputeHash),
//! which only Go can print. We hash the canonical JSON with the same function and the same encoding, so
//! names look alike; existing objects are found by comparing templates, so a swap keeps them.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;
use serde_json::Value;

/// The label that tells a template's ReplicaSets apart.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// k8s.io/apimachinery/pkg/util/rand/rand.go@v0.37.2: no vowels, so no bad words.
const SAFE_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a, 32 bits.
pub(crate) fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Replaces each character so that no word can arise.
pub(crate) fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SAFE_ALPHABET[usize::from(byte) % SAFE_ALPHABET.len()])).collect()
}

/// The JSON of `object` with sorted keys and without empty lists, which mean the same as none.
pub(crate) fn canonical(object: &impl Serialize) -> Value {
    // A k8s-openapi type has only string keys, the one thing that could fail.
    let mut value = serde_json::to_value(object).expect("an API object is valid JSON");
    normalize(&mut value);
    value
}

fn normalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null() && !field.as_array().is_some_and(Vec::is_empty));
            fields.values_mut().for_each(normalize);
            fields.sort_keys();
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        _ => {}
    }
}

/// The value of [`POD_TEMPLATE_HASH`] for a template.
pub(crate) fn pod_template_hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let mut bytes = canonical(template).to_string().into_bytes();
    if let Some(count) = collision_count {
        bytes.extend_from_slice(&u64::from(count as u32).to_le_bytes());
    }
    safe_encode(&fnv32a(&bytes).to_string())
}

/// Equal but for the label [`POD_TEMPLATE_HASH`] (pkg/controller/deployment/util, EqualIgnoreHash).
pub(crate) fn same_template(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    without_hash(one) == without_hash(other)
}

fn without_hash(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.creation_timestamp = None;
    if let Some(labels) = &mut meta.labels {
        labels.remove(POD_TEMPLATE_HASH);
    }
    if meta.labels.as_ref().is_some_and(|labels| labels.is_empty()) {
        meta.labels = None;
    }
    canonical(&template)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PodTemplateSpec {
        serde_json::from_str(text).expect("template")
    }

    #[test]
    fn known_values() {
        assert_eq!(fnv32a(b""), 0x811c9dc5);
        assert_eq!(fnv32a(b"foobar"), 0xbf9cf968);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }

    #[test]
    fn hashes_are_stable_and_differ_by_content_and_collisions() {
        let one = template(
            r#"{"metadata":{"labels":{"a":"b","c":"d"}},"spec":{"containers":[{"name":"c","image":"i","ports":[]}]}}"#,
        );
        let same =
            template(r#"{"spec":{"containers":[{"image":"i","name":"c"}]},"metadata":{"labels":{"c":"d","a":"b"}}}"#);
        let other = template(r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"j"}]}}"#);
        assert_eq!(pod_template_hash(&one, None), pod_template_hash(&same, None));
        assert_ne!(pod_template_hash(&one, None), pod_template_hash(&other, None));
        assert_ne!(pod_template_hash(&one, None), pod_template_hash(&one, Some(0)));
        assert_ne!(pod_template_hash(&one, Some(1)), pod_template_hash(&one, Some(2)));
    }

    #[test]
    fn templates_are_compared_without_the_hash() {
        let plain = template(r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}]}}"#);
        let hashed = template(
            r#"{"metadata":{"creationTimestamp":null,"labels":{"a":"b","pod-template-hash":"x"}},"spec":{"containers":[{"name":"c"}]}}"#,
        );
        let changed = template(r#"{"metadata":{"labels":{"a":"c"}},"spec":{"containers":[{"name":"c"}]}}"#);
        let volume = template(
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}],"volumes":[{"name":"v","emptyDir":{}}]}}"#,
        );
        let bare = template(
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}],"volumes":[{"name":"v"}]}}"#,
        );
        assert!(same_template(&plain, &hashed));
        assert!(!same_template(&plain, &changed));
        assert!(!same_template(&volume, &bare), "an empty struct that is set is not none");
    }
}
