//! A health port for each Service with externalTrafficPolicy Local: tells load balancers whether
//! this node has endpoints of it. Facts: pkg/proxy/healthcheck/service_health.go@v1.37.2.
//!
//! Invariant: exactly the ports of the last [`ServiceHealth::sync`] are open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use client::Key;
use client::task::{OnError, Tasks};
use http::{HeaderValue, StatusCode};

use crate::engine::Maps;
use crate::health::ProxyHealth;
use crate::http::{Handler, reply, serve};
use crate::netns::listen;

pub(crate) struct ServiceHealth {
    tasks: Tasks,
    netns: Option<PathBuf>,
    proxy: Arc<ProxyHealth>,
    open: BTreeMap<Key, Open>,
}

struct Open {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    tasks: Tasks,
}

/// A port that could not be opened.
pub(crate) struct Refused {
    pub(crate) service: Key,
    pub(crate) port: u16,
    pub(crate) error: io::Error,
}

impl ServiceHealth {
    pub(crate) fn new(tasks: Tasks, netns: Option<PathBuf>, proxy: Arc<ProxyHealth>) -> Self {
        ServiceHealth { tasks, netns, proxy, open: BTreeMap::new() }
    }

    /// Opens and closes ports and notes how many endpoints each Service has here. `addresses` tells
    /// where a new port listens.
    pub(crate) fn sync(&mut self, maps: &Maps, addresses: impl Fn() -> Vec<IpAddr>) -> Vec<Refused> {
        let wanted = health_ports(maps);
        self.open.retain(|service, open| {
            let keep = wanted.get(service) == Some(&open.port);
            if !keep {
                open.tasks.cancel();
            }
            keep
        });
        let mut refused = Vec::new();
        for (service, port) in wanted {
            if self.open.contains_key(&service) {
                continue;
            }
            match self.start(&service, port, &addresses()) {
                Ok(open) => drop(self.open.insert(service, open)),
                Err(error) => refused.push(Refused { service, port, error }),
            }
        }
        let local = local_ready_endpoints(maps);
        for (service, open) in &self.open {
            open.endpoints.store(local.get(service).copied().unwrap_or(0), Ordering::Relaxed);
        }
        refused
    }

    fn start(&self, service: &Key, port: u16, addresses: &[IpAddr]) -> io::Result<Open> {
        let listen = |ip: &IpAddr| listen(SocketAddr::new(*ip, port), self.netns.as_deref());
        let listeners = addresses.iter().map(listen).collect::<io::Result<Vec<_>>>()?;
        let (endpoints, tasks) = (Arc::new(AtomicUsize::new(0)), self.tasks.child());
        let handler = handler(service.clone(), endpoints.clone(), self.proxy.clone());
        for listener in listeners {
            let served = serve(listener, tasks.clone(), handler.clone());
            tasks.spawn("service health", OnError::Log, served);
        }
        Ok(Open { port, endpoints, tasks })
    }
}

fn handler(service: Key, endpoints: Arc<AtomicUsize>, proxy: Arc<ProxyHealth>) -> Handler {
    Arc::new(move |_path| {
        let (count, healthy) = (endpoints.load(Ordering::Relaxed), proxy.is_healthy(Instant::now()));
        let status = if count != 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = reply(status, "application/json", body(&service, count, healthy));
        response.headers_mut().insert("x-load-balancing-endpoint-weight", HeaderValue::from(count));
        response
    })
}

/// Laid out as upstream's, which people read in terminals.
fn body(service: &Key, count: usize, healthy: bool) -> String {
    let Key { namespace, name } = service;
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    )
}

fn health_ports(maps: &Maps) -> BTreeMap<Key, u16> {
    let ports = maps.services.iter().filter(|(_, port)| port.health_check_node_port != 0);
    ports.map(|(name, port)| (Key::new(&name.namespace, &name.service), port.health_check_node_port)).collect()
}

/// Addresses, not ip:port pairs, are counted: two ports of a pod are one endpoint.
fn local_ready_endpoints(maps: &Maps) -> BTreeMap<Key, usize> {
    let mut ips: BTreeMap<Key, BTreeSet<IpAddr>> = BTreeMap::new();
    for (name, endpoints) in &maps.endpoints {
        let local = endpoints.iter().filter(|endpoint| endpoint.local && endpoint.ready);
        ips.entry(Key::new(&name.namespace, &name.service)).or_default().extend(local.map(|endpoint| endpoint.ip));
    }
    ips.into_iter().map(|(service, ips)| (service, ips.len())).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::family::Family;
    use crate::testing::{context, engine};

    fn yaml(port: u16, node: &str) -> String {
        format!(
            "kind: Service\nmetadata: {{namespace: ns, name: web}}\nspec: {{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: {port}, clusterIP: 172.30.0.9, ports: [{{name: p, port: 80}}, {{name: q, port: 81}}]}}\n---\nkind: EndpointSlice\nmetadata: {{namespace: ns, name: a, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{name: p, port: 80, protocol: TCP}}, {{name: q, port: 81, protocol: TCP}}]\nendpoints: [{{addresses: [10.0.0.1], nodeName: {node}}}]\n"
        )
    }

    async fn get(port: u16) -> io::Result<String> {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_port_tells_how_many_endpoints_are_here() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let tasks = Tasks::new();
        let mut health = ServiceHealth::new(tasks.clone(), None, Arc::new(ProxyHealth::new(Duration::from_secs(60))));
        let mut sync = |yaml: &str| {
            let engine = engine(yaml, context(Family::IPv4));
            health.sync(engine.maps(), || vec![Ipv4Addr::LOCALHOST.into()]).len()
        };
        assert_eq!(sync(&yaml(free, "test-node")), 0);
        let text = get(free).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("x-load-balancing-endpoint-weight: 1\r\n"), "{text}");
        let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"ns\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 1,\n\t\"serviceProxyHealthy\": true\n}";
        assert!(text.ends_with(body), "{text}");
        sync(&yaml(free, "other-node"));
        let text = get(free).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\"localEndpoints\": 0"), "{text}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert_eq!(sync(&yaml(taken.local_addr().expect("an address").port(), "test-node")), 1, "a taken port");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(get(free).await.is_err(), "the old port is closed");
        tasks.cancel();
    }
}
