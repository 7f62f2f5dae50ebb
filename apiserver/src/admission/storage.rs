//! Storage: the default class, protection while in use, and what may be grown
//! (plugin/pkg/admission/storage@v1.37.2).

use std::sync::Arc;

use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use super::quota::usage::class_of;
use super::{Attributes, Operation, Plugin, Reader};
use crate::resources::common::quantity;

const GROUP: &str = "storage.k8s.io";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const BETA_DEFAULT_CLASS: &str = "storageclass.beta.kubernetes.io/is-default-class";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The newest of the objects that an annotation marks as default, by name when they are of one age.
pub(super) fn newest_default(objects: Vec<Arc<Map>>, annotations: &[&str]) -> Option<String> {
    let marked = |object: &Arc<Map>| annotations.iter().any(|name| object.annotation(name) == Some("true"));
    let mut classes: Vec<_> = objects.into_iter().filter(marked).collect();
    classes.sort_by(|a, b| {
        let at = |object: &Map| object.meta().str("creationTimestamp").to_string();
        at(b).cmp(&at(a)).then_with(|| a.name().cmp(b.name()))
    });
    classes.first().map(|class| class.name().to_string())
}

pub(crate) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if !attributes.is("", "persistentvolumeclaims", &[""]) {
                return Ok(());
            }
            let Some(claim) = attributes.object.as_deref_mut() else { return Ok(()) };
            let named = claim.map("spec").is_some_and(|spec| spec.contains("storageClassName"));
            if !named
                && claim.annotation(BETA_CLASS).is_none()
                && let Some(class) =
                    newest_default(objects.list(GROUP, "storageclasses", ""), &[DEFAULT_CLASS, BETA_DEFAULT_CLASS])
            {
                claim.map_mut("spec").set("storageClassName", class);
            }
            Ok(())
        })
    }
}

pub(crate) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let finalizer = match (attributes.group, attributes.resource, attributes.subresource) {
                ("", "persistentvolumes", "") => "kubernetes.io/pv-protection",
                ("", "persistentvolumeclaims", "") => "kubernetes.io/pvc-protection",
                (GROUP, "volumeattributesclasses", "") => "kubernetes.io/vac-protection",
                _ => return Ok(()),
            };
            if let Some(object) = attributes.object.as_deref_mut()
                && !object.finalizers().any(|own| own == finalizer)
            {
                object.meta_mut().list_mut("finalizers").push(finalizer.into());
            }
            Ok(())
        })
    }
}

pub(crate) struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if !attributes.is("", "persistentvolumeclaims", &[""]) {
                return Ok(());
            }
            let (Some(claim), Some(old)) = (attributes.object.as_deref(), attributes.old) else { return Ok(()) };
            let size = |claim: &Map| {
                let storage = claim.value_at(&["spec", "resources", "requests", "storage"]);
                storage.and_then(quantity)
            };
            if size(claim) <= size(old) {
                return Ok(());
            }
            if old.map("status").map_or("", |status| status.str("phase")) != "Bound" {
                return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
            }
            let (class, was) = (class_of(claim), class_of(old));
            let grows = |class: Arc<Map>| class.bool("allowVolumeExpansion") == Some(true);
            let allowed = !class.is_empty()
                && class == was
                && objects.cached(GROUP, "storageclasses", "", class).is_some_and(grows);
            if allowed {
                return Ok(());
            }
            Err(attributes.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ))
        })
    }
}
