//! `namespaces/finalize`: the only way to take a namespace's finalizers away
//! (pkg/registry/core/namespace/{strategy.go,storage/storage.go}@v1.37.2).

use api::object::Meta;
use api::status::Status;
use futures::future::BoxFuture;
use http::Response;

use super::{Incoming, Special};
use crate::chain::Asked;
use crate::respond::Body;
use crate::rest::{Call, options, show};

pub(crate) struct Finalize;

impl Special for Finalize {
    fn answer<'a>(
        &'a self,
        _: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(async move {
            let dry_run = options::dry_run(&call.info.query, "UpdateOptions")?;
            let wanted = call.body(incoming.body).await?;
            let finalizers = wanted.map("spec").and_then(|spec| spec.get("finalizers")).cloned();
            let version = wanted.resource_version().to_string();
            let mut make = |existing: &crate::rest::write::Existing| {
                let mut object = existing.object.clone();
                let spec = object.map_mut("spec");
                match &finalizers {
                    Some(finalizers) => spec.set("finalizers", finalizers.clone()),
                    None => drop(spec.remove("finalizers")),
                }
                object.meta_mut().set("resourceVersion", version.as_str());
                call.track(&existing.object, &mut object);
                Ok(object)
            };
            let done = call.change(&mut make, dry_run).await?;
            Ok(show::value(call, 200, &done.object))
        })
    }
}
