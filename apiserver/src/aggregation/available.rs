//! Whether the server behind an APIService can be reached
//! (k8s.io/kube-aggregator/pkg/controllers/status/{local,remote}@v0.37.2).
//!
//! Invariant: the condition follows from the service, its endpoints and one answer out of five; it is written only when
//! it changes.

use std::sync::Arc;
use std::time::Duration;

use api::field::go_quote;
use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, Method};
use structural::conditions::{self, Condition};

use super::remote::{self, Remote};
use super::service::{AVAILABLE, ApiService, ServiceRef};
use super::work::{self, Backoff, Next, Touched};
use super::{SERVICE_NAME_LABEL, touch};
use crate::admission::Reader;
use crate::authn::{SYSTEM_PRIVILEGED_GROUP, User};
use crate::chain::Core;
use crate::resources::api_registration;
use crate::respond::full;
use crate::system;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_secs(30) };
/// A network that fails tells nobody: everything is looked at again this often.
const AGAIN: Duration = Duration::from_secs(30);
const ATTEMPTS: usize = 5;
const ATTEMPT_TIME: Duration = Duration::from_secs(5);

/// Why requests are not handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unavailable {
    reason: &'static str,
    message: String,
}

fn unavailable(reason: &'static str, message: String) -> Result<(), Unavailable> {
    Err(Unavailable { reason, message })
}

/// What the cluster's objects say before anybody is asked.
fn look(of: &ServiceRef, service: Option<&Map>, slices: &[Arc<Map>]) -> Result<(), Unavailable> {
    let (name, quoted) = (&of.name, go_quote(&of.namespace));
    let Some(service) = service else {
        return unavailable("ServiceNotFound", format!("service/{name} in {quoted} is not present"));
    };
    let spec = service.map("spec").unwrap_or(Map::EMPTY);
    if spec.str("type") != "ClusterIP" {
        return Ok(());
    }
    let Some(port) = spec.maps("ports").find(|port| port.i64("port") == Some(of.port)) else {
        let text = format!("service/{name} in {quoted} is not listening on port {}", of.port);
        return unavailable("ServicePortError", text);
    };
    let port = port.str("name");
    if slices.is_empty() {
        let text = format!("cannot find endpointslices for service/{name} in {quoted}");
        return unavailable("EndpointsNotFound", text);
    }
    if !slices.iter().any(|slice| serves(slice, port)) {
        let port = go_quote(port);
        let text = format!("endpointslices for service/{name} in {quoted} have no addresses with port name {port}");
        return unavailable("MissingEndpoints", text);
    }
    Ok(())
}

fn serves(slice: &Map, port: &str) -> bool {
    let is_ready = |endpoint: &Map| endpoint.map("conditions").and_then(|all| all.bool("ready")).unwrap_or(true);
    slice.maps("endpoints").any(is_ready)
        && slice.maps("ports").any(|has| has.str("name") == port && has.i64("port").is_some())
}

/// The condition of what was found.
fn condition(outcome: &Result<(), Unavailable>) -> Condition {
    let (status, reason, message) = match outcome {
        Ok(()) => ("True", "Passed", "all checks passed"),
        Err(why) => ("False", why.reason, why.message.as_str()),
    };
    Condition { ty: AVAILABLE.into(), status: status.into(), reason: reason.into(), message: message.into() }
}

/// Looks at APIServices for as long as the server runs.
pub(super) async fn run(core: Arc<Core>, touched: Touched) {
    core.health.done("poststarthook/apiservice-status-local-available-controller");
    core.health.done("poststarthook/apiservice-status-remote-available-controller");
    let again = async {
        loop {
            tokio::time::sleep(AGAIN).await;
            for name in core.aggregation.names() {
                touch(&core.aggregation.touches.available, &name);
            }
        }
    };
    let work = |name: String| sync(core.clone(), name);
    tokio::join!(again, work::run(touched, BACKOFF, work));
}

async fn sync(core: Arc<Core>, name: String) -> Next {
    let found = core.aggregation.table().get(&name).cloned();
    let Some(service) = found else {
        core.aggregation.metrics.forget(&name);
        return Next::Done;
    };
    let (condition, failed) = match &service.service {
        None => (api_registration::local(), false),
        Some(of) => {
            let outcome = judge(&core, &service, of).await;
            let failed = outcome.as_ref().is_err_and(|why| why.reason == "FailedDiscoveryCheck");
            (condition(&outcome), failed)
        }
    };
    if let Err(status) = tell(&core, &service, &condition).await {
        tracing::warn!(apiservice = name, %status, "availability not told");
        return Next::Retry;
    }
    if failed { Next::Retry } else { Next::Done }
}

async fn judge(core: &Core, service: &ApiService, of: &ServiceRef) -> Result<(), Unavailable> {
    let hub = &core.api.hub;
    // What touched the name may not have reached the caches; when the store does not answer they have to do.
    let _ = hub.fresh().await;
    let found = hub.cached("", "services", &of.namespace, &of.name);
    let mut slices = hub.list("discovery.k8s.io", "endpointslices", &of.namespace);
    slices.retain(|slice| slice.label(SERVICE_NAME_LABEL) == Some(of.name.as_str()));
    look(of, found.as_deref(), &slices)?;
    let Some(remote) = core.aggregation.named(&service.name) else { return Ok(()) };
    let mut attempts: FuturesUnordered<_> = (0..ATTEMPTS).map(|_| attempt(core, &remote, of)).collect();
    let mut last = Ok(());
    while let Some(outcome) = attempts.next().await {
        last = outcome;
        if last.is_ok() {
            break;
        }
    }
    last.or_else(|why| unavailable("FailedDiscoveryCheck", why))
}

/// Asks for what every server of a group version has to serve.
async fn attempt(core: &Core, remote: &Remote, of: &ServiceRef) -> Result<(), String> {
    let to = core.aggregation.resolver.resolve(&*core.api.hub, &of.namespace, &of.name, of.port)?;
    let path = remote.service.discovery_path();
    let url = format!("https://{to}{path}");
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let mut headers = HeaderMap::new();
    remote::identify(&mut headers, &aggregator());
    let request = remote::request(&Method::GET, &to, &path, headers, full("")).map_err(failed)?;
    let quoted = format!("Get {}", go_quote(&url));
    match tokio::time::timeout(ATTEMPT_TIME, remote.send(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => Err(failed(format!("bad status from {url}: {}", answer.status().as_u16()))),
        Ok(Err(why)) => Err(failed(format!("{quoted}: {why}"))),
        Err(_) => {
            let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
            Err(failed(format!("{quoted}: {why}")))
        }
    }
}

/// Who asks other servers for the server's own sake; may everything.
pub(super) fn aggregator() -> User {
    User { name: "system:kube-aggregator".into(), groups: vec![SYSTEM_PRIVILEGED_GROUP.into()], ..User::default() }
}

/// Writes the condition if it is another.
async fn tell(core: &Core, service: &ApiService, condition: &Condition) -> Result<(), Status> {
    let (metrics, available) = (&core.aggregation.metrics, condition.status == "True");
    metrics.set(&service.name, available);
    if conditions::find(&service.object, AVAILABLE).as_ref() == Some(condition) {
        return Ok(());
    }
    let now = system::now();
    let mut was_available = false;
    system::update(core, &service.object, "status", &mut |existing| {
        was_available = conditions::is_true(existing, AVAILABLE);
        // One that has changed is looked at again.
        let unchanged = existing.map("spec") == service.object.map("spec");
        unchanged.then(|| {
            let mut wanted = existing.clone();
            conditions::set(&mut wanted, condition, &now);
            wanted
        })
    })
    .await?;
    if was_available && !available {
        metrics.lost(&service.name, &condition.reason);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::object;

    const SERVICE: &str = r#"{"spec":{"type":"ClusterIP","ports":[{"name":"web","port":443}]}}"#;
    const READY: &str = r#"{"ports":[{"name":"web","port":6443}],"endpoints":[{"addresses":["10.0.0.1"]}]}"#;
    const NOT_READY: &str = r#"{"ports":[{"name":"web","port":6443}],"endpoints":[{"conditions":{"ready":false}}]}"#;
    const OTHER_PORT: &str = r#"{"ports":[{"name":"other","port":1}],"endpoints":[{"addresses":["10.0.0.1"]}]}"#;

    /// What the condition says of a service and its slices, when the probe says nothing or something.
    fn check(service: &str, slices: &[&str], probe: Result<(), &str>, expect: (&str, &str, &str)) {
        let of = ServiceRef { namespace: "n".into(), name: "s".into(), port: 443 };
        let service = (!service.is_empty()).then(|| object(service));
        let slices: Vec<Arc<Map>> = slices.iter().map(|text| Arc::new(object(text))).collect();
        let probed = |()| probe.or_else(|why| unavailable("FailedDiscoveryCheck", why.into()));
        let got = condition(&look(&of, service.as_ref(), &slices).and_then(probed));
        assert_eq!((got.status.as_str(), got.reason.as_str(), got.message.as_str()), expect);
    }

    #[test]
    fn conditions_by_what_is_found() {
        let no = |reason, message| ("False", reason, message);
        check("", &[], Ok(()), no("ServiceNotFound", r#"service/s in "n" is not present"#));
        let other = r#"{"spec":{"type":"ClusterIP","ports":[{"port":80}]}}"#;
        let text = r#"service/s in "n" is not listening on port 443"#;
        check(other, &[READY], Ok(()), no("ServicePortError", text));
        let text = r#"cannot find endpointslices for service/s in "n""#;
        check(SERVICE, &[], Ok(()), no("EndpointsNotFound", text));
        let text = r#"endpointslices for service/s in "n" have no addresses with port name "web""#;
        for slices in [&[NOT_READY][..], &[OTHER_PORT], &[NOT_READY, OTHER_PORT]] {
            check(SERVICE, slices, Ok(()), no("MissingEndpoints", text));
        }
        check(SERVICE, &[NOT_READY, READY], Ok(()), ("True", "Passed", "all checks passed"));
        check(SERVICE, &[READY], Err("refused"), no("FailedDiscoveryCheck", "refused"));
        let external = r#"{"spec":{"type":"ExternalName","externalName":"x"}}"#;
        check(external, &[], Ok(()), ("True", "Passed", "all checks passed"));
    }
}
