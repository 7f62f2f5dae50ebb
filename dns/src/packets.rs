//! UDP packets that are answered from the address they were sent to.
//!
//! Invariant: a reply's source is the question's destination, though the socket listens on all
//! addresses: the client, or the address translation on the way, would not know it else.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;

pub(crate) struct Packets {
    socket: UdpSocket,
}

/// Who asked, and at which of our addresses.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    to: Option<To>,
}

#[derive(Clone, Copy)]
enum To {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Packets {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        match socket.local_addr()? {
            SocketAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
        Ok(Packets { socket })
    }

    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
        self.socket.async_io(Interest::READABLE, || receive(&self.socket, buffer)).await
    }

    pub(crate) async fn send(&self, bytes: &[u8], peer: &Peer) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || send(&self.socket, bytes, peer)).await
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let to = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(To::V4(libc::in_pktinfo { ipi_ifindex: 0, ..info })),
        // A link-local address is one of its interface only.
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(To::V6(info)),
        _ => None,
    });
    let address = message.address.as_ref().and_then(socket_address);
    let address = address.ok_or_else(|| io::Error::other("packet without a sender"))?;
    Ok((message.bytes, Peer { address, to }))
}

fn send(socket: &UdpSocket, bytes: &[u8], peer: &Peer) -> io::Result<()> {
    let control = peer.to.as_ref().map(|to| match to {
        To::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        To::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    });
    let (parts, address) = ([IoSlice::new(bytes)], SockaddrStorage::from(peer.address));
    sendmsg(socket.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), Some(&address))?;
    Ok(())
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_come_from_the_address_that_was_asked() {
        for (any, asked) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "::1")] {
            let packets = Packets::new(UdpSocket::bind(any).await.expect("a socket")).expect("packet info");
            let to =
                SocketAddr::new(asked.parse().expect("an address"), packets.socket.local_addr().expect("bound").port());
            let client = UdpSocket::bind(if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).await.expect("a socket");
            client.send_to(b"ping", to).await.expect("sent");
            let mut buffer = [0; 8];
            let (length, peer) = packets.receive(&mut buffer).await.expect("a packet");
            assert_eq!((&buffer[..length], peer.address), (&b"ping"[..], client.local_addr().expect("bound")));
            packets.send(b"pong", &peer).await.expect("sent");
            assert_eq!(client.recv_from(&mut buffer).await.expect("a reply"), (4, to));
        }
    }
}
