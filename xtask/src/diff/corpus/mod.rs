//! The requests of a run: for each kind and version families of sequences, made from its template, its schema and
//! the seed.
//!
//! Invariant: a sequence's id and content depend on the seed, the templates and what upstream serves, never on
//! limits, filters or what ran before, so that it can be made again alone.

mod builder;
mod change;
mod create;
mod custom;
mod exhibit;
mod files;
mod life;
mod subresource;

use std::rc::Rc;

use anyhow::Result;
use serde_json::Value;

use super::catalog::{Catalog, Kind};
use super::mutate::{self, Mutation};
use super::sequence::{Sequence, Step};
use super::template::Template;
use super::{choice, path::Path};
pub(super) use exhibit::Exhibit;
use files::Found;

/// How many mutations share what a sequence has set up.
const BATCH: usize = 12;

/// What sequences are made from.
pub(super) struct Source {
    pub(super) catalog: Catalog,
    pub(super) templates: Vec<Template>,
    pub(super) files: Vec<Found>,
    pub(super) seed: u64,
}

/// A kind with its template, ready to be varied.
#[derive(Clone, Copy)]
struct Subject<'a> {
    source: &'a Source,
    kind: &'a Kind,
    template: &'a Template,
}

impl Source {
    /// Reads templates and files; `catalog` is what upstream serves.
    pub(super) fn new(catalog: Catalog, seed: u64) -> Result<Self> {
        let mut templates = super::template::read(&crate::paths::conformance().join("diff"))?;
        let files = files::read()?;
        let without = catalog.kinds.iter().filter(|kind| !templates.iter().any(|template| template.is_of(kind)));
        let more = without.filter_map(|kind| {
            let object = files.iter().find(|found| found.is_of(kind)).map(|found| found.object.clone())?;
            Some(Template::of_testdata(kind, object))
        });
        let more: Vec<_> = more.collect();
        templates.extend(more);
        Ok(Source { catalog, templates, files, seed })
    }

    /// Kinds that can be created and have no template by hand or from testdata.
    pub(super) fn without_template(&self) -> Vec<String> {
        let missing = |kind: &&Kind| kind.can("create") && !self.templates.iter().any(|template| template.is_of(kind));
        self.catalog.kinds.iter().filter(missing).map(Kind::name).collect()
    }

    /// Every sequence of the kinds whose name contains `filter`, to be made when its turn comes.
    pub(super) fn plans(&self, filter: &str) -> Vec<Plan<'_>> {
        let mut all = Vec::new();
        for kind in self.catalog.kinds.iter().filter(|kind| kind.name().contains(filter)) {
            let Some(template) = self.templates.iter().find(|template| template.is_of(kind)) else { continue };
            let subject = Subject { source: self, kind, template };
            let mutations = Rc::new(subject.mutations(&template.unfilled(kind)));
            all.extend(life::plans(subject));
            all.extend(create::plans(subject, &mutations));
            all.extend(change::plans(subject, &mutations));
            all.extend(subresource::plans(subject));
            all.extend(files::plans(subject));
        }
        all
    }
}

impl Source {
    /// The rich objects of the kinds whose name contains `filter`, to be looked at one after the other.
    pub(super) fn exhibits(&self, filter: &str) -> Result<Vec<Exhibit>> {
        let mut all = Vec::new();
        for kind in self.catalog.kinds.iter().filter(|kind| kind.can("create") && kind.can("get")) {
            let Some(template) = self.templates.iter().find(|template| template.is_of(kind)) else { continue };
            all.push(exhibit::of(Subject { source: self, kind, template }));
        }
        all.extend(custom::exhibits(&crate::paths::conformance().join("diff/custom"))?);
        all.retain(|exhibit| exhibit.kind.name().contains(filter));
        Ok(all)
    }
}

/// A sequence that is not made yet.
pub(super) struct Plan<'a> {
    pub(super) id: String,
    pub(super) kind: String,
    /// Nothing else may run meanwhile, for its objects reach others.
    pub(super) alone: bool,
    /// About how many of its answers are compared.
    pub(super) requests: usize,
    make: Box<dyn Fn() -> Sequence + 'a>,
}

#[cfg(test)]
impl<'a> Plan<'a> {
    /// A plan of what is made already.
    pub(super) fn of(requests: usize, make: impl Fn() -> Sequence + 'a) -> Self {
        let Sequence { id, kind, .. } = make();
        Plan { id, kind, alone: false, requests, make: Box::new(make) }
    }
}

impl Plan<'_> {
    /// A part of what is done with a kind, made already.
    fn ready(kind: String, part: &str, steps: Vec<Step>) -> Plan<'static> {
        let id = format!("{kind}/{part}");
        let sequence = Sequence { id: id.clone(), kind: kind.clone(), steps };
        Plan { id, kind, alone: true, requests: 1, make: Box::new(move || sequence.clone()) }
    }

    pub(super) fn sequence(&self) -> Sequence {
        (self.make)()
    }
}

/// A change as indexes of mutations.
type Change = Vec<usize>;

impl<'a> Subject<'a> {
    fn plan(&self, family: &str, number: usize, requests: usize, make: impl Fn() -> Sequence + 'a) -> Plan<'a> {
        let kind = self.kind.name();
        let id = format!("{kind}/{family}/{number}");
        Plan { id, kind, alone: self.template.alone, requests, make: Box::new(make) }
    }

    /// Every mutation of an object of this kind.
    fn mutations(&self, object: &Value) -> Vec<Mutation> {
        self.mutations_as(object, &self.kind.group, &self.kind.version, &self.kind.kind)
    }

    /// Every mutation of an object of a type that the kind's document has.
    fn mutations_as(&self, object: &Value, group: &str, version: &str, kind: &str) -> Vec<Mutation> {
        let Some(schemas) = self.source.catalog.schemas(&self.kind.api_version()) else { return Vec::new() };
        match schemas.kind(group, version, kind) {
            Some(schema) => mutate::all(schemas, schema, object),
            None => Vec::new(),
        }
    }

    /// Each mutation alone, and pairs of them, neither inside the other, a third as many.
    fn singles_and_pairs(&self, all: &[Mutation]) -> Vec<Change> {
        let seed = self.source.seed;
        let chosen = |at: usize, which: u8| choice::below(seed, (self.kind.name(), "pair", at, which), all.len());
        let pair = |at: usize| {
            let (a, b) = (chosen(at, 0), chosen(at, 1));
            let apart = !all[a].path.covers(&all[b].path) && !all[b].path.covers(&all[a].path);
            apart.then(|| vec![a, b])
        };
        (0..all.len()).map(|at| vec![at]).chain((0..all.len() / 3).filter_map(pair)).collect()
    }

    /// The changes in the seed's order, in batches that share a sequence: each gets what `make` makes of it.
    fn batches(
        &self,
        family: &str,
        all: &Rc<Vec<Mutation>>,
        mut changes: Vec<Change>,
        make: impl Fn(usize, &[Vec<Mutation>]) -> Sequence + Clone + 'a,
    ) -> Vec<Plan<'a>> {
        choice::shuffle(self.source.seed, &mut changes, |change| format!("{family} {}", note(&picked(all, change))));
        let plan = |(number, batch): (usize, &[Change])| {
            let (batch, all, make) = (batch.to_vec(), Rc::clone(all), make.clone());
            self.plan(family, number, batch.len(), move || {
                let batch: Vec<_> = batch.iter().map(|change| picked(&all, change)).collect();
                make(number, &batch)
            })
        };
        changes.chunks(BATCH).enumerate().map(plan).collect()
    }
}

fn picked(all: &[Mutation], change: &Change) -> Vec<Mutation> {
    change.iter().map(|at| all[*at].clone()).collect()
}

/// What a change does, in words.
fn note(changes: &[Mutation]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

fn applied(object: &Value, changes: &[Mutation]) -> Value {
    let mut object = object.clone();
    changes.iter().for_each(|change| change.apply(&mut object));
    object
}

/// True when a change reaches the field of that name.
fn reaches(changes: &[Mutation], root: &str, field: &str) -> bool {
    let path = Path::default().key(root).key(field);
    changes.iter().any(|change| path.covers(&change.path) || change.path.covers(&path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::diff::catalog;
    use crate::diff::sequence::Role;

    fn source(seed: u64) -> Source {
        let template = json!({
            "group": "g.io", "versions": ["v1"], "kind": "Thing",
            "minimal": {"spec": {}}, "rich": {"spec": {"size": 1, "word": "w-$ID"}}, "status": {"seen": true},
        });
        let templates = vec![serde_json::from_value(template).unwrap()];
        Source { catalog: catalog::tests::small(), templates, files: Vec::new(), seed }
    }

    fn sequences(seed: u64) -> Vec<Sequence> {
        source(seed).plans("Thing").iter().map(Plan::sequence).collect()
    }

    #[test]
    fn plans_say_what_their_sequences_are() {
        for plan in source(1).plans("") {
            let sequence = plan.sequence();
            assert_eq!((plan.id, plan.kind), (sequence.id, sequence.kind));
        }
    }

    #[test]
    fn ids_are_unique_and_a_seed_makes_the_same_again() {
        let once = sequences(1);
        let ids: BTreeSet<_> = once.iter().map(|sequence| sequence.id.clone()).collect();
        assert_eq!(ids.len(), once.len());
        assert_eq!(format!("{once:?}"), format!("{:?}", sequences(1)));
        assert_ne!(format!("{once:?}"), format!("{:?}", sequences(2)));
        assert_eq!(source(1).plans("Nothing").len(), 0);
    }

    #[test]
    fn every_family_is_there_and_placeholders_of_templates_are_filled() {
        let sequences = sequences(1);
        for family in ["life", "create", "update", "status"] {
            let has = |sequence: &&Sequence| sequence.id.starts_with(&format!("g.io.v1.Thing/{family}/"));
            let of: Vec<_> = sequences.iter().filter(has).collect();
            assert!(!of.is_empty(), "{family}");
            let steps = of.iter().flat_map(|sequence| &sequence.steps);
            assert!(steps.clone().any(|step| step.role == Role::Compared));
            assert!(!steps.clone().any(|step| step.body.as_ref().is_some_and(|body| body.contains("$ID"))));
        }
    }
}
