//! The strategies: one file a kind, one list.
//!
//! Invariant: nothing here names HTTP or the store. A kind that is not in the list behaves by its facts alone.

mod rbac;

use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use crate::hub::{Hub, store_failure};
use crate::registry::{Conversion, Entry};
use crate::strategy::{Plain, Strategy};

/// Group, plural, strategy. All versions of a resource share its strategy, on the storage version's values.
pub(crate) const STRATEGIES: &[(&str, &str, &dyn Strategy)] = &[
    ("rbac.authorization.k8s.io", "clusterroles", &rbac::Rbac),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &rbac::Rbac),
    ("rbac.authorization.k8s.io", "roles", &rbac::Rbac),
    ("rbac.authorization.k8s.io", "rolebindings", &rbac::Rbac),
];

/// The strategy of a resource.
pub(crate) fn strategy(group: &str, plural: &str) -> &'static dyn Strategy {
    STRATEGIES.iter().find(|row| row.0 == group && row.1 == plural).map_or(&Plain, |row| row.2)
}

/// Conversions between a served version and the storage version whose shapes differ: group, version, plural.
const CONVERSIONS: &[(&str, &str, &str, Conversion)] = &[];

/// The conversion of a served version, if it needs one.
pub(crate) fn conversion(group: &str, version: &str, plural: &str) -> Option<&'static Conversion> {
    CONVERSIONS.iter().find(|row| row.0 == group && row.1 == version && row.2 == plural).map(|row| &row.3)
}

/// What a kind does beside its own object while one is written: allocations that must be undone when
/// the write fails (a Service's cluster IPs and node ports).
pub(crate) trait Side: Send + Sync {
    /// Before the write; may change the object. `old` is absent on create.
    fn begin<'a>(
        &'a self,
        hub: &'a Hub,
        object: &'a mut Map,
        old: Option<&'a Map>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Undo>, Status>>;

    /// After the object is gone.
    fn after_delete<'a>(&'a self, hub: &'a Hub, object: &'a Map) -> BoxFuture<'a, ()>;
}

/// Ends what [`Side::begin`] began.
pub(crate) trait Undo: Send {
    /// `done`: the write happened. Otherwise what was allocated is given back.
    fn finish(self: Box<Self>, hub: &Hub, done: bool) -> BoxFuture<'_, ()>;
}

/// Group, plural, side effects.
const SIDES: &[(&str, &str, &dyn Side)] = &[];

struct Nothing;

impl Undo for Nothing {
    fn finish(self: Box<Self>, _: &Hub, _: bool) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn side(entry: &Entry) -> Option<&'static dyn Side> {
    SIDES.iter().find(|row| row.0 == entry.facts.group && row.1 == entry.facts.plural).map(|row| row.2)
}

pub(crate) async fn begin(
    hub: &Hub,
    entry: &Entry,
    object: &mut Map,
    old: Option<&Map>,
    dry_run: bool,
) -> Result<Box<dyn Undo>, Status> {
    match side(entry) {
        Some(side) => side.begin(hub, object, old, dry_run).await,
        None => Ok(Box::new(Nothing)),
    }
}

pub(crate) async fn after_delete(hub: &Hub, entry: &Entry, object: &Map) {
    if let Some(side) = side(entry) {
        side.after_delete(hub, object).await;
    }
}

/// How long objects of a kind live, in seconds (--event-ttl); all others stay.
const LIFETIMES: &[(&str, i64)] = &[("events", 3600)];

/// The lease a new object is attached to; 0 for none.
pub(crate) async fn lease(hub: &Hub, entry: &Entry) -> Result<i64, Status> {
    match LIFETIMES.iter().find(|row| row.0 == entry.facts.plural) {
        Some((_, seconds)) => hub.store.grant_lease(*seconds).await.map_err(|error| store_failure(&error)),
        None => Ok(0),
    }
}
