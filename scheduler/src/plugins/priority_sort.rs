//! PrioritySort: higher priority first, then who has waited longer
//! (pkg/scheduler/framework/plugins/queuesort/priority_sort.go@v1.37.2).

use crate::framework::plugin::{Plugin, Point};
use crate::queue::queued::Queued;

pub(crate) const NAME: &str = "PrioritySort";

pub(crate) struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::QueueSort]
    }

    fn less(&self, a: &Queued, b: &Queued) -> bool {
        let key = |pod: &Queued| (std::cmp::Reverse(pod.info.priority), pod.joined);
        key(a) < key(b)
    }
}
