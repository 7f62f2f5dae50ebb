//! The request chain, in one visible list: audit ID, panic guard, request info, authenticate, audit, impersonate,
//! priority and fairness, authorise, route (k8s.io/apiserver/pkg/server/config.go@v0.37.2: DefaultBuildHandlerChain).
//!
//! Invariant: nothing is routed before it was authenticated and authorised; a panic in one request is
//! that request's 500.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use api::status::Status;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, request};
use parking_lot::Mutex;

use crate::aggregation::{self, Aggregation};
use crate::audit::{self, Audit, Record, layer};
use crate::authn::{self, Authenticators, Identity, Peer, User};
use crate::authz::impersonation;
use crate::authz::{Answer, Attributes, Authorizers, Decision, ResourceAttributes, forbidden::Forbidden, selector};
use crate::flow::{self, Caller, Flow, Gone};
use crate::metrics::Metrics;
use crate::negotiate::{self, Accepted, LIST_MEDIA_TYPES, Offer, Shape};
use crate::registry::Entry;
use crate::request::Info;
use crate::respond::{self, Body};
use crate::rest::{Api, Call};
use crate::subresource::{Incoming, Special};
use crate::webhook::client::Clients;
use crate::{codec, compress, health, subresource};

/// Everything that answers requests.
pub(crate) struct Core {
    pub(crate) api: Api,
    pub(crate) authn: Authenticators,
    pub(crate) authz: Arc<Authorizers>,
    pub(crate) issuer: Option<authn::issue::Issuer>,
    pub(crate) openid: Option<authn::openid::Documents>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) health: health::Health,
    pub(crate) metrics: Metrics,
    /// What /version says.
    pub(crate) git_version: String,
    pub(crate) openapi: crate::openapi::Cache,
    pub(crate) backends: subresource::connect::Backends,
    /// Connections to webhooks.
    pub(crate) clients: Arc<Clients>,
    /// What other servers serve.
    pub(crate) aggregation: Arc<Aggregation>,
    /// `None`: nothing is told of requests.
    pub(crate) audit: Option<Arc<Audit>>,
}

/// Audit annotations of a decision (k8s.io/apiserver/pkg/endpoints/filters/authorization.go@v0.37.2).
const DECISION_KEY: &str = "authorization.k8s.io/decision";
const REASON_KEY: &str = "authorization.k8s.io/reason";

/// Notes a decision as upstream's filter does: a judge that failed has made none.
fn noted_decision(record: &Record, answer: &Answer) {
    let reason = match answer {
        Answer { decision: Decision::Allow { .. }, .. } => {
            record.annotate(DECISION_KEY, "allow");
            answer.decision.reason()
        }
        Answer { error: Some(_), .. } => "internal error",
        Answer { .. } => {
            record.annotate(DECISION_KEY, "forbid");
            answer.decision.reason()
        }
    };
    record.annotate(REASON_KEY, reason);
}

/// Who asks, and what is noted of the request.
#[derive(Clone, Copy)]
struct Asking<'a> {
    user: &'a User,
    record: Option<&'a Arc<Record>>,
}

/// What is known of a request before it is looked at.
struct Arrived<'a> {
    peer: &'a Peer,
    info: &'a Result<Arc<Info>, Status>,
    id: &'a HeaderValue,
    started: Instant,
    /// Where a panic finds what was noted of the request.
    record: &'a OnceLock<Arc<Record>>,
}

/// A request past authentication.
pub(crate) struct Asked<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) info: &'a Info,
    pub(crate) user: &'a User,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) now: jiff::Timestamp,
    pub(crate) audit: Option<&'a Arc<Record>>,
}

impl Core {
    /// Answers one request of one peer.
    pub(crate) async fn answer(self: &Arc<Self>, peer: &Peer, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (started, id, record) = (Instant::now(), audit::id(&parts.headers), OnceLock::new());
        let info = Info::new(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or("")).map(Arc::new);
        let method = parts.method.clone();
        let arrived = Arrived { peer, info: &info, id: &id, started, record: &record };
        let guarded = AssertUnwindSafe(self.guarded(&arrived, parts, body)).catch_unwind().await;
        let mut response = match guarded {
            Ok(response) => response,
            Err(why) => {
                tracing::error!(path = ?info.as_ref().map(|info| &info.path), "a request panicked");
                let why = audit::panic_text(&*why);
                if let Some(record) = record.get() {
                    Box::pin(record.panicked(&why)).await;
                }
                respond::failure(&Status::internal("panic while serving the request"), &Accepted::json())
            }
        };
        response.headers_mut().insert(audit::ID_HEADER, id);
        if let Ok(info) = &info {
            self.metrics.observe(info, &method, response.status().as_u16(), started.elapsed());
        }
        response
    }

    async fn guarded(self: &Arc<Self>, arrived: &Arrived<'_>, mut parts: request::Parts, body: Body) -> Response<Body> {
        let info = match arrived.info {
            Ok(info) => info,
            Err(status) => return respond::failure(status, &Accepted::json()),
        };
        let now = jiff::Timestamp::now();
        let lookup = self.api.hub.as_ref();
        let mut identity = match self.authn.identify(arrived.peer, &parts.headers, &info.path, lookup, now).await {
            Ok(identity) => identity,
            Err(rejected) => {
                tracing::debug!(path = info.path, errors = ?rejected.errors, "unable to authenticate the request");
                return self.unauthorized(arrived, &parts, info, now).await;
            }
        };
        self.authn.strip_credentials(&mut parts.headers);
        let begun = match &self.audit {
            // The futures of what is off are not to make those of requests larger.
            Some(audit) => Box::pin(audited(audit, arrived, &parts, info, &identity, now)).await,
            None => Ok(None),
        };
        let record = match begun {
            Ok(record) => record,
            Err(refused) => return refused,
        };
        let mut response = match self.impersonated(&mut identity, &mut parts.headers, info, record) {
            Ok(()) => {
                let user = Asking { user: &identity.user, record };
                self.admitted(user, parts, body, info, now, arrived.started).await
            }
            Err(status) => respond::failure(&status, &self.accepted(&parts.headers, info)),
        };
        respond::warn(&mut response, &identity.warnings);
        match record {
            Some(record) => Box::pin(record.answered(response)).await,
            None => response,
        }
    }

    async fn unauthorized(
        &self,
        arrived: &Arrived<'_>,
        parts: &request::Parts,
        info: &Info,
        now: jiff::Timestamp,
    ) -> Response<Body> {
        let response = respond::failure(&Status::unauthorized(), &self.accepted(&parts.headers, info));
        let Some(audit) = &self.audit else { return response };
        let (nobody, offer) = (User::default(), Offer { partial: true, table: true, stream: false });
        let is_negotiated = negotiate::accepted(&parts.headers, &info.query, offer).is_ok();
        let arrival = arrived.arrival(parts, info, now);
        Box::pin(audit.refused(&arrival, &attributes(info, &nobody, &[]), response, is_negotiated)).await
    }

    /// The client's preferred format for failures, JSON when it accepts nothing we have.
    fn accepted(&self, headers: &HeaderMap, info: &Info) -> Accepted {
        let offer = Offer { partial: true, table: true, stream: false };
        negotiate::accepted(headers, &info.query, offer).unwrap_or_else(|_| Accepted::json())
    }

    fn impersonated(
        &self,
        identity: &mut Identity,
        headers: &mut HeaderMap,
        info: &Info,
        record: Option<&Arc<Record>>,
    ) -> Result<(), Status> {
        let wanted = impersonation::take_wanted_user(headers).map_err(|why| Status::internal(&why))?;
        let Some(wanted) = wanted else { return Ok(()) };
        let begun = Instant::now();
        let fields = field_requirements(info);
        let attributes = attributes(info, &identity.user, &fields);
        let user = impersonation::impersonate(&wanted, &attributes, |attributes| self.authz.decide(attributes));
        let user = user.map_err(refused)?;
        if let Some(record) = record {
            record.impersonated(&user.user, user.constraint);
            record.took(layer::IMPERSONATION, begun.elapsed());
        }
        identity.user = user.user;
        Ok(())
    }

    /// Waits for the request's turn; its seats are held until it is answered.
    async fn admitted(
        self: &Arc<Self>,
        asking: Asking<'_>,
        parts: request::Parts,
        body: Body,
        info: &Arc<Info>,
        now: jiff::Timestamp,
        received: Instant,
    ) -> Response<Body> {
        let caller = Caller { received, gone: parts.extensions.get::<Gone>().cloned() };
        let begun = asking.record.map(|record| (record, Instant::now()));
        let admitted = self.flow.admit(&self.api.hub, asking.user, info, &caller).await;
        if let Some((record, begun)) = begun {
            record.took(layer::QUEUE, begun.elapsed());
        }
        let pass = match admitted {
            Ok(pass) => pass,
            Err(refused) => {
                self.metrics.terminated("apiserver", info, &parts.method, refused.status().as_u16());
                return refused;
            }
        };
        let outcome = self.authorised(asking, parts, body, info, now).await;
        let failed = |(status, headers)| respond::failure(&status, &self.accepted(&headers, info));
        self.flow.attach(pass, outcome.unwrap_or_else(failed))
    }

    /// The label selector as authorisers see it that ask elsewhere; the others do not look at it (requestinfo.go: of
    /// requests about a collection).
    fn label_requirements(&self, info: &Info) -> Vec<selector::LabelRequirement> {
        match info.query.get("labelSelector") {
            "" => Vec::new(),
            text if matches!(info.verb, "list" | "watch" | "deletecollection") && self.authz.asks_elsewhere() => {
                selector::parse_label_selector(text).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    async fn authorised(
        self: &Arc<Self>,
        asking: Asking<'_>,
        parts: request::Parts,
        body: Body,
        info: &Info,
        now: jiff::Timestamp,
    ) -> Result<Response<Body>, (Status, HeaderMap)> {
        let fields = field_requirements(info);
        let labels = self.label_requirements(info);
        let mut attributes = attributes(info, asking.user, &fields);
        attributes.resource = attributes.resource.map(|of| ResourceAttributes { label_selector: &labels, ..of });
        let begun = asking.record.map(|record| (record, Instant::now()));
        let answer = self.authz.judge(&attributes).await;
        if let Some((record, begun)) = begun {
            record.took(layer::AUTHORIZATION, begun.elapsed());
            noted_decision(record, &answer);
        }
        match answer {
            Answer { decision: Decision::Allow { .. }, .. } => {}
            Answer { error: Some(error), .. } => return Ok(respond::internal_error(&parts.uri, &error)),
            Answer { decision, .. } => {
                return Err((refused(Forbidden::of(&attributes, decision.reason())), parts.headers));
            }
        }
        let (user, audit) = (asking.user, asking.record);
        let asked = Asked { core: self, info, user, headers: &parts.headers, now, audit };
        let upgrade = || parts.extensions.get::<hyper::upgrade::OnUpgrade>().cloned();
        let routed = if let Some(remote) = self.aggregation.of_path(&info.path) {
            let rest = aggregation::Rest { method: &parts.method, body, upgrade: upgrade() };
            Ok(aggregation::answer(&asked, &remote, rest).await)
        } else if info.is_resource {
            let upgrade = upgrade();
            asked.resource(&parts.method, &parts.uri, body, upgrade).await
        } else {
            asked.path(&parts.method, body).await
        };
        match routed {
            Ok(response) => Ok(response),
            Err(status) => Err((status, parts.headers)),
        }
    }
}

impl<'a> Arrived<'a> {
    fn arrival(&self, parts: &'a request::Parts, info: &'a Info, received: jiff::Timestamp) -> audit::Arrival<'a> {
        let is_long_running = flow::is_long_running(info);
        let (peer, uri, headers) = (self.peer, &parts.uri, &parts.headers);
        audit::Arrival { peer, uri, headers, id: self.id, info, is_long_running, received, started: self.started }
    }
}

/// Begins to tell of a request, when it is to be told of.
async fn audited<'r>(
    audit: &Arc<Audit>,
    arrived: &Arrived<'r>,
    parts: &request::Parts,
    info: &Info,
    identity: &Identity,
    now: jiff::Timestamp,
) -> Result<Option<&'r Arc<Record>>, Response<Body>> {
    let authenticated = arrived.started.elapsed();
    let arrival = arrived.arrival(parts, info, now);
    let begun = audit.begin(&arrival, &attributes(info, &identity.user, &[]), identity).await?;
    Ok(begun.map(|record| {
        record.took(layer::AUTHENTICATION, authenticated);
        arrived.record.get_or_init(|| record)
    }))
}

/// A refusal as a Status.
pub(crate) fn refused(forbidden: Forbidden) -> Status {
    Status {
        code: 403,
        reason: "Forbidden",
        message: forbidden.message,
        group: forbidden.group,
        kind: forbidden.resource,
        name: forbidden.name,
        ..Status::default()
    }
}

/// Notes what an answer says, before it is compressed; of a stream nothing.
async fn noted(record: &Record, is_stream: bool, answer: Response<Body>) -> Response<Body> {
    if is_stream {
        record.passed_on();
        return answer;
    }
    record.look(answer).await
}

/// The field selector as the authorisers see it; one that does not parse counts as none, and is refused later.
fn field_requirements(info: &Info) -> Vec<selector::FieldRequirement> {
    match info.query.get("fieldSelector") {
        "" => Vec::new(),
        text => selector::parse_field_selector(text).unwrap_or_default(),
    }
}

/// What the authorisers are asked about a request.
pub(crate) fn attributes<'a>(
    info: &'a Info,
    user: &'a User,
    field_selector: &'a [selector::FieldRequirement],
) -> Attributes<'a> {
    if !info.is_resource {
        return Attributes { user, verb: info.verb, resource: None, path: &info.path };
    }
    let resource = ResourceAttributes {
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        field_selector,
        ..ResourceAttributes::default()
    };
    Attributes { user, verb: info.verb, resource: Some(resource), path: &info.path }
}

impl Asked<'_> {
    /// Now as metav1.Time text.
    pub(crate) fn now_text(&self) -> String {
        api::time::from_unix(self.now.as_second(), 0, false)
    }

    /// Routes a request about a resource to its verb.
    async fn resource(
        &self,
        method: &http::Method,
        uri: &http::Uri,
        body: Body,
        upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Result<Response<Body>, Status> {
        let info = self.info;
        let registry = &self.core.api.hub.registry;
        let entry = registry.get(&info.group, &info.version, &info.resource).ok_or_else(Status::no_such_path)?;
        if let Some(record) = self.audit {
            record.about(entry.facts);
        }
        let misplaced = entry.facts.namespaced && info.namespace.is_empty() && !info.is_collection();
        if misplaced {
            return Err(Status::no_such_path());
        }
        let known = info.subresource.is_empty() || entry.subresource(&info.subresource).is_some();
        if !known {
            return Err(Status::no_such_path());
        }
        let special = subresource::find(entry.facts, &info.subresource, info.verb);
        let deprecated = self.deprecated(&entry);
        let produced: &[&str] =
            if matches!(info.verb, "list" | "watch") { &LIST_MEDIA_TYPES } else { &negotiate::MEDIA_TYPES };
        let accepted = match special {
            Some(special) if special.streams() => Accepted::json(),
            // Only what passes a request on has a route for it.
            _ if method == http::Method::HEAD => return Err(Status::method_not_allowed()),
            _ if let Err(status) = negotiate::routed(self.headers, produced) => return Err(status),
            _ => match self.representation(&entry) {
                Ok(accepted) => accepted,
                Err(status) => return self.warned(Err(status), &deprecated),
            },
        };
        let call = Call {
            api: &self.core.api,
            info,
            user: self.user,
            entry: &entry,
            accepted,
            headers: self.headers,
            now: self.now_text(),
            warnings: Mutex::new(deprecated),
            labels_defaulted: AtomicBool::default(),
            empty: Mutex::default(),
            audit: self.audit,
        };
        let outcome = match special {
            Some(special) => special.answer(self, &call, Incoming { method, uri, body, upgrade }).await,
            None => self.verb(&call, body).await,
        };
        // What was done stays done, and what was not found is told first (handlers/response.go: transformResponseObject).
        let outcome = outcome.and_then(|answer| self.unshowable(&call).map_or(Ok(answer), Err));
        let outcome = self.noted(special, outcome).await;
        self.warned(outcome, &call.warnings.into_inner())
    }

    /// The answer with warnings.
    fn warned(&self, outcome: Result<Response<Body>, Status>, warnings: &[String]) -> Result<Response<Body>, Status> {
        // A route that there is not tells of nothing.
        let is_unrouted = |status: &Status| status.code == 405 || *status == Status::no_route_consumes();
        let is_routed = !matches!(&outcome, Err(status) if is_unrouted(status));
        if warnings.is_empty() || !is_routed {
            return outcome;
        }
        let failed = |status| respond::failure(&status, &self.core.accepted(self.headers, self.info));
        let mut answer = outcome.unwrap_or_else(failed);
        respond::warn(&mut answer, warnings);
        Ok(answer)
    }

    /// The answer, noted for the audit and compressed where the client takes it so.
    async fn noted(
        &self,
        special: Option<&'static dyn Special>,
        outcome: Result<Response<Body>, Status>,
    ) -> Result<Response<Body>, Status> {
        let is_stream = self.info.verb == "watch" || special.is_some_and(Special::streams);
        let answer = match self.audit {
            Some(record) => Box::pin(noted(record, is_stream, outcome?)).await,
            None => outcome?,
        };
        let compressible = special.is_none() && matches!(self.info.verb, "get" | "list");
        if compressible && compress::wanted(self.headers) { Ok(compress::gzip(answer).await) } else { Ok(answer) }
    }

    /// The representation that the client gets of a resource.
    fn representation(&self, entry: &Entry) -> Result<Accepted, Status> {
        let (stream, table) = (self.info.verb == "watch", self.has_table(entry));
        let query = &self.info.query;
        negotiate::accepted(self.headers, query, Offer { partial: true, table, stream })
    }

    /// Why the answer cannot be shown as it was asked for.
    fn unshowable(&self, call: &Call<'_>) -> Option<Status> {
        let facts = call.entry.facts;
        let of = || format!("{}.{}", codec::internal_package(self.info.group.as_str()), facts.kind);
        match (&call.accepted.shape, self.info.verb) {
            (Shape::Partial(_), "list") if !facts.ty.open => {
                let why = "you requested PartialObjectMetadata, but the requested object is a list";
                Some(Status::unshowable(format!("{why} (*{}List)", of())))
            }
            (Shape::PartialList(_), "get") if !facts.ty.open => {
                let why = "you requested PartialObjectMetadataList, but the requested object is not a list";
                Some(Status::unshowable(format!("{why} (*{})", of())))
            }
            (Shape::Table(_), _) => {
                let include = self.info.query.get("includeObject");
                let is_known = matches!(include, "" | "None" | "Metadata" | "Object");
                (!is_known).then(|| {
                    let told = api::field::go_quote(include);
                    let why =
                        format!("includeObject: Invalid value: {told}: must be 'Metadata', 'Object', 'None', or empty");
                    Status::bad_request(format!("Unable to convert to Table as requested: {why}"))
                })
            }
            _ => None,
        }
    }

    /// Whether there is a table of what is asked for.
    fn has_table(&self, entry: &Entry) -> bool {
        match self.info.subresource.as_str() {
            "" => entry.storage.is_some() || self.info.verb != "create",
            _ => entry.storage.is_some() && self.info.verb == "get",
        }
    }

    /// The warning with which every answer of a deprecated version comes.
    fn deprecated(&self, entry: &Entry) -> Vec<String> {
        let warning = match self.info.subresource.as_str() {
            "" => entry.facts.deprecated,
            name => entry.subresource(name).map_or("", |sub| sub.deprecated),
        };
        if warning.is_empty() { Vec::new() } else { vec![warning.into()] }
    }

    async fn verb(&self, call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
        let allowed = match self.info.subresource.as_str() {
            "" => call.entry.facts.verbs,
            name => call.entry.subresource(name).map_or(&[][..], |sub| sub.verbs),
        };
        // A collection has no route for these.
        let is_nameless = self.info.name.is_empty() && matches!(self.info.verb, "update" | "patch");
        if !allowed.contains(&self.info.verb) || is_nameless {
            return Err(call.not_allowed());
        }
        match self.info.verb {
            "get" => call.get().await,
            "list" => call.list().await,
            "watch" => call.watch().await,
            "create" if self.info.name.is_empty() => call.create(body).await,
            "update" => call.update(body).await,
            "patch" => call.patch(body).await,
            "delete" => call.delete(body).await,
            "deletecollection" => call.delete_collection(body).await,
            _ => Err(call.not_allowed()),
        }
    }
}
