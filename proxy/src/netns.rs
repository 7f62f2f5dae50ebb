//! Work inside a network namespace: on a thread of its own that dies afterwards.
//!
//! Invariant: no thread of the runtime ever changes its namespace. A socket keeps the namespace it
//! was made in, so only making it happens here.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen as listen_on, setsockopt, socket,
};

/// As Go's net.Listen asks for.
const LISTEN_BACKLOG: i32 = 128;

/// Runs `work` in the namespace (or right here, without one); blocks until it is done.
pub(crate) fn within<T: Send>(netns: Option<&Path>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
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

/// A listening TCP socket; one of `::` takes IPv6 only.
pub(crate) fn listen(address: SocketAddr, netns: Option<&Path>) -> io::Result<TcpListener> {
    within(netns, || {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&socket, Ipv6V6Only, &true)?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        listen_on(&socket, Backlog::new(LISTEN_BACKLOG)?)?;
        Ok(TcpListener::from(socket))
    })
}

/// The addresses of all interfaces.
pub(crate) fn interface_ips(netns: Option<PathBuf>) -> io::Result<Vec<IpAddr>> {
    within(netns.as_deref(), || {
        let address = |interface: nix::ifaddrs::InterfaceAddress| {
            let storage = interface.address?;
            let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        };
        Ok(nix::ifaddrs::getifaddrs()?.filter_map(address).collect())
    })
}
