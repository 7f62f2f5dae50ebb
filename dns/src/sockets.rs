//! Sockets in a network namespace, and the addresses there.
//!
//! Invariant: no thread of the runtime changes its namespace; sockets are made on a thread that
//! dies afterwards and keep the namespace they were made in.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

/// A UDP and a TCP socket of the same address; port 0 takes one that is free for both.
pub(crate) fn bind(address: SocketAddr, netns: Option<&Path>) -> io::Result<(UdpSocket, TcpListener)> {
    within(netns, || {
        let tcp = TcpListener::bind(address)?;
        let udp = UdpSocket::bind(SocketAddr::new(address.ip(), tcp.local_addr()?.port()))?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok((udp, tcp))
    })
}

/// The addresses that others reach us by, if we listen on `bound`.
pub(crate) fn reachable(bound: &[IpAddr], netns: Option<&Path>) -> io::Result<Vec<IpAddr>> {
    if !bound.iter().any(IpAddr::is_unspecified) {
        return Ok(bound.to_vec());
    }
    within(netns, || {
        let address = |interface: nix::ifaddrs::InterfaceAddress| {
            let storage = interface.address?;
            let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        };
        let usable = |ip: &IpAddr| !ip.is_loopback() && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        Ok(nix::ifaddrs::getifaddrs()?.filter_map(address).filter(usable).collect())
    })
}

fn within<T: Send>(netns: Option<&Path>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let Some(path) = netns else { return work() };
    let enter = || -> io::Result<T> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        setns(File::open(path).map_err(named)?, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, enter)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("work in a network namespace panicked")))
    })
}
