//! Creations of the rich object with one or two fields changed.

use std::rc::Rc;

use super::builder::Builder;
use super::{Plan, Subject, applied, note, reaches};
use crate::diff::mutate::Mutation;
use crate::diff::sequence::{Sequence, Step};

/// One in so many is stored; the others are dry runs, which need no removal.
const STORED: [bool; 4] = [true, false, false, false];

pub(super) fn plans<'a>(subject: Subject<'a>, all: &Rc<Vec<Mutation>>) -> Vec<Plan<'a>> {
    if !subject.kind.can("create") {
        return Vec::new();
    }
    let make = move |number, batch: &[Vec<Mutation>]| sequence(subject, number, batch);
    subject.batches("create", all, subject.singles_and_pairs(all), make)
}

fn sequence(subject: Subject<'_>, number: usize, batch: &[Vec<Mutation>]) -> Sequence {
    let mut builder = Builder::new(subject, "create", number);
    for (at, changes) in batch.iter().enumerate() {
        let names = builder.names(&at.to_string());
        let object = names.fill(&applied(&subject.template.unfilled(subject.kind), changes));
        // One that is stored under another name could not be removed.
        let stored = builder.pick("stored", &STORED) && !reaches(changes, "metadata", "name");
        let target = format!("{}{}", builder.collection(), builder.query(!stored));
        builder.push(Step::new("POST", target, note(changes)).json(&object));
        if stored && subject.kind.can("delete") {
            builder.settle(&names);
            builder.cleanup(&names);
        }
    }
    builder.finish()
}
