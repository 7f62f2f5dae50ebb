//! emptyDir: a folder of the pod, or a tmpfs (pkg/volume/emptydir/empty_dir.go@v1.37.2).

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{Context, Ready, make_folder, mounts, ownership};
use crate::resources;

const PLUGIN: &str = "kubernetes.io~empty-dir";

pub(super) fn prepare(context: &Context<'_>, source: &EmptyDirVolumeSource) -> Result<Ready, String> {
    let path = context.folder(PLUGIN);
    let ready = Ready { path: path.clone(), ..Ready::default() };
    // What containers wrote must not be chowned again on each sync.
    if context.is_fake() || is_set_up(context, &path) {
        return Ok(ready);
    }
    make_folder(&path, 0o777).map_err(|e| e.to_string())?;
    match source.medium.as_deref().unwrap_or("") {
        "" => {}
        "Memory" => mounts::tmpfs(&path, Some(size(context, source))).map_err(|e| e.to_string())?,
        other if other.starts_with("HugePages") => return Err(format!("storage medium {other:?} is not supported")),
        other => return Err(format!("unknown storage medium {other:?}")),
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&path, mode).map_err(|e| e.to_string())?;
    if let Some(group) = context.fs_group() {
        ownership::set_group(&path, group, false).map_err(|e| e.to_string())?;
    }
    mark_set_up(context).map_err(|e| e.to_string())?;
    Ok(ready)
}

/// Upstream's marker, beside the volumes: pods/UID/plugins/PLUGIN/NAME/ready.
fn marker(context: &Context<'_>) -> std::path::PathBuf {
    let pod = context.kubelet.config.pod_dir(crate::pod::shape::uid(context.pod));
    pod.join("plugins").join(PLUGIN).join(context.name).join("ready")
}

fn is_set_up(context: &Context<'_>, path: &std::path::Path) -> bool {
    path.is_dir() && marker(context).exists()
}

fn mark_set_up(context: &Context<'_>) -> std::io::Result<()> {
    let marker = marker(context);
    if let Some(parent) = marker.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(marker, "")
}

/// Bytes of a memory-backed volume: the least of its own limit, the pod's memory limit and what the
/// node has.
fn size(context: &Context<'_>, source: &EmptyDirVolumeSource) -> i64 {
    let own = source.size_limit.as_ref().map(resources::value).filter(|bytes| *bytes > 0);
    let pod = resources::pod_limits(context.pod).get("memory").and_then(|milli| i64::try_from(milli / 1000).ok());
    let node = context.kubelet.allocatable.get("memory").map(resources::value);
    [own, pod.filter(|bytes| *bytes > 0), node].into_iter().flatten().min().unwrap_or(0)
}
