//! NamespaceLifecycle: nothing is created in a namespace that is not there or is going away
//! (k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go@v0.37.2).

use api::object::Meta;
use api::status::Status;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};

/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];
/// Kinds that may be asked in any namespace.
const REVIEWS: &str = "authorization.k8s.io";

pub(crate) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if attributes.operation == Operation::Delete
                && attributes.is("", "namespaces", &[""])
                && IMMORTAL.contains(&attributes.name)
            {
                return Err(attributes.forbidden("this namespace may not be deleted"));
            }
            let own = attributes.is("", "namespaces", &["", "status", "finalize"]);
            if attributes.namespace.is_empty() || own || attributes.group == REVIEWS {
                return Ok(());
            }
            // Objects in a namespace that is going away may still be changed and deleted.
            if attributes.operation != Operation::Create {
                return Ok(());
            }
            check(attributes, objects).await
        })
    }
}

async fn check(attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
    let name = attributes.namespace;
    let cached = objects.cached("", "namespaces", "", name);
    let found = match cached {
        Some(namespace) => Some(namespace.is_deleting()),
        // The cache may not know it yet.
        None => objects.live("", "namespaces", "", name).await?.map(|namespace| namespace.is_deleting()),
    };
    match found {
        None => Err(Status::not_found("", "namespaces", name)),
        Some(false) => Ok(()),
        Some(true) => {
            let why = format!("unable to create new content in namespace {name} because it is being terminated");
            let cause = format!("namespace {name} is being terminated");
            Err(attributes.forbidden(&why).with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
        }
    }
}
