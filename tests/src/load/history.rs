//! What clients did and saw, and whether one history of the objects explains it all.
//!
//! Invariant: pure. The history is what the watchers saw together; every acknowledged write must be in it, every watcher
//! must have seen all of it in order, and every list and object that was read must be a state of it.
//! Non-goal: availability; how many requests failed is not judged here.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) type Revision = u64;

/// An object of the load; its name is never used again after it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) writer: u32,
    pub(crate) number: u32,
}

impl Id {
    pub(crate) fn parse(name: &str) -> Option<Id> {
        let (writer, number) = name.strip_prefix("w-")?.split_once('-')?;
        Some(Id { writer: writer.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w-{}-{}", self.writer, self.number)
    }
}

/// An object at a revision; the counter in it grows with every write that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) id: Id,
    pub(crate) revision: Revision,
    pub(crate) counter: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// For a deletion the last state, at the deletion's revision.
    pub(crate) state: State,
}

/// All objects at a revision, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) revision: Revision,
    pub(crate) content: Content,
}

/// A set of states: how many, and a digest that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    count: u64,
    digest: u64,
}

impl Content {
    fn digest_of(state: &State) -> u64 {
        let mut hasher = DefaultHasher::new();
        (state.id, state.revision, state.counter).hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn add(&mut self, state: &State) {
        self.count += 1;
        self.digest ^= Self::digest_of(state);
    }

    fn remove(&mut self, state: &State) {
        self.count -= 1;
        self.digest ^= Self::digest_of(state);
    }
}

/// What one watcher saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The revision of its first list.
    pub(crate) begin: Revision,
    /// The revision it has come to.
    pub(crate) end: Revision,
    pub(crate) changes: Vec<Change>,
    /// Where it had to list again: after the first revision and up to the second it saw only the outcome.
    pub(crate) gaps: Vec<(Revision, Revision)>,
    pub(crate) resumed: u64,
    pub(crate) faults: Vec<String>,
}

impl Seen {
    /// Goes on to a revision; false, and a fault, if that is not ahead (`same`: or where it is).
    fn advance(&mut self, revision: Revision, same: bool, what: &str) -> bool {
        let ahead = revision > self.end || (same && revision == self.end);
        if !ahead {
            self.faults.push(format!("a watch at {} goes back to {revision} ({what})", self.end));
        }
        self.end = self.end.max(revision);
        ahead
    }

    pub(crate) fn change(&mut self, kind: Kind, state: State) {
        if self.advance(state.revision, false, "event") {
            self.changes.push(Change { kind, state });
        }
    }

    pub(crate) fn bookmark(&mut self, revision: Revision) {
        self.advance(revision, true, "bookmark");
    }

    /// It could not resume, and listed at `revision`.
    pub(crate) fn listed_again(&mut self, revision: Revision) {
        let from = self.end;
        if self.advance(revision, true, "list") {
            self.gaps.push((from, revision));
        }
    }

    fn covers(&self, revision: Revision) -> bool {
        let inside = self.begin < revision && revision <= self.end;
        inside && !self.gaps.iter().any(|(from, to)| *from < revision && revision <= *to)
    }
}

/// What may have become of an object through a write whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Put(u32),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing of it was acknowledged.
    Nothing,
    There(State),
    Gone,
}

/// What the clients may rely on about one object.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) known: Known,
    /// Writes under way, or with answers that were lost, since then.
    pub(crate) attempts: Vec<Attempt>,
}

impl Record {
    pub(crate) fn allows(&self, found: Option<&State>) -> bool {
        let tried = |counter: u32| self.attempts.contains(&Attempt::Put(counter));
        match (self.known, found) {
            (Known::Nothing, None) | (Known::Gone, None) => true,
            (Known::Nothing, Some(found)) => tried(found.counter),
            (Known::Gone, Some(_)) => false,
            (Known::There(_), None) => self.attempts.contains(&Attempt::Delete),
            (Known::There(known), Some(found)) => {
                *found == known || (found.revision > known.revision && tried(found.counter))
            }
        }
    }
}

/// Everything that the clients of one run did and saw.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Puts with the states that were acknowledged.
    pub(crate) puts: Vec<State>,
    pub(crate) records: HashMap<Id, Record>,
    pub(crate) watchers: Vec<Seen>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) gets: Vec<State>,
    /// What there is at the end.
    pub(crate) last: Vec<State>,
}

/// What does not fit.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) lost: Vec<String>,
    pub(crate) disorder: Vec<String>,
}

pub(crate) fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let changes = together(&history.watchers, &mut verdict.disorder);
    for (at, watcher) in history.watchers.iter().enumerate() {
        verdict.disorder.extend(watcher.faults.iter().map(|fault| format!("watcher {at}: {fault}")));
        complete(at, watcher, &changes, &mut verdict.disorder);
    }
    let states = replay(&changes, &mut verdict.disorder);
    let written = |state: &State| {
        changes.get(&state.revision).is_some_and(|change| change.state == *state && change.kind != Kind::Deleted)
    };
    for state in history.puts.iter().filter(|state| !written(state)) {
        match history.watchers.iter().any(|watcher| watcher.covers(state.revision)) {
            true => verdict.lost.push(format!("{state:?} was acknowledged and never seen")),
            false => verdict.disorder.push(format!("no watcher was there at {}", state.revision)),
        }
    }
    let lost = lost(&history.records, &history.last);
    verdict.lost.extend(lost);
    let unwritten = history.gets.iter().filter(|get| !written(get));
    verdict.disorder.extend(unwritten.map(|get| format!("{get:?} was read and never written")));
    for listing in &history.listings {
        let content = states.range(..=listing.revision).next_back().map(|(_, content)| *content).unwrap_or_default();
        if content != listing.content {
            let found = listing.content.count;
            let what = format!("a list at {} has {found} objects that are not the {}", listing.revision, content.count);
            verdict.disorder.push(what);
        }
    }
    verdict
}

/// What all watchers saw, by revision.
fn together(watchers: &[Seen], disorder: &mut Vec<String>) -> BTreeMap<Revision, Change> {
    let mut changes: BTreeMap<Revision, Change> = BTreeMap::new();
    for change in watchers.iter().flat_map(|watcher| &watcher.changes) {
        let first = changes.entry(change.state.revision).or_insert(*change);
        if first != change {
            disorder.push(format!("watchers differ: {first:?}, {change:?}"));
        }
    }
    changes
}

/// One watcher against all.
fn complete(at: usize, watcher: &Seen, changes: &BTreeMap<Revision, Change>, disorder: &mut Vec<String>) {
    let mut own = watcher.changes.iter().map(|change| change.state.revision).peekable();
    for (revision, change) in changes.iter().filter(|(revision, _)| watcher.covers(**revision)) {
        while own.next_if(|own| own < revision).is_some() {}
        if own.next_if_eq(revision).is_none() {
            disorder.push(format!("watcher {at} did not see {change:?}"));
        }
    }
}

/// What there was after each change.
fn replay(changes: &BTreeMap<Revision, Change>, disorder: &mut Vec<String>) -> BTreeMap<Revision, Content> {
    let (mut objects, mut content) = (HashMap::<Id, State>::new(), Content::default());
    let mut contents = BTreeMap::new();
    for (revision, Change { kind, state }) in changes {
        let before = match kind {
            Kind::Deleted => objects.remove(&state.id),
            _ => objects.insert(state.id, *state),
        };
        let left = before.is_none_or(|before| *kind != Kind::Deleted || before.counter == state.counter);
        if before.is_none() != (*kind == Kind::Added) || !left {
            disorder.push(format!("{kind:?} of {} at {revision} after {before:?}", state.id));
        }
        if let Some(before) = before {
            content.remove(&before);
        }
        if *kind != Kind::Deleted {
            content.add(state);
        }
        contents.insert(*revision, content);
    }
    contents
}

/// Acknowledged states that are neither there nor superseded.
fn lost(records: &HashMap<Id, Record>, last: &[State]) -> Vec<String> {
    let found: HashMap<Id, State> = last.iter().map(|state| (state.id, *state)).collect();
    let unknown = found.values().filter(|state| !records.contains_key(&state.id));
    let mut problems: Vec<_> = unknown.map(|state| format!("{state:?} was never written")).collect();
    for (id, record) in records {
        let found = found.get(id);
        if !record.allows(found) {
            problems.push(format!("{id} is {found:?}, not as in {record:?}"));
        }
    }
    problems.sort();
    problems
}

/// An acknowledged write of an object that several contend for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Won {
    /// The revision that it replaced.
    pub(crate) over: Revision,
    pub(crate) revision: Revision,
}

/// Each write must have replaced what the one before it, or one with a lost answer after that, left.
pub(crate) fn chain(mut won: Vec<Won>) -> Vec<String> {
    won.sort_by_key(|won| won.revision);
    let pairs = won.iter().zip(won.iter().skip(1));
    let broken = pairs.filter(|(before, after)| after.over < before.revision || after.over >= after.revision);
    broken.map(|(before, after)| format!("two holders: {before:?}, then {after:?}")).collect()
}

#[cfg(test)]
mod tests;
