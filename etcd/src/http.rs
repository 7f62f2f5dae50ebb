//! What is served over HTTP: `/health`, `/livez`, `/readyz`, `/version`, `/metrics`
//! (`server/etcdserver/api/etcdhttp/health.go@v3.7.3` and its neighbours).
//!
//! Non-goals: the JSON gateway, profiles, peers.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::json;
use store::etcdserverpb as pb;
use tonic::body::Body;

use crate::server::{Server, signed};
use crate::{CLUSTER_VERSION, VERSION};

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The checks of each kind; all of them read what the store has.
const LIVE: &[&str] = &["serializable_read"];
const READY: &[&str] = &["data_corruption", "serializable_read", "linearizable_read", "non_learner"];

/// Answers a request; `probes` is a server of metrics and health alone.
pub(crate) async fn answer<B>(server: &Server, request: &Request<B>, probes: bool) -> Response<Body> {
    let path = request.uri().path();
    let kind = path.split('/').nth(1).unwrap_or_default();
    match (path, kind) {
        ("/metrics", _) => metrics(server).await,
        ("/version", _) if !probes => version(request.method()),
        ("/health", _) => health(server, request).await,
        (_, "livez") => checked(server, request, "livez", LIVE).await,
        (_, "readyz") => checked(server, request, "readyz", READY).await,
        _ => not_found(),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// An error as Go's `http.Error` writes it.
fn error(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = respond(status, PLAIN, format!("{text}\n"));
    nosniff(&mut response);
    response
}

fn nosniff(response: &mut Response<Body>) {
    let value = header::HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, value);
}

fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// The refusal of anything but a GET.
fn get(method: &Method) -> Option<Response<Body>> {
    if method == Method::GET {
        return None;
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
    Some(response)
}

fn version(method: &Method) -> Response<Body> {
    let versions =
        format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{CLUSTER_VERSION}","storage":"{CLUSTER_VERSION}"}}"#);
    get(method).unwrap_or_else(|| respond(StatusCode::OK, JSON, versions))
}

async fn metrics(server: &Server) -> Response<Body> {
    let revision = server.store.revision().await.map_or(0, signed);
    let text = server.metrics.text(revision, server.size().await, server.quota_bytes);
    respond(StatusCode::OK, METRICS, text)
}

/// The values of a parameter of the query.
fn query<B>(request: &Request<B>, name: &str) -> Vec<String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let values = pairs.filter(|(key, _)| *key == name);
    values.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned()).collect()
}

async fn health<B>(server: &Server, request: &Request<B>) -> Response<Body> {
    if let Some(refused) = get(request.method()) {
        return refused;
    }
    let excluded = query(request, "exclude");
    let alarms = server.alarms();
    let alarm = alarms.iter().any(|_| !excluded.iter().any(|name| name == "NOSPACE"));
    let reason = match server.store.health().await {
        _ if alarm => "ALARM NOSPACE".to_owned(),
        Err(error) => format!("RANGE ERROR:{error}"),
        Ok(()) => String::new(),
    };
    let healthy = reason.is_empty();
    let body = format!(r#"{{"health":"{healthy}","reason":{}}}"#, json!(reason));
    if healthy {
        server.metrics.health_success.inc();
        // etcd writes no type, Go finds this one.
        return respond(StatusCode::OK, PLAIN, body);
    }
    server.metrics.health_failures.inc();
    tracing::warn!(output = body, "/health error");
    error(StatusCode::SERVICE_UNAVAILABLE, &body)
}

/// Runs the checks of a kind, or the one that the path names.
async fn checked<B>(server: &Server, request: &Request<B>, kind: &str, checks: &[&'static str]) -> Response<Body> {
    let one = request.uri().path().trim_start_matches('/').trim_start_matches(kind);
    let named: Vec<&str> = match one.strip_prefix('/') {
        None => {
            let excluded: BTreeSet<String> = query(request, "exclude").into_iter().collect();
            checks.iter().copied().filter(|check| !excluded.contains(*check)).collect()
        }
        Some(one) => checks.iter().copied().filter(|check| *check == one).collect(),
    };
    if named.is_empty() && !one.is_empty() {
        return not_found();
    }
    if let Some(refused) = get(request.method()) {
        return refused;
    }
    let (healthy, text) = run(server, kind, &named).await;
    if !healthy {
        return error(StatusCode::SERVICE_UNAVAILABLE, &text);
    }
    let verbose = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("verbose")));
    let mut response = respond(StatusCode::OK, PLAIN, if verbose { format!("{text}ok\n") } else { "ok\n".into() });
    nosniff(&mut response);
    response
}

async fn run(server: &Server, kind: &str, checks: &[&str]) -> (bool, String) {
    let (mut healthy, mut text) = (true, String::new());
    for check in checks {
        let failed = match *check {
            "serializable_read" | "linearizable_read" => server.store.health().await.err().map(|e| e.to_string()),
            "data_corruption" => corrupt(server),
            // The only member votes.
            _ => None,
        };
        let status = if failed.is_some() { "error" } else { "success" };
        server.metrics.checks.with_label_values(&[kind, check, status]).inc();
        text += &failed.map_or_else(|| format!("[+]{check} ok\n"), |why| format!("[-]{check} failed: {why}\n"));
        healthy &= status == "success";
    }
    (healthy, text)
}

/// The alarm that the store would raise; damage keeps it from opening at all.
fn corrupt(server: &Server) -> Option<String> {
    let corrupt = i32::from(pb::AlarmType::Corrupt);
    server.alarms().iter().any(|alarm| alarm.alarm == corrupt).then(|| "alarm activated: CORRUPT".into())
}
