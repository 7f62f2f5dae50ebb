//! Asks other servers about names that are not of the cluster.
//!
//! Invariant: every question gets an answer or an error within [`DEADLINE`]; an answer is taken only
//! from the server that was asked, with our id and our question. Non-goal: a cache.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, Query};
use parking_lot::Mutex;
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Forward;
use crate::wire::Transport;

/// How long a client waits for us at most, and how long we wait for one server (as CoreDNS's
/// forward plugin).
const DEADLINE: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions under way at a time; more are refused (kubeadm's `max_concurrent`).
const CONCURRENT_MAX: usize = 1000;
const UDP_RECEIVE_MAX: usize = 65_535;
const DNS_PORT: u16 = 53;

#[derive(Debug)]
pub(crate) enum Failed {
    /// Nobody answered in time.
    Unreachable,
    TooMany,
}

#[derive(Clone)]
pub(crate) struct Forwarder {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Servers,
    permits: Semaphore,
}

enum Servers {
    Fixed(Vec<SocketAddr>),
    File { path: PathBuf, own: Vec<SocketAddr>, read: Mutex<(Option<SystemTime>, Vec<SocketAddr>)> },
}

impl Forwarder {
    /// `own` are the addresses we listen on: asking those would make a loop.
    pub(crate) fn new(forward: &Forward, own: Vec<SocketAddr>) -> Self {
        let servers = match forward {
            Forward::To(servers) => Servers::Fixed(without(servers.clone(), &own)),
            Forward::ResolvConf(path) => Servers::File { path: path.clone(), own, read: Mutex::default() },
        };
        Forwarder { shared: Arc::new(Shared { servers, permits: Semaphore::new(CONCURRENT_MAX) }) }
    }

    /// Passes a request on as it is; gives the answer with some id.
    pub(crate) async fn ask(&self, request: &[u8], query: &Query, transport: Transport) -> Result<Vec<u8>, Failed> {
        let _permit = self.shared.permits.try_acquire().map_err(|_| Failed::TooMany)?;
        let deadline = Instant::now() + DEADLINE;
        let mut servers = self.shared.servers.current();
        servers.shuffle(&mut rand::rng());
        for server in servers.iter().cycle() {
            let attempt = exchange(request, query, *server, transport);
            match timeout_at(deadline, timeout(READ_TIMEOUT, attempt)).await {
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Ok(Err(error))) => {
                    tracing::debug!(%server, %error, "forwarder failed");
                    // A port that is closed answers at once; do not spin on it.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(Err(_)) => tracing::debug!(%server, "forwarder does not answer"),
                Err(_) => break,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(Failed::Unreachable)
    }

    /// Looks a name up for ourselves; by TCP if UDP does not hold it.
    pub(crate) async fn lookup(&self, query: &Query) -> Result<Message, Failed> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let request = message.to_vec().map_err(|_| Failed::Unreachable)?;
        for transport in [Transport::Udp, Transport::Tcp] {
            let answer = self.ask(&request, query, transport).await?;
            let answer = Message::from_vec(&answer).map_err(|_| Failed::Unreachable)?;
            if !answer.metadata.truncation || transport == Transport::Tcp {
                return Ok(answer);
            }
        }
        Err(Failed::Unreachable)
    }
}

impl Servers {
    fn current(&self) -> Vec<SocketAddr> {
        match self {
            Servers::Fixed(servers) => servers.clone(),
            Servers::File { path, own, read } => {
                let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
                let mut read = read.lock();
                if modified.is_none() || read.0 != modified {
                    *read = (modified, without(nameservers(path), own));
                }
                read.1.clone()
            }
        }
    }
}

fn without(servers: Vec<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_own = |server: &SocketAddr| {
        let any = |own: &SocketAddr| own.ip().is_unspecified() && server.ip().is_loopback();
        own.iter().any(|own| own.port() == server.port() && (own.ip() == server.ip() || any(own)))
    };
    servers.into_iter().filter(|server| !is_own(server)).collect()
}

fn nameservers(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "cannot read nameservers");
        String::new()
    });
    parse_resolv_conf(&text)
}

fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A zone (fe80::1%eth0) has no place in an address that any interface may reach.
        address.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(server).map(|ip| SocketAddr::new(ip, DNS_PORT)).collect()
}

async fn exchange(request: &[u8], query: &Query, server: SocketAddr, transport: Transport) -> io::Result<Vec<u8>> {
    let id: u16 = rand::rng().random();
    let mut request = request.to_vec();
    request[..2].copy_from_slice(&id.to_be_bytes());
    match transport {
        Transport::Udp => by_udp(&request, id, query, server).await,
        Transport::Tcp => by_tcp(&request, id, query, server).await,
    }
}

async fn by_udp(request: &[u8], id: u16, query: &Query, server: SocketAddr) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut buffer = vec![0; UDP_RECEIVE_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_answer(&buffer[..length], id, query) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(request: &[u8], id: u16, query: &Query, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    if is_answer(&answer, id, query) { Ok(answer) } else { Err(io::Error::other("answer to another question")) }
}

/// True if the bytes answer our question; errors may come without it.
fn is_answer(bytes: &[u8], id: u16, query: &Query) -> bool {
    let is_response = bytes.len() >= 12 && bytes[2] & 0x80 != 0 && bytes[..2] == id.to_be_bytes();
    is_response
        && Message::from_vec(bytes).is_ok_and(|message| match message.queries.first() {
            Some(asked) => asked.name() == query.name() && asked.query_type() == query.query_type(),
            None => message.answers.is_empty(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_and_we_are_not_among_them() {
        let text = "# comment\nsearch example\nnameserver 192.0.2.1\nnameserver\t127.0.0.1\nnameserver fe80::1%eth0\n\
                    nameserver 2001:db8::53\noptions ndots:5\n";
        let own = ["0.0.0.0:53".parse().expect("an address")];
        let found: Vec<String> = without(parse_resolv_conf(text), &own).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::53]:53"]);
        let other_port = ["127.0.0.1:5353".parse().expect("an address")];
        assert_eq!(without(parse_resolv_conf(text), &other_port).len(), 3);
    }
}
