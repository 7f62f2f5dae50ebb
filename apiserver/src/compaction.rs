//! Compaction of the store's history every five minutes, agreed on between the servers of a store
//! through one key (k8s.io/apiserver/pkg/storage/etcd3/compact.go@v0.37.2).
//!
//! Invariant: what is compacted is at least one interval old, so that a client has that long to go on
//! with a chunked list or a watch.

use std::time::Duration;

use bytes::Bytes;
use store::{Error, Outcome, Revision, Store, Write};

/// --etcd-compaction-interval
pub(crate) const INTERVAL: Duration = Duration::from_secs(300);

/// Upstream's key; its value is the revision of the last compaction in decimal.
const KEY: &str = "compact_rev_key";

/// Where this server stands: the mod_revision of the key when it last saw it, and the store's revision then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    key: Revision,
    store: Revision,
}

/// Compacts for ever. A failed round is left out; the next makes up for it.
pub(crate) async fn run(store: Store) {
    let mut mark = Mark::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match round(&store, mark).await {
            Ok(next) => mark = next,
            Err(error) => tracing::warn!(%error, "compaction failed, will retry"),
        }
    }
}

/// Writes the key if nobody else did since; the winner compacts up to its last round.
async fn round(store: &Store, mark: Mark) -> Result<Mark, Error> {
    let write = Write {
        key: Bytes::from_static(KEY.as_bytes()),
        value: Some(Bytes::from(mark.store.to_string())),
        expect: Some(mark.key),
        lease: 0,
    };
    match store.write(write).await? {
        Outcome::Conflict { revision, current } => {
            Ok(Mark { key: current.map_or(0, |kv| kv.mod_revision), store: revision })
        }
        Outcome::Done { revision, .. } => {
            if mark.store > 0 {
                match store.compact(mark.store).await {
                    Ok(()) | Err(Error::Compacted { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(Mark { key: revision, store: revision })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_servers_one_compacts_and_only_what_is_an_interval_old() {
        let store = Store::memory();
        let put = |n: u8| Write { key: Bytes::from(vec![n]), value: Some(Bytes::new()), ..Write::default() };
        let (mut a, mut b) = (Mark::default(), Mark::default());
        a = round(&store, a).await.expect("round");
        b = round(&store, b).await.expect("round");
        store.write(put(1)).await.expect("write");
        let old = store.revision().await.expect("revision");
        a = round(&store, a).await.expect("round");
        assert!(store.get(&[1], old).await.is_ok(), "the last interval is kept");
        b = round(&store, b).await.expect("round");
        store.write(put(2)).await.expect("write");
        round(&store, a).await.expect("round");
        round(&store, b).await.expect("round");
        assert!(store.get(&[1], old - 1).await.is_err(), "older history is gone");
    }
}
