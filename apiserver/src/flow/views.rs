//! The FlowSchemas and levels as the store has them, kept by the feed.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::value::Map;
use flow::bootstrap::Kind;
use flow::schema::{LevelConfig, Schema};
use parking_lot::Mutex;

use super::{Flow, Gate};
use crate::cache::Item;
use crate::hub::Observer;
use crate::registry::Storage;

/// Objects by name.
#[derive(Default)]
pub(super) struct Objects(Mutex<[BTreeMap<String, Map>; 2]>);

impl Objects {
    fn set(&self, kind: Kind, name: &str, object: Option<Map>) {
        let objects = &mut self.0.lock()[kind as usize];
        match object {
            Some(object) => drop(objects.insert(name.to_string(), object)),
            None => drop(objects.remove(name)),
        }
    }

    pub(super) fn schemas(&self) -> Vec<Schema> {
        self.0.lock()[Kind::Schema as usize].values().map(Schema::of).collect()
    }

    /// The levels that can be used.
    pub(super) fn levels(&self) -> Vec<LevelConfig> {
        let level = |(name, object): (&String, &Map)| {
            LevelConfig::of(object)
                .inspect_err(|error| tracing::warn!(name, %error, "ignoring a broken PriorityLevelConfiguration"))
                .ok()
        };
        self.0.lock()[Kind::Level as usize].iter().filter_map(level).collect()
    }

    /// Every object, with what it is.
    pub(super) fn all(&self) -> Vec<(Kind, Map)> {
        let objects = self.0.lock();
        let of = |kind: Kind| objects[kind as usize].values().map(move |object| (kind, object.clone()));
        of(Kind::Schema).chain(of(Kind::Level)).collect()
    }
}

pub(crate) struct Views(pub(crate) Arc<Flow>);

impl Observer for Views {
    fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        let Gate::Fair(fair) = &self.0.gate else { return };
        let kind = match (storage.group, storage.plural) {
            ("flowcontrol.apiserver.k8s.io", "flowschemas") => Kind::Schema,
            ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => Kind::Level,
            _ => return,
        };
        fair.views.set(kind, key, item.map(|item| item.object(storage)));
        fair.changed.notify_one();
        fair.kept.notify_one();
    }
}
