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
use crate::respond::{self, Body};
use crate::rest::{Call, managed};

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
    Ok(respond::object(201, &object, &call.accepted))
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
    let empty = Value::Map(Map::new());
    view::of_value(object.get("spec").unwrap_or(&empty)).map_err(|error| Status::bad_request(error.to_string()))
}

fn shown<T: Serialize>(status: &T) -> Result<Value, Status> {
    view::value(status).map_err(|error| Status::internal(&error.to_string()))
}

async fn status(asked: &Asked<'_>, call: &Call<'_>, object: &Map) -> Result<Value, Status> {
    let decide = |attributes: &Attributes<'_>| asked.core.authz.ask(attributes);
    match call.entry.facts.kind {
        "TokenReview" => {
            let reviewed = identity::token_review(&asked.core.authn, &spec(object)?, call.hub(), asked.now).await;
            shown(&reviewed.map_err(Status::bad_request)?)
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
