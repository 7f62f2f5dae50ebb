//! What the probes last said, by container id.
//!
//! Invariant: an id without a probe, or not probed yet, has no entry.

use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// As events spell it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// A snapshot of results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    results: HashMap<(ProbeKind, String), Outcome>,
}

impl Probes {
    pub(crate) fn get(&self, kind: ProbeKind, id: &str) -> Option<Outcome> {
        self.results.get(&(kind, id.to_owned())).copied()
    }

    pub(crate) fn startup(&self, id: &str) -> Option<Outcome> {
        self.get(ProbeKind::Startup, id)
    }

    pub(crate) fn liveness(&self, id: &str) -> Option<Outcome> {
        self.get(ProbeKind::Liveness, id)
    }

    pub(crate) fn readiness(&self, id: &str) -> Option<Outcome> {
        self.get(ProbeKind::Readiness, id)
    }

    /// Records a result; tells whether it is news.
    pub(crate) fn record(&mut self, kind: ProbeKind, id: &str, outcome: Outcome) -> bool {
        self.results.insert((kind, id.to_owned()), outcome) != Some(outcome)
    }

    pub(crate) fn forget(&mut self, kind: ProbeKind, id: &str) {
        self.results.remove(&(kind, id.to_owned()));
    }

    #[cfg(test)]
    pub(crate) fn set_liveness(&mut self, id: &str, outcome: Outcome) {
        self.record(ProbeKind::Liveness, id, outcome);
    }

    #[cfg(test)]
    pub(crate) fn set_startup(&mut self, id: &str, outcome: Outcome) {
        self.record(ProbeKind::Startup, id, outcome);
    }
}
