//! Component statuses: what the other parts of a control plane say of their health when they are asked, never stored
//! (pkg/registry/core/{componentstatus,rest/storage_core.go}@v1.37.2).
//!
//! Invariant: all are asked at once and each has [`TIMEOUT`]. As upstream: the default ports on this machine are asked,
//! whoever listens there. Non-goal: telling whether a component works.

use std::time::Duration;

use api::map;
use api::status::Status;
use api::value::{Map, Value};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;

use super::{Incoming, Special};
use crate::chain::Asked;
use crate::respond::Body;
use crate::rest::select::Selection;
use crate::rest::{Call, options, show};

/// How long a component may take to answer (validator.go: probeTimeOut).
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are shown (pkg/probe/http/http.go: maxRespBodyLength).
const ANSWER_BYTES_MAX: usize = 10 * 1024;
/// The components and the ports that they serve by default.
const COMPONENTS: [(&str, u16); 2] = [("controller-manager", 10257), ("scheduler", 10259)];
/// The one store there is here.
const STORE: &str = "etcd-0";

pub(crate) struct ComponentStatuses;

/// What was heard: `True`, `False` or `Unknown`, a message and an error.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    status: &'static str,
    message: String,
    error: String,
}

impl Heard {
    fn healthy(message: String) -> Self {
        Heard { status: "True", message, error: String::new() }
    }

    fn failed(message: String) -> Self {
        Heard { status: "False", message, error: String::new() }
    }
}

impl Special for ComponentStatuses {
    fn answer<'a>(
        &'a self,
        asked: &'a Asked<'_>,
        call: &'a Call<'_>,
        _: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(async move {
            let names = COMPONENTS.iter().map(|component| component.0).chain([STORE]);
            if call.info.verb == "get" {
                let wanted = call.info.name.as_str();
                let name = names.into_iter().find(|name| *name == wanted);
                let name = name.ok_or_else(|| Status::not_found("", call.entry.facts.singular, wanted))?;
                return Ok(show::value(call, 200, &status(asked, call, name).await));
            }
            options::check_unstored(&call.info.query)?;
            let selection = Selection::of(call.entry, call.info)?;
            let chosen = names.filter(|name| selection.matches_name(name));
            let statuses = join_all(chosen.map(|name| status(asked, call, name))).await;
            Ok(call.list_of(statuses, Map::new()))
        })
    }
}

async fn status(asked: &Asked<'_>, call: &Call<'_>, name: &str) -> Map {
    let heard = match COMPONENTS.iter().find(|component| component.0 == name) {
        Some((_, port)) => component(asked, *port).await,
        None => store(call).await,
    };
    object(name, &call.entry.api_version, heard)
}

fn object(name: &str, api_version: &str, heard: Heard) -> Map {
    let mut condition = map! { "type" => "Healthy", "status" => heard.status };
    for (field, text) in [("message", heard.message), ("error", heard.error)] {
        if !text.is_empty() {
            condition.set(field, text);
        }
    }
    map! {
        "kind" => "ComponentStatus",
        "apiVersion" => api_version,
        "metadata" => map! { "name" => name },
        "conditions" => vec![Value::Map(condition)],
    }
}

async fn store(call: &Call<'_>) -> Heard {
    match tokio::time::timeout(TIMEOUT, call.hub().store.health()).await {
        Ok(Ok(())) => Heard::healthy("ok".into()),
        Ok(Err(error)) => Heard { status: "False", message: String::new(), error: error.to_string() },
        Err(_) => Heard { status: "False", message: String::new(), error: "context deadline exceeded".into() },
    }
}

async fn component(asked: &Asked<'_>, port: u16) -> Heard {
    let url = format!("https://127.0.0.1:{port}/healthz");
    let get = |why: String| Heard::failed(format!("Get \"{url}\": {why}"));
    match tokio::time::timeout(TIMEOUT, fetch(asked, port)).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(why)) => get(why),
        Err(_) => get("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into()),
    }
}

async fn fetch(asked: &Asked<'_>, port: u16) -> Result<Heard, String> {
    let text = |error: hyper::Error| error.to_string();
    let host = "127.0.0.1";
    let authority = format!("{host}:{port}");
    let stream = asked.core.backends.anyone(authority.clone(), host.into()).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::get("/healthz")
        .header(header::HOST, authority)
        .header(header::USER_AGENT, "kube-probe/1.37")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let code = response.status().as_u16();
        let mut body = response.into_body();
        let mut shown = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(text)?.into_data() {
                shown.extend_from_slice(&data);
            }
            if shown.len() >= ANSWER_BYTES_MAX {
                shown.truncate(ANSWER_BYTES_MAX);
                break;
            }
        }
        Ok(judged(code, String::from_utf8_lossy(&shown).into_owned()))
    };
    let (answered, _) = futures::join!(answered, connection);
    answered
}

/// What an answer means (pkg/probe/http/http.go: DoHTTPProbe).
fn judged(code: u16, body: String) -> Heard {
    match code {
        200..300 => Heard::healthy(body),
        300..400 => Heard {
            status: "Unknown",
            message: format!("Probe terminated redirects, Response body: {body}"),
            error: String::new(),
        },
        _ => Heard::failed(format!("HTTP probe failed with statuscode: {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let check = |code, expect: (&str, &str)| {
            let heard = judged(code, "ok".into());
            assert_eq!((heard.status, heard.message.as_str()), expect, "{code}");
        };
        check(200, ("True", "ok"));
        check(302, ("Unknown", "Probe terminated redirects, Response body: ok"));
        check(404, ("False", "HTTP probe failed with statuscode: 404"));
        check(500, ("False", "HTTP probe failed with statuscode: 500"));
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let shown = |heard| {
            let text = String::from_utf8(api::json::encode(&object("etcd-0", "v1", heard))).expect("UTF-8");
            text.trim_end().to_owned()
        };
        let head = r#"{"kind":"ComponentStatus","apiVersion":"v1","metadata":{"name":"etcd-0"},"#;
        assert_eq!(
            shown(Heard::healthy("ok".into())),
            format!(r#"{head}"conditions":[{{"type":"Healthy","status":"True","message":"ok"}}]}}"#)
        );
        let unavailable = Heard { status: "False", message: String::new(), error: "no".into() };
        assert_eq!(
            shown(unavailable),
            format!(r#"{head}"conditions":[{{"type":"Healthy","status":"False","error":"no"}}]}}"#)
        );
    }
}
