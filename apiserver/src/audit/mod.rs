//! Audit: who asked for what and what came of it, told to a log and a webhook as the policy has it
//! (k8s.io/apiserver/pkg/audit, pkg/endpoints/filters/{audit,audit_init,authn_audit}.go@v0.37.2).
//!
//! Invariant: without a policy and a backend a request pays for nothing but its ID. Every event is told to every backend,
//! stage after stage. Must not know: what a request means.

mod annotations;
mod answer;
mod batch;
mod event;
mod flags;
mod hook;
mod lifecycle;
mod log;
mod metrics;
mod options;
mod policy;
mod record;
mod rotate;
mod sink;
mod strip;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use api::field::go_quote;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri, header};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

pub(crate) use annotations::Annotations;
pub(crate) use event::Level;
pub(crate) use metrics::Metrics;
pub use options::{AuditBatchOptions, AuditLogOptions, AuditOptions, AuditTruncateOptions, AuditWebhookOptions};
pub(crate) use record::{Record, layer};

use crate::authn::{Identity, Peer, aggregate};
use crate::authz::Attributes;
use crate::request::Info;
use crate::respond::{self, Body};
use batch::Batch;
use event::{Event, Reference, Stage};
use hook::Hook;
use log::Log;
use options::{BATCH, BLOCKING_STRICT};
use policy::Policy;
use sink::{Backend, Pipeline, Sink, Way};

pub(crate) const ID_HEADER: HeaderName = HeaderName::from_static("audit-id");
/// Longer names of clients are cut, in bytes.
const USER_AGENT_BYTES_MAX: usize = 1024;
const CUT: &str = "...TRUNCATED";

/// The ID of a request: the client's, as it is, or a new one.
pub(crate) fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(ID_HEADER).filter(|id| !id.is_empty()).cloned();
    given.unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static(""))
    })
}

/// What a panic said.
pub(crate) fn panic_text(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| why.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// A request as it came in.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) id: &'a HeaderValue,
    pub(crate) info: &'a Info,
    pub(crate) is_long_running: bool,
    pub(crate) received: Timestamp,
    pub(crate) started: Instant,
}

/// The policy and where events go.
pub(crate) struct Audit {
    policy: Policy,
    sink: Sink,
    /// Events of requests that nobody waits for any more.
    tasks: TaskTracker,
}

impl Audit {
    /// Audit as the flags have it; `None` when nothing is to be told.
    ///
    /// # Errors
    /// Flags that contradict each other, files that cannot be read: upstream's texts.
    pub(crate) fn open(options: &AuditOptions, metrics: &Arc<Metrics>) -> Result<Option<Arc<Audit>>, String> {
        let problems = options.problems();
        if !problems.is_empty() {
            return Err(aggregate(&problems));
        }
        let policy = options.policy_file.as_deref().map(load).transpose()?;
        let (log, webhook) = (&options.log, &options.webhook);
        let own = (!log.path.is_empty()).then(|| Log::open(log)).transpose()?;
        let Some(policy) = policy else {
            for (name, given) in [("log", &log.path), ("webhook", &webhook.config_file)] {
                if !given.is_empty() {
                    tracing::info!("No audit policy file provided, no events will be recorded for {name} backend");
                }
            }
            return Ok(None);
        };
        let hook = (!webhook.config_file.is_empty()).then(|| Hook::open(webhook)).transpose()?;
        let mut pipelines = Vec::new();
        if let Some(own) = own {
            pipelines.push(pipeline(Arc::new(own), &log.batch, &log.truncate, false, metrics));
        }
        if let Some(hook) = hook {
            pipelines.push(pipeline(Arc::new(hook), &webhook.batch, &webhook.truncate, true, metrics));
        }
        if pipelines.is_empty() {
            return Ok(None);
        }
        let sink = Sink::new(pipelines, metrics.clone());
        Ok(Some(Arc::new(Audit { policy, sink, tasks: TaskTracker::new() })))
    }

    /// Begins to tell of a request, when its level is not None.
    ///
    /// # Errors
    /// The answer to a request whose beginning could not be told.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        arrival: &Arrival<'_>,
        attributes: &Attributes<'_>,
        identity: &Identity,
    ) -> Result<Option<Arc<Record>>, Response<Body>> {
        let Some(record) = self.record(arrival, attributes, Some(identity)) else { return Ok(None) };
        if !record.stage(Stage::RequestReceived).await {
            record.dismiss();
            self.sink.metrics.rejected();
            return Err(respond::internal_error(arrival.uri, "failed to store audit event"));
        }
        Ok(Some(record))
    }

    /// Tells of a request whose credentials are of no use. `attributes` are those of nobody; `is_negotiated`: the
    /// refusal is in a format that the client accepts.
    pub(crate) async fn refused(
        self: &Arc<Self>,
        arrival: &Arrival<'_>,
        attributes: &Attributes<'_>,
        response: Response<Body>,
        is_negotiated: bool,
    ) -> Response<Body> {
        let Some(record) = self.record(arrival, attributes, None) else { return response };
        if !is_negotiated {
            record.passed_on();
        }
        record.refused(response).await
    }

    fn record(
        self: &Arc<Self>,
        arrival: &Arrival<'_>,
        attributes: &Attributes<'_>,
        identity: Option<&Identity>,
    ) -> Option<Arc<Record>> {
        let verdict = self.policy.judge(attributes);
        self.sink.metrics.level(verdict.level);
        if verdict.level == Level::None {
            return None;
        }
        let text = |name: HeaderName| arrival.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let methods = || api::map! { "metadata" => api::value::Map::new(), "message" => attempted(arrival) };
        let annotations = identity.into_iter().flat_map(|identity| &identity.annotations);
        let event = Event {
            level: verdict.level,
            id: String::from_utf8_lossy(arrival.id.as_bytes()).into_owned(),
            stage: Stage::RequestReceived,
            uri: arrival.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned(),
            verb: arrival.info.verb,
            user: identity.map(|identity| Arc::new(identity.user.clone())),
            impersonated: None,
            constraint: String::new(),
            source_ips: source_ips(arrival),
            user_agent: text(header::USER_AGENT).map(|agent| cut(&agent)).unwrap_or_default(),
            object: arrival.info.is_resource.then(|| reference(arrival.info)),
            status: identity.is_none().then(methods),
            request_object: None,
            response_object: None,
            received: arrival.received,
            at: arrival.received,
            annotations: annotations.map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        };
        Some(Record::new(self.clone(), verdict, arrival.is_long_running, arrival.started, event))
    }

    /// Does what nobody waits for: at once if it can be done at once.
    fn finish(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work);
        if work.as_mut().now_or_never().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.spawn_on(work, &runtime);
        }
    }

    /// Tells what is still to be told; called when there are no requests any more.
    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.sink.close().await;
    }
}

fn load(path: &Path) -> Result<Policy, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        let why = log::failed("open", path, &error);
        format!("loading audit policy file: failed to read file path {}: {why}", go_quote(&shown.to_string()))
    })?;
    Policy::parse(&text).map_err(|why| format!("loading audit policy file: {why}: from file {shown}"))
}

fn pipeline(
    backend: Arc<dyn Backend>,
    batch: &AuditBatchOptions,
    truncate: &AuditTruncateOptions,
    at_once: bool,
    metrics: &Arc<Metrics>,
) -> Pipeline {
    let way = match batch.mode.as_str() {
        BATCH => Way::Batch(Batch::start(backend, batch, at_once, metrics.clone())),
        mode => Way::Blocking { backend, strict: mode == BLOCKING_STRICT },
    };
    Pipeline::new(way, truncate)
}

fn reference(info: &Info) -> Reference {
    Reference {
        resource: info.resource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        subresource: info.subresource.clone(),
        ..Reference::default()
    }
}

fn cut(agent: &str) -> String {
    if agent.len() <= USER_AGENT_BYTES_MAX {
        return agent.to_owned();
    }
    let end = (0..=USER_AGENT_BYTES_MAX).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{CUT}", &agent[..end])
}

/// Where a request came from, by what proxies say and by its connection
/// (k8s.io/apimachinery/pkg/util/net/http.go@v0.37.2: SourceIPs).
fn source_ips(arrival: &Arrival<'_>) -> Vec<String> {
    let header = |name: &str| arrival.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let parse = |text: &str| api::names::parse_ip_sloppy(text).map(|ip| ip.to_canonical());
    let mut all: Vec<_> = header("x-forwarded-for").split(',').filter_map(|part| parse(part.trim())).collect();
    let real = parse(header("x-real-ip")).filter(|ip| !all.contains(ip));
    all.extend(real);
    let remote = arrival.peer.address.map(|ip| ip.to_canonical()).filter(|ip| all.last() != Some(ip));
    all.extend(remote);
    all.iter().map(ToString::to_string).collect()
}

/// Which credentials were of no use (authn_audit.go: getAuthMethods).
fn attempted(arrival: &Arrival<'_>) -> String {
    let authorization = arrival.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (scheme, rest) = authorization.trim().split_once(' ').unwrap_or(("", ""));
    let is_basic = || {
        let pair = BASE64_STANDARD.decode(rest).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
        pair.is_some_and(|pair| pair.contains(&b':'))
    };
    let methods = [
        ("basic", is_basic()),
        ("bearer", scheme.eq_ignore_ascii_case("bearer")),
        ("access_token", !arrival.info.query.get("access_token").trim().is_empty()),
        ("x509", !arrival.peer.certificates.is_empty()),
    ];
    let there: Vec<&str> = methods.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    match there.is_empty() {
        true => "Authentication failed, no credentials provided".into(),
        false => format!("Authentication failed, attempted: {}", there.join(", ")),
    }
}
