//! The server of a component without an API of its own: health and metrics
//! (cmd/kube-scheduler/app/server.go@v1.37.2; k8s.io/controller-manager/app/serve.go@v0.37.2).

use std::net::SocketAddr;
use std::sync::Arc;

use client::health::Health;
use client::task::Tasks;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use rustls::ServerConfig;

use crate::authn::{Authenticator, User};
use crate::listen::{Bound, Handler, Peer};
use crate::page::Page;
use crate::respond::{self, Body};
use crate::reviews::{Asked, Reviews};
use crate::{Error, health};

/// May do anything without being asked about.
const PRIVILEGED: &str = "system:masters";

/// Who may ask, and what.
pub struct Access {
    pub authenticator: Authenticator,
    /// Paths that all may ask; at the end, a `*` stands for anything.
    pub always_allowed: Vec<String>,
    /// Who is asked about others; without, they are refused.
    pub reviews: Option<Reviews>,
}

/// A component as its server sees it.
pub struct Component {
    pub access: Access,
    pub health: Health,
    /// Its version, as `kubernetes_build_info` tells it.
    pub version: String,
}

/// Takes the port; the server answers as soon as it is run.
///
/// # Errors
/// The port is taken, or a path that is allowed is none.
pub async fn bind(
    address: SocketAddr,
    config: ServerConfig,
    component: Component,
    tasks: Tasks,
) -> Result<impl Future<Output = ()> + Send, Error> {
    for path in &component.access.always_allowed {
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.find('*').is_some_and(|at| at + 1 < path.len()) {
            return Err(Error::Config(format!("only trailing * allowed in {path:?}")));
        }
    }
    let bound = Bound::new(address, config).await?;
    Ok(bound.run(Arc::new(component), tasks))
}

/// Whether a path is among those allowed (k8s.io/apiserver/pkg/authorization/path@v0.37.2).
fn is_among(allowed: &[String], path: &str) -> bool {
    let bare = |path: &str| path.strip_prefix('/').unwrap_or(path).to_owned();
    let path = bare(path);
    allowed.iter().map(|one| bare(one)).any(|one| match one.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == one,
    })
}

impl Access {
    /// Whether somebody may; else the answer that they get.
    async fn check(&self, user: &User, verb: &str, path: &str) -> Result<(), Response<Body>> {
        if user.groups.iter().any(|group| group == PRIVILEGED) || is_among(&self.always_allowed, path) {
            return Ok(());
        }
        let mut why = String::new();
        if let Some(reviews) = &self.reviews {
            let asked = Asked::Path { verb: verb.into(), path: path.into() };
            match reviews.decide(user, &asked).await {
                Ok((true, _)) => return Ok(()),
                Ok((false, reason)) => why = reason,
                Err(error) => {
                    tracing::error!(%error, user = user.name, verb, path, "Authorization error");
                    return Err(respond::plain(500, format!("Internal Server Error: {path:?}: {error}\n")));
                }
            }
        }
        let why = if why.is_empty() { why } else { format!(": {why}") };
        let message = format!("forbidden: User {:?} cannot {verb} path {path:?}{why}", user.name);
        Err(respond::refusal(StatusCode::FORBIDDEN, "Forbidden", &message))
    }
}

impl Handler for Component {
    async fn answer(self: Arc<Self>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        let mut answer = self.answered(peer, &request).await;
        let private = HeaderValue::from_static("no-cache, private");
        answer.headers_mut().insert(header::CACHE_CONTROL, private);
        answer
    }
}

impl Component {
    async fn answered(&self, peer: &Peer, request: &Request<Incoming>) -> Response<Body> {
        let user = match self.access.authenticator.identify(peer, request.headers()).await {
            Ok(Some(user)) => user,
            Ok(None) => return respond::refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
            Err(error) => {
                tracing::error!(%error, "Unable to authenticate the request");
                return respond::refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
            }
        };
        let (verb, path) = (request.method().as_str().to_ascii_lowercase(), request.uri().path());
        if let Err(refusal) = self.access.check(&user, &verb, path).await {
            return refusal;
        }
        let health = match *request.method() {
            Method::GET | Method::HEAD => health::answer(&self.health, path, request.uri().query().unwrap_or_default()),
            _ => None,
        };
        match (health, path) {
            (Some(answer), _) => answer,
            (None, "/metrics") => respond::metrics(self.metrics(true)),
            (None, "/metrics/slis") => respond::metrics(self.metrics(false)),
            (None, _) => respond::plain(404, "404 page not found\n"),
        }
    }

    /// What came of health checks; with `all`, what is to be told of the process and its leases, too.
    fn metrics(&self, all: bool) -> String {
        let mut page = Page::default();
        let leases = self.health.leases();
        if all {
            page.family(
                "kubernetes_build_info",
                "gauge",
                "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree \
                 state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it \
                 is running.",
                [(vec![("git_version", self.version.as_str()), ("platform", "linux/amd64")], 1.0)],
            );
        }
        let counts = self.health.counts();
        let labels = |of: &(&'static str, &'static str)| vec![("name", of.1), ("type", of.0)];
        page.family(
            "kubernetes_healthcheck",
            "gauge",
            "[STABLE] This metric records the result of a single healthcheck.",
            counts.iter().map(|(of, count)| (labels(of), f64::from(u8::from(count.last)))),
        );
        let told = counts.iter().flat_map(|(of, count)| {
            let states = [("error", count.failed), ("success", count.well)].into_iter().filter(|(_, times)| *times > 0);
            states.map(move |(state, times)| (vec![("name", of.1), ("status", state), ("type", of.0)], times as f64))
        });
        page.family(
            "kubernetes_healthchecks_total",
            "counter",
            "[STABLE] This metric records the results of all healthcheck.",
            told,
        );
        if all {
            page.family(
                "leader_election_master_status",
                "gauge",
                "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 \
                 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
                leases.iter().map(|lease| (vec![("name", lease.lease())], f64::from(u8::from(lease.leads())))),
            );
            process(&mut page);
        }
        page.0
    }
}

/// The process, as /proc tells of it (github.com/prometheus/client_golang/prometheus/process_collector.go).
fn process(page: &mut Page) {
    let memory = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let pages: f64 = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * 4096.0)
    });
    page.family(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        memory.map(|bytes| (vec![], bytes)),
    );
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    page.family("process_open_fds", "gauge", "Number of open file descriptors.", open.map(|count| (vec![], count)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_allowed() {
        let allowed = ["/healthz", "readyz", "/metrics*", "/"].map(String::from);
        for (path, expect) in [
            ("/healthz", true),
            ("/healthz/ping", false),
            ("/readyz", true),
            ("/metrics/slis", true),
            ("/", true),
            ("/configz", false),
        ] {
            assert_eq!(is_among(&allowed, path), expect, "{path}");
        }
    }

    #[test]
    fn metrics_of_health() {
        let health = Health::new(&["healthz"]);
        health.well("healthz", "a");
        let access = Access {
            authenticator: Authenticator::new(crate::Trust::default(), None, true),
            always_allowed: vec![],
            reviews: None,
        };
        health.ask("healthz");
        let component = Component { access, health, version: "v1".into() };
        let (all, slis) = (component.metrics(true), component.metrics(false));
        for line in [
            "kubernetes_healthcheck{name=\"a\",type=\"healthz\"} 1",
            "kubernetes_healthchecks_total{name=\"a\",status=\"success\",type=\"healthz\"} 1",
        ] {
            assert!(all.lines().chain(slis.lines()).filter(|has| *has == line).count() == 2, "{all}{slis}");
        }
        assert!(all.contains("process_open_fds ") && !slis.contains("process_open_fds "));
    }
}
