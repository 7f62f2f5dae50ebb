//! What the clients of one run may rely on about each object, as they write.
//!
//! Invariant: an attempt is noted before it is sent, and taken back only when a server has certainly refused it.

use std::collections::HashMap;

use super::history::{Attempt, Id, Known, Record, Revision, State};

#[derive(Default)]
pub(super) struct Ledger {
    records: HashMap<Id, Record>,
    /// Objects that are there, to be read at random.
    there: Vec<Id>,
    /// The newest revision that was acknowledged to anybody.
    newest: Revision,
}

impl Ledger {
    pub(super) fn newest(&self) -> Revision {
        self.newest
    }

    /// An object that is there, `at` modulo how many there are.
    pub(super) fn one(&self, at: usize) -> Option<Id> {
        self.there.get(at % self.there.len().max(1)).copied()
    }

    pub(super) fn record(&self, id: Id) -> Record {
        self.records.get(&id).cloned().unwrap_or(Record { known: Known::Nothing, attempts: Vec::new() })
    }

    pub(super) fn attempt(&mut self, id: Id, attempt: Attempt) {
        let record = self.records.entry(id).or_insert(Record { known: Known::Nothing, attempts: Vec::new() });
        record.attempts.push(attempt);
    }

    /// The last attempt had no effect.
    pub(super) fn refused(&mut self, id: Id) {
        if let Some(record) = self.records.get_mut(&id) {
            record.attempts.pop();
        }
    }

    /// The object is there as a server has said; attempts on what it was before are void now.
    pub(super) fn there(&mut self, state: State) {
        self.newest = self.newest.max(state.revision);
        let record = Record { known: Known::There(state), attempts: Vec::new() };
        let before = self.records.insert(state.id, record);
        if !before.is_some_and(|before| matches!(before.known, Known::There(_))) {
            self.there.push(state.id);
        }
    }

    pub(super) fn gone(&mut self, id: Id) {
        self.records.insert(id, Record { known: Known::Gone, attempts: Vec::new() });
        self.there.retain(|there| *there != id);
    }

    pub(super) fn into_records(self) -> HashMap<Id, Record> {
        self.records
    }
}
