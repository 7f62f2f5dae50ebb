//! A pod in the queue with its history there.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::pod_info::PodInfo;

/// A pod that wants to be scheduled.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) info: Arc<PodInfo>,
    /// When the pod (last) joined the queue.
    pub(crate) joined: Instant,
    /// How often scheduling has been tried.
    pub(crate) attempts: u32,
    /// When the pod was first active.
    pub(crate) first_active: Option<Instant>,
    /// How often the pod was refused.
    pub(crate) refusals: u32,
    /// How often in a row scheduling the pod has failed for reasons that are not the pod's.
    pub(crate) errors: u32,
    /// The plugins that refused the pod last.
    pub(crate) refused_by: BTreeSet<&'static str>,
    /// The plugin that keeps the pod from becoming active.
    pub(crate) gate: Option<&'static str>,
    /// When the pod was last tried for no better reason than that it had waited for long.
    pub(super) flushed: Option<Instant>,
}

impl Queued {
    pub(crate) fn new(info: Arc<PodInfo>, now: Instant) -> Self {
        Queued {
            info,
            joined: now,
            attempts: 0,
            first_active: None,
            refusals: 0,
            errors: 0,
            refused_by: BTreeSet::new(),
            gate: None,
            flushed: None,
        }
    }
}
