//! `serviceaccounts/token`: TokenRequest (pkg/registry/core/serviceaccount/storage/token.go@v1.37.2).

use api::field;
use api::status::{Cause, Status};
use api::value::{Map, Value};
use api::view;
use futures::future::BoxFuture;
use http::Response;
use k8s_openapi::api::authentication::v1::TokenRequest;

use super::{Incoming, Special};
use crate::admission::Operation;
use crate::authn::issue::{FieldProblem, Refusal};
use crate::chain::Asked;
use crate::respond::Body;
use crate::rest::{Call, metadata, show};

/// The audit annotation that names the token (k8s.io/apiserver/pkg/authentication/serviceaccount/util.go@v0.37.2).
const ISSUED_ID_KEY: &str = "authentication.kubernetes.io/issued-credential-id";

pub(crate) struct Token;

impl Special for Token {
    fn answer<'a>(
        &'a self,
        asked: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(request(asked, call, incoming.body))
    }
}

async fn request(asked: &Asked<'_>, call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let issuer = asked.core.issuer.as_ref().ok_or_else(Status::no_such_path)?;
    let mut object = call.body(body).await?;
    let name = &call.info.name;
    metadata::match_namespace(&mut object, &call.info.namespace)?;
    default(&mut object);
    call.warn(metadata::drop_repeated_owners(&mut object, false));
    call.track(Map::EMPTY, &mut object);
    call.admit(Operation::Create, name, Some(&mut object), None, false).await?;
    call.judge(Operation::Create, name, Some(&mut object), None, false).await?;
    let wanted: TokenRequest = view::of(&object).map_err(|error| Status::bad_request(error.to_string()))?;
    let id = uuid::Uuid::new_v4().to_string();
    let about = (call.info.namespace.as_str(), name.as_str());
    let issued = issuer.token_request(about, wanted, call.hub(), asked.now, &id).await.map_err(refusal)?;
    let mut answer = view::object(&issued.response).map_err(|error| Status::internal(&error.to_string()))?;
    api::object::set_kind(&mut answer, "authentication.k8s.io/v1", "TokenRequest");
    api::json::complete(&mut answer, call.entry.expected(&call.info.subresource).ty);
    call.warn(issued.warnings);
    if let Some(record) = call.audit {
        record.annotate(ISSUED_ID_KEY, &format!("JTI={id}"));
    }
    Ok(show::value(call, 201, &answer))
}

/// pkg/apis/authentication/v1/defaults.go@v1.37.2: SetDefaults_TokenRequestSpec
fn default(object: &mut Map) {
    let spec = object.map_mut("spec");
    if spec.get("expirationSeconds").is_none_or(Value::is_null) {
        spec.set("expirationSeconds", 3600i64);
    }
}

fn refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::BadRequest(text) => Status::bad_request(text),
        Refusal::NotFound(resource, name) => Status::not_found("", resource, &name),
        Refusal::Conflict { group, resource, name, message } => Status::conflict(group, &resource, &name, &message),
        Refusal::Invalid { name, problems } => invalid("authentication.k8s.io", "TokenRequest", &name, &problems),
        Refusal::Internal(text) => Status::internal(&text),
    }
}

/// A 422 from problems that already have their upstream texts.
pub(crate) fn invalid(group: &str, kind: &str, name: &str, problems: &[FieldProblem]) -> Status {
    let texts: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
    let list = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
    let causes =
        problems.iter().map(|p| Cause { reason: p.reason.into(), message: p.message.clone(), field: p.field.clone() });
    let message = format!("{} {} is invalid: {list}", api::status::qualified(group, kind), field::go_quote(name));
    Status {
        code: 422,
        reason: "Invalid",
        message,
        group: group.into(),
        kind: kind.into(),
        name: name.into(),
        causes: causes.collect(),
        ..Status::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    #[test]
    fn a_token_lives_an_hour_unless_told() {
        for (spec, want) in
            [("{}", 3600), (r#"{"expirationSeconds":null}"#, 3600), (r#"{"expirationSeconds":700}"#, 700)]
        {
            let mut object = map(&format!(r#"{{"spec":{spec}}}"#));
            default(&mut object);
            assert_eq!(object.map("spec").and_then(|spec| spec.i64("expirationSeconds")), Some(want), "{spec}");
        }
    }
}
