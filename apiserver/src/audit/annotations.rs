//! What admission plugins have to tell the audit log (k8s.io/apiserver/pkg/admission/{attributes,audit}.go@v0.37.2).
//!
//! Invariant: nothing is kept that the request's level leaves out.

use std::time::Duration;

use super::event::Level;

/// Annotations under way, and how long webhooks were waited for.
#[derive(Default)]
pub(crate) struct Annotations {
    /// What the request is told at.
    level: Level,
    pub(crate) wanted: Vec<(String, String)>,
    pub(super) waits: Vec<(&'static str, Duration)>,
}

impl Annotations {
    pub(crate) fn new(level: Level) -> Self {
        Annotations { level, ..Annotations::default() }
    }

    /// Whether anything of this level is kept.
    pub(crate) fn wants(&self, level: Level) -> bool {
        self.level >= level
    }

    /// Keeps the first value of each key, and no key that is no qualified name with a prefix.
    pub(crate) fn add(&mut self, level: Level, key: String, value: String) {
        if !self.wants(level) {
            return;
        }
        let known = self.wanted.iter().find(|(known, _)| *known == key);
        let is_key = key.split('/').count() == 2 && api::names::is_qualified_name(&key).is_empty();
        match known {
            Some((_, known)) if *known != value => {
                tracing::warn!("Failed to set admission audit annotation {key} to {value}: it is {known}");
            }
            Some(_) => {}
            None if !is_key => tracing::warn!("Failed to set admission audit annotation {key}: no qualified name"),
            None => self.wanted.push((key, value)),
        }
    }

    pub(crate) fn waited(&mut self, layer: &'static str, time: Duration) {
        if self.wants(Level::Metadata) {
            self.waits.push((layer, time));
        }
    }
}
