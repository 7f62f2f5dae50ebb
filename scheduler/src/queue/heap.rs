//! A binary heap of pods ordered by a function, from which a pod can also be taken by its uid.
//!
//! Invariant: `places` gives the place of every item; among equals the first to join comes first.

use std::collections::HashMap;

use super::queued::Queued;
use crate::pod_info::Uid;

/// The heap; the caller passes the order to each call that needs it.
#[derive(Default)]
pub(crate) struct Heap {
    items: Vec<(Queued, u64)>,
    places: HashMap<Uid, usize>,
    sequence: u64,
}

impl Heap {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn get_mut(&mut self, uid: &str) -> Option<&mut Queued> {
        let at = *self.places.get(uid)?;
        Some(&mut self.items[at].0)
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.places.contains_key(uid)
    }

    pub(crate) fn push(&mut self, pod: Queued, less: &dyn Fn(&Queued, &Queued) -> bool) {
        self.sequence += 1;
        self.places.insert(pod.info.uid.clone(), self.items.len());
        self.items.push((pod, self.sequence));
        self.up(self.items.len() - 1, less);
    }

    pub(crate) fn pop(&mut self, less: &dyn Fn(&Queued, &Queued) -> bool) -> Option<Queued> {
        (!self.items.is_empty()).then(|| self.take(0, less))
    }

    pub(crate) fn remove(&mut self, uid: &str, less: &dyn Fn(&Queued, &Queued) -> bool) -> Option<Queued> {
        let at = *self.places.get(uid)?;
        Some(self.take(at, less))
    }

    fn take(&mut self, at: usize, less: &dyn Fn(&Queued, &Queued) -> bool) -> Queued {
        let last = self.items.len() - 1;
        self.swap(at, last);
        let (pod, _) = self.items.pop().expect("the caller knows an item");
        self.places.remove(&pod.info.uid);
        if at < self.items.len() {
            self.up(at, less);
            self.down(at, less);
        }
        pod
    }

    fn before(&self, a: usize, b: usize, less: &dyn Fn(&Queued, &Queued) -> bool) -> bool {
        let ((first, early), (second, late)) = (&self.items[a], &self.items[b]);
        less(first, second) || (!less(second, first) && early < late)
    }

    fn up(&mut self, mut at: usize, less: &dyn Fn(&Queued, &Queued) -> bool) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.before(at, parent, less) {
                return;
            }
            self.swap(at, parent);
            at = parent;
        }
    }

    fn down(&mut self, mut at: usize, less: &dyn Fn(&Queued, &Queued) -> bool) {
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter().filter(|child| *child < self.items.len());
            let first = children.fold(at, |first, child| if self.before(child, first, less) { child } else { first });
            if first == at {
                return;
            }
            self.swap(at, first);
            at = first;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.items.swap(a, b);
        for at in [a, b] {
            self.places.insert(self.items[at].0.info.uid.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::testing::pod_info;

    #[test]
    fn pods_come_out_in_order_whatever_is_taken_out_between() {
        let less = |a: &Queued, b: &Queued| a.info.priority > b.info.priority;
        let (mut heap, now) = (Heap::default(), Instant::now());
        for (at, priority) in [3, 1, 4, 1, 5, 9, 2, 6, 5, 3].into_iter().enumerate() {
            let text = format!(r#"{{"metadata":{{"uid":"{at}"}},"spec":{{"priority":{priority}}}}}"#);
            heap.push(Queued::new(pod_info(&text), now), &less);
        }
        assert_eq!(heap.remove("5", &less).map(|pod| pod.info.priority), Some(9));
        assert!(heap.remove("5", &less).is_none() && heap.contains("0"));
        let order: Vec<_> = std::iter::from_fn(|| heap.pop(&less)).map(|pod| pod.info.uid.to_string()).collect();
        assert_eq!(order, ["7", "4", "8", "2", "0", "9", "6", "1", "3"]);
    }
}
