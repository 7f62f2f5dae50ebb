//! matchConditions of a webhook (k8s.io/apiserver/pkg/admission/plugin/webhook/{accessors,generic/webhook}.go@v0.37.2).
//!
//! Invariant: conditions are compiled once for each change of their configuration.

use std::sync::Arc;

use api::status::Status;
use api::value::Map;
use cel::value::Value;

use super::call::Seen;
use crate::admission::Attributes;
use crate::admission::expression::authorizer;
use crate::admission::expression::compile::{Compiler, Uses};
use crate::admission::expression::conditions::MatchConditions;
use crate::admission::expression::evaluate::{Inputs, Session};
use crate::admission::expression::subject::{self, Name, Subject};
use crate::authz::Authorizers;
use crate::registry::Entry;

/// The conditions of a webhook, if it has any.
pub(super) fn compiled(webhook: &Map, may_fail: bool) -> Option<MatchConditions> {
    if webhook.list("matchConditions").is_empty() {
        return None;
    }
    let uses = Uses { params: false, authorizer: true, patches: false };
    Some(MatchConditions::of(&Compiler::plain(), webhook.maps("matchConditions"), uses, may_fail))
}

fn kind_of(entry: &Entry, subresource: &str) -> Name {
    let expected = entry.expected(subresource);
    Name::new(expected.group, expected.version, expected.kind)
}

/// Whether the webhook is to be asked about the request as it sees it.
///
/// # Errors
/// A condition that cannot be evaluated, unless the webhook may fail.
pub(super) fn hold(
    conditions: &MatchConditions,
    attributes: &Attributes<'_>,
    seen: &Seen<'_>,
    authorizers: &Arc<Authorizers>,
) -> Result<bool, Status> {
    let custom = attributes.entry.facts.ty.open;
    let subject = Subject {
        attributes,
        request_kind: &kind_of(attributes.entry, attributes.subresource),
        kind: &kind_of(seen.entry, attributes.subresource),
        resource: &Name::new(attributes.group, attributes.version, attributes.resource),
    };
    let inputs = Inputs {
        object: subject::object(seen.object.as_deref(), custom),
        old_object: subject::object(seen.old.as_deref(), custom),
        params: Value::Null,
        request: subject::typed(subject.request()),
        namespace: Value::Null,
        authorizer: Some(authorizer::values(authorizers, &subject)),
    };
    let outcome = conditions.matches(&Session::new(inputs, Arc::default()));
    outcome.map_err(|why| Status::forbidden(attributes.group, attributes.resource, attributes.name, &why))
}
