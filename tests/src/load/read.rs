//! A reader: gets and lists by turns, each through a new connection, and never sees time go back.
//!
//! Invariant: a read without a resourceVersion is as new as everything that was acknowledged to anybody, or shown to this
//! client, before it was asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::{Attempt, Id, Known, Revision, State};
use super::{Answer, Shared, state};

/// Between two reads, in milliseconds.
const PAUSE: std::ops::Range<u64> = 20..80;
/// More than there are at a time.
const OBJECTS: usize = 1 << 20;
/// Every third list comes in chunks of so many.
const CHUNK: u32 = 30;

pub(super) async fn run(shared: Arc<Shared>, seed: u64) {
    let mut reader = Reader { shared, seen: HashMap::new(), newest: 0, random: StdRng::seed_from_u64(seed) };
    for turn in 0_u64.. {
        let time = Duration::from_millis(reader.random.random_range(PAUSE));
        if !reader.shared.pause(time).await {
            return;
        }
        match turn % 2 {
            0 => reader.get().await,
            _ => reader.list((turn % 6 == 1).then_some(CHUNK)).await,
        }
    }
}

struct Reader {
    shared: Arc<Shared>,
    /// The revision of each object when it was last shown.
    seen: HashMap<Id, Revision>,
    /// The newest revision shown.
    newest: Revision,
    random: StdRng,
}

impl Reader {
    fn back(&self, what: String) {
        self.shared.notes().disorder.push(what);
    }

    async fn get(&mut self) {
        let at = self.random.random_range(0..OBJECTS);
        let Some(id) = self.shared.ledger().one(at) else { return };
        let before = self.shared.ledger().record(id);
        let Ok(client) = self.shared.client() else { return };
        let api = self.shared.config_maps(&client);
        match self.shared.ask(api.get(&id.to_string())).await {
            Answer::Done(object) => match state(&object) {
                Some(state) => self.got(state, before.known),
                None => self.back(format!("{id} has no counter: {object:?}")),
            },
            Answer::Refused(status) if status.is_not_found() => {
                let after = self.shared.ledger().record(id);
                let deleting = |record: &super::history::Record| record.attempts.contains(&Attempt::Delete);
                let there = matches!(after.known, Known::There(_)) && !deleting(&before) && !deleting(&after);
                if there {
                    self.back(format!("{id} was not found, and is {after:?}"));
                }
            }
            Answer::Refused(status) => self.back(format!("get of {id}: {status}")),
            Answer::Lost => return,
        }
        self.shared.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn got(&mut self, state: State, before: Known) {
        let floor = match before {
            Known::There(known) => known.revision,
            Known::Nothing => 0,
            Known::Gone => return self.back(format!("{state:?} was read after it was deleted")),
        };
        let floor = floor.max(self.seen.get(&state.id).copied().unwrap_or(0));
        if state.revision < floor {
            self.back(format!("{state:?} was read after {floor}"));
        }
        self.seen.insert(state.id, state.revision);
        self.newest = self.newest.max(state.revision);
        self.shared.notes().gets.push(state);
    }

    async fn list(&mut self, chunk: Option<u32>) {
        let floor = self.newest.max(self.shared.ledger().newest());
        let Ok(client) = self.shared.client() else { return };
        match self.shared.ask(self.shared.list(&client, chunk)).await {
            Answer::Done(listing) => {
                if listing.revision < floor {
                    self.back(format!("a list is at {} after {floor}", listing.revision));
                }
                self.newest = self.newest.max(listing.revision);
                self.shared.notes().listings.push(listing);
            }
            // The history that the chunks are of was compacted.
            Answer::Refused(status) if status.code == 410 && chunk.is_some() => {}
            Answer::Refused(status) => self.back(format!("list: {status}")),
            Answer::Lost => return,
        }
        self.shared.reads.fetch_add(1, Ordering::Relaxed);
    }
}
