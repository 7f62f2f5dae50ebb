//! The plain limit on requests at once, in place of priority and fairness
//! (k8s.io/apiserver/pkg/server/filters/maxinflight.go@v0.37.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Flow, Gate};
use crate::authn::{SYSTEM_PRIVILEGED_GROUP, User};

/// What a refused client is told to wait.
pub(super) const RETRY_AFTER_SECONDS: i64 = 1;

/// Limits of reads and of changes; 0 is none.
pub(super) struct InFlight {
    limits: [usize; 2],
    counts: [AtomicUsize; 2],
}

/// One of the requests that are counted.
pub(super) struct Permit {
    flow: Arc<Flow>,
    mutating: bool,
    counted: bool,
}

impl InFlight {
    pub(super) fn new(reads: usize, writes: usize) -> Self {
        InFlight { limits: [reads, writes], counts: Default::default() }
    }

    pub(super) fn admit(&self, flow: &Arc<Flow>, user: &User, mutating: bool) -> Option<Permit> {
        let (limit, count) = (self.limits[usize::from(mutating)], &self.counts[usize::from(mutating)]);
        let permit = |counted| Some(Permit { flow: flow.clone(), mutating, counted });
        if limit == 0 {
            return permit(false);
        }
        let more = |count: usize| (count < limit).then_some(count + 1);
        if count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            flow.marks.lock().executing(flow.clock.now(), mutating, 1);
            return permit(true);
        }
        // Whoever may do everything always gets an answer.
        user.groups.iter().any(|group| group == SYSTEM_PRIVILEGED_GROUP).then(|| permit(false)).flatten()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Gate::InFlight(limits) = &self.flow.gate else { return };
        if self.counted {
            limits.counts[usize::from(self.mutating)].fetch_sub(1, Ordering::AcqRel);
            self.flow.marks.lock().executing(self.flow.clock.now(), self.mutating, -1);
        }
    }
}
