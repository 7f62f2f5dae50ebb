//! The field manager of one path: what every write does to metadata.managedFields, and apply
//! (k8s.io/apimachinery/pkg/util/managedfields/internal@v0.37.2: the chain that NewDefaultFieldManager builds).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api::object::Meta;
use api::status::Status;
use api::value::{Map, Str, Value};

use crate::last_applied;
use crate::managed::{self, APPLY, Identity, Managed, UPDATE};
use crate::set::{Filter, Set};
use crate::typed::Typed;
use crate::typed::validate::Duplicates;
use crate::updater::{Conflict, Error, Owned, Updater, Versions};

/// Entries of updates that are kept; older ones are merged (fieldmanager.go: DefaultMaxUpdateManagers).
const UPDATE_MANAGERS_MAX: usize = 10;
/// Who owns what older updates set.
const OLD_UPDATES_MANAGER: &str = "ancient-changes";
/// Who owns what was there before owners were tracked.
const BEFORE_APPLY_MANAGER: &str = "before-first-apply";
/// Stands for the running update until it is known to have changed something.
const CURRENT_OPERATION: &str = "current-operation";

/// Fields that nobody owns (stripmeta.go).
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// Manages the fields of objects of one version through one path.
pub struct FieldManager<'a> {
    pub versions: &'a dyn Versions,
    /// `apps/v1`.
    pub version: &'a str,
    pub kind: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// Fields that the path resets: they are not owned through it.
    pub ignored: Option<&'a Filter>,
    /// Now, as metav1.Time text.
    pub now: &'a str,
}

/// An applied object and what its metadata.managedFields are to be.
pub struct Applied {
    /// `None`: the object stays as it is.
    pub object: Option<Map>,
    pub managed: Vec<Value>,
}

impl FieldManager<'_> {
    fn updater(&self) -> Updater<'_> {
        Updater { versions: self.versions, version: self.version, ignored: self.ignored }
    }

    /// Sets the managedFields of an object that was created or changed by other means than apply. `live` is
    /// the object before, or a new object of the kind. What fails leaves the managedFields of `live`.
    pub fn update(&self, live: &Map, new: &mut Map, manager: &str) {
        let mut wanted = new.map_mut("metadata").remove("managedFields");
        if !self.subresource.is_empty() {
            // Through a subresource nobody sets managedFields.
            wanted = None;
        }
        let before = live.meta().list("managedFields");
        let named = wanted.as_ref().and_then(Value::as_list).is_some_and(|wanted| wanted != before);
        if !named && !before.is_empty() && self.is_same(live, new) {
            return set_managed(new, before.to_vec());
        }
        let managed = decode_new_or_live(wanted.as_ref(), before);
        match self.updated(live, new, managed, manager) {
            Ok(managed) => set_managed(new, managed::encode(&managed)),
            Err(_) => set_managed(new, before.to_vec()),
        }
    }

    /// True when the write changes nothing that can be owned.
    fn is_same(&self, live: &Map, new: &Map) -> bool {
        let Some(ty) = self.versions.schema(self.version) else { return false };
        let comparison = Typed { value: live, ty }.compare(Typed { value: new, ty });
        comparison.is_ok_and(|comparison| {
            let sets = [comparison.removed, comparison.modified, comparison.added];
            sets.into_iter().all(|mut set| {
                set.subtract(&STRIPPED);
                set.is_empty()
            })
        })
    }

    fn updated(&self, live: &Map, new: &Map, managed: Managed, manager: &str) -> Result<Managed, Error> {
        if managed.managers.is_empty() && !live.uid().is_empty() {
            // An object whose owners were not tracked, or no more, stays so until it is applied.
            return Ok(managed);
        }
        self.track(live, new, managed, manager)
    }

    /// Gives what changed to the manager; the time counts only when something did.
    fn track(&self, live: &Map, new: &Map, managed: Managed, manager: &str) -> Result<Managed, Error> {
        let who = Identity::new(manager, UPDATE, self.version, self.subresource);
        let itself = Identity { manager: CURRENT_OPERATION.into(), ..Identity::default() };
        let Managed { managers, mut times } = managed;
        let mut managers = self.updater().update(live, new, managers, &itself)?;
        if let Some(mut owned) = managers.remove(&itself) {
            let mut set = std::mem::take(&mut owned.set);
            set.subtract(&STRIPPED);
            if !set.is_empty() {
                let previous = managers.remove(&who).map(|previous| previous.set).unwrap_or_default();
                let set = set.joined(previous);
                managers.insert(who.clone(), Owned { set, ..owned });
                times.insert(who, self.now.into());
            }
        }
        Ok(cap(Managed { managers, times }))
    }

    /// Applies a configuration to `live`, which is a new object of the kind when there is none yet.
    pub fn apply(&self, live: &Map, config: &Map, manager: &str, force: bool) -> Result<Applied, Status> {
        let managed = managed::decode(live.meta().list("managedFields"));
        let managed = managed.map_err(|why| failure(format!("failed to decode managed fields: {why}")))?;
        self.check(config)?;
        let applied = match self.merge(live, config, managed.clone(), manager, force) {
            Err(Failed::Conflicts(conflicts)) if manager == last_applied::MANAGER => {
                let left = self.not_client_side(live, conflicts);
                if left.is_empty() {
                    self.merge(live, config, managed, manager, true)
                } else {
                    Err(Failed::Conflicts(left))
                }
            }
            outcome => outcome,
        };
        let (mut object, managed) = applied.map_err(|failed| match failed {
            Failed::Conflicts(conflicts) => managed::conflict_status(&conflicts),
            Failed::Status(status) => *status,
        })?;
        if manager == last_applied::MANAGER {
            last_applied::refresh(live, config, &mut object);
        }
        if let Some(object) = &mut object {
            object.map_mut("metadata").remove("managedFields");
        }
        Ok(Applied { object, managed: managed::encode(&managed) })
    }

    /// Is the configuration of the kind and version, and does it leave managedFields alone?
    fn check(&self, config: &Map) -> Result<(), Status> {
        let (version, kind) = (config.str("apiVersion"), config.str("kind"));
        if version != self.version || kind != self.kind {
            // What has no group and version has no kind either (runtime/schema/group_version.go: FromAPIVersionAndKind).
            let told = if version.matches('/').count() > 1 { ("", "") } else { (version, kind) };
            let text = format!("invalid object type: {}", go_kind(told.0, told.1));
            return Err(Status::bad_request(text));
        }
        Ok(())
    }

    /// The conflicts that do not come from client-side apply by the same client.
    fn not_client_side(&self, live: &Map, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        let Some(ty) = self.versions.schema(self.version) else { return conflicts };
        match last_applied::unchanged_fields(live, self.version, ty) {
            Some(allowed) => conflicts.into_iter().filter(|conflict| !allowed.has(&conflict.path.0)).collect(),
            None => conflicts,
        }
    }

    fn merge(
        &self,
        live: &Map,
        config: &Map,
        mut managed: Managed,
        manager: &str,
        force: bool,
    ) -> Result<(Option<Map>, Managed), Failed> {
        if managed.managers.is_empty() && !live.uid().is_empty() {
            managed = self.before_first_apply(live, managed)?;
        }
        if config.meta().get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil").into());
        }
        self.check_types(live, config)?;
        let who = Identity::new(manager, APPLY, self.version, self.subresource);
        let Managed { managers, mut times } = managed;
        let (object, mut managers) = match self.updater().apply(live, config, managers, &who, force) {
            Ok(applied) => applied,
            Err(Error::Conflicts(conflicts)) => return Err(Failed::Conflicts(conflicts)),
            Err(Error::Failed(why)) => return Err(failure(why).into()),
        };
        if let Some(mut owned) = managers.remove(&who) {
            owned.set.subtract(&STRIPPED);
            if !owned.set.is_empty() {
                managers.insert(who.clone(), owned);
            }
        }
        if object.is_some() {
            times.insert(who, self.now.into());
        }
        Ok((object, Managed { managers, times }))
    }

    /// All that is there belongs to whoever was there before.
    fn before_first_apply(&self, live: &Map, managed: Managed) -> Result<Managed, Failed> {
        let empty = api::map! { "kind" => self.kind, "apiVersion" => self.version };
        let tracked = self.track(&empty, live, managed, BEFORE_APPLY_MANAGER);
        tracked.map_err(|error| match error {
            Error::Failed(why) => failure(format!("failed to create manager for existing fields: {why}")).into(),
            Error::Conflicts(conflicts) => Failed::Conflicts(conflicts),
        })
    }

    fn check_types(&self, live: &Map, config: &Map) -> Result<(), Failed> {
        let Some(ty) = self.versions.schema(self.version) else {
            let kind = go_kind(self.version, self.kind);
            return Err(failure(format!("no corresponding type for {kind}")).into());
        };
        let check = |value: &Map, what: &str, duplicates| {
            let valid = Typed { value, ty }.validate(duplicates);
            valid.map_err(|problems| {
                let about = about(value, self.version, self.kind);
                Failed::from(failure(format!("failed to create typed {what} object ({about}): {problems}")))
            })
        };
        check(config, "patch", Duplicates::Refuse)?;
        check(live, "live", Duplicates::Allow)
    }
}

/// Why an apply did not work.
enum Failed {
    Conflicts(Vec<Conflict>),
    Status(Box<Status>),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Failed::Status(Box::new(status))
    }
}

/// An error that is none of the API's own: 500 with the bare text.
fn failure(message: String) -> Status {
    Status { code: 500, message, ..Status::default() }
}

/// `apps/v1, Kind=Deployment`, as Go prints a GroupVersionKind.
fn go_kind(version: &str, kind: &str) -> String {
    let (group, version) = api::facts::split_api_version(version);
    format!("{group}/{version}, Kind={kind}")
}

/// `default/name; apps/v1, Kind=Deployment`.
fn about(object: &Map, version: &str, kind: &str) -> String {
    format!("{}/{}; {}", object.namespace(), object.name(), go_kind(version, kind))
}

/// The owners that the request names, else those of the live object; none when the request resets them.
fn decode_new_or_live(wanted: Option<&Value>, before: &[Value]) -> Managed {
    let wanted = wanted.and_then(Value::as_list);
    let resets = match wanted {
        Some([]) => true,
        Some([Value::Map(one)]) => one.iter().all(|(_, value)| value.is_zero()),
        _ => false,
    };
    if resets {
        return Managed::default();
    }
    let named = wanted.and_then(|entries| managed::decode(entries).ok()).filter(|named| !named.managers.is_empty());
    named.unwrap_or_else(|| managed::decode(before).unwrap_or_default())
}

/// Puts the entries into the object, or takes the field away when there are none.
pub fn set_managed(object: &mut Map, entries: Vec<Value>) {
    let meta = object.map_mut("metadata");
    if entries.is_empty() {
        meta.remove("managedFields");
    } else {
        meta.set("managedFields", entries);
    }
}

/// Merges the oldest entries of updates until there are few enough (capmanagers.go).
fn cap(mut managed: Managed) -> Managed {
    let mut updaters: Vec<Identity> =
        managed.managers.iter().filter(|entry| !entry.1.applied).map(|entry| entry.0.clone()).collect();
    if updaters.len() <= UPDATE_MANAGERS_MAX {
        return managed;
    }
    updaters.sort_by_cached_key(|who| (managed.times.get(who).cloned().unwrap_or_default(), who.clone()));
    let mut left = updaters.len();
    let mut first_of: BTreeMap<Str, Identity> = BTreeMap::new();
    for who in updaters {
        if left <= UPDATE_MANAGERS_MAX {
            break;
        }
        let Some(version) = managed.managers.get(&who).map(|owned| owned.version.clone()) else { continue };
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, who);
            continue;
        };
        let bucket = Identity::new(OLD_UPDATES_MANAGER, UPDATE, &version, "");
        if !managed.managers.contains_key(&bucket)
            && let Some(owned) = managed.managers.remove(first)
        {
            managed.managers.insert(bucket.clone(), owned);
        }
        if let Some(owned) = managed.managers.remove(&who) {
            let old = managed.managers.remove(&bucket).map(|old| old.set).unwrap_or_default();
            managed.managers.insert(bucket.clone(), Owned { set: owned.set.union(&old), ..owned });
        }
        match managed.times.get(&who).cloned() {
            Some(time) => drop(managed.times.insert(bucket, time)),
            None => drop(managed.times.remove(&bucket)),
        }
        left -= 1;
    }
    managed
}

/// An update that changed nothing but times in managedFields keeps the old times
/// (k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager/equality.go@v0.37.2).
pub fn keep_times(new: &mut Map, old: &Map) {
    let (entries, before) = (new.meta().list("managedFields"), old.meta().list("managedFields"));
    if entries.is_empty() || entries.len() != before.len() {
        return;
    }
    let time = |entry: &Value| entry.as_map().and_then(|entry| entry.get("time")).cloned();
    let same_but_time = |a: &Value, b: &Value| match (a, b) {
        (Value::Map(a), Value::Map(b)) => {
            let others = |map: &Map| map.iter().filter(|entry| entry.0 != "time").count();
            others(a) == others(b) && a.iter().all(|(name, value)| name == "time" || b.get(name) == Some(value))
        }
        _ => false,
    };
    let pairs = || entries.iter().zip(before);
    if pairs().all(|(a, b)| time(a) == time(b)) || !pairs().all(|(a, b)| same_but_time(a, b)) {
        return;
    }
    // The revision was checked before, and is the one that is replaced.
    let same = |map: &Map, other: &Map, skipped: &[&str]| {
        let counts = |name: &str| !skipped.contains(&name);
        let count = |map: &Map| map.keys().filter(|name| counts(name)).count();
        count(map) == count(other)
            && map.iter().filter(|entry| counts(entry.0)).all(|(name, value)| other.get(name) == Some(value))
    };
    if same(new, old, &["metadata"]) && same(new.meta(), old.meta(), &["managedFields", "resourceVersion"]) {
        let before = before.to_vec();
        set_managed(new, before);
    }
}
