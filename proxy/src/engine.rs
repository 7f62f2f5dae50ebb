//! The state of one IP family: what is wanted, what the kernel has, and the way from one to the
//! other.
//!
//! Invariant: only Services that changed are rendered again; whatever fails, the next sync is a
//! full one. Knows no API server and no cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Error;
use crate::apply::Nft;
use crate::base::assemble;
use crate::endpoint::Endpoint;
use crate::render::{Context, Fragment, render_port};
use crate::ruleset::Ruleset;
use crate::service::{Protocol, ServicePort, ServicePortName};
use crate::transaction::{Transaction, delete_chains, delta, from_nothing, full};

/// How long an emptied chain rests before it is deleted.
const STALE_CHAIN_REST: Duration = Duration::from_secs(1);
/// How often everything is written again, in case something went unnoticed.
pub(crate) const FULL_SYNC_PERIOD: Duration = Duration::from_secs(3600);

/// All service ports and endpoints of the family.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    pub(crate) services: BTreeMap<ServicePortName, ServicePort>,
    pub(crate) endpoints: BTreeMap<ServicePortName, Vec<Endpoint>>,
}

pub(crate) struct Engine {
    context: Context,
    maps: Maps,
    fragments: BTreeMap<ServicePortName, Arc<Fragment>>,
    /// What the kernel has, if we know.
    applied: Option<Ruleset>,
    last_full: Option<Instant>,
    stale: BTreeMap<String, Instant>,
}

/// What a sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) full: bool,
    pub(crate) cleanup_failed: bool,
}

impl Engine {
    pub(crate) fn new(context: Context) -> Self {
        Engine {
            context,
            maps: Maps::default(),
            fragments: BTreeMap::new(),
            applied: None,
            last_full: None,
            stale: BTreeMap::new(),
        }
    }

    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Rules depend on the context, so a new one means that all are rendered again.
    pub(crate) fn set_context(&mut self, context: Context) {
        if self.context != context {
            self.context = context;
            self.fragments.clear();
        }
    }

    /// Somebody else touched the table.
    pub(crate) fn forget_applied(&mut self) {
        self.applied = None;
    }

    /// Notes the ports and endpoints of one Service (none, if it is gone). True if endpoints of a
    /// UDP port changed.
    pub(crate) fn set_service(
        &mut self,
        (namespace, service): (&str, &str),
        ports: BTreeMap<ServicePortName, ServicePort>,
        endpoints: BTreeMap<ServicePortName, Vec<Endpoint>>,
    ) -> bool {
        let first = ServicePortName::first_of(namespace, service);
        take(&mut self.maps.services, &first);
        take(&mut self.fragments, &first);
        let before = take(&mut self.maps.endpoints, &first);
        let udp = |endpoints: &BTreeMap<ServicePortName, _>| endpoints.keys().any(|n| n.protocol == Protocol::Udp);
        let changed = before != endpoints && (udp(&before) || udp(&endpoints));
        self.maps.services.extend(ports);
        self.maps.endpoints.extend(endpoints);
        changed
    }

    /// The number of ports that a Local policy leaves without endpoints: (internal, external).
    pub(crate) fn without_local_endpoints(&self) -> (usize, usize) {
        let count = |wanted: fn(&Fragment) -> bool| self.fragments.values().filter(|f| wanted(f)).count();
        (count(|f| f.no_local_internal), count(|f| f.no_local_external))
    }

    /// The whole table as it should be.
    pub(crate) fn render(&mut self) -> Ruleset {
        for (name, port) in &self.maps.services {
            if !self.fragments.contains_key(name) {
                let endpoints = self.maps.endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
                let fragment = render_port(&self.context, name, port, endpoints);
                self.fragments.insert(name.clone(), Arc::new(fragment));
            }
        }
        assemble(&self.context, self.fragments.values().map(Arc::as_ref))
    }

    /// When the next sync is due although nothing changed.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let stale = self.stale.values().min().map(|since| *since + STALE_CHAIN_REST);
        let full = self.last_full.map(|last| last + FULL_SYNC_PERIOD);
        stale.into_iter().chain(full).min()
    }

    /// True if the whole table would be written.
    pub(crate) fn is_full_due(&self, now: Instant) -> bool {
        self.applied.is_none() || self.last_full.is_none_or(|last| now.duration_since(last) > FULL_SYNC_PERIOD)
    }

    /// Makes the kernel's table what it should be.
    pub(crate) async fn sync(&mut self, nft: &Nft, now: Instant) -> Result<Synced, Error> {
        let wanted = self.render();
        let full_due = self.is_full_due(now);
        // Until this sync succeeds, nothing is known about the kernel.
        let applied = self.applied.take().filter(|_| !full_due);
        let mut synced = Synced { full: full_due, cleanup_failed: false };
        let stale = match applied {
            Some(applied) => match self.apply_delta(nft, &applied, &wanted, now).await {
                Ok((stale, cleanup_failed)) => {
                    synced.cleanup_failed = cleanup_failed;
                    stale
                }
                Err(error) => {
                    tracing::warn!(family = %self.context.family, %error, "partial sync failed, syncing fully");
                    synced.full = true;
                    self.apply_full(nft, &wanted).await?
                }
            },
            None => self.apply_full(nft, &wanted).await?,
        };
        self.stale.retain(|name, _| !wanted.chains.contains_key(name));
        for name in stale {
            self.stale.entry(name).or_insert(now);
        }
        self.applied = Some(wanted);
        if synced.full {
            self.last_full = Some(now);
        }
        Ok(synced)
    }

    async fn apply_full(&mut self, nft: &Nft, wanted: &Ruleset) -> Result<BTreeSet<String>, Error> {
        self.stale.clear();
        let existing = nft.existing(wanted.family, &wanted.table).await?.unwrap_or_default();
        let gentle = full(wanted, &existing);
        if let Err(error) = nft.run(&gentle.script).await {
            tracing::warn!(family = %wanted.family, %error, "full sync failed, replacing the table");
            nft.run(&from_nothing(wanted).script).await?;
            return Ok(BTreeSet::new());
        }
        Ok(gentle.stale)
    }

    /// Returns the chains that went stale and whether older ones could not be deleted.
    async fn apply_delta(
        &mut self,
        nft: &Nft,
        applied: &Ruleset,
        wanted: &Ruleset,
        now: Instant,
    ) -> Result<(BTreeSet<String>, bool), Error> {
        let cleanup_failed = !self.delete_stale(nft, applied, now).await;
        let Some(Transaction { script, stale }) = delta(applied, wanted) else {
            return Ok((BTreeSet::new(), cleanup_failed));
        };
        nft.run(&script).await?;
        Ok((stale, cleanup_failed))
    }

    /// Deletes the chains that have rested; those that cannot go yet rest again.
    async fn delete_stale(&mut self, nft: &Nft, applied: &Ruleset, now: Instant) -> bool {
        let rested = |since: &Instant| now.duration_since(*since) >= STALE_CHAIN_REST;
        let names: BTreeSet<String> =
            self.stale.iter().filter(|(_, since)| rested(since)).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return true;
        }
        if let Err(error) = nft.run(&delete_chains(applied, &names)).await {
            tracing::warn!(family = %self.context.family, %error, "unable to delete stale chains; will retry later");
            self.stale.extend(names.into_iter().map(|name| (name, now)));
            return false;
        }
        self.stale.retain(|name, _| !names.contains(name));
        true
    }
}

/// Takes what belongs to the Service of `first` out of a map.
fn take<T>(map: &mut BTreeMap<ServicePortName, T>, first: &ServicePortName) -> BTreeMap<ServicePortName, T> {
    let of_service = map.range(first..).take_while(|(name, _)| name.is_of(&first.namespace, &first.service));
    let names: Vec<ServicePortName> = of_service.map(|(name, _)| name.clone()).collect();
    names.into_iter().filter_map(|name| map.remove_entry(&name)).collect()
}
