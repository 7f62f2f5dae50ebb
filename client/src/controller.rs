//! The controller loop: keys in, `sync(key)`, retry with back-off on error.
//!
//! Invariant: one code path for start-up, retry and steady state; the trigger carries no data.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::Key;
use crate::queue::Queue;
use crate::task::Tasks;

/// When a synced key wants to be looked at again without an event.
pub type Again = Option<Duration>;

/// Starts `workers` workers that take keys from `queue` and call `sync` with each.
/// An error is logged and the key comes back with exponential back-off; `Ok(Some(d))` brings it back after `d`.
pub fn spawn<F, Fut, E>(tasks: &Tasks, name: &'static str, queue: Queue<Key>, workers: usize, sync: F)
where
    F: Fn(Key) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Again, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let sync = Arc::new(sync);
    for _ in 0..workers {
        let (queue, sync) = (queue.clone(), sync.clone());
        tasks.run(name, async move {
            loop {
                let key = queue.get().await;
                let outcome = sync(key.clone()).await;
                finish(name, &queue, &key, outcome);
            }
        });
    }
}

fn finish<E: Display>(name: &str, queue: &Queue<Key>, key: &Key, outcome: Result<Again, E>) {
    match outcome {
        Ok(again) => {
            queue.forget(key);
            if let Some(delay) = again {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(error) => {
            tracing::debug!(controller = name, %key, %error, "sync failed, will retry");
            queue.add_rate_limited(key.clone());
        }
    }
    queue.done(key);
}
