//! The state behind the queue, without its lock and its clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::heap::Heap;
use super::queued::Queued;
use super::{Delays, Profiles};
use crate::framework::event::{Change, ClusterEvent};
use crate::framework::profile::Profile;
use crate::pod_info::{PodInfo, Uid};

pub(super) struct Waiting {
    profiles: Arc<Profiles>,
    delays: Delays,
    active: Heap,
    /// Pods by the end of their penalty.
    backoff: BTreeMap<(Instant, u64), Queued>,
    backoff_slots: HashMap<Uid, (Instant, u64)>,
    unschedulable: HashMap<Uid, Queued>,
    sequence: u64,
    in_flight: InFlight,
}

/// Pods being scheduled and what has happened meanwhile.
#[derive(Default)]
struct InFlight {
    /// The number of the first event after the pod was taken.
    since: HashMap<Uid, u64>,
    events: VecDeque<(ClusterEvent, Change)>,
    /// The number of the first event kept.
    first: u64,
}

impl InFlight {
    fn start(&mut self, uid: Uid) {
        let next = self.first + self.events.len() as u64;
        self.since.insert(uid, next);
    }

    fn record(&mut self, event: ClusterEvent, change: &Change) {
        if !self.since.is_empty() {
            self.events.push_back((event, change.clone()));
        }
    }

    /// Ends the flight of a pod: what happened during it.
    fn end(&mut self, uid: &str) -> Vec<(ClusterEvent, Change)> {
        let Some(since) = self.since.remove(uid) else { return Vec::new() };
        let seen = self.events.iter().skip((since - self.first) as usize).cloned().collect();
        let oldest = self.since.values().min().copied().unwrap_or(self.first + self.events.len() as u64);
        self.events.drain(..(oldest - self.first) as usize);
        self.first = oldest;
        seen
    }
}

impl Waiting {
    pub(super) fn new(profiles: Arc<Profiles>, delays: Delays) -> Self {
        Waiting {
            profiles,
            delays,
            active: Heap::default(),
            backoff: BTreeMap::new(),
            backoff_slots: HashMap::new(),
            unschedulable: HashMap::new(),
            sequence: 0,
            in_flight: InFlight::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn lengths(&self) -> (usize, usize, usize) {
        (self.active.len(), self.backoff.len(), self.unschedulable.len())
    }

    pub(super) fn add(&mut self, pod: Queued) {
        self.take(&pod.info.uid.clone());
        self.make_active(pod);
    }

    pub(super) fn update(&mut self, info: Arc<PodInfo>, events: &[ClusterEvent], change: &Change) {
        let uid = info.uid.clone();
        if self.in_flight.since.contains_key(&uid) {
            for event in events {
                self.in_flight.record(*event, change);
            }
        } else if let Some(pod) = self.active.get_mut(&uid) {
            pod.info = info;
        } else if let Some(pod) = self.backoff_slots.get(&uid).and_then(|slot| self.backoff.get_mut(slot)) {
            pod.info = info;
        } else if let Some(pod) = self.unschedulable.get_mut(&uid) {
            pod.info = info;
            for event in events {
                self.requeue_if_helped(&uid, *event, change);
            }
        } else {
            self.add(Queued::new(info, Instant::now()));
        }
    }

    pub(super) fn remove(&mut self, uid: &str) {
        self.take(uid);
    }

    fn take(&mut self, uid: &str) -> Option<Queued> {
        let less = order(self.profiles.clone());
        let waiting = self.unschedulable.remove(uid).or_else(|| self.active.remove(uid, &less));
        waiting.or_else(|| self.take_from_backoff(uid))
    }

    fn take_from_backoff(&mut self, uid: &str) -> Option<Queued> {
        let slot = self.backoff_slots.remove(uid)?;
        self.backoff.remove(&slot)
    }

    /// Moves pods whose penalty is over and pods that have waited for too long.
    pub(super) fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.backoff.first_entry().filter(|entry| entry.key().0 <= now) {
            let pod = entry.remove();
            self.backoff_slots.remove(&pod.info.uid);
            self.make_active(pod);
        }
        let limit = self.delays.max_unschedulable;
        let overdue = self.unschedulable.values().filter(|pod| waited_since(pod) + limit <= now);
        let overdue: Vec<Uid> = overdue.map(|pod| pod.info.uid.clone()).collect();
        for uid in overdue {
            if let Some(pod) = self.unschedulable.get_mut(&uid) {
                pod.flushed = Some(now);
            }
            self.requeue_if_helped(&uid, ClusterEvent::ANY, &Change::None);
        }
    }

    /// When [`Waiting::promote`] will next have something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.keys().next().map(|(at, _)| *at);
        let oldest = self.unschedulable.values().map(waited_since).min();
        [backoff, oldest.map(|at| at + self.delays.max_unschedulable)].into_iter().flatten().min()
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<Queued> {
        let less = order(self.profiles.clone());
        let mut pod = self.active.pop(&less)?;
        pod.attempts += 1;
        pod.first_active.get_or_insert(now);
        self.in_flight.start(pod.info.uid.clone());
        Some(pod)
    }

    pub(super) fn done(&mut self, uid: &str) {
        self.in_flight.end(uid);
    }

    pub(super) fn give_back(&mut self, mut pod: Queued, now: Instant) {
        let uid = pod.info.uid.clone();
        let events = self.in_flight.end(&uid);
        if self.unschedulable.contains_key(&uid) || self.active.contains(&uid) || self.backoff_slots.contains_key(&uid)
        {
            return;
        }
        if pod.refused_by.is_empty() {
            pod.errors += 1;
        } else {
            pod.refusals += 1;
            pod.errors = 0;
        }
        (pod.joined, pod.flushed) = (now, None);
        let helped = pod.refused_by.is_empty()
            || events.iter().any(|(event, change)| self.is_worth_requeuing(&pod, *event, change));
        if helped {
            self.requeue(pod, now);
        } else {
            self.unschedulable.insert(uid, pod);
        }
    }

    pub(super) fn on_event(&mut self, event: ClusterEvent, change: &Change, only: &dyn Fn(&PodInfo) -> bool) {
        self.in_flight.record(event, change);
        let waiting = self.unschedulable.values().filter(|pod| only(&pod.info) && self.can_open_gate(pod, event));
        let waiting: Vec<Uid> = waiting.map(|pod| pod.info.uid.clone()).collect();
        for uid in waiting {
            self.requeue_if_helped(&uid, event, change);
        }
    }

    /// A gated pod is only worth a look when its gate's plugin registered the event.
    fn can_open_gate(&self, pod: &Queued, event: ClusterEvent) -> bool {
        let Some(gate) = pod.gate else { return true };
        event == ClusterEvent::ANY || self.profile(pod).is_some_and(|profile| profile.hears(gate, event))
    }

    pub(super) fn activate(&mut self, uid: &Uid) {
        let waiting = self.unschedulable.remove(uid).or_else(|| self.take_from_backoff(uid));
        if let Some(pod) = waiting {
            self.make_active(pod);
        }
    }

    fn requeue_if_helped(&mut self, uid: &Uid, event: ClusterEvent, change: &Change) {
        let helped = self.unschedulable.get(uid).is_some_and(|pod| self.is_worth_requeuing(pod, event, change));
        if let Some(pod) = helped.then(|| self.unschedulable.remove(uid)).flatten() {
            self.requeue(pod, Instant::now());
        }
    }

    fn is_worth_requeuing(&self, pod: &Queued, event: ClusterEvent, change: &Change) -> bool {
        if pod.refused_by.is_empty() || event == ClusterEvent::ANY {
            return true;
        }
        let Some(profile) = self.profile(pod) else { return true };
        pod.refused_by.iter().any(|plugin| profile.may_help(plugin, &pod.info, event, change))
    }

    /// Puts a pod into backoff while its penalty lasts, otherwise makes it active.
    fn requeue(&mut self, pod: Queued, now: Instant) {
        let end = pod.joined + self.penalty(&pod);
        if end <= now {
            return self.make_active(pod);
        }
        self.sequence += 1;
        self.backoff_slots.insert(pod.info.uid.clone(), (end, self.sequence));
        self.backoff.insert((end, self.sequence), pod);
    }

    fn penalty(&self, pod: &Queued) -> Duration {
        let count = if pod.errors > 0 { pod.errors } else { pod.refusals };
        match count.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.delays.initial_backoff.saturating_mul(factor).min(self.delays.max_backoff)
            }
        }
    }

    /// Makes a pod active unless a PreEnqueue plugin objects.
    fn make_active(&mut self, mut pod: Queued) {
        pod.gate = self.profile(&pod).and_then(|profile| profile.gate(&pod.info.pod));
        if let Some(gate) = pod.gate {
            pod.refused_by.insert(gate);
            self.unschedulable.insert(pod.info.uid.clone(), pod);
        } else {
            let less = order(self.profiles.clone());
            self.active.push(pod, &less);
        }
    }

    fn profile(&self, pod: &Queued) -> Option<&Arc<Profile>> {
        self.profiles.get(pod.info.scheduler_name())
    }
}

fn waited_since(pod: &Queued) -> Instant {
    pod.flushed.map_or(pod.joined, |flushed| flushed.max(pod.joined))
}

/// The order of the active queue. All profiles must sort alike, so any will do.
fn order(profiles: Arc<Profiles>) -> impl Fn(&Queued, &Queued) -> bool {
    move |a, b| profiles.values().next().is_some_and(|profile| profile.less(a, b))
}
