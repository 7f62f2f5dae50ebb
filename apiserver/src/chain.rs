//! The request chain, in one visible list: panic guard, request info, authenticate, impersonate,
//! priority and fairness, authorise, route (k8s.io/apiserver/pkg/server/config.go@v0.37.2: DefaultBuildHandlerChain).
//!
//! Invariant: nothing is routed before it was authenticated and authorised; a panic in one request is
//! that request's 500.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::status::Status;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, request};

use crate::authn::{self, Authenticators, Identity, Peer, User};
use crate::authz::impersonation;
use crate::authz::{Attributes, Authorizers, Decision, ResourceAttributes, forbidden::Forbidden, selector};
use crate::flow::{Caller, Flow, Gone};
use crate::metrics::Metrics;
use crate::negotiate::{self, Accepted, Offer};
use crate::request::Info;
use crate::respond::{self, Body};
use crate::rest::{Api, Call};
use crate::subresource::Incoming;
use crate::webhook::client::Clients;
use crate::{compress, health, nonresource, subresource};

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
    pub(crate) version: nonresource::Version,
    pub(crate) openapi: crate::openapi::Cache,
    pub(crate) backends: subresource::connect::Backends,
    /// Connections to webhooks.
    pub(crate) clients: Arc<Clients>,
}

/// A request past authentication.
pub(crate) struct Asked<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) info: &'a Info,
    pub(crate) user: &'a User,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) now: jiff::Timestamp,
}

impl Core {
    /// Answers one request of one peer.
    pub(crate) async fn answer(self: &Arc<Self>, peer: &Peer, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let started = std::time::Instant::now();
        let info = Info::new(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or("")).map(Arc::new);
        let method = parts.method.clone();
        let guarded = AssertUnwindSafe(self.guarded(peer, parts, body, &info, started)).catch_unwind().await;
        let mut response = guarded.unwrap_or_else(|_| {
            tracing::error!(path = ?info.as_ref().map(|info| &info.path), "a request panicked");
            respond::failure(&Status::internal("panic while serving the request"), &Accepted::json())
        });
        let id = uuid::Uuid::new_v4().to_string();
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("Audit-Id", id);
        }
        if let Ok(info) = &info {
            self.metrics.observe(info, &method, response.status().as_u16(), started.elapsed());
        }
        response
    }

    async fn guarded(
        self: &Arc<Self>,
        peer: &Peer,
        mut parts: request::Parts,
        body: Body,
        info: &Result<Arc<Info>, Status>,
        started: std::time::Instant,
    ) -> Response<Body> {
        let info = match info {
            Ok(info) => info,
            Err(status) => return respond::failure(status, &Accepted::json()),
        };
        let now = jiff::Timestamp::now();
        let lookup = self.api.hub.as_ref();
        let mut identity = match self.authn.identify(peer, &parts.headers, &info.path, lookup, now).await {
            Ok(identity) => identity,
            Err(rejected) => {
                tracing::debug!(path = info.path, errors = ?rejected.errors, "unable to authenticate the request");
                return respond::failure(&Status::unauthorized(), &self.accepted(&parts.headers, info));
            }
        };
        self.authn.strip_credentials(&mut parts.headers);
        let mut response = match self.impersonated(&mut identity, &mut parts.headers, info) {
            Ok(()) => self.admitted(&identity.user, parts, body, info, now, started).await,
            Err(status) => respond::failure(&status, &self.accepted(&parts.headers, info)),
        };
        respond::warn(&mut response, &identity.warnings);
        response
    }

    /// The client's preferred format for failures, JSON when it accepts nothing we have.
    fn accepted(&self, headers: &HeaderMap, info: &Info) -> Accepted {
        let offer = Offer { shapes: true, stream: false };
        negotiate::accepted(headers, &info.query, offer).unwrap_or_else(|_| Accepted::json())
    }

    fn impersonated(&self, identity: &mut Identity, headers: &mut HeaderMap, info: &Info) -> Result<(), Status> {
        let wanted = impersonation::take_wanted_user(headers).map_err(|why| Status::internal(&why))?;
        let Some(wanted) = wanted else { return Ok(()) };
        let fields = field_requirements(info);
        let attributes = attributes(info, &identity.user, &fields);
        let user = impersonation::impersonate(&wanted, &attributes, |attributes| self.authz.decide(attributes));
        identity.user = user.map_err(refused)?.user;
        Ok(())
    }

    /// Waits for the request's turn; its seats are held until it is answered.
    async fn admitted(
        self: &Arc<Self>,
        user: &User,
        parts: request::Parts,
        body: Body,
        info: &Arc<Info>,
        now: jiff::Timestamp,
        received: std::time::Instant,
    ) -> Response<Body> {
        let caller = Caller { received, gone: parts.extensions.get::<Gone>().cloned() };
        let pass = match self.flow.admit(&self.api.hub, user, info, &caller).await {
            Ok(pass) => pass,
            Err(refused) => {
                self.metrics.terminated(info, &parts.method, refused.status().as_u16());
                return refused;
            }
        };
        let outcome = self.authorised(user, parts, body, info, now).await;
        let failed = |(status, headers)| respond::failure(&status, &self.accepted(&headers, info));
        self.flow.attach(pass, outcome.unwrap_or_else(failed))
    }

    async fn authorised(
        self: &Arc<Self>,
        user: &User,
        parts: request::Parts,
        body: Body,
        info: &Info,
        now: jiff::Timestamp,
    ) -> Result<Response<Body>, (Status, HeaderMap)> {
        let fields = field_requirements(info);
        let attributes = attributes(info, user, &fields);
        match self.authz.decide(&attributes) {
            Decision::Allow { .. } => {}
            decision => return Err((refused(Forbidden::of(&attributes, decision.reason())), parts.headers)),
        }
        let asked = Asked { core: self, info, user, headers: &parts.headers, now };
        let routed = if info.is_resource {
            let upgrade = parts.extensions.get::<hyper::upgrade::OnUpgrade>().cloned();
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
        let misplaced = entry.facts.namespaced && info.namespace.is_empty() && !info.is_collection();
        if misplaced {
            return Err(Status::no_such_path());
        }
        let stream = info.verb == "watch";
        let known = info.subresource.is_empty() || entry.subresource(&info.subresource).is_some();
        if !known {
            return Err(Status::no_such_path());
        }
        let special = subresource::find(entry.facts, &info.subresource, info.verb);
        let accepted = match special {
            Some(special) if special.streams() => Accepted::json(),
            _ => {
                let shapes = match info.subresource.as_str() {
                    "" => entry.storage.is_some() || info.verb != "create",
                    _ => entry.storage.is_some() && info.verb == "get",
                };
                negotiate::accepted(self.headers, &info.query, Offer { shapes, stream })?
            }
        };
        let deprecated = match info.subresource.as_str() {
            "" => entry.facts.deprecated,
            name => entry.subresource(name).map_or("", |sub| sub.deprecated),
        };
        let call = Call {
            api: &self.core.api,
            info,
            user: self.user,
            entry: &entry,
            accepted,
            headers: self.headers,
            now: self.now_text(),
            warnings: Default::default(),
        };
        if !deprecated.is_empty() {
            call.warnings.lock().push(deprecated.into());
        }
        let outcome = match special {
            Some(special) => special.answer(self, &call, Incoming { method, uri, body, upgrade }).await,
            None => self.verb(&call, body).await,
        };
        let compressible = special.is_none() && matches!(info.verb, "get" | "list") && compress::wanted(self.headers);
        let outcome = match outcome {
            Ok(answer) if compressible => Ok(compress::gzip(answer).await),
            outcome => outcome,
        };
        let warnings = call.warnings.into_inner();
        if warnings.is_empty() {
            return outcome;
        }
        let failed = |status| respond::failure(&status, &self.core.accepted(self.headers, info));
        let mut answer = outcome.unwrap_or_else(failed);
        respond::warn(&mut answer, &warnings);
        Ok(answer)
    }

    async fn verb(&self, call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
        let allowed = match self.info.subresource.as_str() {
            "" => call.entry.facts.verbs,
            name => call.entry.subresource(name).map_or(&[][..], |sub| sub.verbs),
        };
        if !allowed.contains(&self.info.verb) {
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
