//! Static pods: manifests in a folder (pkg/kubelet/config/{file,common}.go@v1.37.2).
//!
//! Invariant: the uid of a static pod is a hash of its definition, so a changed file is another pod.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::mirror;
use crate::config::Config;
use crate::kubelet::Kubelet;
use crate::pod::shape;

/// Hexadecimal digits of a static pod's uid; upstream's is an MD5.
const UID_DIGITS: usize = 32;
/// Bytes of a manifest (maxConfigLength).
const MANIFEST_BYTES_MAX: u64 = 10 << 20;

/// Reads the folder again and again, for as long as the kubelet runs; `ready` is told after the first
/// time.
pub(crate) async fn run(kubelet: Arc<Kubelet>, ready: tokio::sync::oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let Some(folder) = kubelet.config.static_pod_path.clone() else {
        let _ = ready.take().map(|ready| ready.send(()));
        return;
    };
    let mut known: HashMap<String, Arc<Pod>> = HashMap::new();
    loop {
        let found = read(&folder, &kubelet.config);
        for (uid, gone) in known.iter().filter(|(uid, _)| !found.contains_key(*uid)) {
            tracing::info!(uid, "static pod removed");
            kubelet.workers.remove(&kubelet, gone);
            mirror::delete(&kubelet, gone).await;
        }
        for (_, pod) in found.iter().filter(|(uid, _)| !known.contains_key(*uid)) {
            kubelet.workers.apply(&kubelet, pod.clone());
        }
        known = found;
        let _ = ready.take().map(|ready| ready.send(()));
        tokio::time::sleep(kubelet.config.file_check_frequency).await;
    }
}

fn read(folder: &Path, config: &Config) -> HashMap<String, Arc<Pod>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if folder.is_file() {
        paths.push(folder.to_path_buf());
    }
    paths.sort();
    let hidden = |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let mut found = HashMap::new();
    for path in paths.into_iter().filter(|path| path.is_file() && !hidden(path)) {
        match one(&path, config) {
            Ok(pod) => drop(found.insert(shape::uid(&pod).to_owned(), Arc::new(pod))),
            Err(error) => tracing::error!(path = %path.display(), %error, "Could not process manifest file"),
        }
    }
    found
}

fn one(path: &Path, config: &Config) -> Result<Pod, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > MANIFEST_BYTES_MAX {
        return Err(format!("file is larger than {MANIFEST_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    parse(&text, &path.display().to_string(), config)
}

fn parse(text: &str, path: &str, config: &Config) -> Result<Pod, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err("not a v1 Pod".into());
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|e| e.to_string())?;
    if shape::name(&pod).is_empty() || shape::spec(&pod).containers.is_empty() {
        return Err("invalid pod: a name and a container are required".into());
    }
    let digest = Sha256::digest(format!("{}{path}{}", config.node_name, serde_json::json!(pod)).as_bytes());
    let uid: String =
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(UID_DIGITS).collect();
    let metadata = &mut pod.metadata;
    metadata.name = Some(format!("{}-{}", metadata.name.as_deref().unwrap_or(""), config.node_name.to_lowercase()));
    metadata.namespace.get_or_insert_with(|| "default".into());
    metadata.uid = Some(metadata.uid.take().unwrap_or_else(|| uid.clone()));
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(shape::HASH_ANNOTATION.into(), uid);
    annotations.insert(shape::SOURCE_ANNOTATION.into(), "file".into());
    annotations.insert("kubernetes.io/config.seen".into(), Timestamp::now().to_string());
    default(&mut pod, config);
    Ok(pod)
}

/// What the API server would have filled in and this kubelet relies on.
fn default(pod: &mut Pod, config: &Config) {
    let Some(spec) = pod.spec.as_mut() else { return };
    spec.node_name = Some(config.node_name.clone());
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(shape::DEFAULT_GRACE_SECONDS);
    spec.enable_service_links.get_or_insert(true);
    // A static pod stays whatever happens to the node.
    let all = Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Toleration::default() };
    spec.tolerations.get_or_insert_default().push(all);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let image = container.image.as_deref().unwrap_or("");
        let latest = crate::images::with_tag(image).is_some_and(|tagged| tagged.ends_with(":latest"));
        let policy = if latest { "Always" } else { "IfNotPresent" };
        container.image_pull_policy.get_or_insert_with(|| policy.into());
        container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
        container.termination_message_policy.get_or_insert_with(|| "File".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_a_static_pod() {
        let config = Config::new("Node1");
        let text = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{name: c, image: 'i:1'}]}\n";
        let pod = parse(text, "/p", &config).expect("valid");
        assert_eq!((shape::name(&pod), shape::namespace(&pod)), ("a-node1", "default"));
        assert_eq!(shape::uid(&pod).len(), UID_DIGITS);
        assert!(shape::is_static(&pod));
        assert_eq!(shape::spec(&pod).containers[0].image_pull_policy.as_deref(), Some("IfNotPresent"));
        assert_eq!(shape::uid(&parse(text, "/p", &config).expect("valid")), shape::uid(&pod));
        let other = parse(&text.replace("i:1", "i:2"), "/p", &config).expect("valid");
        assert_ne!(shape::uid(&other), shape::uid(&pod));
        assert!(parse("kind: Node\napiVersion: v1\n", "/p", &config).is_err());
    }
}
