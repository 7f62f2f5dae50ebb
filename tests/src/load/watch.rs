//! A watcher: follows all objects with bookmarks, goes on from its last resourceVersion when a watch ends, and lists
//! again only when it is told that this is too old.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{WatchEvent, WatchParams};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch as signal;

use super::history::{Kind, Revision, Seen};
use super::{REQUEST_LIMIT, RETRY, Shared, revision, state};

/// How long one watch lasts, in seconds; a bookmark comes shortly before its end.
const LASTS: std::ops::Range<u32> = 5..40;
const GONE: u16 = 410;

/// Why a watch ended.
enum Ended {
    Broken,
    TooOld,
}

/// Watches from `begin` until it has seen the revision that is told in the end.
pub(super) async fn run(
    shared: Arc<Shared>,
    begin: Revision,
    seed: u64,
    mut finish: signal::Receiver<Option<Revision>>,
) -> Seen {
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = Seen { begin, end: begin, ..Seen::default() };
    while !finished(&seen, &finish) {
        let params =
            WatchParams { timeout: Some(random.random_range(LASTS)), bookmarks: true, ..WatchParams::default() };
        match follow(&shared, &params, &mut seen, &mut finish).await {
            Ended::Broken => seen.resumed += 1,
            Ended::TooOld => again(&shared, &mut seen).await,
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await;
    }
    seen
}

fn finished(seen: &Seen, finish: &signal::Receiver<Option<Revision>>) -> bool {
    finish.borrow().is_some_and(|last| seen.end >= last)
}

/// One watch, to its end.
async fn follow(
    shared: &Shared,
    params: &WatchParams,
    seen: &mut Seen,
    finish: &mut signal::Receiver<Option<Revision>>,
) -> Ended {
    let Ok(client) = shared.client() else { return Ended::Broken };
    let (api, from) = (shared.config_maps(&client), seen.end.to_string());
    let stream = match tokio::time::timeout(REQUEST_LIMIT, api.watch(params, &from)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(kube::Error::Api(status))) if status.code == GONE => return Ended::TooOld,
        Ok(Err(_)) | Err(_) => return Ended::Broken,
    };
    events(stream, seen, finish).await
}

async fn events(
    stream: impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>>,
    seen: &mut Seen,
    finish: &mut signal::Receiver<Option<Revision>>,
) -> Ended {
    let mut stream = std::pin::pin!(stream);
    while !finished(seen, finish) {
        let event = tokio::select! {
            event = stream.next() => event,
            changed = finish.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ended::Broken,
            },
        };
        match event {
            Some(Ok(WatchEvent::Added(object))) => change(seen, Kind::Added, &object),
            Some(Ok(WatchEvent::Modified(object))) => change(seen, Kind::Modified, &object),
            Some(Ok(WatchEvent::Deleted(object))) => change(seen, Kind::Deleted, &object),
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                seen.bookmark(revision(Some(&bookmark.metadata.resource_version)));
            }
            Some(Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status))) if status.code == GONE => {
                return Ended::TooOld;
            }
            Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => return Ended::Broken,
        }
    }
    Ended::Broken
}

fn change(seen: &mut Seen, kind: Kind, object: &ConfigMap) {
    // Others' objects, such as the CA that is published in each namespace, are not judged.
    if let Some(state) = state(object) {
        seen.change(kind, state);
    }
}

/// Lists, as informers do when they are too late.
async fn again(shared: &Shared, seen: &mut Seen) {
    loop {
        let listed = match shared.client() {
            Ok(client) => tokio::time::timeout(REQUEST_LIMIT, shared.list(&client, None)).await,
            Err(_) => continue,
        };
        if let Ok(Ok(listing)) = listed {
            seen.listed_again(listing.revision);
            shared.notes().listings.push(listing);
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}
