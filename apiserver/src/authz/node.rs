//! The Node authorizer: a kubelet may touch its own node, what runs there, and what that needs.
//!
//! It never denies: what it does not allow, RBAC may. Creation and the content of writes are the business of the
//! NodeRestriction admission plugin.
//!
//! Upstream: `plugin/pkg/auth/authorizer/node/node_authorizer.go@v1.37.2`, `pkg/auth/nodeidentifier/default.go@v1.37.2`.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::graph::{Kind, NodeGraph};
use super::rules::allows;
use super::selector::pins;
use super::{Attributes, Decision, ResourceAttributes};
use crate::authn::text::quote;
use crate::authn::{NODES_GROUP, User};

const USERNAME_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NODE_NAME_FIELD: &str = "spec.nodeName";

/// The feature gates that this authorizer asks; the defaults are those of v1.37.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) kubelet_service_account_token_for_credential_providers: bool,
    pub(crate) pod_certificate_request: bool,
    pub(crate) csi_volume_health: bool,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            kubelet_service_account_token_for_credential_providers: true,
            pod_certificate_request: true,
            csi_volume_health: false,
        }
    }
}

/// The node that a user is, perhaps without a name; `None` for everybody else.
pub(crate) fn identity(user: &User) -> Option<&str> {
    let node = user.name.strip_prefix(USERNAME_PREFIX)?;
    user.in_group(NODES_GROUP).then_some(node)
}

/// Decides on a request of a node; no opinion on anybody else's.
pub(crate) fn decide(
    graph: &NodeGraph,
    rules: &[PolicyRule],
    features: Features,
    attributes: &Attributes<'_>,
) -> Decision {
    let node = match identity(attributes.user) {
        None => return Decision::no_opinion(""),
        Some("") => return Decision::no_opinion(format!("unknown node for user {}", quote(&attributes.user.name))),
        Some(node) => node,
    };
    let subdivided = attributes.resource.and_then(|wanted| {
        let request = Request { graph, node, features, verb: attributes.verb, wanted };
        request.decide()
    });
    let outcome = subdivided
        .unwrap_or_else(|| if rules.iter().any(|rule| allows(rule, attributes)) { Ok(()) } else { Err(String::new()) });
    match outcome {
        Ok(()) => Decision::allow(),
        Err(reason) => Decision::NoOpinion { reason },
    }
}

/// Allowed, or why not (perhaps without words).
type Outcome = Result<(), String>;

fn refuse(reason: &str) -> Outcome {
    Err(reason.to_owned())
}

struct Request<'a> {
    graph: &'a NodeGraph,
    node: &'a str,
    features: Features,
    verb: &'a str,
    wanted: ResourceAttributes<'a>,
}

impl Request<'_> {
    /// `None` for resources that all nodes may use alike.
    fn decide(&self) -> Option<Outcome> {
        Some(match (self.wanted.group, self.wanted.resource) {
            ("", "secrets") => self.read_namespaced(Kind::Secret),
            ("", "configmaps") => self.read_namespaced(Kind::ConfigMap),
            ("", "persistentvolumeclaims") if self.wanted.subresource == "status" => self.update_status(),
            ("", "persistentvolumeclaims") => self.get(Kind::PersistentVolumeClaim),
            ("", "persistentvolumes") => self.get(Kind::PersistentVolume),
            ("resource.k8s.io", "resourceclaims") => self.get(Kind::ResourceClaim),
            ("storage.k8s.io", "volumeattachments") => self.get(Kind::VolumeAttachment),
            ("", "serviceaccounts") => self.service_account(),
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(),
            ("", "nodes") => self.node(),
            ("", "pods") => self.pod(),
            ("certificates.k8s.io", "podcertificaterequests") if self.features.pod_certificate_request => {
                self.pod_certificate_request()
            }
            ("certificates.k8s.io", "podcertificaterequests") => refuse(""),
            _ => return None,
        })
    }

    fn related(&self, kind: Kind) -> Outcome {
        if self.wanted.name.is_empty() {
            return refuse("No Object name found");
        }
        if self.graph.concerns(self.node, kind, self.wanted.namespace, self.wanted.name) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{}' and this object", self.node))
    }

    fn get(&self, kind: Kind) -> Outcome {
        if self.verb != "get" {
            return refuse("can only get individual resources of this type");
        }
        if !self.wanted.subresource.is_empty() {
            return refuse("cannot get subresource");
        }
        self.related(kind)
    }

    fn read_namespaced(&self, kind: Kind) -> Outcome {
        if !matches!(self.verb, "get" | "list" | "watch") {
            return refuse("can only read resources of this type");
        }
        if !self.wanted.subresource.is_empty() {
            return refuse("cannot read subresource");
        }
        if self.wanted.namespace.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        self.related(kind)
    }

    fn update_status(&self) -> Outcome {
        if !matches!(self.verb, "update" | "patch") {
            return refuse("can only get/update/patch this type");
        }
        self.related(Kind::PersistentVolumeClaim)
    }

    fn service_account(&self) -> Outcome {
        let features = &self.features;
        if self.verb == "get" && self.wanted.subresource.is_empty() {
            if !(features.kubelet_service_account_token_for_credential_providers || features.pod_certificate_request) {
                return refuse("not allowed to get service accounts");
            }
            return self.read_namespaced(Kind::ServiceAccount);
        }
        if self.verb != "create" || self.wanted.name.is_empty() {
            return refuse("can only create tokens for individual service accounts");
        }
        if self.wanted.subresource != "token" {
            return refuse("can only create token subresource of serviceaccount");
        }
        self.related(Kind::ServiceAccount)
    }

    fn lease(&self) -> Outcome {
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return refuse("can only get, create, update, patch, or delete a node lease");
        }
        if self.wanted.namespace != LEASE_NAMESPACE {
            return Err(format!("can only access leases in the {} system namespace", quote(LEASE_NAMESPACE)));
        }
        // The name is not known on create; NodeRestriction checks it then.
        if self.verb != "create" && self.wanted.name != self.node {
            return refuse("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn csi_node(&self) -> Outcome {
        match (self.wanted.subresource, self.verb) {
            ("", "get" | "create" | "update" | "patch" | "delete") => {}
            ("", _) => return refuse("can only get, create, update, patch, or delete a CSINode"),
            ("status", _) if !self.features.csi_volume_health => {
                return refuse("CSINode status access requires CSIVolumeHealth feature");
            }
            ("status", "get" | "update" | "patch") => {}
            ("status", _) => return refuse("can only get, update, or patch CSINode status"),
            _ => return refuse("cannot authorize CSINode subresources"),
        }
        if self.verb != "create" && self.wanted.name != self.node {
            return refuse("can only access CSINode with the same name as the requesting node");
        }
        Ok(())
    }

    fn selects_own(&self, refusal: &str) -> Outcome {
        if pins(self.wanted.field_selector, NODE_NAME_FIELD, self.node) { Ok(()) } else { refuse(refusal) }
    }

    fn resource_slice(&self) -> Outcome {
        if !self.wanted.subresource.is_empty() {
            return refuse("cannot authorize ResourceSlice subresources");
        }
        match self.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(Kind::ResourceSlice),
            "watch" | "list" | "deletecollection" => {
                self.selects_own("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => refuse(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
        }
    }

    fn pod_certificate_request(&self) -> Outcome {
        if !self.wanted.subresource.is_empty() {
            return refuse("nodes may not access the status subresource of PodCertificateRequests");
        }
        match self.verb {
            "create" => Ok(()),
            "get" => self.related(Kind::PodCertificateRequest),
            "list" | "watch" => {
                self.selects_own("can only list/watch podcertificaterequests with nodeName field selector")
            }
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn node(&self) -> Outcome {
        let (node, name) = (self.node, self.wanted.name);
        match (self.wanted.subresource, self.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            // By name and not by the graph: a kubelet looks for its node before there is one.
            ("", "get" | "list" | "watch") if name == node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch") => {
                Err(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => refuse(""),
        }
    }

    fn pod(&self) -> Outcome {
        match (self.wanted.subresource, self.verb) {
            ("", "get") => self.get(Kind::Pod),
            ("", "list" | "watch") => {
                let own = self.selects_own("can only list/watch pods with spec.nodeName field selector");
                if own.is_err() && !self.wanted.name.is_empty() { self.related(Kind::Pod) } else { own }
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => refuse(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap;
    use super::super::graph::tests::{pod, volume};
    use super::super::selector::parse_field_selector;
    use super::*;

    fn graph() -> NodeGraph {
        let mut graph = NodeGraph::default();
        for (name, node) in [("a", "n1"), ("b", "n2")] {
            graph.set_pod(&pod(name, node));
            graph.set_volume(&volume(name));
            graph.set_node(Kind::VolumeAttachment, "", &format!("attachment-{name}"), node);
            graph.set_node(Kind::ResourceSlice, "", &format!("slice-{name}"), node);
            graph.set_node(Kind::PodCertificateRequest, "ns", &format!("pcr-{name}"), node);
        }
        graph
    }

    fn user(name: &str, group: &str) -> User {
        User { name: name.into(), groups: vec![group.into()], ..User::default() }
    }

    /// Asks for "verb [group/]resource[:subresource] [namespace/]name [field selector]", `-` being no name.
    fn ask(user: &User, features: Features, request: &str) -> Decision {
        let words: Vec<&str> = request.split(' ').collect();
        let (group, resource) = words[1].rsplit_once('/').unwrap_or(("", words[1]));
        let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
        let target = words.get(2).copied().filter(|w| *w != "-").unwrap_or_default();
        let (namespace, name) = target.split_once('/').unwrap_or(("", target));
        let fields = parse_field_selector(words.get(3).copied().unwrap_or_default()).unwrap();
        let resource = ResourceAttributes {
            group,
            resource,
            subresource,
            namespace,
            name,
            field_selector: &fields,
            ..ResourceAttributes::default()
        };
        let attributes = Attributes { user, verb: words[0], resource: Some(resource), path: "" };
        decide(&graph(), &bootstrap::node_rules(), features, &attributes)
    }

    const UNRELATED: &str = "no relationship found between node 'n1' and this object";

    fn check(cases: &[(&str, Result<(), &str>)]) {
        check_with(Features::default(), cases);
    }

    fn check_with(features: Features, cases: &[(&str, Result<(), &str>)]) {
        let node = user("system:node:n1", "system:nodes");
        for (request, want) in cases {
            let want = want.map_or_else(Decision::no_opinion, |()| Decision::allow());
            assert_eq!(ask(&node, features, request), want, "{request}");
        }
    }

    #[test]
    fn objects_of_pods() {
        check(&[
            ("get configmaps ns/config-a", Ok(())),
            ("get secrets ns/secret-a", Ok(())),
            ("list secrets ns/secret-a", Ok(())),
            ("watch secrets ns/secret-a", Ok(())),
            ("get secrets ns/secret-shared", Ok(())),
            ("get secrets ns/secret-volume-a", Ok(())),
            ("get persistentvolumeclaims ns/claim-a", Ok(())),
            ("get resource.k8s.io/resourceclaims ns/device-a", Ok(())),
            ("get persistentvolumes volume-a", Ok(())),
            ("get storage.k8s.io/volumeattachments attachment-a", Ok(())),
            ("get configmaps ns/config-b", Err(UNRELATED)),
            ("get secrets ns/secret-b", Err(UNRELATED)),
            ("get secrets ns/secret-volume-b", Err(UNRELATED)),
            ("get secrets ns/unknown", Err(UNRELATED)),
            ("get persistentvolumeclaims ns/claim-b", Err(UNRELATED)),
            ("get persistentvolumes volume-b", Err(UNRELATED)),
            ("get resource.k8s.io/resourceclaims ns/device-b", Err(UNRELATED)),
            ("get storage.k8s.io/volumeattachments attachment-b", Err(UNRELATED)),
            ("list secrets ns/", Err("No Object name found")),
            ("watch secrets ns/", Err("No Object name found")),
            ("list secrets secret-a", Err("can only read namespaced object of this type")),
            ("update secrets ns/secret-a", Err("can only read resources of this type")),
            ("get secrets:x ns/secret-a", Err("cannot read subresource")),
            ("list persistentvolumes -", Err("can only get individual resources of this type")),
            ("get persistentvolumes:status volume-a", Err("cannot get subresource")),
            ("update persistentvolumeclaims:status ns/claim-a", Ok(())),
            ("patch persistentvolumeclaims:status ns/claim-a", Ok(())),
            ("patch persistentvolumeclaims:status ns/claim-b", Err(UNRELATED)),
            ("get persistentvolumeclaims:status ns/claim-a", Err("can only get/update/patch this type")),
        ]);
    }

    #[test]
    fn service_accounts() {
        let tokens = "can only create tokens for individual service accounts";
        check(&[
            ("create serviceaccounts:token ns/account-a", Ok(())),
            ("create serviceaccounts:token ns/account-b", Err(UNRELATED)),
            ("create serviceaccounts ns/account-a", Err("can only create token subresource of serviceaccount")),
            ("update serviceaccounts:token ns/account-a", Err(tokens)),
            ("create serviceaccounts:token ns/", Err(tokens)),
            ("get serviceaccounts ns/account-a", Ok(())),
            ("get serviceaccounts ns/account-b", Err(UNRELATED)),
            ("list serviceaccounts ns/account-a", Err(tokens)),
            ("get serviceaccounts account-a", Err("can only read namespaced object of this type")),
        ]);
        let off = Features {
            kubelet_service_account_token_for_credential_providers: false,
            pod_certificate_request: false,
            csi_volume_health: false,
        };
        check_with(off, &[("get serviceaccounts ns/account-a", Err("not allowed to get service accounts"))]);
    }

    #[test]
    fn leases_and_csi_nodes() {
        let verbs = "can only get, create, update, patch, or delete a node lease";
        let elsewhere = "can only access leases in the \"kube-node-lease\" system namespace";
        let other = "can only access node lease with the same name as the requesting node";
        let csi_other = "can only access CSINode with the same name as the requesting node";
        let csi_verbs = "can only get, create, update, patch, or delete a CSINode";
        for verb in ["get", "create", "update", "patch", "delete"] {
            let lease = |target: &str| format!("{verb} coordination.k8s.io/leases {target}");
            let csi = |target: &str| format!("{verb} storage.k8s.io/csinodes {target}");
            let foreign = |text| if verb == "create" { Ok(()) } else { Err(text) };
            check(&[
                (&lease("kube-node-lease/n1"), Ok(())),
                (&lease("kube-node-lease/n2"), foreign(other)),
                (&lease("foo/n1"), Err(elsewhere)),
                (&csi("n1"), Ok(())),
                (&csi("n2"), foreign(csi_other)),
            ]);
        }
        check(&[
            ("list coordination.k8s.io/leases kube-node-lease/", Err(verbs)),
            ("watch coordination.k8s.io/leases kube-node-lease/", Err(verbs)),
            ("list storage.k8s.io/csinodes -", Err(csi_verbs)),
            ("get storage.k8s.io/csinodes:csiDrivers n1", Err("cannot authorize CSINode subresources")),
            ("get storage.k8s.io/csinodes:status n1", Err("CSINode status access requires CSIVolumeHealth feature")),
        ]);
        let health = Features { csi_volume_health: true, ..Features::default() };
        check_with(
            health,
            &[
                ("get storage.k8s.io/csinodes:status n1", Ok(())),
                ("patch storage.k8s.io/csinodes:status n1", Ok(())),
                ("update storage.k8s.io/csinodes:status n2", Err(csi_other)),
                ("delete storage.k8s.io/csinodes:status n1", Err("can only get, update, or patch CSINode status")),
            ],
        );
    }

    #[test]
    fn slices_and_certificate_requests() {
        let slices = "can only list/watch/deletecollection resourceslices with nodeName field selector";
        let requests = "can only list/watch podcertificaterequests with nodeName field selector";
        check(&[
            ("create resource.k8s.io/resourceslices slice-x", Ok(())),
            ("get resource.k8s.io/resourceslices slice-a", Ok(())),
            ("delete resource.k8s.io/resourceslices slice-a", Ok(())),
            ("get resource.k8s.io/resourceslices slice-b", Err(UNRELATED)),
            ("patch resource.k8s.io/resourceslices slice-b", Err(UNRELATED)),
            ("get resource.k8s.io/resourceslices:status slice-a", Err("cannot authorize ResourceSlice subresources")),
            ("list resource.k8s.io/resourceslices - spec.nodeName==n1", Ok(())),
            ("deletecollection resource.k8s.io/resourceslices - spec.nodeName=n1", Ok(())),
            ("watch resource.k8s.io/resourceslices - spec.nodeName=n2", Err(slices)),
            ("list resource.k8s.io/resourceslices -", Err(slices)),
            ("create certificates.k8s.io/podcertificaterequests ns/", Ok(())),
            ("get certificates.k8s.io/podcertificaterequests ns/pcr-a", Ok(())),
            ("get certificates.k8s.io/podcertificaterequests ns/pcr-b", Err(UNRELATED)),
            ("list certificates.k8s.io/podcertificaterequests ns/pcr-a", Err(requests)),
            ("list certificates.k8s.io/podcertificaterequests ns/ spec.nodeName=n1", Ok(())),
            ("watch certificates.k8s.io/podcertificaterequests ns/ spec.nodeName=n2", Err(requests)),
            (
                "delete certificates.k8s.io/podcertificaterequests ns/pcr-a",
                Err("nodes may not delete podcertificaterequests"),
            ),
            (
                "update certificates.k8s.io/podcertificaterequests:status ns/pcr-a",
                Err("nodes may not access the status subresource of PodCertificateRequests"),
            ),
        ]);
        let off = Features { pod_certificate_request: false, ..Features::default() };
        check_with(
            off,
            &[
                ("create certificates.k8s.io/podcertificaterequests ns/", Err("")),
                ("get certificates.k8s.io/podcertificaterequests ns/pcr-a", Err("")),
            ],
        );
    }

    #[test]
    fn nodes_and_pods() {
        let list = "can only list/watch pods with spec.nodeName field selector";
        check(&[
            ("get nodes n1", Ok(())),
            ("watch nodes n1", Ok(())),
            ("get nodes n2", Err("node 'n1' cannot read 'n2', only its own Node object")),
            ("list nodes -", Err("node 'n1' cannot read all nodes, only its own Node object")),
            ("create nodes -", Ok(())),
            ("patch nodes n2", Ok(())),
            ("update nodes:status n2", Ok(())),
            ("get nodes:status n1", Err("")),
            ("delete nodes n1", Err("")),
            ("get nodes:proxy n1", Err("")),
            ("get pods ns/a", Ok(())),
            ("get pods ns/b", Err(UNRELATED)),
            ("list pods - spec.nodeName=n1", Ok(())),
            ("watch pods - spec.nodeName==n1", Ok(())),
            ("list pods - spec.nodeName!=n1", Err(list)),
            ("list pods ns/a", Ok(())),
            ("watch pods ns/b", Err(UNRELATED)),
            ("list pods -", Err(list)),
            ("create pods ns/", Ok(())),
            ("create pods:proxy ns/", Err("")),
            ("delete pods ns/b", Ok(())),
            ("delete pods:proxy ns/a", Err("")),
            ("patch pods:status ns/b", Ok(())),
            ("get pods:status ns/a", Err("")),
            ("create pods:eviction ns/b", Ok(())),
            ("get pods:log ns/a", Err("")),
        ]);
    }

    #[test]
    fn what_all_nodes_may() {
        check(&[
            ("list services -", Ok(())),
            ("create events ns/", Ok(())),
            ("create authentication.k8s.io/tokenreviews -", Ok(())),
            ("watch node.k8s.io/runtimeclasses -", Ok(())),
            ("list apps/deployments -", Err("")),
            ("get apps/secrets ns/secret-a", Err("")),
        ]);
        for (user, want) in [
            (user("system:node:n1", "other"), ""),
            (user("n1", "system:nodes"), ""),
            (user("system:node:", "system:nodes"), "unknown node for user \"system:node:\""),
        ] {
            assert_eq!(ask(&user, Features::default(), "get nodes n1"), Decision::no_opinion(want), "{}", user.name);
        }
        let unregistered = user("system:node:n9", "system:nodes");
        assert!(ask(&unregistered, Features::default(), "get nodes n9").is_allow());
    }
}
