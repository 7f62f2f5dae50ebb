//! PodTopologyLabels: a pod is labelled with the zone and the region of the node it is bound to
//! (plugin/pkg/admission/podtopologylabels/admission.go@v1.37.2).

use api::object::Meta;
use api::status::Status;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(crate) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
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
            if !attributes.is("", "pods", &["", "binding"]) {
                return Ok(());
            }
            let binding = attributes.subresource == "binding";
            let Some(object) = attributes.object.as_deref_mut() else { return Ok(()) };
            let node = match object.map("target").filter(|_| binding) {
                Some(target) if target.str("kind") == "Node" => target.str("name"),
                Some(_) => "",
                None => object.map("spec").map_or("", |spec| spec.str("nodeName")),
            };
            let Some(node) = objects.cached("", "nodes", "", node).filter(|_| !node.is_empty()) else { return Ok(()) };
            for name in LABELS {
                if let Some(value) = node.label(name) {
                    let labels = object.meta_mut().map_mut("labels");
                    labels.set(*name, value);
                    labels.sort();
                }
            }
            Ok(())
        })
    }
}
