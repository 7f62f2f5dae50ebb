//! Reviews: kinds that are questions about identity and permission, answered and not stored
//! (pkg/registry/{authentication,authorization}@v1.37.2).

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
use crate::authn::review as identity;
use crate::authz::{Attributes, review};
use crate::chain::Asked;
use crate::respond::{self, Body};
use crate::rest::Call;

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
    call.admit(Operation::Create, "", Some(&mut object), None, false).await?;
    call.judge(Operation::Create, "", Some(&mut object), None, false).await?;
    let status = status(asked, call, &object).await?;
    object.set("status", status);
    Ok(respond::object(201, &object, &call.accepted))
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
    let group = "authorization.k8s.io";
    let check = |problems: Vec<_>| {
        if problems.is_empty() { Ok(()) } else { Err(invalid(group, call.entry.facts.kind, "", &problems)) }
    };
    match call.entry.facts.kind {
        "TokenReview" => {
            let reviewed = identity::token_review(&asked.core.authn, &spec(object)?, call.hub(), asked.now).await;
            shown(&reviewed.map_err(Status::bad_request)?)
        }
        "SelfSubjectReview" => shown(&identity::self_subject_review(asked.user)),
        "SubjectAccessReview" => {
            let spec = spec(object)?;
            check(review::validate_subject_access_review(&spec))?;
            shown(&review::subject_access_review(&spec, decide))
        }
        "LocalSubjectAccessReview" => {
            let spec = spec(object)?;
            check(review::validate_local_subject_access_review(&spec, &call.info.namespace))?;
            shown(&review::subject_access_review(&spec, decide))
        }
        "SelfSubjectAccessReview" => {
            let spec = spec(object)?;
            check(review::validate_self_subject_access_review(&spec))?;
            shown(&review::self_subject_access_review(asked.user, &spec, decide))
        }
        "SelfSubjectRulesReview" => {
            let namespace = object.map("spec").map_or("", |spec| spec.str("namespace"));
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            let rules = asked.core.authz.rules_for(asked.user, namespace);
            shown(&review::self_subject_rules_review(rules))
        }
        _ => Err(call.not_allowed()),
    }
}
