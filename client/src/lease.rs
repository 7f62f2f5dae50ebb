//! Leader election on a coordination.k8s.io/v1 Lease
//! (k8s.io/client-go/tools/leaderelection/leaderelection.go@v0.37.2): same fields, same defaults.
//!
//! Invariant: at most one holder an epoch, as far as clocks allow; every write carries the
//! resourceVersion it was based on. On release the lease is freed at once so that a successor need not wait.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Error, Result};

/// Upstream's component defaults, in seconds (k8s.io/component-base/config/v1alpha1/defaults.go@v0.37.2).
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// How long after the end of a lease that was not renewed its holder counts as well: it should have ended by itself
/// (cmd/kube-controller-manager/app/controllermanager.go@v1.37.2).
const TOLERATED: Duration = Duration::from_secs(20);

/// Looks after a candidate (k8s.io/client-go/tools/leaderelection/healthzadaptor.go@v0.37.2); cheap to clone.
#[derive(Clone)]
pub struct WatchDog {
    lease: Arc<str>,
    /// Since when the lease is known to be held; `None` for one who does not lead.
    renewed: Arc<Mutex<Option<Instant>>>,
}

impl WatchDog {
    /// The name of the lease.
    pub fn lease(&self) -> &str {
        &self.lease
    }

    /// Whether the candidate leads.
    pub fn leads(&self) -> bool {
        self.renewed.lock().is_some()
    }

    /// Not well is who holds the lease long after it ended.
    pub fn check(&self) -> Result<(), String> {
        match *self.renewed.lock() {
            Some(renewed) if renewed.elapsed() > LEASE_DURATION + TOLERATED => {
                Err(format!("failed election to renew leadership on lease {}", self.lease))
            }
            _ => Ok(()),
        }
    }
}

/// One candidate for one lease.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Option<(LeaseSpec, Instant)>,
    watch_dog: WatchDog,
}

impl Election {
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        let watch_dog = WatchDog { lease: name.into(), renewed: Arc::default() };
        Election { api, name: name.into(), identity: identity.into(), seen: None, watch_dog }
    }

    /// Who looks after it.
    pub fn watch_dog(&self) -> WatchDog {
        self.watch_dog.clone()
    }

    fn renewed(&self, at: Option<Instant>) {
        *self.watch_dog.renewed.lock() = at;
    }

    /// Returns once this candidate holds the lease.
    pub async fn acquire(&mut self) {
        loop {
            match self.try_once().await {
                Ok(true) => return self.renewed(Some(Instant::now())),
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = self.name, %error, "lease not acquired"),
            }
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    /// Renews the lease until it is lost, then returns.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < RENEW_DEADLINE {
            tokio::time::sleep(RETRY_PERIOD).await;
            match self.try_once().await {
                Ok(true) => {
                    renewed = Instant::now();
                    self.renewed(Some(renewed));
                }
                Ok(false) => break,
                Err(error) => tracing::debug!(lease = self.name, %error, "lease not renewed"),
            }
        }
        self.renewed(None);
    }

    /// Gives the lease back if this candidate holds it.
    pub async fn release(&mut self) -> Result<()> {
        self.renewed(None);
        let mut lease = self.api.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        let now = MicroTime(Timestamp::now());
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(now.clone());
        spec.acquire_time = Some(now);
        self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        Ok(())
    }

    async fn try_once(&mut self) -> Result<bool> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return self.create().await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let mine = holder == self.identity;
        if !mine && !holder.is_empty() && self.is_fresh(&spec) {
            return Ok(false);
        }
        lease.spec = Some(self.claim(&spec, mine));
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(Error::Api(error)),
        }
    }

    fn is_fresh(&self, spec: &LeaseSpec) -> bool {
        let duration = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0) as u64);
        self.seen.as_ref().is_some_and(|(_, at)| at.elapsed() < duration)
    }

    fn claim(&self, old: &LeaseSpec, mine: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = old.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LEASE_DURATION.as_secs() as i32),
            renew_time: Some(now.clone()),
            acquire_time: if mine { old.acquire_time.clone() } else { Some(now) },
            lease_transitions: Some(if mine { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    async fn create(&self) -> Result<bool> {
        let mut spec = self.claim(&LeaseSpec::default(), false);
        spec.lease_transitions = Some(0);
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        match self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(Error::Api(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_stopped_renewing_is_not_well() {
        let dog = WatchDog { lease: "it".into(), renewed: Arc::default() };
        assert!(!dog.leads() && dog.check().is_ok());
        *dog.renewed.lock() = Some(Instant::now());
        tokio::time::advance(LEASE_DURATION + TOLERATED).await;
        assert!(dog.leads() && dog.check().is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(dog.check(), Err("failed election to renew leadership on lease it".into()));
    }
}
