//! A ready endpoint of a service (pkg/registry/core/service/storage/storage.go@v1.37.2: ResourceLocation;
//! k8s.io/apiserver/pkg/util/proxy/proxy.go@v0.37.2: RandomEndpoint).
//!
//! Invariant: only addresses of pods of the service's namespace are ever dialled.

use std::sync::Arc;

use api::object::Meta;
use api::status::Status;
use api::value::Map;
use rand::seq::SliceRandom;

use super::node::text;
use super::target::{Identity, Target, split_scheme_name_port, subpath};
use super::{admit, live};
use crate::admission::Reader;
use crate::rest::Call;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

pub(super) async fn proxy_target(call: &Call<'_>) -> Result<Target, Status> {
    let (id, namespace) = (&call.info.name, &call.info.namespace);
    let (scheme, name, port) = split_scheme_name_port(id)
        .ok_or_else(|| Status::bad_request(format!("invalid service request {}", api::field::go_quote(id))))?;
    admit(call).await?;
    let port = match port.parse::<i64>() {
        Ok(number) => port_name(&live(call, "services", namespace, name).await?, name, number)?,
        Err(_) => port.to_owned(),
    };
    let first_is_v6 = call.hub().network.service_cidrs.first().is_some_and(|cidr| cidr.addr().is_ipv6());
    let family = if first_is_v6 { "IPv6" } else { "IPv4" };
    let candidates = endpoints(call.hub(), namespace, name, &port, family);
    let chosen = candidates.into_iter().find(|candidate| is_pod(call, namespace, candidate));
    let chosen = chosen.ok_or_else(|| Status::service_unavailable(none_for(name)))?;
    let tls = (scheme == "https").then_some(Identity::Anyone);
    let path = subpath(&call.info.rest, &call.info.path);
    Ok(Target { tls, host: chosen.ip, port: Some(chosen.port.to_string()), path, query: String::new() })
}

/// The ready endpoints of a service that serve the port of that name: the family first, its slices and their
/// endpoints in random order.
pub(crate) fn endpoints(objects: &dyn Reader, namespace: &str, name: &str, port: &str, family: &str) -> Vec<Candidate> {
    let mut slices: Vec<Arc<Map>> = objects.list("discovery.k8s.io", "endpointslices", namespace);
    slices.retain(|slice| slice.label(SERVICE_NAME_LABEL) == Some(name));
    let mut random = rand::rng();
    slices.shuffle(&mut random);
    slices.sort_by_key(|slice| slice.str("addressType") != family);
    let mut candidates = Vec::new();
    for slice in &slices {
        let mut of_slice = candidates_of(slice, port);
        of_slice.shuffle(&mut random);
        candidates.extend(of_slice);
    }
    candidates
}

pub(crate) fn none_for(name: &str) -> String {
    format!("no endpoints available for service {}", api::field::go_quote(name))
}

fn port_name(service: &Map, name: &str, number: i64) -> Result<String, Status> {
    let mut ports = service.map("spec").into_iter().flat_map(|spec| spec.maps("ports"));
    let found = ports.find(|port| port.i64("port") == Some(number));
    let found = found.ok_or_else(|| {
        let name = api::field::go_quote(name);
        Status::service_unavailable(format!("no service port {number} found for service {name}"))
    })?;
    Ok(found.str("name").into())
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) ip: String,
    pub(crate) port: i64,
    /// Namespace and name of the pod, when there is one.
    pod: Option<(String, String)>,
}

/// Ready endpoints of a slice that serve the port of that name.
fn candidates_of(slice: &Map, port: &str) -> Vec<Candidate> {
    let mut ports = slice.maps("ports").filter(|has| has.str("name") == port);
    let Some(port) = ports.find_map(|port| port.i64("port")) else { return vec![] };
    let ready = slice
        .maps("endpoints")
        .filter(|endpoint| endpoint.map("conditions").and_then(|conditions| conditions.bool("ready")).unwrap_or(true));
    ready
        .filter_map(|endpoint| {
            let target = endpoint.map("targetRef");
            let pod = target.map(|target| (target.str("namespace").into(), target.str("name").into()));
            let ip = endpoint.list("addresses").first().map(text)?.to_owned();
            Some(Candidate { ip, port, pod })
        })
        .collect()
}

fn is_pod(call: &Call<'_>, namespace: &str, candidate: &Candidate) -> bool {
    let Some((of, name)) = &candidate.pod else { return false };
    let Some(pod) = call.hub().cached("", "pods", namespace, name).filter(|_| of == namespace) else { return false };
    pod.map("status").is_some_and(|status| status.maps("podIPs").any(|ip| ip.str("ip") == candidate.ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_endpoints_of_the_port() {
        let slice = crate::subresource::connect::testing::json(
            r#"{"ports":[{"name":"","port":80},{"name":"b","port":81}],"endpoints":[
            {"addresses":["10.0.0.1"],"targetRef":{"namespace":"n","name":"p"}},
            {"addresses":["10.0.0.2"],"conditions":{"ready":false},"targetRef":{"namespace":"n","name":"q"}},
            {"addresses":["10.0.0.3"],"conditions":{"ready":true}}]}"#,
        );
        let both = |port| {
            let pod = Some(("n".into(), "p".into()));
            vec![Candidate { ip: "10.0.0.1".into(), port, pod }, Candidate { ip: "10.0.0.3".into(), port, pod: None }]
        };
        assert_eq!(candidates_of(&slice, ""), both(80));
        assert_eq!(candidates_of(&slice, "b"), both(81));
        assert_eq!(candidates_of(&slice, "c"), []);
    }

    #[test]
    fn ports_by_number() {
        let service = crate::subresource::connect::testing::json(r#"{"spec":{"ports":[{"name":"web","port":80}]}}"#);
        assert_eq!(port_name(&service, "s", 80), Ok("web".into()));
        let refused = port_name(&service, "s", 81).map_err(|status| status.message);
        assert_eq!(refused, Err("no service port 81 found for service \"s\"".into()));
    }
}
