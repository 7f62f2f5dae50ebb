//! How many watches a change is of interest to
//! (k8s.io/apiserver/pkg/util/flowcontrol/watch_tracker.go@v0.37.2).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Group, resource, namespace and name of what is watched, hashed: two that collide only make a work
/// estimate a little too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watched(u64);

/// The watches of the server.
#[derive(Debug, Default)]
pub struct Watches {
    hasher: RandomState,
    counts: HashMap<Watched, u64>,
}

/// Whether a watch counts: one that an index leads to concerns few changes
/// (upstream indexes pods by their node).
pub fn counts(resource: &str, exact: impl FnOnce(&str) -> Option<String>) -> bool {
    resource != "pods" || exact("spec.nodeName").is_none_or(|node| node.is_empty())
}

impl Watches {
    fn watched(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Watched {
        Watched(self.hasher.hash_one((group, resource, namespace, name)))
    }

    /// A watch begins; it ends with [`Watches::forget`].
    pub fn register(&mut self, group: &str, resource: &str, namespace: &str, name: &str) -> Watched {
        let watched = self.watched(group, resource, namespace, name);
        *self.counts.entry(watched).or_insert(0) += 1;
        watched
    }

    pub fn forget(&mut self, watched: Watched) {
        if let Some(count) = self.counts.get_mut(&watched) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&watched);
            }
        }
    }

    /// The watches of the resource, of the namespace and of the object itself.
    pub fn interested(&self, group: &str, resource: &str, namespace: &str, name: &str) -> u64 {
        let count =
            |namespace, name| self.counts.get(&self.watched(group, resource, namespace, name)).copied().unwrap_or(0);
        let mut all = count("", "");
        if !namespace.is_empty() {
            all += count(namespace, "");
        }
        if !name.is_empty() {
            all += count(namespace, name);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_counted_by_what_they_watch() {
        let mut watches = Watches::default();
        let all = watches.register("", "pods", "", "");
        watches.register("", "pods", "", "");
        watches.register("", "pods", "n", "");
        watches.register("", "pods", "n", "x");
        watches.register("", "nodes", "", "x");
        for (namespace, name, expect) in [("n", "", 3), ("n", "x", 4), ("m", "x", 2), ("", "", 2)] {
            assert_eq!(watches.interested("", "pods", namespace, name), expect, "{namespace}/{name}");
        }
        assert_eq!(watches.interested("", "nodes", "", "x"), 1);
        watches.forget(all);
        assert_eq!(watches.interested("", "pods", "n", ""), 2);
    }

    #[test]
    fn watches_of_one_node_do_not_count() {
        assert!(counts("pods", |_| None) && counts("pods", |_| Some(String::new())));
        assert!(!counts("pods", |_| Some("node-1".into())) && counts("secrets", |_| Some("x".into())));
    }
}
