//! How many pods a pod's controller asks for: from the caches for the kinds we know, else by the scale subresource
//! (pkg/controller/disruption/disruption.go@v1.37.2, finders).

use std::sync::Arc;

use client::informer::{Cache, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::core::{ApiResource, Request};

use crate::common::discovery::{Served, discover};
use crate::common::owner::controller_of;
use crate::error::{Error, Result, is_not_found};

pub(super) struct Scales {
    pub(super) client: Client,
    pub(super) controllers: Cache<ReplicationController>,
    pub(super) sets: Cache<ReplicaSet>,
    pub(super) deployments: Cache<Deployment>,
    pub(super) stateful: Cache<StatefulSet>,
}

/// Uid and replicas of a controller.
pub(super) type Scaled = (String, i32);

fn group(reference: &OwnerReference) -> &str {
    reference.api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The cached object that the reference means.
fn find<K: Object>(cache: &Cache<K>, namespace: &str, reference: &OwnerReference) -> Option<Arc<K>> {
    let object = cache.get(namespace, &reference.name)?;
    (object.meta().uid.as_ref() == Some(&reference.uid)).then_some(object)
}

impl Scales {
    /// `None` when the reference means no object that there is.
    pub(super) async fn of(&self, namespace: &str, reference: &OwnerReference) -> Result<Option<Scaled>> {
        if let Some(known) = self.cached(namespace, reference) {
            return Ok(Some(known));
        }
        let discovered = discover(&self.client).await?;
        let served = discovered.by_kind(&reference.api_version, &reference.kind).ok_or_else(|| {
            let (kind, version) = (&reference.kind, &reference.api_version);
            Error::other(format!("no matches for kind {kind:?} in version {version:?}"))
        })?;
        self.by_subresource(namespace, reference, served).await
    }

    fn cached(&self, namespace: &str, reference: &OwnerReference) -> Option<Scaled> {
        match (group(reference), reference.kind.as_str()) {
            ("", "ReplicationController") => {
                let found = find(&self.controllers, namespace, reference)?;
                Some((reference.uid.clone(), found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)))
            }
            ("apps" | "extensions", "ReplicaSet") => self.of_set(namespace, reference),
            ("apps", "StatefulSet") => {
                let found = find(&self.stateful, namespace, reference)?;
                Some((reference.uid.clone(), found.spec.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }

    /// The sets of a Deployment count together.
    fn of_set(&self, namespace: &str, reference: &OwnerReference) -> Option<Scaled> {
        let set = find(&self.sets, namespace, reference)?;
        let Some(owner) = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") else {
            return Some((reference.uid.clone(), set.spec.replicas.unwrap_or(1)));
        };
        let deployment = find(&self.deployments, namespace, owner)?;
        Some((owner.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
    }

    async fn by_subresource(
        &self,
        namespace: &str,
        reference: &OwnerReference,
        served: &Served,
    ) -> Result<Option<Scaled>> {
        let ApiResource { api_version, plural, group, .. } = &served.api;
        let base = if group.is_empty() { "api" } else { "apis" };
        let url = format!("/{base}/{api_version}/namespaces/{namespace}/{plural}");
        let request = Request::new(url).get_subresource("scale", &reference.name).map_err(kube::Error::BuildRequest)?;
        match self.client.request::<Scale>(request).await {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&reference.uid) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
                Ok(Some((reference.uid.clone(), replicas)))
            }
            Ok(_) => Ok(None),
            Err(error) if is_not_found(&error) => self.why_not(namespace, reference, served).await,
            Err(error) => Err(error.into()),
        }
    }

    /// A scale is not found: there is no such object, or its kind has none.
    async fn why_not(&self, namespace: &str, reference: &OwnerReference, served: &Served) -> Result<Option<Scaled>> {
        let api = kube::Api::<kube::core::DynamicObject>::namespaced_with(self.client.clone(), namespace, &served.api);
        if api.get_metadata_opt(&reference.name).await?.is_none() {
            return Ok(None);
        }
        let dot = if served.api.group.is_empty() { "" } else { "." };
        let resource = format!("{}{dot}{}", served.api.plural, served.api.group);
        Err(Error::other(format!("{resource} does not implement the scale subresource")))
    }
}
