//! Network: the default class of Ingresses, and whether Services may name external IPs
//! (plugin/pkg/admission/network@v1.37.2).

use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use super::storage::newest_default;
use super::{Attributes, Operation, Plugin, Reader};

const GROUP: &str = "networking.k8s.io";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(crate) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
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
            if !attributes.is(GROUP, "ingresses", &[""]) {
                return Ok(());
            }
            let Some(ingress) = attributes.object.as_deref_mut() else { return Ok(()) };
            let named = ingress.map("spec").is_some_and(|spec| spec.contains("ingressClassName"));
            if !named
                && ingress.annotation(CLASS_ANNOTATION).is_none()
                && let Some(class) = newest_default(objects.list(GROUP, "ingressclasses", ""), &[DEFAULT_CLASS])
            {
                ingress.map_mut("spec").set("ingressClassName", class);
            }
            Ok(())
        })
    }
}

pub(crate) struct DenyServiceExternalIPs;

impl Plugin for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if !attributes.is("", "services", &[""]) {
                return Ok(());
            }
            let ips = |service: &Map| service.map("spec").map_or(&[][..], |spec| spec.list("externalIPs")).to_vec();
            let old = attributes.old.map(ips).unwrap_or_default();
            let new = attributes.object.as_deref().map(ips).unwrap_or_default();
            if new.iter().all(|ip| old.contains(ip)) {
                return Ok(());
            }
            Err(attributes.forbidden("Use of external IPs is denied by admission control"))
        })
    }
}
