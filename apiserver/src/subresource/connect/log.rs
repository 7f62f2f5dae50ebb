//! pods/log (pkg/registry/core/pod/rest/log.go, strategy.go: LogLocation@v1.37.2;
//! k8s.io/apiserver/pkg/registry/generic/rest/{streamer,response_checker}.go@v0.37.2).

use std::borrow::Cow;

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::status::Status;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};

use super::choose::{container, node_name};
use super::node::Kubelet;
use super::target::{Identity, Target, query};
use super::{live, plain};
use crate::chain::Asked;
use crate::request::Query;
use crate::respond::{self, Body};
use crate::rest::Call;

/// Most of a refusal that is read, in bytes (maxReadLength).
const REFUSAL_BYTES_MAX: usize = 50_000;

pub(super) async fn answer(asked: &Asked<'_>, call: &Call<'_>) -> Result<Response<Body>, Status> {
    let info = call.info;
    let errors = validate(&info.query)?;
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", &info.name, &errors));
    }
    let pod = live(call, "pods", &info.namespace, &info.name).await?;
    let container = container(info.query.get("container"), &pod)?;
    let node = node_name(&pod);
    if node.is_empty() {
        // Nobody can have written anything yet.
        let mut nothing = Response::new(respond::full(Bytes::new()));
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let kubelet = Kubelet::of(asked, call, node).await?;
    let identity = match info.query.flag("insecureSkipTLSVerifyBackend") {
        true => Identity::KubeletUnverified,
        false => Identity::Kubelet,
    };
    let path = format!("/containerLogs/{}/{}/{container}", pod.namespace(), pod.name());
    let target = kubelet.target(path, query(parameters(&info.query)), identity);
    fetch(asked, &info.name, target).await
}

async fn fetch(asked: &Asked<'_>, pod: &str, target: Target) -> Result<Response<Body>, Status> {
    let failed = |error: &dyn std::fmt::Display| plain(500, format!("Get {}: {error}", field::go_quote(&target.url())));
    let host = HeaderValue::try_from(target.authority()).map_err(|error| failed(&error))?;
    let request = Request::get(target.path_and_query()).header(header::HOST, host).body(Empty::<Bytes>::new());
    let io = asked.core.backends.dialer(&target)().await.map_err(|error| failed(&error))?;
    let request = request.map_err(|error| failed(&error))?;
    let answer = streams::http1::send(io, request).await.map_err(|error| failed(&error))?;
    let code = answer.status().as_u16();
    if !(200..=206).contains(&code) {
        let text = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let text = text.map(|text| text.to_bytes()).unwrap_or_default();
        return Err(refusal(code, pod, &String::from_utf8_lossy(&text)));
    }
    let body = answer.into_body().map_err(Into::into).boxed_unsync();
    Ok(respond::response(200, "text/plain", body))
}

/// A kubelet's refusal as the client sees it (k8s.io/apimachinery/pkg/api/errors/errors.go@v0.37.2,
/// NewGenericServerResponse).
fn refusal(code: u16, pod: &str, text: &str) -> Status {
    let (reason, message) = match code {
        500 => return Status::internal(text),
        400 => return Status::bad_request(text),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", text.to_owned()),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned()),
        422 => ("Invalid", "the server rejected our request due to an error in our request".to_owned()),
        429 => {
            let text = "the server has received too many requests and has asked us to try again later";
            ("TooManyRequests", text.to_owned())
        }
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => {
            let text = "the server was unable to return a response in the time allotted, but may still be processing the request";
            ("Timeout", text.to_owned())
        }
        501.. => {
            let text = field::go_quote(text);
            ("InternalError", format!("an error on the server ({text}) has prevented the request from succeeding"))
        }
        _ => {
            let text = format!("the server responded with the status code {code} but did not return more information");
            ("", text)
        }
    };
    let message = format!("{message} ( pods/log {pod})");
    Status { code, reason, message, kind: "pods/log".into(), name: pod.into(), ..Status::default() }
}

/// Parameters that are handed on, as upstream writes them.
fn parameters(asked: &Query) -> Vec<(&'static str, Cow<'_, str>)> {
    let flags = ["follow", "previous", "timestamps"].into_iter().filter(|name| asked.flag(name));
    let mut parameters: Vec<_> = flags.map(|name| (name, Cow::from("true"))).collect();
    for name in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes"] {
        if !asked.get(name).is_empty() {
            parameters.push((name, asked.get(name).into()));
        }
    }
    parameters
}

fn number(asked: &Query, name: &str) -> Result<Option<i64>, Status> {
    let text = asked.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    let quoted = field::go_quote(text);
    text.parse()
        .map(Some)
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {quoted}: invalid syntax")))
}

/// pkg/apis/core/validation/validation.go@v1.37.2, ValidatePodLogOptions. A parameter that is not even
/// readable is the error.
fn validate(asked: &Query) -> Result<Errors, Status> {
    let mut errors = Errors::new();
    if let Some(lines) = number(asked, "tailLines")?.filter(|lines| *lines < 0) {
        errors.push(field::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
    }
    if let Some(bytes) = number(asked, "limitBytes")?.filter(|bytes| *bytes < 1) {
        errors.push(field::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
    }
    let (seconds, time) = (number(asked, "sinceSeconds")?, asked.get("sinceTime"));
    if !time.is_empty() && time.parse::<jiff::Timestamp>().is_err() {
        let quoted = field::go_quote(time);
        let text = format!("parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse {quoted} as \"2006\"");
        return Err(Status::bad_request(text));
    }
    match seconds {
        Some(_) if !time.is_empty() => {
            let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(field::forbidden(&Path::new("[]"), text));
        }
        Some(seconds) if seconds < 1 => {
            errors.push(field::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
        }
        _ => {}
    }
    if asked.has("stream") {
        errors.push(field::forbidden(&Path::new("stream"), "may not be specified"));
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        for (text, expect) in [
            ("follow=true&tailLines=5", ""),
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            ("stream=Stdout", "stream: Forbidden: may not be specified"),
            ("tailLines=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ] {
            let found = match validate(&Query::parse(text)) {
                Ok(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                Err(status) => status.message,
            };
            assert_eq!(found, expect, "{text}");
        }
    }

    #[test]
    fn what_kubelets_are_asked() {
        let of = |text: &str| query(parameters(&Query::parse(text)));
        assert_eq!(of("follow=1&container=c&tailLines=3"), "follow=true&tailLines=3");
        assert_eq!(
            of("sinceTime=2026-01-01T00:00:00Z&timestamps"),
            "sinceTime=2026-01-01T00%3A00%3A00Z&timestamps=true"
        );
    }

    #[test]
    fn refusals() {
        assert_eq!(refusal(400, "p", "waiting").message, "waiting");
        assert_eq!(refusal(404, "p", "x").message, "the server could not find the requested resource ( pods/log p)");
        assert_eq!(refusal(500, "p", "x").message, "Internal error occurred: x");
    }
}
