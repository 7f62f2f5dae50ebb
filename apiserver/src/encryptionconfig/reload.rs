//! A configuration that changes while the server runs
//! (k8s.io/apiserver/pkg/server/options/encryptionconfig/controller/controller.go@v0.37.2).
//!
//! Invariant: what is used is the last file that was good and whose plugins were healthy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use files::Watch;

use super::{Active, Encryption, Tasks, checked, load};

/// Without an event the file is looked at this often; not every file system tells.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// A file that is being written is given this long.
const SETTLE: Duration = Duration::from_millis(100);
/// After a failure, doubled with every further one (workqueue: DefaultTypedControllerRateLimiter).
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// How long new plugins may take to be healthy at the least, and how often they are asked.
const HEALTH_WAIT_MIN: Duration = Duration::from_secs(10);
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);

/// Follows the file.
pub(super) async fn follow(encryption: Arc<Encryption>, tasks: Tasks) {
    let mut watch = Watch::new(&encryption.file)
        .inspect_err(|error| tracing::warn!(%error, "the encryption config file is not watched, only looked at"))
        .ok();
    let mut failures = 0u32;
    loop {
        let mut wait = LOOK_INTERVAL;
        if let Err(error) = encryption.reload(&tasks).await {
            encryption.metrics.reloaded(false);
            let file = encryption.file.display();
            tracing::error!("error processing encryption config file {file}: {error}");
            wait = wait.min(RETRY_FIRST.saturating_mul(1 << failures.min(16)));
            failures += 1;
        }
        let _ = tokio::time::timeout(wait, event(&mut watch)).await;
    }
}

/// Waits until something has happened to the file.
async fn event(watch: &mut Option<Watch>) {
    match watch {
        Some(watching) => match watching.changed().await {
            Ok(()) => tokio::time::sleep(SETTLE).await,
            Err(error) => {
                tracing::warn!(%error, "the encryption config file is not watched any more, only looked at");
                *watch = None;
            }
        },
        None => std::future::pending().await,
    }
}

impl Encryption {
    /// Takes the file's transformers when it has changed; true when it has.
    pub(super) async fn reload(self: &Arc<Self>, tasks: &Tasks) -> Result<bool, String> {
        if self.active.load().hash == hash(&self.file)? {
            return Ok(false);
        }
        let new = load(&self.file, true, &self.metrics, &self.clock)?;
        if self.active.load().hash == new.hash {
            return Ok(false);
        }
        for plugin in &new.transformers.plugins {
            checked(plugin).await;
        }
        settle(&new).await?;
        let hash = new.hash.clone();
        self.watch_plugins(&new, tasks);
        // What is under way with the old transformers keeps them; only their plugins are not asked for their health any more.
        self.active.swap(Arc::new(new)).closed.cancel();
        self.metrics.reloaded(true);
        self.metrics.applied(&hash);
        tracing::info!("loaded new encryption config content");
        self.changed.notify_one();
        Ok(true)
    }
}

fn hash(file: &Path) -> Result<String, String> {
    let path = file.display();
    let quoted = api::field::go_quote(&path.to_string());
    let text = std::fs::read(file).map_err(|error| {
        let why = super::go_error(&error);
        format!("error reading encryption provider configuration file {quoted}: open {path}: {why}")
    })?;
    match text.is_empty() {
        true => Err(format!("encryption provider configuration file {quoted} is empty")),
        false => Ok(encryption::hash(&text)),
    }
}

/// Waits for the plugins of a new configuration (controller.go: validateNewTransformersHealth).
async fn settle(new: &Active) -> Result<(), String> {
    let timeouts = u64::try_from(new.transformers.timeouts_nanos).unwrap_or_default();
    let patience = Duration::from_nanos(timeouts.saturating_mul(2)).max(HEALTH_WAIT_MIN);
    let mut last = String::new();
    let healthy = async {
        while let Err(why) = new.healthy().await {
            last = why;
            tokio::time::sleep(HEALTH_INTERVAL).await;
        }
    };
    match tokio::time::timeout(patience, healthy).await {
        Ok(()) => Ok(()),
        Err(_) => Err(format!(
            "health check for new transformers failed, polling error timed out waiting for the condition: {last}"
        )),
    }
}
