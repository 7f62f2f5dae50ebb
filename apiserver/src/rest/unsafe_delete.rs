//! DELETE of an object that cannot be read
//! (k8s.io/apiserver/pkg/registry/generic/registry/corrupt_obj_deleter.go, endpoints/handlers/delete.go@v0.37.2).
//!
//! Invariant: an object that can be read is never deleted this way. Finalizers, preconditions and admission are passed over, as
//! nobody knows them; whoever asks needs a permission of its own.

use api::map;
use api::status::Status;
use api::value::Map;
use http::Response;
use store::KeyValue;

use super::Call;
use super::delete::Options;
use crate::authz::{self, Decision};
use crate::chain;
use crate::hub::store_failure;
use crate::registry::Storage;
use crate::respond::{self, Body};

/// What a user must be allowed to do.
const VERB: &str = "unsafe-delete-ignore-read-errors";

impl Call<'_> {
    pub(super) async fn delete_unread(&self, options: &Options) -> Result<Response<Body>, Status> {
        if !self.entry.strategy.deletes_unread() {
            let why = "no unsafe deleter provided, can not honor ignoreStoreReadErrorWithClusterBreakingPotential";
            return Err(Status::internal(why));
        }
        self.may_delete_unread()?;
        let storage = self.storage()?.clone();
        let (namespace, name) = (self.namespace(), &self.info.name);
        let key = storage.key(namespace, name);
        loop {
            let got = self.hub().store.get(&key, 0).await.map_err(|error| store_failure(&error))?;
            let kv = got.kv.ok_or_else(|| self.not_found())?;
            if self.can_read(&storage, &kv).await {
                let key = String::from_utf8_lossy(&key);
                return Err(self.conflict(name, &format!(
                    "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: unsafe deletion is not allowed because the object is decodable from storage"
                )));
            }
            if options.dry_run || self.hub().remove(&storage, namespace, name, kv.mod_revision).await?.is_some() {
                return Ok(respond::object(200, &self.done(), &self.accepted));
            }
        }
    }

    /// handlers/delete.go: authorizeUnsafeDelete.
    fn may_delete_unread(&self) -> Result<(), Status> {
        let facts = self.entry.facts;
        let forbidden = |why: &str| Status::forbidden(facts.group, facts.plural, &self.info.name, why);
        if !self.info.subresource.is_empty() {
            return Err(forbidden(
                "ignoreStoreReadErrorWithClusterBreakingPotential delete option is not allowed on a subresource or non-resource request",
            ));
        }
        let attributes = chain::attributes(self.info, self.user, &[]);
        let attributes = authz::Attributes { verb: VERB, ..attributes };
        match self.api.authz.decide(&attributes) {
            Decision::Allow { .. } => Ok(()),
            decision => Err(forbidden(&format!("not permitted to do \"{VERB}\", reason: {}", decision.reason()))),
        }
    }

    async fn can_read(&self, storage: &Storage, kv: &KeyValue) -> bool {
        let Ok(plain) = self.hub().open(storage, &kv.key, kv.value.clone()).await else { return false };
        match storage.decode(&plain.bytes, kv.mod_revision) {
            Ok(object) => self.entry.read(object, self.hub()).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Nobody has the object to show.
    fn done(&self) -> Map {
        let details = map! { "name" => self.info.name.as_str(), "kind" => self.entry.facts.kind };
        map! {
            "kind" => "Status", "apiVersion" => "v1", "metadata" => Map::new(), "status" => "Success",
            "details" => details, "code" => 200,
        }
    }
}
