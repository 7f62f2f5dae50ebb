//! The node's own server on :10250: logs, exec, attach, port-forward, stats and metrics
//! (pkg/kubelet/server/server.go@v1.37.2).
//!
//! Must not know: how pods are run; it asks through [`Access`]. Invariant: nothing is answered before the
//! caller was authenticated and authorised.

mod authz;
mod certificate;
mod configz;
mod files;
mod logs;
mod metrics;
mod options;
mod pods;
mod respond;
mod route;
mod settings;
mod stats;
mod streaming;
mod tail;
mod usage;

pub(crate) use settings::File;
pub use settings::{Authorization, Settings};

use std::net::SocketAddr;
use std::sync::Arc;

use client::task::Tasks;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serving::{Authenticator, Handler, Peer, Trust};

use crate::access::Access;
use crate::{Error, kubelet::Kubelet};
use respond::Body;
use route::{Place, Route};

/// Everything that answers.
pub(crate) struct Server {
    access: Access,
    tasks: Tasks,
    authn: Authenticator,
    authz: authz::Authorizer,
    usage: usage::Meter,
}

/// A server whose port is taken but that does not answer yet.
pub(crate) struct Bound(serving::Bound, Arc<Server>);

/// Takes the port; `None` when the node has no server.
pub(crate) async fn bind(kubelet: &Arc<Kubelet>) -> Result<Option<Bound>, Error> {
    let config = &kubelet.config;
    if config.port == 0 {
        return Ok(None);
    }
    let access = Access::new(kubelet.clone());
    let serving = certificate::server_config(config, &kubelet.node.ips)?;
    let settings = &config.server;
    let bound = serving::Bound::new(SocketAddr::new(settings.address, config.port), serving).await?;
    let trust = Trust::of_files(settings.client_ca_file.as_deref(), None)?;
    let tokens = settings.token_review.then(|| (access.client(), settings.token_review_ttl));
    let server = Arc::new(Server {
        authn: Authenticator::new(trust, tokens, settings.anonymous),
        authz: authz::Authorizer::new(settings, access.client()),
        usage: usage::Meter::default(),
        tasks: kubelet.tasks.clone(),
        access,
    });
    Ok(Some(Bound(bound, server)))
}

/// Serves for as long as the kubelet runs.
pub(crate) async fn run(bound: Bound) {
    let Bound(bound, server) = bound;
    let tasks = server.tasks.clone();
    bound.run(server, tasks).await;
}

impl Handler for Server {
    async fn answer(self: Arc<Self>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        let user = match self.authn.identify(peer, request.headers()).await {
            Ok(Some(user)) => user,
            Ok(None) => return respond::text(401, "Unauthorized"),
            Err(error) => {
                tracing::warn!(%error, "Unable to authenticate the request due to an error");
                return respond::text(401, "Unauthorized");
            }
        };
        let node = &self.access.config().node_name;
        if let Err(refusal) = self.authz.check(&user, node, request.method(), request.uri().path()).await {
            return refusal;
        }
        self.dispatch(request).await
    }
}

impl Server {
    async fn dispatch(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = options::Query::parse(request.uri().query().unwrap_or_default());
        let route = match route::find(&path) {
            Some(route) if !route.is_debugging() || self.access.config().server.debugging_handlers => route,
            Some(_) => return respond::text(405, "Debug endpoints are disabled.\n"),
            None => return respond::text(404, "404 page not found\n"),
        };
        let method = request.method().clone();
        if route.is_read_only() && method != Method::GET && method != Method::HEAD {
            return respond::only_get();
        }
        match route {
            Route::Healthz(check) => self.health(check, query.has("verbose")),
            Route::Pods => respond::json(&pods::list(&self.access.pods())),
            Route::RunningPods => pods::running(&self.access).await,
            Route::Configz => respond::json(&configz::document(self.access.config())),
            Route::Summary => respond::json(&stats::summary(self, query.flag("only_cpu_and_memory")).await),
            Route::Metrics => metrics::kubelet(self).await,
            Route::CadvisorMetrics => metrics::cadvisor(self).await,
            Route::ResourceMetrics => metrics::resource(self).await,
            Route::ProbeMetrics => respond::metrics(String::new()),
            Route::NodeLogs(rest) => files::serve(self.access.config(), rest).await,
            Route::ContainerLogs(place) => logs::serve(self, &place, &query).await,
            Route::Run(place) if method == Method::POST => self.run_command(&place, &query).await,
            Route::Exec(place) => streaming::exec(self, &place, &query, request).await,
            Route::Attach(place) => streaming::attach(self, &place, &query, request).await,
            Route::PortForward(place) => streaming::port_forward(self, &place, &query, request).await,
            Route::Run(_) => respond::text(405, "405: Method Not Allowed"),
        }
    }

    /// The sync loop is well while the runtime is being looked at in time.
    fn health(&self, check: Option<&str>, verbose: bool) -> Response<Body> {
        let stale = self.access.sync_loop_complaint();
        let checks = [("ping", None), ("log", None), ("syncloop", stale)];
        let asked = checks.iter().filter(|(name, _)| check.is_none_or(|check| check == *name)).collect::<Vec<_>>();
        if asked.is_empty() {
            return respond::text(404, "404 page not found\n");
        }
        let failed = asked.iter().any(|(_, complaint)| complaint.is_some());
        if !failed && !verbose {
            return respond::text(200, "ok");
        }
        let mut text = String::new();
        for (name, complaint) in asked {
            text += &match complaint {
                None => format!("[+]{name} ok\n"),
                Some(why) => format!("[-]{name} failed: {why}\n"),
            };
        }
        match failed {
            true => respond::text(500, format!("{text}healthz check failed\n")),
            false => respond::text(200, format!("{text}healthz check passed\n")),
        }
    }

    /// The legacy /run: a command without streams.
    async fn run_command(&self, place: &Place<'_>, query: &options::Query) -> Response<Body> {
        let Some(pod) = self.access.pod(place.namespace, place.pod, "") else {
            return respond::text(404, "pod does not exist");
        };
        let found = match self.access.running(&pod, place.container).await {
            Ok(found) => found,
            Err(error) => return respond::text(500, error.to_string()),
        };
        let Some(container_id) = found else {
            return respond::text(500, format!("container not found ({:?})", place.container));
        };
        let cmd = query.get("cmd").split(' ').map(str::to_owned).collect();
        let request = cri::v1::ExecSyncRequest { container_id, cmd, timeout: 0 };
        match self.access.runtime().exec_sync(request).await {
            Ok(answer) => respond::typed(200, "application/json", [answer.stdout, answer.stderr].concat()),
            Err(error) => respond::text(500, error.to_string()),
        }
    }
}
