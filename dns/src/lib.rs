//! Cluster DNS: names of Services, endpoints and pods, answered from the API's objects; other names
//! are passed on to the host's nameservers.
//!
//! A question -> `question` (what is asked) -> `lookup` (what there is) -> `answer` (the records) ->
//! `wire` (bytes). Behaves as CoreDNS with its kubernetes, forward and loadbalance plugins, and as
//! https://github.com/kubernetes/dns/blob/master/docs/specification.md, version 1.1.0.
//! Must not know: any other component, any store, how endpoints come about.

mod answer;
pub mod config;
mod forward;
mod lookup;
mod objects;
mod packets;
mod question;
mod server;
mod sockets;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::connector::Connector;
use client::informer::Informers;
use client::task::Tasks;

use crate::answer::Zone;
use crate::config::Config;
use crate::forward::Forwarder;
use crate::objects::{Caches, Objects};
use crate::packets::Packets;
use crate::server::{Server, serve_tcp, serve_udp};

/// How long [`run`] waits for the caches; then it answers SERVFAIL until they are filled.
const SYNC_PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cluster domain {domain:?}: {reason}")]
    ClusterDomain { domain: String, reason: String },
    #[error("failed to listen for DNS on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot list network addresses: {0}")]
    Addresses(#[source] io::Error),
}

/// Starts DNS servers on `tasks` and returns once they answer: they listen, and the caches are
/// filled or have not been for five seconds.
pub async fn run(config: Config, connector: Connector, tasks: Tasks) -> Result<(), Error> {
    let caches = Caches::new(&Informers::new(connector.client(), tasks.clone()));
    start(&config, Arc::new(caches.clone()), &tasks)?;
    // Late is no error: the servers answer what they can meanwhile.
    let _ = tokio::time::timeout(SYNC_PERIOD, caches.filled()).await;
    Ok(())
}

/// Listens on all addresses and serves; returns the addresses.
fn start(config: &Config, objects: Arc<dyn Objects>, tasks: &Tasks) -> Result<Vec<SocketAddr>, Error> {
    let zone = config.zone()?;
    let netns = config.netns.as_deref();
    let mut sockets = Vec::new();
    for ip in &config.bind_addresses {
        let address = SocketAddr::new(*ip, config.port);
        let listen = |source| Error::Listen { address, source };
        let (udp, tcp) = sockets::bind(address, netns).map_err(listen)?;
        let bound = udp.local_addr().map_err(listen)?;
        let tcp = tokio::net::TcpListener::from_std(tcp).map_err(listen)?;
        let udp = tokio::net::UdpSocket::from_std(udp).and_then(Packets::new).map_err(listen)?;
        sockets.push((bound, udp, tcp));
    }
    let bound: Vec<SocketAddr> = sockets.iter().map(|(address, ..)| *address).collect();
    let own = sockets::reachable(&config.bind_addresses, netns).map_err(Error::Addresses)?;
    let server = Arc::new(Server {
        zone: Zone { name: zone, ttl: config.ttl, own },
        objects,
        forwarder: Forwarder::new(&config.forward, bound.clone()),
    });
    for (_, udp, tcp) in sockets {
        tasks.run("dns udp", serve_udp(server.clone(), Arc::new(udp), tasks.clone()));
        tasks.run("dns tcp", serve_tcp(server.clone(), tcp, tasks.clone()));
    }
    Ok(bound)
}
