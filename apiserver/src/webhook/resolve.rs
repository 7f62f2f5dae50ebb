//! Where the services are that this server itself calls: webhooks and other API servers
//! (k8s.io/kube-aggregator/pkg/apiserver/resolvers.go, k8s.io/apiserver/pkg/util/proxy/proxy.go@v0.37.2).
//!
//! Invariant: a service is looked up for each call. Non-goal: names; what a service is known by is its caller's.

use api::field;
use api::value::Map;

use super::place::joined;
use crate::admission::Reader;
use crate::subresource::connect::service::{endpoints, none_for};

/// default/kubernetes at this port is this server itself.
const OWN_SERVICE: (&str, &str, i64) = ("default", "kubernetes", 443);

/// How services are found.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    /// --enable-aggregator-routing: by a ready endpoint, not by the cluster address.
    pub(crate) to_endpoints: bool,
    /// `host:port` of this server, when it is known.
    pub(crate) own: Option<String>,
}

impl Resolver {
    /// `host:port` of a service.
    ///
    /// # Errors
    /// A service that is not there or cannot be reached, in upstream's words.
    pub(crate) fn resolve(
        &self,
        objects: &dyn Reader,
        namespace: &str,
        name: &str,
        port: i64,
    ) -> Result<String, String> {
        if let Some(own) = self.own.as_ref().filter(|_| (namespace, name, port) == OWN_SERVICE) {
            return Ok(own.clone());
        }
        let service = objects.cached("", "services", namespace, name);
        let service = service.ok_or_else(|| format!("service {} not found", field::go_quote(name)))?;
        match self.to_endpoints {
            true => endpoint(objects, &service, namespace, name, port),
            false => cluster(&service, name, port),
        }
    }
}

/// ResolveCluster.
fn cluster(service: &Map, name: &str, port: i64) -> Result<String, String> {
    let spec = service.map("spec").unwrap_or(Map::EMPTY);
    match (spec.str("type"), spec.str("clusterIP")) {
        ("ClusterIP", "None") => Err("cannot route to service with ClusterIP \"None\"".into()),
        ("ClusterIP" | "LoadBalancer" | "NodePort", address) => {
            let found = spec.maps("ports").any(|has| has.i64("port") == Some(port));
            let missing = || format!("no service port {port} found for service {}", field::go_quote(name));
            found.then(|| joined(address, port)).ok_or_else(missing)
        }
        ("ExternalName", _) => Ok(joined(spec.str("externalName"), port)),
        (other, _) => Err(format!("unsupported service type {}", field::go_quote(other))),
    }
}

/// ResolveEndpoint.
fn endpoint(objects: &dyn Reader, service: &Map, namespace: &str, name: &str, port: i64) -> Result<String, String> {
    let spec = service.map("spec").unwrap_or(Map::EMPTY);
    let ty = spec.str("type");
    if !matches!(ty, "ClusterIP" | "LoadBalancer" | "NodePort") {
        return Err(format!("unsupported service type {}", field::go_quote(ty)));
    }
    let found = spec.maps("ports").find(|has| has.i64("port") == Some(port));
    let missing = || format!("no service port {port} found for service {}", field::go_quote(name));
    let port = found.ok_or_else(missing)?.str("name");
    let family = spec.list("ipFamilies").first().and_then(|family| family.as_str()).unwrap_or("");
    let chosen = endpoints(objects, namespace, name, port, family).into_iter().next();
    chosen.map(|chosen| joined(&chosen.ip, chosen.port)).ok_or_else(|| none_for(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::map;
    use api::value::Value;

    use super::*;
    use crate::webhook::testing::{Objects, object};

    fn check(spec: Map, port: i64, want: Result<&str, &str>) {
        let got = cluster(&map! { "spec" => spec.clone() }, "s", port);
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{spec:?}");
    }

    #[test]
    fn services_have_a_cluster_address() {
        let spec = |ty: &str, address: &str| {
            let ports = vec![Value::Map(map! { "port" => 443i64 })];
            map! { "type" => ty, "clusterIP" => address, "externalName" => "far.example.com", "ports" => ports }
        };
        check(spec("ClusterIP", "10.0.0.1"), 443, Ok("10.0.0.1:443"));
        check(spec("NodePort", "fd00::1"), 443, Ok("[fd00::1]:443"));
        check(spec("ClusterIP", "10.0.0.1"), 8443, Err("no service port 8443 found for service \"s\""));
        check(spec("ClusterIP", "None"), 443, Err("cannot route to service with ClusterIP \"None\""));
        check(spec("ExternalName", ""), 8443, Ok("far.example.com:8443"));
        check(spec("Odd", ""), 443, Err("unsupported service type \"Odd\""));
    }

    #[test]
    fn endpoints_and_this_server_itself() {
        let service = r#"{"metadata":{"name":"s","namespace":"n"},"spec":{"type":"ClusterIP","clusterIP":"10.0.0.9",
            "ports":[{"name":"web","port":443}]}}"#;
        let slice = r#"{"metadata":{"name":"s-1","namespace":"n","labels":{"kubernetes.io/service-name":"s"}},
            "addressType":"IPv4","ports":[{"name":"web","port":6443}],
            "endpoints":[{"addresses":["10.1.0.1"],"conditions":{"ready":false}},{"addresses":["10.1.0.2"]}]}"#;
        let all = vec![("services", Arc::new(object(service))), ("endpointslices", Arc::new(object(slice)))];
        let objects = Objects { all };
        let own = || Some("127.0.0.1:6443".to_owned());
        for (to_endpoints, namespace, name, port, expect) in [
            (false, "n", "s", 443, Ok("10.0.0.9:443")),
            (true, "n", "s", 443, Ok("10.1.0.2:6443")),
            (true, "n", "s", 80, Err("no service port 80 found for service \"s\"")),
            (true, "n", "t", 443, Err("service \"t\" not found")),
            (false, "default", "kubernetes", 443, Ok("127.0.0.1:6443")),
            (false, "default", "kubernetes", 80, Err("service \"kubernetes\" not found")),
        ] {
            let got = Resolver { to_endpoints, own: own() }.resolve(&objects, namespace, name, port);
            assert_eq!(got.as_deref().map_err(String::as_str), expect, "{name}:{port}");
        }
    }
}
