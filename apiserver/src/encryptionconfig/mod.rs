//! --encryption-provider-config: the transformers in use, the health of their plugins, and how they are replaced
//! (k8s.io/apiserver/pkg/server/options/{etcd.go,encryptionconfig}@v0.37.2).
//!
//! Invariant: a value goes through the transformers of one configuration; those of a changed file are used once all their plugins
//! are healthy, else the old ones stay. Without the flag there is none of this.

mod reload;
mod service;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::status::qualified;
use arc_swap::ArcSwap;
use bytes::Bytes;
use encryption::config::{self, Kms};
use encryption::kms::plugin::Plugin;
use encryption::metrics::Metrics;
use encryption::transform::{Parts, Plain, Transformers};
use encryption::{Clock, Error, kms};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::EncryptionConfig;
use crate::hub::Hub;
use crate::registry::Storage;
use service::Client;

/// The one check of all plugins.
pub(crate) const HEALTH_CHECK: &str = "kms-providers";
/// The start-up duty of reloading.
pub(crate) const HOOK: &str = "poststarthook/start-encryption-provider-config-automatic-reload";

/// Between two checks of a plugin (config.go: kmsv2PluginHealthz*Interval).
const HEALTHY_INTERVAL: Duration = Duration::from_secs(60);
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(10);
/// Between two tries to read what could not be read, as upstream's reflector backs off
/// (k8s.io/client-go/tools/cache/reflector.go@v0.37.2).
const RETRY_FIRST: Duration = Duration::from_millis(800);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What encrypts, and what it is made from.
pub(crate) struct Encryption {
    file: PathBuf,
    /// --encryption-provider-config-automatic-reload
    pub(crate) reloads: bool,
    metrics: Arc<Metrics>,
    clock: Clock,
    active: ArcSwap<Active>,
    /// Told of an object that cannot be read.
    pub(crate) spoiled: Notify,
    /// Told when what could not be read may be readable now.
    changed: Notify,
}

/// The transformers of one file.
struct Active {
    transformers: Transformers,
    /// Of the file.
    hash: String,
    /// Ends the checks of its plugins.
    closed: CancellationToken,
}

/// The tasks of a server, and what ends them.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Tasks {
    fn spawn(&self, until: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, until) = (self.stop.clone(), until.clone());
        self.tracker.spawn(async move {
            let _ = until.run_until_cancelled(stop.run_until_cancelled(task)).await;
        });
    }
}

impl Encryption {
    /// Reads the file; `None` without one. Must be called within a tokio runtime when there are plugins.
    ///
    /// # Errors
    /// Upstream's words for a file that is of no use.
    pub(crate) fn new(flags: &EncryptionConfig, metrics: Arc<Metrics>, clock: Clock) -> Result<Option<Self>, String> {
        let (file, reloads) = match &flags.file {
            None if flags.automatic_reload => {
                return Err(
                    "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"
                        .into(),
                );
            }
            None => return Ok(None),
            Some(file) => (file.clone(), flags.automatic_reload),
        };
        let active = load(&file, reloads, &metrics, &clock)?;
        metrics.applied(&active.hash);
        let active = ArcSwap::from_pointee(active);
        let (spoiled, changed) = (Notify::new(), Notify::new());
        Ok(Some(Encryption { file, reloads, metrics, clock, active, spoiled, changed }))
    }

    /// True when values of this resource go through a transformer.
    pub(crate) fn covers(&self, storage: &Storage) -> bool {
        self.active.load().transformers.of(storage.group, storage.plural).is_some()
    }

    /// Decrypts what is stored under a key.
    pub(crate) async fn open(&self, storage: &Storage, key: &[u8], stored: Bytes) -> Result<Plain, Error> {
        let active = self.active.load_full();
        match active.transformers.of(storage.group, storage.plural) {
            None => encryption::transform::unencrypted(stored),
            Some(transformer) => transformer.read(&qualified(storage.group, storage.plural), key, &stored).await,
        }
    }

    /// Encrypts what is to be stored under a key.
    pub(crate) fn seal(&self, storage: &Storage, key: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, Error> {
        let active = self.active.load();
        match active.transformers.of(storage.group, storage.plural) {
            None => Ok(plain),
            Some(transformer) => transformer.write(&qualified(storage.group, storage.plural), key, plain),
        }
    }

    /// Asks every plugin once, so that a healthy one is of use from the start; one that is not there yet does not keep the
    /// server from starting (config.go: primeAndProbeKMSv2).
    pub(crate) async fn prime(&self) {
        for plugin in &self.active.load_full().transformers.plugins {
            checked(plugin).await;
        }
    }

    /// The health check of all plugins; `None` where there is no such check.
    pub(crate) async fn health(&self) -> Option<Result<(), String>> {
        let active = self.active.load_full();
        if !self.reloads && active.transformers.plugins.is_empty() {
            return None;
        }
        Some(active.healthy().await)
    }

    /// Starts what keeps plugins checked, the file followed and the unreadable tried again.
    pub(crate) fn start(self: &Arc<Self>, hub: &Arc<Hub>, tasks: &Tasks) {
        self.watch_plugins(&self.active.load(), tasks);
        let forever = CancellationToken::new();
        tasks.spawn(&forever, retry(self.clone(), hub.clone()));
        if self.reloads {
            tasks.spawn(&forever, reload::follow(self.clone(), tasks.clone()));
        }
    }

    fn watch_plugins(self: &Arc<Self>, active: &Active, tasks: &Tasks) {
        for plugin in &active.transformers.plugins {
            tasks.spawn(&active.closed, watch(self.clone(), plugin.clone()));
        }
    }
}

impl Active {
    /// config.go: kmsHealthChecker.
    async fn healthy(&self) -> Result<(), String> {
        let mut errors = Vec::new();
        for (at, plugin) in self.transformers.plugins.iter().enumerate() {
            errors.extend(plugin.check().await.err().map(|error| format!("kms-provider-{at}: {error}")));
        }
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(format!("[{}]", errors.join(", "))),
        }
    }
}

async fn checked(plugin: &Plugin) -> bool {
    let outcome = plugin.check().await;
    if let Err(error) = &outcome {
        tracing::warn!(%error, name = plugin.name, "kms plugin failed health check probe");
    }
    outcome.is_ok()
}

/// Checks a plugin now and then, oftener while it fails: without a good status its seed may not be written with for long.
async fn watch(encryption: Arc<Encryption>, plugin: Arc<Plugin>) {
    // The last answer counts for a while, so this asks nobody.
    let mut healthy = plugin.check().await.is_ok();
    loop {
        tokio::time::sleep(if healthy { HEALTHY_INTERVAL } else { UNHEALTHY_INTERVAL }).await;
        let now = checked(&plugin).await;
        if now && !healthy {
            encryption.changed.notify_one();
        }
        healthy = now;
    }
}

/// Reads again what could not be read, as long as there is such.
async fn retry(encryption: Arc<Encryption>, hub: Arc<Hub>) {
    let mut wait = RETRY_FIRST;
    loop {
        if !hub.has_unreadable() {
            encryption.spoiled.notified().await;
            wait = RETRY_FIRST;
        }
        let _ = tokio::time::timeout(wait, encryption.changed.notified()).await;
        wait = (wait * 2).min(RETRY_MAX);
        hub.retry_unreadable().await;
    }
}

fn load(file: &Path, reload: bool, metrics: &Arc<Metrics>, clock: &Clock) -> Result<Active, String> {
    let path = file.display().to_string();
    let text = std::fs::read(file).map_err(|error| {
        let (quoted, why) = (api::field::go_quote(&path), go_error(&error));
        format!(
            "error while parsing file: error while loading file: error reading encryption provider configuration file {quoted}: open {path}: {why}"
        )
    })?;
    let configuration = config::parse(&path, &text, reload);
    let configuration = configuration.map_err(|why| format!("error while parsing file: {why}"))?;
    let connect = |kms: &Kms| {
        let timeout = Duration::from_nanos(u64::try_from(kms.timeout_nanos).unwrap_or_default());
        Client::new(&kms.endpoint, timeout).map(|client| Arc::new(client) as Arc<dyn kms::Service>)
    };
    let parts = Parts { metrics: metrics.clone(), clock: clock.clone(), connect: &connect };
    let transformers = Transformers::new(&configuration, &parts);
    let transformers = transformers.map_err(|why| format!("error while building transformers: {why}"))?;
    Ok(Active { transformers, hash: configuration.hash, closed: CancellationToken::new() })
}

/// Go's words for what goes wrong with files.
fn go_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}
