//! Reviews: kinds that are questions about identity and permission, answered and not stored
//! (pkg/registry/{authentication,authorization}@v1.37.2).

use api::field::Shown;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use api::view;
use futures::future::BoxFuture;
use http::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::token::invalid;
use super::{Incoming, Special};
use crate::admission::Operation;
use crate::authn::issue::FieldProblem;
use crate::authn::review as identity;
use crate::authz::{Attributes, review};
use crate::chain::Asked;
use crate::respond::Body;
use crate::rest::{Call, managed, show};

pub(crate) struct Review;

impl Special for Review {
    fn answer<'a>(
        &'a self,
        asked: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(answer(asked, call, incoming.body))
    }
}

async fn answer(asked: &Asked<'_>, call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let mut object = call.body(body).await?;
    call.receive_new(&mut object)?;
    call.admit(Operation::Create, "", Some(&mut object), None, false).await?;
    check(call, &object)?;
    call.judge(Operation::Create, "", Some(&mut object), None, false).await?;
    let status = status(asked, call, &object).await?;
    // Two tell of whoever asks, not of what was sent: their answers are objects of their own.
    match call.entry.facts.kind {
        "SelfSubjectReview" => {
            object = managed::empty(call.entry.facts.ty, &call.entry.api_version, call.entry.facts.kind);
            object.meta_mut().set("creationTimestamp", call.now.as_str());
        }
        "SelfSubjectRulesReview" => {
            object = managed::empty(call.entry.facts.ty, &call.entry.api_version, call.entry.facts.kind);
        }
        _ => {}
    }
    object.set("status", status);
    Ok(show::value(call, 201, &object))
}

/// What is wrong with the question itself (pkg/apis/authorization/validation/validation.go@v1.37.2).
fn check(call: &Call<'_>, object: &Map) -> Result<(), Status> {
    let bad = |text: &str| Err(Status::bad_request(text));
    let lacks = |text: &str| object.map("spec").map_or("", |spec| spec.str(text)).is_empty();
    let problems = match call.entry.facts.kind {
        "TokenReview" if lacks("token") => return bad("token is required for TokenReview in authentication"),
        "SelfSubjectRulesReview" if lacks("namespace") => return bad("no namespace on request"),
        "SelfSubjectAccessReview" => {
            let mut problems = review::validate_self_subject_access_review(&spec(object)?);
            problems.extend(metadata_problem(object, ""));
            problems
        }
        "SubjectAccessReview" => {
            let mut problems = review::validate_subject_access_review(&spec(object)?);
            problems.extend(metadata_problem(object, ""));
            problems
        }
        "LocalSubjectAccessReview" => {
            let spec = spec(object)?;
            let mut problems = review::validate_subject_access_review(&spec);
            problems.extend(metadata_problem(object, "namespace"));
            problems.extend(review::validate_locality(&spec, object.namespace()));
            problems
        }
        _ => return Ok(()),
    };
    // The kind of an object in hand has no name there.
    if problems.is_empty() { Ok(()) } else { Err(invalid("authorization.k8s.io", "", "", &problems)) }
}

/// A question has no metadata of its own but its managedFields, and `besides`.
fn metadata_problem(object: &Map, besides: &str) -> Option<FieldProblem> {
    let is_there = |name: &str| name != "managedFields" && name != besides;
    if !object.meta().iter().any(|(name, value)| is_there(name) && !value.is_zero()) {
        return None;
    }
    let except = if besides.is_empty() { String::new() } else { format!(" except for {besides}") };
    let shown = Value::Map(object.meta().clone()).shown();
    Some(FieldProblem::invalid("metadata", &shown, &format!("must be empty{except}")))
}

fn spec<T: DeserializeOwned>(object: &Map) -> Result<T, Status> {
    let mut spec = object.map("spec").cloned().unwrap_or_default();
    // Null is a list without values in Go.
    let extra = spec.get_mut("extra").and_then(Value::as_map_mut);
    for (_, values) in extra.into_iter().flat_map(Map::iter_mut).filter(|(_, values)| values.is_null()) {
        *values = Value::List(Vec::new());
    }
    view::of_value(&Value::Map(spec)).map_err(|error| Status::bad_request(error.to_string()))
}

fn shown<T: Serialize>(status: &T) -> Result<Value, Status> {
    view::value(status).map_err(|error| Status::internal(&error.to_string()))
}

/// The status of a TokenReview: what was sent stays where the judgement has nothing to say
/// (pkg/registry/authentication/tokenreview/storage.go@v1.37.2: Create).
fn judged(mut sent: Map, reviewed: &Map) -> Map {
    let is_known = reviewed.contains("authenticated");
    let said: &[&str] = if is_known { &["authenticated", "user", "audiences"] } else { &["authenticated"] };
    for name in said {
        sent.remove(name);
    }
    for (name, value) in reviewed.iter().filter(|(name, _)| name.as_str() == "error" || said.contains(&name.as_str())) {
        sent.set(name.as_str(), value.clone());
    }
    if !sent.contains("user") {
        sent.set("user", Map::new());
    }
    sent
}

async fn status(asked: &Asked<'_>, call: &Call<'_>, object: &Map) -> Result<Value, Status> {
    let decide = |attributes: &Attributes<'_>| asked.core.authz.ask(attributes);
    match call.entry.facts.kind {
        "TokenReview" => {
            let reviewed = identity::token_review(&asked.core.authn, &spec(object)?, call.hub(), asked.now).await;
            let reviewed = shown(&reviewed.map_err(Status::bad_request)?)?;
            let sent = object.map("status").cloned().unwrap_or_default();
            Ok(Value::Map(judged(sent, reviewed.as_map().unwrap_or(Map::EMPTY))))
        }
        "SelfSubjectReview" => shown(&identity::self_subject_review(asked.user)),
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            shown(&review::subject_access_review(&spec(object)?, decide))
        }
        "SelfSubjectAccessReview" => shown(&review::self_subject_access_review(asked.user, &spec(object)?, decide)),
        "SelfSubjectRulesReview" => {
            let namespace = object.map("spec").map_or("", |spec| spec.str("namespace"));
            shown(&review::self_subject_rules_review(asked.core.authz.rules_for(asked.user, namespace)))
        }
        _ => Err(call.not_allowed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    #[test]
    fn null_is_an_attribute_without_values() {
        let asked = map(r#"{"spec":{"user":"u","extra":{"scopes":null,"a":["b"]}}}"#);
        let asked: k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec = spec(&asked).expect("a spec");
        let extra = asked.extra.expect("attributes");
        assert_eq!([extra["scopes"].len(), extra["a"].len()], [0, 1]);
    }

    #[test]
    fn what_was_sent_of_a_token_stays_where_nothing_is_known() {
        let sent = r#"{"authenticated":true,"user":{"username":"x","uid":"1"},"audiences":["a"],"error":"e"}"#;
        let cases = [
            ("{}", r#"{"user":{}}"#, r#"{"user":{}}"#),
            (sent, r#"{"user":{}}"#, r#"{"user":{"username":"x","uid":"1"},"audiences":["a"],"error":"e"}"#),
            (
                sent,
                r#"{"error":"why","user":{}}"#,
                r#"{"user":{"username":"x","uid":"1"},"audiences":["a"],"error":"why"}"#,
            ),
            (
                sent,
                r#"{"authenticated":true,"user":{"username":"y"}}"#,
                r#"{"authenticated":true,"user":{"username":"y"},"error":"e"}"#,
            ),
        ];
        for (sent, reviewed, expect) in cases {
            let (mut found, mut expected) = (judged(map(sent), &map(reviewed)), map(expect));
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{sent} {reviewed}");
        }
    }
}
