//! Long-lived tasks: each has a name and a failure policy; nothing is spawned bare.
//!
//! Invariant: cancelling the [`Tasks`] ends every task it started, and [`Tasks::join`] returns only
//! when all are gone. Non-goal: supervision of processes.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a task's end with an error means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Log it; the others go on.
    Log,
    /// Log it and cancel all.
    Shutdown,
}

/// A named group of tasks with one cancellation token.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Tasks::default()
    }

    /// A group that ends with this one but can be cancelled alone.
    pub fn child(&self) -> Self {
        Tasks { tracker: self.tracker.clone(), cancel: self.cancel.child_token() }
    }

    /// The token that tells tasks to stop.
    pub fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Runs `task` until it ends or the group is cancelled (then it is dropped at its next await).
    pub fn spawn<F, E>(&self, name: &'static str, on_error: OnError, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            let ended = cancel.run_until_cancelled(task).await;
            if let Some(Err(error)) = ended {
                tracing::error!(task = name, %error, "task failed");
                if on_error == OnError::Shutdown {
                    cancel.cancel();
                }
            }
        });
    }

    /// Runs a task that cannot fail until it ends or the group is cancelled.
    pub fn run<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(name, OnError::Log, async move {
            task.await;
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Tells every task to stop.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits until every task has ended.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
