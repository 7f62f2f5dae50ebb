//! Notices that containers changed and wakes the workers of their pods
//! (pkg/kubelet/pleg/{generic,evented}.go@v1.37.2).
//!
//! Invariant: a change is noticed by the next relist at the latest; with runtime events, at once.
//! Non-goal: the pods' statuses; a worker looks for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cri::v1::{ListContainersRequest, ListPodSandboxRequest};
use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::kubelet::Kubelet;
use crate::pod::observe::POD_UID_LABEL;

/// Pause between relists, without and with events of the runtime.
const RELIST: Duration = Duration::from_secs(1);
const RELIST_WITH_EVENTS: Duration = Duration::from_secs(300);
/// Without a relist for this long the node is not ready (relistThreshold).
const STALE: Duration = Duration::from_secs(180);
const RESUBSCRIBE: Duration = Duration::from_secs(5);

/// Ids and states by pod uid.
type Picture = BTreeMap<String, BTreeSet<(String, i32)>>;

async fn picture(kubelet: &Kubelet) -> cri::Result<Picture> {
    let sandboxes = kubelet.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    let containers = kubelet.runtime.list_containers(ListContainersRequest::default()).await?.containers;
    let mut seen = Picture::new();
    let sandboxes = sandboxes.into_iter().map(|one| (one.labels, one.id, one.state));
    let containers = containers.into_iter().map(|one| (one.labels, one.id, one.state));
    for (labels, id, state) in sandboxes.chain(containers) {
        if let Some(uid) = labels.get(POD_UID_LABEL) {
            seen.entry(uid.clone()).or_default().insert((id, state));
        }
    }
    Ok(seen)
}

/// The uids of pods that differ.
fn changed<'a>(old: &'a Picture, new: &'a Picture) -> Vec<&'a String> {
    let gone = old.keys().filter(|uid| !new.contains_key(*uid));
    new.iter().filter(|(uid, seen)| old.get(*uid) != Some(*seen)).map(|(uid, _)| uid).chain(gone).collect()
}

/// Relists for as long as the kubelet runs.
pub(crate) async fn relist(kubelet: Arc<Kubelet>, has_events: bool) {
    let mut ticks = interval(if has_events { RELIST_WITH_EVENTS } else { RELIST });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut at) = (Picture::new(), Instant::now());
    loop {
        ticks.tick().await;
        match picture(&kubelet).await {
            Ok(now) => {
                changed(&last, &now).into_iter().for_each(|uid| kubelet.workers.kick(uid));
                (last, at) = (now, Instant::now());
                kubelet.node.update_health(|health| health.pleg = None);
            }
            Err(error) => {
                tracing::debug!(%error, "containers not listed, will retry");
                ticks.reset_after(RELIST);
                if at.elapsed() > STALE {
                    let text = format!(
                        "PLEG is not healthy: pleg was last seen active {}s ago; threshold is {}m0s",
                        at.elapsed().as_secs(),
                        STALE.as_secs() / 60
                    );
                    kubelet.node.update_health(|health| health.pleg = Some(text));
                }
            }
        }
    }
}

/// Follows the runtime's events if it has them; false when it has none.
pub(crate) async fn has_events(kubelet: &Arc<Kubelet>) -> bool {
    match kubelet.runtime.container_events().await {
        Ok(events) => {
            let follower = kubelet.clone();
            kubelet.tasks.run("container events", follow(follower, events));
            true
        }
        Err(_) => false,
    }
}

async fn follow(kubelet: Arc<Kubelet>, mut events: cri::runtime::Events) {
    loop {
        while let Some(Ok(event)) = events.next().await {
            let uid = event.pod_sandbox_status.and_then(|status| Some(status.metadata?.uid));
            if let Some(uid) = uid {
                kubelet.workers.kick(&uid);
            }
        }
        // The stream broke, and events were lost with it: look at every pod.
        kubelet.workers.active().iter().for_each(|pod| kubelet.workers.kick(crate::pod::shape::uid(pod)));
        events = loop {
            match kubelet.runtime.container_events().await {
                Ok(events) => break events,
                Err(_) => tokio::time::sleep(RESUBSCRIBE).await,
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed() {
        let picture = |list: &[(&str, &str, i32)]| {
            let mut picture = Picture::new();
            list.iter().for_each(|(uid, id, state)| {
                picture.entry((*uid).into()).or_default().insert(((*id).into(), *state));
            });
            picture
        };
        let old = picture(&[("a", "1", 0), ("b", "2", 0), ("c", "3", 0)]);
        let new = picture(&[("a", "1", 0), ("b", "2", 1), ("d", "4", 0)]);
        assert_eq!(changed(&old, &new), ["b", "d", "c"]);
    }
}
