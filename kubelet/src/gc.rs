//! Removes what is over: dead containers, sandboxes, folders, logs and cgroups of pods that are
//! gone (pkg/kubelet/kuberuntime/kuberuntime_gc.go, kubelet_volumes.go@v1.37.2).
//!
//! Invariant: nothing that runs is touched, unless its pod is in no source; nothing is done before
//! the sources have spoken once. Non-goal: images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cri::v1::{ContainerState, ListContainersRequest, ListPodSandboxRequest, RemoveContainerRequest};

use crate::kubelet::Kubelet;
use crate::pod::observe::{self, CONTAINER_NAME_LABEL, POD_UID_LABEL};
use crate::pod::{kill, observed::Observed};
use crate::volumes::teardown;

/// Pause between collections (ContainerGCPeriod).
const PERIOD: Duration = Duration::from_secs(60);
/// Grace of containers whose pod is gone, in seconds.
const ORPHAN_GRACE: i64 = 1;

pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    loop {
        if let Err(error) = collect(&kubelet).await {
            tracing::debug!(%error, "container garbage collection failed, will retry");
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn collect(kubelet: &Arc<Kubelet>) -> cri::Result<()> {
    for id in dead(kubelet).await? {
        let request = RemoveContainerRequest { container_id: id };
        if let Err(error) = kubelet.runtime.remove_container(request).await {
            tracing::debug!(%error, "dead container not removed");
        }
    }
    orphans(kubelet).await?;
    if !kubelet.runtime.is_fake() {
        folders(kubelet);
        links(kubelet);
    }
    Ok(())
}

/// Dead containers beyond those that are kept of each name.
async fn dead(kubelet: &Kubelet) -> cri::Result<Vec<String>> {
    let all = kubelet.runtime.list_containers(ListContainersRequest::default()).await?.containers;
    let mut by_name: BTreeMap<(String, String), Vec<(i64, String)>> = BTreeMap::new();
    for one in all.into_iter().filter(|one| one.state == ContainerState::ContainerExited as i32) {
        let label = |key: &str| one.labels.get(key).cloned().unwrap_or_default();
        by_name.entry((label(POD_UID_LABEL), label(CONTAINER_NAME_LABEL))).or_default().push((one.created_at, one.id));
    }
    let beyond = by_name.into_values().flat_map(|mut dead| {
        dead.sort_unstable_by(|a, b| b.cmp(a));
        dead.into_iter().skip(kubelet.config.max_dead_per_container).map(|(_, id)| id)
    });
    Ok(beyond.collect())
}

/// Pods of the runtime that no source has: ended and removed.
async fn orphans(kubelet: &Arc<Kubelet>) -> cri::Result<()> {
    let sandboxes = kubelet.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    let uids: BTreeSet<String> =
        sandboxes.into_iter().filter_map(|one| one.labels.get(POD_UID_LABEL).cloned()).collect();
    for uid in uids.into_iter().filter(|uid| !kubelet.workers.knows(uid)) {
        let observed: Observed = observe::observe(&kubelet.runtime, "", &uid).await?;
        for seen in observed.running() {
            let request = cri::v1::StopContainerRequest { container_id: seen.id.clone(), timeout: ORPHAN_GRACE };
            kubelet.runtime.stop_container(request).await?;
        }
        kill::remove_all(kubelet, &observed).await?;
    }
    Ok(())
}

/// Folders, logs and cgroups of pods that are in no source.
fn folders(kubelet: &Kubelet) {
    for uid in names(&kubelet.config.pods_dir()).filter(|uid| !kubelet.workers.knows(uid)) {
        if let Err(error) = teardown::remove(&kubelet.config.pod_dir(&uid)) {
            tracing::debug!(uid, %error, "folder of a pod that is gone not removed");
        }
    }
    for name in names(&kubelet.config.pod_logs_dir) {
        let uid = name.rsplit('_').next().unwrap_or("");
        if name.matches('_').count() == 2 && !kubelet.workers.knows(uid) {
            remove_logs(kubelet, &kubelet.config.pod_logs_dir.join(&name));
        }
    }
    let Some(cgroups) = &kubelet.cgroups else { return };
    for uid in cgroups.pods().into_iter().filter(|uid| !kubelet.workers.knows(uid)) {
        cgroups.remove_pod(&uid);
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok())
}

/// Removes a pod's logs and the links to them.
pub(crate) fn remove_logs(kubelet: &Kubelet, folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::debug!(folder = %folder.display(), %error, "logs of a pod that is gone not removed");
    }
    links(kubelet);
}

/// Links to logs that are no more.
fn links(kubelet: &Kubelet) {
    let Some(folder) = &kubelet.config.container_logs_dir else { return };
    for name in names(folder) {
        let path = folder.join(name);
        let target = std::fs::read_link(&path).ok();
        if target.is_some_and(|target| target.starts_with(&kubelet.config.pod_logs_dir) && !target.exists()) {
            let _ = std::fs::remove_file(&path);
        }
    }
}
