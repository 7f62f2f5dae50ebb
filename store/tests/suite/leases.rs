//! Leases: what is attached goes when they expire.

use std::time::{Duration, Instant};

use store::{Error, Store, Write};
use tokio::time::timeout;

use crate::watches::{events, show};
use crate::writes::{done, put};

/// The least time to live, in seconds.
const TTL: i64 = 2;

pub(crate) async fn keys_go_with_their_lease(store: Store) {
    let granted = Instant::now();
    let lease = store.grant_lease(TTL).await.unwrap();
    let other = store.grant_lease(3600).await.unwrap();
    assert_ne!(lease, other);
    let leased = |lease, key| Write { lease, ..put(key, "v") };
    done(&store, leased(lease, "gone/b")).await;
    done(&store, leased(lease, "gone/a")).await;
    done(&store, leased(lease, "detached")).await;
    done(&store, put("detached", "w")).await;
    done(&store, leased(lease, "moved")).await;
    done(&store, leased(other, "moved")).await;
    done(&store, leased(other, "kept")).await;
    assert_eq!(store.get(b"gone/a", 0).await.unwrap().kv.unwrap().lease, lease);
    let before = store.revision().await.unwrap();

    let mut watch = store.watch("\0".into(), "\0".into(), before + 1).await.unwrap();
    let deletes = timeout(Duration::from_secs(30), events(&mut watch, 2)).await.unwrap();
    assert!(granted.elapsed() >= Duration::from_secs(TTL as u64), "too early: {:?}", granted.elapsed());
    let mut shown: Vec<_> = deletes.iter().map(show).collect();
    shown.sort();
    assert_eq!(shown, ["-gone/a (was v)", "-gone/b (was v)"]);
    assert!(deletes.iter().all(|event| event.kv.mod_revision == before + 1), "one revision for all: {deletes:?}");
    assert_eq!(store.revision().await.unwrap(), before + 1);
    for (key, lives) in [("gone/a", false), ("gone/b", false), ("detached", true), ("moved", true), ("kept", true)] {
        assert_eq!(store.get(key.as_bytes(), 0).await.unwrap().kv.is_some(), lives, "{key}");
    }
    let late = store.write(Write { lease, ..put("late", "v") }).await;
    assert!(matches!(late, Err(Error::LeaseNotFound)), "{late:?}");
}

pub(crate) async fn an_unknown_lease_is_refused(store: Store) {
    let error = store.write(Write { lease: 7, ..put("a", "v") }).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: requested lease not found");
    assert_eq!(store.get(b"a", 0).await.unwrap().kv, None);
    let error = store.grant_lease(i64::MAX).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: too large lease TTL");
}
