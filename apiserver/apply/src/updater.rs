//! The core of apply: what a write does to the owners of fields, and what an applied object becomes
//! (sigs.k8s.io/structured-merge-diff/v6/merge/update.go@v6.4.2).

use std::borrow::Cow;
use std::collections::BTreeMap;

use api::value::{Map, Str};

use crate::managed::Identity;
use crate::path::Path;
use crate::schema::Ref;
use crate::set::{Filter, Set};
use crate::typed::{Comparison, Typed, reconcile};
use crate::values;

/// Objects in other versions than the one they are in.
pub trait Versions: Send + Sync {
    /// The type of objects of a version; `None` when the version is not known (any more).
    fn schema(&self, version: &str) -> Option<Ref<'_>>;
    /// An object converted from one known version to another.
    fn convert<'o>(&self, object: &'o Map, from: &str, to: &str) -> Option<Cow<'o, Map>>;
}

/// The fields that a manager owns, in terms of a version.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub set: Set,
    pub version: Str,
    pub applied: bool,
}

/// Who owns what.
pub type Managers = BTreeMap<Identity, Owned>;

/// A field that someone else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub manager: Identity,
    pub path: Path,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of other managers would change; by manager.
    #[error("conflicts")]
    Conflicts(Vec<Conflict>),
    #[error("{0}")]
    Failed(String),
}

fn failed(what: &str) -> impl Fn(String) -> Error + '_ {
    move |why| Error::Failed(format!("{what}: {why}"))
}

/// Computes owners for objects of one version.
pub struct Updater<'a> {
    pub versions: &'a dyn Versions,
    pub version: &'a str,
    /// Fields that are not owned through this path.
    pub ignored: Option<&'a Filter>,
}

/// An object with the version that it is in.
struct At<'o> {
    object: Cow<'o, Map>,
    version: Str,
}

impl Updater<'_> {
    fn schema(&self) -> Result<Ref<'_>, Error> {
        let none = || Error::Failed(format!("no corresponding type for {}", self.version));
        self.versions.schema(self.version).ok_or_else(none)
    }

    fn filtered(&self, set: Set) -> Set {
        match self.ignored {
            Some(filter) => filter.apply(set),
            None => set,
        }
    }

    /// The owners after a write that was not an apply.
    pub fn update(&self, live: &Map, new: &Map, mut managers: Managers, who: &Identity) -> Result<Managers, Error> {
        self.reconcile(&mut managers)?;
        let compare = self.transfer(live, new, &mut managers, who, true)?;
        let mut own = managers.remove(who).map(|owned| owned.set).unwrap_or_default();
        own.subtract(&compare.removed);
        let set = self.filtered(own.joined(compare.modified).joined(compare.added));
        if !set.is_empty() {
            managers.insert(who.clone(), Owned { set, version: self.version.into(), applied: false });
        }
        Ok(managers)
    }

    /// The object after an apply, `None` when it did not change, and its owners.
    pub fn apply(
        &self,
        live: &Map,
        config: &Map,
        mut managers: Managers,
        who: &Identity,
        force: bool,
    ) -> Result<(Option<Map>, Managers), Error> {
        let ty = self.schema()?;
        self.reconcile(&mut managers)?;
        let typed = |value| Typed { value, ty };
        let merged = typed(live).merge(typed(config));
        let merged = merged.map_err(|problems| failed("failed to merge config")(problems.to_string()))?;
        let set = typed(config).to_field_set();
        let set = set.map_err(|problems| failed("failed to get field set")(problems.to_string()))?;
        let owned = Owned { set: self.filtered(set), version: self.version.into(), applied: true };
        let last = managers.insert(who.clone(), owned);
        let new = self.prune(merged, &managers, last.as_ref()).map_err(failed("failed to prune fields"))?;
        self.transfer(live, &new, &mut managers, who, force)?;
        let changed = !values::equal_maps(live, &new);
        Ok((changed.then_some(new), managers))
    }

    /// Takes from the other managers what changes from `old` to `new`; without `force` that is a conflict.
    fn transfer(
        &self,
        old: &Map,
        new: &Map,
        managers: &mut Managers,
        who: &Identity,
        force: bool,
    ) -> Result<Comparison, Error> {
        let mut compared: Vec<(Str, Comparison)> = Vec::with_capacity(1);
        compared.push((self.version.into(), self.compare(old, new, self.schema()?)?));
        let (mut conflicts, mut gone) = (Vec::new(), Vec::new());
        let mut losses: Vec<(Identity, Set, usize)> = Vec::new();
        for (manager, owned) in managers.iter().filter(|entry| entry.0 != who) {
            let at = match compared.iter().position(|entry| entry.0 == owned.version) {
                Some(at) => at,
                None => match self.compare_in(old, new, &owned.version)? {
                    Some(comparison) => {
                        compared.push((owned.version.clone(), comparison));
                        compared.len() - 1
                    }
                    None => {
                        gone.push(manager.clone());
                        continue;
                    }
                },
            };
            let comparison = &compared[at].1;
            if comparison.is_same() {
                continue;
            }
            let changed = owned.set.intersection(&comparison.modified.union(&comparison.added));
            if !force {
                changed.each(&mut |path| conflicts.push(Conflict { manager: manager.clone(), path: path.clone() }));
            }
            losses.push((manager.clone(), changed, at));
        }
        if !force && !conflicts.is_empty() {
            return Err(Error::Conflicts(conflicts));
        }
        gone.iter().for_each(|manager| drop(managers.remove(manager)));
        for (manager, changed, at) in losses {
            if let Some(owned) = managers.get_mut(&manager) {
                owned.set.subtract(&changed);
                owned.set.subtract(&compared[at].1.removed);
            }
        }
        managers.retain(|_, owned| !owned.set.is_empty());
        Ok(compared.swap_remove(0).1)
    }

    fn compare(&self, old: &Map, new: &Map, ty: Ref<'_>) -> Result<Comparison, Error> {
        let comparison = Typed { value: old, ty }.compare(Typed { value: new, ty });
        let comparison = comparison.map_err(|problems| failed("failed to compare objects")(problems.to_string()))?;
        Ok(comparison.filtered(self.ignored))
    }

    /// As [`Updater::compare`] in another version; `None` when the version is not known.
    fn compare_in(&self, old: &Map, new: &Map, version: &str) -> Result<Option<Comparison>, Error> {
        let Some(ty) = self.versions.schema(version) else { return Ok(None) };
        let convert = |object| self.versions.convert(object, self.version, version);
        let (Some(old), Some(new)) = (convert(old), convert(new)) else { return Ok(None) };
        self.compare(&old, &new, ty).map(Some)
    }

    /// Makes the sets fit the present schemas.
    fn reconcile(&self, managers: &mut Managers) -> Result<(), Error> {
        managers.retain(|_, owned| self.versions.schema(&owned.version).is_some());
        for owned in managers.values_mut() {
            let Some(ty) = self.versions.schema(&owned.version) else { continue };
            if let Some(set) = reconcile::reconcile(&owned.set, ty).map_err(Error::Failed)? {
                owned.set = set;
            }
        }
        Ok(())
    }

    /// The merged object without what this manager applied last time, does not apply now, and nobody else owns.
    fn prune(&self, merged: Map, managers: &Managers, last: Option<&Owned>) -> Result<Map, String> {
        let Some(last) = last.filter(|last| !last.set.is_empty()) else { return Ok(merged) };
        let whole = At { object: Cow::Owned(merged), version: self.version.into() };
        let (Some(ty), Some(converted)) = (self.versions.schema(&last.version), self.in_version(&whole, &last.version))
        else {
            return Ok(whole.object.into_owned());
        };
        let typed = Typed { value: &converted.object, ty };
        let without = typed.remove_items(&last.set.ensure_named_fields_are_members(Some(ty)));
        let pruned = At { object: Cow::Owned(without), version: last.version.clone() };
        let pruned = self.add_back_owned(&converted, pruned, managers, &last.version)?;
        let pruned = self.add_back_dangling(&converted, pruned, last)?;
        match self.in_version(&pruned, self.version) {
            Some(pruned) => Ok(pruned.object.into_owned()),
            None => Err(format!("no corresponding type for {}", self.version)),
        }
    }

    fn in_version<'o>(&self, at: &'o At<'_>, version: &str) -> Option<At<'o>> {
        if at.version == version {
            return Some(At { object: Cow::Borrowed(&at.object), version: at.version.clone() });
        }
        let object = self.versions.convert(&at.object, &at.version, version)?;
        Some(At { object, version: version.into() })
    }

    /// Adds back what the managers, this one included, own; the pruned version first, so that conversion finds
    /// what it needs.
    fn add_back_owned<'p>(
        &self,
        merged: &At<'_>,
        pruned: At<'p>,
        managers: &Managers,
        first: &str,
    ) -> Result<At<'p>, String> {
        let mut by_version: BTreeMap<(bool, &str), Set> = BTreeMap::new();
        for owned in managers.values() {
            let version = owned.version.as_str();
            let set = by_version.entry((version != first, version)).or_default();
            *set = set.union(&owned.set);
        }
        let mut out = pruned;
        for ((_, version), owned) in by_version {
            if let Some(next) = self.add_back_owned_in(merged, &out, version, &owned)? {
                out = next;
            }
        }
        Ok(out)
    }

    fn add_back_owned_in(
        &self,
        merged: &At<'_>,
        pruned: &At<'_>,
        version: &str,
        owned: &Set,
    ) -> Result<Option<At<'static>>, String> {
        let Some(ty) = self.versions.schema(version) else { return Ok(None) };
        let (Some(merged), Some(pruned)) = (self.in_version(merged, version), self.in_version(pruned, version)) else {
            return Ok(None);
        };
        let set = |object: &Map, what: &str| {
            let set = Typed { value: object, ty }.to_field_set();
            let why =
                |problems| format!("failed to create field set from {what} object at version {version}: {problems}");
            set.map(|set| set.ensure_named_fields_are_members(Some(ty))).map_err(why)
        };
        let kept = set(&pruned.object, "pruned")?.union(&owned.ensure_named_fields_are_members(Some(ty)));
        let gone = set(&merged.object, "merged")?.difference(&kept);
        let object = Typed { value: &merged.object, ty }.remove_items(&gone);
        Ok(Some(At { object: Cow::Owned(object), version: version.into() }))
    }

    /// Adds back what was pruned although this manager had not applied it.
    fn add_back_dangling(&self, merged: &At<'_>, pruned: At<'_>, last: &Owned) -> Result<At<'static>, String> {
        let unchanged =
            || At { object: Cow::Owned(merged.object.clone().into_owned()), version: merged.version.clone() };
        let Some(ty) = self.versions.schema(&last.version) else { return Ok(unchanged()) };
        let Some(pruned) = self.in_version(&pruned, &last.version) else { return Ok(unchanged()) };
        let set = |object: &Map, what: &str| {
            let set = Typed { value: object, ty }.to_field_set();
            let why =
                |problems| format!("failed to create field set from {what} object in last applied version: {problems}");
            set.map(|set| set.ensure_named_fields_are_members(Some(ty))).map_err(why)
        };
        let (kept, all) = (set(&pruned.object, "pruned")?, set(&merged.object, "merged")?);
        let gone = all.difference(&kept).intersection(&last.set.ensure_named_fields_are_members(Some(ty)));
        let object = Typed { value: &merged.object, ty }.remove_items(&gone);
        Ok(At { object: Cow::Owned(object), version: last.version.clone() })
    }
}
