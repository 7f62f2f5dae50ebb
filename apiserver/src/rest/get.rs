//! GET of one object (k8s.io/apiserver/pkg/endpoints/handlers/get.go, storage/cacher/delegator.go@v0.37.2).

use api::status::Status;
use http::Response;

use super::{Call, metadata, options, show};
use crate::registry::{Storage, relative_key};
use crate::resources;
use crate::respond::Body;

impl Call<'_> {
    /// The object of the path: the store's, or with a resourceVersion the cache's once it is that new.
    pub(crate) async fn get(&self) -> Result<Response<Body>, Status> {
        let storage = self.storage()?;
        metadata::check_key(&self.info.name)?;
        let key = relative_key(self.namespace(), &self.info.name);
        if self.asks_the_store(storage) {
            let stored = self.hub().stored_item(storage, &key).await;
            let item = stored.map_err(|unread| self.unread(&key, unread))?.ok_or_else(|| self.not_found())?;
            return show::item(self, storage, &item).await;
        }
        match self.info.query.get("resourceVersion") {
            "" => drop(self.hub().fresh().await?),
            text => match self.revision(text)? {
                0 => {}
                revision => drop(self.wait(revision).await?),
            },
        }
        let item = storage.cache.get(&key).ok_or_else(|| self.not_found())?;
        show::item(self, storage, &item).await
    }

    /// What is no revision is no error that upstream's cache has a status for; its store has one
    /// (storage/etcd3/store.go: validateMinimumResourceVersion).
    fn revision(&self, text: &str) -> Result<u64, Status> {
        options::revision_of_query(text).map_err(|message| match resources::is_passing(self.entry) {
            true => Status::bad_request(format!("invalid resource version: {message}")),
            false => Status { code: 500, message, ..Status::default() },
        })
    }

    /// Waits until what is read is as new as `revision`; a store has nothing to wait for.
    pub(crate) async fn wait(&self, revision: u64) -> Result<u64, Status> {
        if !resources::is_passing(self.entry) {
            return self.hub().wait(revision).await;
        }
        let now = self.hub().fresh().await?;
        if now < revision { Err(Status::too_large_resource_version(revision, now, 0)) } else { Ok(now) }
    }

    /// What is encrypted is read from the store where upstream does that, so that what has become unreadable is told as such:
    /// without a resourceVersion, or while the cache is of no use.
    fn asks_the_store(&self, storage: &Storage) -> bool {
        match &self.hub().encryption {
            Some(encryption) if self.info.query.get("resourceVersion").is_empty() => encryption.covers(storage),
            _ => !storage.cache.is_readable(),
        }
    }

    /// The namespace of the path; empty for cluster-scoped kinds.
    pub(crate) fn namespace(&self) -> &str {
        if self.entry.facts.namespaced { &self.info.namespace } else { "" }
    }
}
