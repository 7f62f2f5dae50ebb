//! The verbs, one file each, the same for every kind.
//!
//! Invariant: nothing here names a kind; what differs is in the entry's facts and strategy.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
mod list_body;
pub(crate) mod managed;
pub(crate) mod metadata;
pub(crate) mod options;
pub(crate) mod patch;
pub(crate) mod select;
pub(crate) mod show;
mod unreadable;
mod unsafe_delete;
pub(crate) mod watch;
pub(crate) mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use api::status::Status;
use http::HeaderMap;

use parking_lot::Mutex;

use crate::admission::Chain;
use crate::audit::{Record, layer};
use crate::authn::User;
use crate::authz::Authorizers;
use crate::hub::{Hub, Unread, untransformable};
use crate::negotiate::Accepted;
use crate::options::Times;
use crate::registry::{Entry, Storage};
use crate::request::Info;
use crate::strategy::Context;

/// What the verbs work with.
pub(crate) struct Api {
    pub(crate) hub: Arc<Hub>,
    pub(crate) admission: Chain,
    pub(crate) authz: Arc<Authorizers>,
    /// --allow-privileged
    pub(crate) allow_privileged: bool,
    pub(crate) times: Times,
}

/// One request about one resource, past authorisation.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    pub(crate) info: &'a Info,
    pub(crate) user: &'a User,
    pub(crate) entry: &'a Arc<Entry>,
    pub(crate) accepted: Accepted,
    pub(crate) headers: &'a HeaderMap,
    /// Now, as metav1.Time text.
    pub(crate) now: String,
    /// What the client is told beside the answer, each text once.
    pub(crate) warnings: Mutex<Vec<String>>,
    /// The object had no labels when it got its defaults last.
    pub(crate) labels_defaulted: AtomicBool,
    /// Where lists and maps were sent empty.
    pub(crate) empty: Mutex<Vec<api::json::Empty>>,
    /// What is noted of the request, when it is told of.
    pub(crate) audit: Option<&'a Arc<Record>>,
}

impl Call<'_> {
    pub(crate) fn storage(&self) -> Result<&Arc<Storage>, Status> {
        self.entry.storage.as_ref().ok_or_else(|| self.not_allowed())
    }

    pub(crate) fn warn(&self, texts: impl IntoIterator<Item = String>) {
        let mut warnings = self.warnings.lock();
        for text in texts {
            if !warnings.contains(&text) {
                warnings.push(text);
            }
        }
    }

    /// Waits for the store, and notes how long that took.
    pub(crate) async fn timed<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(record) = self.audit else { return work.await };
        let begun = Instant::now();
        let done = work.await;
        record.took(layer::STORE, begun.elapsed());
        done
    }

    /// What a client is told of a stored object that cannot be had in its version
    /// (k8s.io/apiserver/pkg/storage/errors.go@v0.37.2: NewCorruptObjError).
    pub(crate) fn corrupt(&self, key: &str, revision: u64, status: Status) -> Status {
        match self.entry.asks() {
            true => self.corrupt_object(key, &undecodable(revision, &status)),
            false => status,
        }
    }

    fn corrupt_object(&self, key: &str, why: &str) -> Status {
        let prefix = self.entry.storage.as_ref().map_or("", |storage| storage.short_prefix());
        Status::internal(&corrupt_text(&format!("{prefix}{key}"), why))
    }

    /// What a client is told of a stored object that was not read.
    pub(crate) fn unread(&self, key: &str, unread: Unread) -> Status {
        match unread {
            Unread::Failed(status) => status,
            Unread::Encrypted(error) => self.corrupt_object(key, &untransformable(error)),
        }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.api.hub
    }

    pub(crate) fn context(&self) -> Context<'_> {
        let labels_defaulted = self.labels_defaulted.load(Ordering::Relaxed);
        Context { user: self.user, now: &self.now, labels_defaulted }
    }

    pub(crate) fn not_found(&self) -> Status {
        self.not_found_name(&self.info.name)
    }

    pub(crate) fn not_found_name(&self, name: &str) -> Status {
        Status::not_found(self.entry.facts.group, self.entry.facts.plural, name)
    }

    pub(crate) fn not_allowed(&self) -> Status {
        Status::method_not_allowed()
    }

    pub(crate) fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(self.entry.facts.group, self.entry.facts.plural, name, why)
    }

    /// The kind is that of the group which the object is of in its storage, whatever group was asked
    /// (k8s.io/apiserver/pkg/registry/rest/create.go@v0.37.2: objectMetaAndKind).
    pub(crate) fn invalid(&self, name: &str, errors: &[api::field::Error]) -> Status {
        Status::invalid(self.entry.facts.storage_group, self.entry.facts.kind, name, errors)
    }
}

/// The storage's error of a precondition that does not hold
/// (k8s.io/apiserver/pkg/storage/errors.go@v0.37.2: NewInvalidObjError).
pub(crate) fn precondition_text(key: &str, why: &str) -> String {
    format!("StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}")
}

/// The error of a stored object that cannot be decrypted or converted.
pub(crate) fn corrupt_text(key: &str, why: &str) -> String {
    format!("StorageError: corrupt object, Code: 7, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}")
}

/// The error of one that cannot be converted and is about to be changed.
pub(crate) fn undecodable(revision: u64, status: &Status) -> String {
    format!("object not decodable revision={revision}: {}", status.message)
}

/// What a client is told when its write was based on a state that is gone
/// (k8s.io/apiserver/pkg/registry/generic/registry/store.go@v0.37.2: OptimisticLockErrorMsg).
pub(crate) const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";
