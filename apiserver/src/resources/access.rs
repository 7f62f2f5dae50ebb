//! What of an object only some may write: upstream's strategies ask the authorizer, or look at the namespace, while they
//! validate (pkg/registry/resource/utils.go, pkg/registry/certificates/podcertificaterequest/strategy.go@v1.37.2).

use api::facts::Resource;
use api::field::{self, Errors, Path, go_quote};
use api::object::Meta;
use api::status::Status;
use api::value::Map;

use crate::admission::certificates::may;
use crate::authn::User;
use crate::authn::service_account::{NODE_NAME_KEY, split_username};
use crate::authz::forbidden::Forbidden;
use crate::authz::{Attributes, Authorizers, ResourceAttributes};
use crate::hub::Hub;
use crate::resources::device::access;

const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";

/// Who writes what.
pub(crate) struct Writer<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) authorizers: &'a Authorizers,
    pub(crate) user: &'a User,
    pub(crate) verb: &'a str,
    pub(crate) facts: &'static Resource,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
}

impl Writer<'_> {
    /// What the user may not write here, in an object that is good otherwise when `so_far` is empty.
    pub(crate) async fn refused(&self, object: &Map, old: Option<&Map>, so_far: &Errors) -> Result<Errors, Status> {
        let facts = self.facts;
        Ok(match (facts.group, facts.plural, self.subresource, old) {
            // A spec does not change.
            ("resource.k8s.io", "resourceclaims", "", None) => self.admin(access::requested(object, false)).await?,
            ("resource.k8s.io", "resourceclaimtemplates", "", None) => {
                self.admin(access::requested(object, true)).await?
            }
            ("resource.k8s.io", "resourceclaims", "status", Some(old)) => {
                let granted = access::granted(object).filter(|_| access::granted(old).is_none());
                let mut errors = self.admin(granted).await?;
                errors.extend(self.binding(object, old));
                errors.extend(self.devices(object, old));
                errors
            }
            ("certificates.k8s.io", "podcertificaterequests", "status", Some(old)) if so_far.is_empty() => {
                self.signing(object, old).into_iter().collect()
            }
            _ => Errors::new(),
        })
    }

    /// Admin access is for namespaces with a label.
    async fn admin(&self, asked: Option<Path>) -> Result<Errors, Status> {
        let Some(path) = asked else { return Ok(Errors::new()) };
        let storage = self.hub.registry.storage_of("", "namespaces").ok_or_else(Status::no_such_path)?;
        let found = self.hub.read(&storage, "", self.namespace).await?;
        if found.as_ref().is_some_and(|(namespace, _)| namespace.label(ADMIN_LABEL) == Some("true")) {
            return Ok(Errors::new());
        }
        let why = match found {
            Some(_) => {
                let why = "admin access to devices requires the";
                return Ok(vec![field::forbidden(
                    &path,
                    format!("{why} `{ADMIN_LABEL}: true` label on the containing namespace"),
                )]);
            }
            None => Status::not_found("", "namespaces", self.namespace).message,
        };
        Ok(vec![field::internal(&path, format!("could not retrieve namespace to verify admin access: {why}"))])
    }

    /// Why the authorizer refuses a verb on what stands for a part of claims.
    fn refusal(&self, verb: &str, subresource: &str, namespace: &str, name: &str) -> Option<String> {
        let facts = self.facts;
        let (group, version, resource) = (facts.group, facts.version, facts.plural);
        let asked = ResourceAttributes { group, version, resource, subresource, namespace, name, ..Default::default() };
        let attributes = Attributes { user: self.user, verb, resource: Some(asked), path: "" };
        let decision = self.authorizers.decide(&attributes);
        (!decision.is_allow()).then(|| Forbidden::of(&attributes, decision.reason()).message)
    }

    fn binding(&self, object: &Map, old: &Map) -> Option<field::Error> {
        let verb = self.verb;
        let why = self.refusal(verb, "binding", "", "").filter(|_| access::binds(object, old))?;
        let asked = format!("resource=\"resourceclaims/binding\", verb={}", go_quote(verb));
        let why = format!("changing status.allocation or status.reservedFor requires {asked} permission: {why}");
        Some(field::forbidden(&Path::new("status").child("allocation"), why))
    }

    /// Each driver tells of its own devices; one on the node of the allocation may have less.
    fn devices(&self, object: &Map, old: &Map) -> Errors {
        let verb = self.verb;
        let mut verbs = vec![format!("arbitrary-node:{verb}")];
        if is_on(self.user, access::node(object)) {
            verbs.insert(0, format!("associated-node:{verb}"));
        }
        let asked = format!("resource=\"resourceclaims/driver\", verb=\"[{}]\"", verbs.join(" "));
        let refused = access::changed_drivers(object, old).into_iter().filter_map(|driver| {
            let mut refusals = Vec::new();
            for verb in &verbs {
                refusals.push(self.refusal(verb, "driver", self.namespace, driver)?);
            }
            refusals.into_iter().next()
        });
        let path = Path::new("status").child("devices");
        let told = |why| field::forbidden(&path, format!("changing status.devices requires {asked} permission: {why}"));
        refused.map(told).collect()
    }

    fn signing(&self, object: &Map, old: &Map) -> Option<field::Error> {
        let signer = old.map("spec").map_or("", |spec| spec.str("signerName"));
        if object.get("status") == old.get("status") || may(self.authorizers, self.user, "sign", signer) {
            return None;
        }
        let (user, signer) = (go_quote(&self.user.name), go_quote(signer));
        let why = format!("User {user} is not permitted to \"sign\" for signer {signer}");
        Some(field::forbidden(&Path::new("spec").child("signerName"), why))
    }
}

/// Whether the user is a service account whose token is of a pod on the node.
fn is_on(user: &User, node: &str) -> bool {
    let nodes = user.extra.get(NODE_NAME_KEY).map_or(&[][..], Vec::as_slice);
    !node.is_empty() && split_username(&user.name).is_some() && matches!(nodes, [one] if one == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_on_the_node_that_its_token_names() {
        let is = |name: &str, nodes: &[&str]| {
            let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
            let user = User { name: name.into(), extra: [(NODE_NAME_KEY.to_owned(), nodes)].into(), ..User::default() };
            is_on(&user, "n")
        };
        let driver = "system:serviceaccount:ns:driver";
        assert!(is(driver, &["n"]));
        for (name, nodes) in [(driver, &["m"][..]), (driver, &[]), (driver, &["n", "n"]), ("system:node:n", &["n"])] {
            assert!(!is(name, nodes), "{name} {nodes:?}");
        }
        assert!(!is_on(&User::default(), ""));
    }
}
