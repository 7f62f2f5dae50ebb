//! APIServices that nobody writes by hand: of what this server has built in, and of custom resources
//! (k8s.io/kube-aggregator/pkg/controllers/autoregister@v0.37.2,
//! pkg/controlplane/{apiserver/aggregator.go,controller/crdregistration}@v1.37.2).
//!
//! Invariant: one that is kept on start is put right once; what somebody makes of it later stays.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::Map;
use parking_lot::Mutex;

use super::service::{ApiService, MANAGED_LABEL, Managed};
use super::work::{self, Backoff, Next, Touched};
use super::{priorities, touch};
use crate::bootstrap::named;
use crate::chain::Core;
use crate::system;

/// Between tries of what failed (client-go/util/workqueue: DefaultTypedControllerRateLimiter@v0.37.2).
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1000) };

/// What there is to be under a name.
struct Desired {
    managed: Managed,
    group: String,
    version: String,
    priorities: (i64, i64),
}

/// What there is.
#[derive(Clone, Copy, Debug)]
struct Current {
    managed: Managed,
    /// It was there when the server started.
    at_start: bool,
    as_desired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    Create,
    Update,
    Delete,
}

/// What is to be done; `synced`: it was done once (autoregister_controller.go: checkAPIService).
fn action(desired: Option<Managed>, current: Option<Current>, synced: bool) -> Action {
    let Some(current) = current else {
        return match desired {
            None => Action::Nothing,
            Some(Managed::OnStart) if synced => Action::Nothing,
            Some(_) => Action::Create,
        };
    };
    match (desired, current.managed) {
        (Some(Managed::OnStart), _) if synced => Action::Nothing,
        (_, Managed::No) => Action::Nothing,
        (_, Managed::OnStart) if synced || !current.at_start => Action::Nothing,
        (None, _) => Action::Delete,
        _ if current.as_desired => Action::Nothing,
        _ => Action::Update,
    }
}

impl Desired {
    fn of(core: &Core, name: &str) -> Option<Self> {
        let (version, group) = name.split_once('.')?;
        let (managed, priorities) = if core.aggregation.is_defined(group, version) {
            (Managed::Always, priorities::CUSTOM)
        } else {
            let mut own = core.api.hub.registry.fixed_entries().iter();
            own.find(|entry| entry.facts.group == group && entry.facts.version == version)?;
            (Managed::OnStart, priorities::registered(group, version)?)
        };
        Some(Desired { managed, group: group.into(), version: version.into(), priorities })
    }

    fn spec(&self) -> Map {
        let mut spec = Map::new();
        if !self.group.is_empty() {
            spec.set("group", self.group.as_str());
        }
        spec.set("version", self.version.as_str());
        spec.set("groupPriorityMinimum", self.priorities.0);
        spec.set("versionPriority", self.priorities.1);
        spec
    }

    fn object(&self, name: &str) -> Map {
        let mut object = named("apiregistration.k8s.io/v1", "APIService", "", name);
        object.meta_mut().set("labels", map! { MANAGED_LABEL => self.managed.label() });
        object.set("spec", self.spec());
        object
    }

    fn is_spec_of(&self, service: &ApiService) -> bool {
        service.is(&self.group, &self.version)
            && (service.group_priority, service.version_priority) == self.priorities
            && service.service.is_none()
            && service.ca.is_empty()
            && !service.insecure
    }
}

/// The names of this server's own group versions that have a priority.
fn own_names(core: &Core) -> HashSet<String> {
    let entries = core.api.hub.registry.fixed_entries().iter().map(|entry| (entry.facts.group, entry.facts.version));
    let registered = entries.filter(|(group, version)| priorities::registered(group, version).is_some());
    registered.map(|(group, version)| format!("{version}.{group}")).collect()
}

struct Controller {
    core: Arc<Core>,
    at_start: HashSet<String>,
    synced: Mutex<HashSet<String>>,
    /// This server's own that were not seen available yet.
    pending: Mutex<HashSet<String>>,
}

/// Registers for as long as the server runs.
pub(super) async fn run(core: Arc<Core>, touched: Touched) {
    let (own, at_start) = (own_names(&core), core.aggregation.table().all().map(|one| one.name.clone()).collect());
    let controller = Controller { core, at_start, synced: Mutex::default(), pending: Mutex::new(own.clone()) };
    let controller = Arc::new(controller);
    // Those of definitions were touched by the feed.
    for name in own.iter().chain(&controller.at_start) {
        touch(&controller.core.aggregation.touches.register, name);
    }
    controller.core.health.done("poststarthook/kube-apiserver-autoregistration");
    let work = |name: String| {
        let controller = controller.clone();
        async move {
            match controller.look(&name).await {
                Ok(()) => Next::Done,
                Err(status) => {
                    tracing::warn!(apiservice = name, %status, "APIService not registered");
                    Next::Retry
                }
            }
        }
    };
    work::run(touched, BACKOFF, work).await;
}

impl Controller {
    async fn look(&self, name: &str) -> Result<(), Status> {
        let found = self.core.aggregation.table().get(name).cloned();
        if found.as_ref().is_some_and(|found| found.available) {
            self.seen(name);
        }
        let desired = Desired::of(&self.core, name);
        let current = found.as_ref().map(|found| Current {
            managed: Managed::of(&found.object),
            at_start: self.at_start.contains(name),
            as_desired: desired.as_ref().is_some_and(|desired| desired.is_spec_of(found)),
        });
        let synced = self.synced.lock().contains(name);
        let action = action(desired.as_ref().map(|desired| desired.managed), current, synced);
        match (action, &desired, &found) {
            (Action::Create, Some(desired), _) => system::ensure(&self.core, desired.object(name)).await?,
            (Action::Update, Some(desired), Some(found)) => {
                let mut make = |existing: &Map| {
                    let mut wanted = existing.clone();
                    wanted.set("spec", desired.spec());
                    Some(wanted)
                };
                settled(system::update(&self.core, &found.object, "", &mut make).await)?;
            }
            (Action::Delete, _, Some(found)) => settled(system::remove_exactly(&self.core, &found.object).await)?,
            _ => {}
        }
        if !synced {
            self.synced.lock().insert(name.to_owned());
        }
        Ok(())
    }

    fn seen(&self, name: &str) {
        let mut pending = self.pending.lock();
        if pending.remove(name) && pending.is_empty() {
            self.core.health.done("autoregister-completion");
        }
    }
}

/// What was changed or deleted meanwhile is looked at again when that is told.
fn settled(outcome: Result<(), Status>) -> Result<(), Status> {
    outcome.or_else(|status| if matches!(status.code, 404 | 409) { Ok(()) } else { Err(status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `desired current synced`: `-`, `start` or `always`; of what is there also `no`, with `!` when it was there at
    /// the start and `=` when it is as desired.
    fn check(row: &str, expect: Action) {
        let words: Vec<&str> = row.split(' ').collect();
        let managed = |text: &str| match text.trim_end_matches(['!', '=']) {
            "start" => Some(Managed::OnStart),
            "always" => Some(Managed::Always),
            "no" => Some(Managed::No),
            _ => None,
        };
        let current = managed(words[1]).map(|managed| Current {
            managed,
            at_start: words[1].contains('!'),
            as_desired: words[1].contains('='),
        });
        assert_eq!(action(managed(words[0]), current, words[2] == "synced"), expect, "{row}");
    }

    /// The table above checkAPIService.
    #[test]
    fn what_is_done() {
        check("- - new", Action::Nothing);
        check("start - new", Action::Create);
        check("start - synced", Action::Nothing);
        check("always - new", Action::Create);
        check("always - synced", Action::Create);
        for desired in ["-", "start", "always"] {
            check(&format!("{desired} no! new"), Action::Nothing);
            check(&format!("{desired} start new"), Action::Nothing);
            check(&format!("{desired} start! synced"), Action::Nothing);
        }
        check("- start! new", Action::Delete);
        check("start start! new", Action::Update);
        check("start start!= new", Action::Nothing);
        check("always start! new", Action::Update);
        check("- always synced", Action::Delete);
        check("start always new", Action::Update);
        check("start always synced", Action::Nothing);
        check("always always synced", Action::Update);
        check("always always= synced", Action::Nothing);
    }
}
