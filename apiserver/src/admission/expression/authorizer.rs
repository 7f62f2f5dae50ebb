//! `authorizer`: what expressions ask is decided as requests are (k8s.io/apiserver/pkg/cel/library/authz.go@v0.37.2).
//!
//! Invariant: an expression waits for its answer; only a webhook among the authorizers makes it wait.

use std::fmt;
use std::sync::Arc;

use cel::authz::{self, Authorizer, Check, Decision, Subject as Who, Target};
use cel::value::Value;

use super::subject::Subject;
use crate::authn::User;
use crate::authz::selector::{FieldRequirement, LabelRequirement, parse_field_selector, parse_label_selector};
use crate::authz::{Attributes, Authorizers, ResourceAttributes};

/// Any version: an expression names none.
const ANY_VERSION: &str = "*";

struct Asker {
    authorizers: Arc<Authorizers>,
    user: User,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The values of `authorizer` and `authorizer.requestResource`.
pub(crate) fn values(authorizers: &Arc<Authorizers>, subject: &Subject<'_>) -> (Value, Value) {
    let asker: Arc<dyn Authorizer> =
        Arc::new(Asker { authorizers: authorizers.clone(), user: subject.attributes.user.clone() });
    let attributes = subject.attributes;
    let resource = authz::Resource {
        group: attributes.group.into(),
        resource: attributes.resource.into(),
        subresource: attributes.subresource.into(),
        namespace: attributes.namespace.into(),
        name: attributes.name.into(),
        ..Default::default()
    };
    (authz::authorizer(asker.clone()), authz::resource_authorizer(asker, resource))
}

fn service_account(namespace: &str, name: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        ..User::default()
    }
}

impl Authorizer for Asker {
    fn authorize(&self, check: &Check) -> Decision {
        let other;
        let user = match &check.subject {
            Who::Requester => &self.user,
            Who::ServiceAccount { namespace, name } => {
                other = service_account(namespace, name);
                &other
            }
        };
        let fields: Vec<FieldRequirement>;
        let label: Vec<LabelRequirement>;
        let (resource, path) = match &check.target {
            Target::Path(path) => (None, path.as_ref()),
            Target::Resource(of) => {
                fields = parse_field_selector(&of.field_selector).unwrap_or_default();
                label = parse_label_selector(&of.label_selector).unwrap_or_default();
                let resource = ResourceAttributes {
                    group: &of.group,
                    version: ANY_VERSION,
                    resource: &of.resource,
                    subresource: &of.subresource,
                    namespace: &of.namespace,
                    name: &of.name,
                    field_selector: &fields,
                    label_selector: &label,
                };
                (Some(resource), "")
            }
        };
        let answer = self.authorizers.ask(&Attributes { user, verb: &check.verb, resource, path });
        let decision = answer.decision;
        Decision { allowed: decision.is_allow(), reason: decision.reason().to_owned(), error: answer.error }
    }
}
