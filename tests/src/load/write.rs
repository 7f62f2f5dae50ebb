//! A writer: creates, updates, patches and deletes objects of its own, and knows at each moment what they must be.
//!
//! Invariant: nobody else writes its objects, so a conflict or a missing object needs an earlier answer that was lost.
//! Every write but some patches names the revision that it replaces. An object whose unconditional patch has no answer
//! is left alone from then on: the patch may come to its effect at any time.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::history::{Attempt, Id, Known, Revision, State};
use super::{Answer, NAMESPACE, RETRY, Shared, state};

/// Objects that a writer has at a time.
const OBJECTS_MAX: usize = 10;
/// Between two writes, in milliseconds.
const PAUSE: std::ops::Range<u64> = 5..60;
/// The writer of the last object.
const MARKER: u32 = u32::MAX;

pub(super) async fn run(shared: Arc<Shared>, number: u32, seed: u64) {
    let Ok(client) = shared.client() else { return };
    let random = StdRng::seed_from_u64(seed);
    let api = shared.config_maps(&client);
    let mut writer = Writer { shared: shared.clone(), client, api, number, next: 0, counter: 0, own: vec![], random };
    loop {
        let time = Duration::from_millis(writer.random.random_range(PAUSE));
        if !shared.pause(time).await {
            return;
        }
        writer.turn().await;
    }
}

/// Writes one more object and returns its revision.
pub(super) async fn marker(shared: &Shared) -> Revision {
    let id = Id { writer: MARKER, number: 0 };
    for counter in 1.. {
        let Ok(client) = shared.client() else { break };
        shared.ledger().attempt(id, Attempt::Put(counter));
        let api = shared.config_maps(&client);
        let object = object(id, counter, None);
        // Only the first try creates it; an answer that was lost shows as an object that is there.
        let written = async {
            match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&id.to_string()).await,
                created => created,
            }
        };
        if let Answer::Done(object) = shared.ask(written).await
            && let Some(state) = state(&object)
        {
            shared.acknowledged(state);
            return state.revision;
        }
        tokio::time::sleep(RETRY).await;
    }
    0
}

struct Writer {
    shared: Arc<Shared>,
    client: Client,
    api: Api<ConfigMap>,
    number: u32,
    /// Of its next object.
    next: u32,
    counter: u32,
    own: Vec<Id>,
    random: StdRng,
}

/// A write of an object that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Update,
    Patch,
    /// Whatever the object's revision is.
    PatchAny,
    Delete,
}

fn object(id: Id, counter: u32, over: Option<Revision>) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(id.to_string());
    object.metadata.namespace = Some(NAMESPACE.into());
    object.metadata.resource_version = over.map(|over| over.to_string());
    object.data = Some([("counter".to_owned(), counter.to_string())].into());
    object
}

impl Writer {
    async fn turn(&mut self) {
        let create = self.own.is_empty() || (self.own.len() < OBJECTS_MAX && self.random.random_ratio(1, 4));
        if create {
            return self.create().await;
        }
        let id = self.own[self.random.random_range(0..self.own.len())];
        let verb = match self.random.random_range(0..10) {
            0..4 => Verb::Update,
            4..6 => Verb::Patch,
            6..8 => Verb::PatchAny,
            _ => Verb::Delete,
        };
        let known = self.shared.ledger().record(id).known;
        match known {
            Known::There(known) if verb == Verb::Delete => self.delete(known).await,
            Known::There(known) => self.put(verb, known).await,
            _ => self.own.retain(|own| *own != id),
        }
    }

    fn count(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    fn lost(&self, what: String) {
        self.shared.notes().lost.push(what);
    }

    async fn create(&mut self) {
        let (id, counter) = (Id { writer: self.number, number: self.next }, self.count());
        self.next += 1;
        self.shared.ledger().attempt(id, Attempt::Put(counter));
        let object = object(id, counter, None);
        match self.shared.ask(self.api.create(&PostParams::default(), &object)).await {
            Answer::Done(created) => self.answered(id, counter, 0, &created),
            Answer::Refused(status) => {
                self.shared.ledger().refused(id);
                return self.lost(format!("create of {id}: {status}"));
            }
            // If it is not there it may still come, and is left alone.
            Answer::Lost => self.resolve(id).await,
        }
        if matches!(self.shared.ledger().record(id).known, Known::There(_)) {
            self.own.push(id);
        }
    }

    /// Checks the answer to a put and notes it.
    fn answered(&mut self, id: Id, counter: u32, over: Revision, answer: &ConfigMap) {
        match state(answer) {
            Some(state) if state.id == id && state.counter == counter && state.revision > over => {
                self.shared.acknowledged(state);
            }
            wrong => self.lost(format!("{id} with {counter} over {over} was answered with {wrong:?}")),
        }
    }

    async fn put(&mut self, verb: Verb, known: State) {
        let (id, counter) = (known.id, self.count());
        self.shared.ledger().attempt(id, Attempt::Put(counter));
        let name = id.to_string();
        let answer = if verb == Verb::Update {
            let object = object(id, counter, Some(known.revision));
            self.shared.ask(self.api.replace(&name, &PostParams::default(), &object)).await
        } else {
            let mut patch = json!({"data": {"counter": counter.to_string()}});
            if verb == Verb::Patch {
                patch["metadata"] = json!({"resourceVersion": known.revision.to_string()});
            }
            self.shared.ask(self.api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await
        };
        match answer {
            Answer::Done(written) => self.answered(id, counter, known.revision, &written),
            Answer::Refused(status) => self.refused(verb, known, &status).await,
            Answer::Lost if verb == Verb::PatchAny => self.own.retain(|own| *own != id),
            Answer::Lost => self.resolve(id).await,
        }
    }

    async fn delete(&mut self, known: State) {
        let id = known.id;
        self.shared.ledger().attempt(id, Attempt::Delete);
        let preconditions = Preconditions { resource_version: Some(known.revision.to_string()), uid: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.shared.ask(self.api.delete(&id.to_string(), &params)).await {
            Answer::Done(_) => {
                self.shared.ledger().gone(id);
                self.shared.notes().deletions += 1;
                self.own.retain(|own| *own != id);
            }
            Answer::Refused(status) => self.refused(Verb::Delete, known, &status).await,
            Answer::Lost => self.resolve(id).await,
        }
    }

    /// A refusal is right only if an earlier write without an answer came to its effect.
    async fn refused(&mut self, verb: Verb, known: State, status: &kube::core::Status) {
        let id = known.id;
        self.shared.ledger().refused(id);
        let attempts = self.shared.ledger().record(id).attempts;
        let deleted = status.is_not_found() && attempts.contains(&Attempt::Delete);
        let changed = status.is_conflict() && attempts.iter().any(|attempt| *attempt != Attempt::Delete);
        if !deleted && !changed {
            self.lost(format!("{verb:?} of {known:?} after {attempts:?}: {status}"));
        }
        self.resolve(id).await;
    }

    /// Asks until a server tells what there is.
    async fn resolve(&mut self, id: Id) {
        loop {
            // By another connection: the old one may be what does not answer.
            if let Ok(client) = self.shared.client() {
                self.client = client;
                self.api = self.shared.config_maps(&self.client);
            }
            match self.shared.ask(self.api.get(&id.to_string())).await {
                Answer::Done(found) => return self.found(id, state(&found)),
                Answer::Refused(status) if status.is_not_found() => return self.found(id, None),
                Answer::Refused(status) => return self.lost(format!("get of {id}: {status}")),
                Answer::Lost => tokio::time::sleep(RETRY).await,
            }
        }
    }

    fn found(&mut self, id: Id, found: Option<State>) {
        let record = self.shared.ledger().record(id);
        let allowed = record.allows(found.as_ref());
        if !allowed {
            self.lost(format!("{id} is {found:?}, not as in {record:?}"));
        }
        match (found, record.known) {
            // What was tried may still come to its effect.
            (Some(found), Known::There(known)) if found == known => {}
            (Some(found), _) => {
                self.shared.notes().gets.push(found);
                self.shared.ledger().there(found);
            }
            (None, Known::There(_)) => {
                self.shared.ledger().gone(id);
                self.own.retain(|own| *own != id);
            }
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::revision;
    use super::*;

    #[test]
    fn objects_are_read_back() {
        let id = Id { writer: 3, number: 4 };
        let object = object(id, 5, Some(6));
        assert_eq!(state(&object), Some(State { id, revision: 6, counter: 5 }));
        assert_eq!(revision(None), 0);
    }
}
