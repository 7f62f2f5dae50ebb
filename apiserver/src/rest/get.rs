//! GET of one object (k8s.io/apiserver/pkg/endpoints/handlers/get.go@v0.37.2).

use api::status::Status;
use http::Response;

use super::{Call, options, show};
use crate::registry::relative_key;
use crate::respond::Body;

impl Call<'_> {
    /// The object of the path: the store's, or with a resourceVersion the cache's once it is that new.
    pub(crate) async fn get(&self) -> Result<Response<Body>, Status> {
        let storage = self.storage()?;
        let key = relative_key(self.namespace(), &self.info.name);
        match self.info.query.get("resourceVersion") {
            "" => drop(self.hub().fresh().await?),
            text => match options::parse_revision(text)? {
                0 => {}
                revision => drop(self.hub().wait(revision).await?),
            },
        }
        let item = storage.cache.get(&key).ok_or_else(|| self.not_found())?;
        show::item(self, storage, &item).await
    }

    /// The namespace of the path; empty for cluster-scoped kinds.
    pub(crate) fn namespace(&self) -> &str {
        if self.entry.facts.namespaced { &self.info.namespace } else { "" }
    }
}
