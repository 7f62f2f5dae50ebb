//! The hash by which the kubelet sees that a container's definition changed. It is written on the
//! container, so it must equal upstream's: else a swap of kubelets would restart every container
//! (pkg/kubelet/container/helpers.go@v1.37.2, HashContainer).

use k8s_openapi::api::core::v1::Container;

pub(crate) fn container_hash(container: &Container) -> u64 {
    let image = container.image.as_deref().unwrap_or("");
    let json = serde_json::json!({ "image": image, "name": container.name }).to_string();
    // Upstream hashes the printed form of the bytes of this JSON.
    let bytes: Vec<String> = json.bytes().map(|byte| byte.to_string()).collect();
    u64::from(fnv32a(format!("([]uint8)[{}]", bytes.join(" ")).as_bytes()))
}

/// FNV-1a of 32 bits.
pub(crate) fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_upstreams() {
        // The sample of pkg/kubelet/container/container_hash_test.go@v1.37.2.
        let container =
            Container { name: "test_container".into(), image: Some("foo/image:v1".into()), ..Container::default() };
        assert_eq!(container_hash(&container), 0x8e45_cbd0);
    }
}
