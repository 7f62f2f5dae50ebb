//! /livez, /readyz, /healthz: named checks, `?verbose`, `?exclude=` and one check alone
//! (k8s.io/apiserver/pkg/server/healthz/healthz.go@v0.37.2).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Response;
use parking_lot::Mutex;

use crate::chain::Core;
use crate::encryptionconfig;
use crate::request::Query;
use crate::respond::{self, Body};

/// Checks that hold as soon as the process serves: upstream's names of what is one thing here.
const ALWAYS: &[&str] = &["ping", "log"];

/// Only of a server that has a client certificate for other API servers.
const PROXY_HOOK: &str = "poststarthook/aggregator-reload-proxy-client-cert";
/// What has to have happened once.
const HOOKS: &[&str] = &[
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/crd-informer-synced",
    PROXY_HOOK,
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];

/// State of the checks.
pub(crate) struct Health {
    hooks: Vec<&'static str>,
    done: Mutex<BTreeSet<&'static str>>,
    changed: tokio::sync::Notify,
    pub(crate) stopping: AtomicBool,
}

impl Health {
    /// `proxies`: there is a client certificate for other API servers.
    pub(crate) fn new(proxies: bool) -> Self {
        let hooks = HOOKS.iter().copied().filter(|hook| proxies || *hook != PROXY_HOOK).collect();
        // The certificate is read whenever it is shown.
        let done = Mutex::new([PROXY_HOOK].into());
        Health { hooks, done, changed: tokio::sync::Notify::new(), stopping: AtomicBool::new(false) }
    }

    /// The names of what has to have happened once.
    pub(crate) fn hooks(&self) -> &[&'static str] {
        &self.hooks
    }

    /// A start-up hook has run.
    pub(crate) fn done(&self, hook: &'static str) {
        self.done.lock().insert(hook);
        self.changed.notify_waiters();
    }

    /// Returns once every start-up hook has run.
    pub(crate) async fn ready(&self) {
        loop {
            let changed = self.changed.notified();
            if self.hooks.iter().all(|hook| self.done.lock().contains(hook)) {
                return;
            }
            changed.await;
        }
    }

    fn outcomes(&self) -> Vec<(&'static str, Result<(), String>)> {
        let done = self.done.lock();
        let state = |hook: &&'static str| match done.contains(hook) {
            true => (*hook, Ok(())),
            false => (*hook, Err("not finished".to_string())),
        };
        self.hooks.iter().map(state).collect()
    }
}

/// Answers a health path: `rest` is what follows `/livez`.
pub(crate) async fn answer(core: &Core, path: &str, query: &Query) -> Option<Response<Body>> {
    let (endpoint, one) = match path.trim_start_matches('/').split_once('/') {
        Some((endpoint, one)) => (endpoint, Some(one)),
        None => (path.trim_start_matches('/'), None),
    };
    if !matches!(endpoint, "livez" | "readyz" | "healthz") {
        return None;
    }
    let checks = checks(core, endpoint).await;
    Some(match one {
        Some(one) => match checks.iter().find(|check| check.0 == one) {
            Some((_, Ok(()))) => respond::text(200, "ok"),
            Some((name, Err(why))) => respond::text(500, format!("internal server error: {name}: {why}\n")),
            None => respond::text(404, "404 page not found\n"),
        },
        None => report(endpoint, &checks, query),
    })
}

async fn checks(core: &Core, endpoint: &str) -> Vec<(&'static str, Result<(), String>)> {
    let mut checks: Vec<_> = ALWAYS.iter().map(|name| (*name, Ok(()))).collect();
    checks.push(("etcd", core.api.hub.store.health().await.map_err(|error| error.to_string())));
    if endpoint == "readyz" {
        checks.push(("etcd-readiness", Ok(())));
        checks.push(("informer-sync", Ok(())));
    }
    checks.extend(core.health.outcomes());
    if let Some(encryption) = &core.api.hub.encryption {
        // A plugin that is gone is no reason to end the server.
        if endpoint != "livez" {
            checks.extend(encryption.health().await.map(|outcome| (encryptionconfig::HEALTH_CHECK, outcome)));
        }
        checks.extend(encryption.reloads.then_some((encryptionconfig::HOOK, Ok(()))));
    }
    if endpoint == "readyz" {
        let stopping = core.health.stopping.load(Ordering::Relaxed);
        checks.push(("shutdown", if stopping { Err("process is shutting down".into()) } else { Ok(()) }));
    }
    checks
}

fn report(endpoint: &str, checks: &[(&'static str, Result<(), String>)], query: &Query) -> Response<Body> {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut text = String::new();
    let mut failed = Vec::new();
    for (name, outcome) in checks {
        match outcome {
            _ if excluded.contains(name) => text.push_str(&format!("[+]{name} excluded: ok\n")),
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            Err(_) => {
                failed.push(*name);
                text.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    if !failed.is_empty() {
        tracing::debug!(endpoint, ?failed, "health check failed");
        return respond::text(500, format!("{text}{endpoint} check failed\n"));
    }
    if query.has("verbose") {
        respond::text(200, format!("{text}{endpoint} check passed\n"))
    } else {
        respond::text(200, "ok")
    }
}
