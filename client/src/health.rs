//! What a component says of how it is: named checks an endpoint, and the leases that it stands for.
//!
//! Must not know: how anybody asks. Invariant: a check answers at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::lease::WatchDog;

type Check = Arc<dyn Fn() -> Outcome + Send + Sync>;
/// Well, or why not.
pub type Outcome = Result<(), String>;

/// The check of an endpoint that has no other (k8s.io/apiserver/pkg/server/healthz@v0.37.2, PingHealthz).
const PING: &str = "ping";

/// The checks of one component; cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    endpoints: BTreeMap<&'static str, Mutex<Vec<(&'static str, Check)>>>,
    leases: Mutex<Vec<WatchDog>>,
    /// How often each check of each endpoint was well, and was not.
    counts: Mutex<BTreeMap<(&'static str, &'static str), Count>>,
}

/// What came of a check so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub well: u64,
    pub failed: u64,
    /// What came of it the last time.
    pub last: bool,
}

impl Health {
    /// Of a component with these endpoints (`healthz`, `livez`, `readyz`).
    pub fn new(endpoints: &[&'static str]) -> Self {
        let endpoints = endpoints.iter().map(|name| (*name, Mutex::default())).collect();
        Health(Arc::new(Inner { endpoints, ..Inner::default() }))
    }

    /// Adds a check to an endpoint; none where the component has no such endpoint.
    pub fn add(&self, endpoint: &str, name: &'static str, check: impl Fn() -> Outcome + Send + Sync + 'static) {
        if let Some(checks) = self.0.endpoints.get(endpoint) {
            checks.lock().push((name, Arc::new(check)));
        }
    }

    /// Says that something is so from the beginning on.
    pub fn well(&self, endpoint: &str, name: &'static str) {
        self.add(endpoint, name, || Ok(()));
    }

    /// The component stands for election: its endpoints fail when it holds a lease that it does not renew.
    pub fn stands(&self, endpoints: &[&str], lease: WatchDog) {
        for endpoint in endpoints {
            let lease = lease.clone();
            self.add(endpoint, "leaderElection", move || lease.check());
        }
        self.0.leases.lock().push(lease);
    }

    /// The leases that it stands for.
    pub fn leases(&self) -> Vec<WatchDog> {
        self.0.leases.lock().clone()
    }

    /// What the checks of an endpoint say, in the order they were added; `None` where there is no such endpoint.
    pub fn ask(&self, endpoint: &str) -> Option<Vec<(&'static str, Outcome)>> {
        let (endpoint, checks) = self.0.endpoints.get_key_value(endpoint)?;
        // A check may be slow to lock what it looks at; nobody waits for it to add another.
        let checks = checks.lock().clone();
        let mut asked: Vec<_> = checks.iter().map(|(name, check)| (*name, check())).collect();
        if asked.is_empty() {
            asked.push((PING, Ok(())));
        }
        let mut counts = self.0.counts.lock();
        for (name, outcome) in &asked {
            let count = counts.entry((*endpoint, *name)).or_default();
            count.last = outcome.is_ok();
            *if count.last { &mut count.well } else { &mut count.failed } += 1;
        }
        Some(asked)
    }

    /// What came of every check that was ever asked for, by endpoint and name.
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), Count> {
        self.0.counts.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_what_its_checks_say() {
        let health = Health::new(&["healthz", "livez"]);
        let broken = Arc::new(Mutex::new(false));
        let state = broken.clone();
        health.well("healthz", "a");
        health.add("healthz", "b", move || if *state.lock() { Err("it broke".into()) } else { Ok(()) });
        health.well("readyz", "nobody asks");
        assert_eq!(health.ask("livez"), Some(vec![(PING, Ok(()))]));
        assert_eq!(health.ask("readyz"), None);
        assert_eq!(health.ask("healthz"), Some(vec![("a", Ok(())), ("b", Ok(()))]));
        *broken.lock() = true;
        assert_eq!(health.ask("healthz"), Some(vec![("a", Ok(())), ("b", Err("it broke".into()))]));
        let counted = health.counts()[&("healthz", "b")];
        assert_eq!(counted, Count { well: 1, failed: 1, last: false });
    }
}
