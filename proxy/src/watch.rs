//! Notices when somebody else changes or removes our table.
//!
//! The kernel multicasts every change of nftables with the netlink port of its author. Invariant:
//! our own changes are never reported, a lost report (overrun) counts as a change. No polling.

use std::io;
use std::path::Path;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::runtime::Handle;

use crate::apply::OwnPorts;
use crate::family::Family;
use crate::netlink::{Message, Messages};
use crate::netns::within;

/// NFNLGRP_NFTABLES: changes of tables, chains, rules, sets and elements.
const NFTABLES_GROUP: u32 = 7;
const NFTABLES_SUBSYSTEM: u8 = 10;
/// NFT_MSG_NEWGEN: the end of a transaction, not an object; so are all later ones of no interest.
const NEW_GENERATION: u8 = 15;
/// The attribute of every object message that names its table.
const TABLE_ATTRIBUTE: u16 = 1;
/// Room for the reports of a large transaction, in bytes.
const RECEIVE_BUFFER: u32 = 4 << 20;

pub(crate) struct TableWatcher {
    socket: TokioSocket,
}

impl TableWatcher {
    pub(crate) fn open(netns: Option<&Path>) -> io::Result<Self> {
        let runtime = Handle::current();
        let socket = within(netns, || {
            let _entered = runtime.enter();
            let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
            socket.socket_ref().set_rx_buf_sz(RECEIVE_BUFFER)?;
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            socket.socket_ref().add_membership(NFTABLES_GROUP)?;
            Ok(socket)
        })?;
        Ok(TableWatcher { socket })
    }

    /// Calls `changed` for each foreign change of `table`, until the socket fails.
    pub(crate) async fn run(self, table: &str, own: &OwnPorts, changed: impl Fn(Family)) -> io::Result<()> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((bytes, _)) => foreign(&bytes, table, own).for_each(&changed),
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32) => {
                    Family::ALL.into_iter().for_each(&changed);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The families whose table a datagram says somebody else touched.
fn foreign<'a>(bytes: &'a [u8], table: &'a str, own: &'a OwnPorts) -> impl Iterator<Item = Family> + 'a {
    let touched = move |family: Family| Messages(bytes).any(|m| touches(&m, family, table) && !own.contains(m.port));
    Family::ALL.into_iter().filter(move |family| touched(*family))
}

fn touches(message: &Message<'_>, family: Family, table: &str) -> bool {
    message.subsystem() == NFTABLES_SUBSYSTEM
        && message.operation() < NEW_GENERATION
        && message.family == family.number()
        && message
            .attributes()
            .find(TABLE_ATTRIBUTE)
            .is_some_and(|name| name.strip_suffix(b"\0") == Some(table.as_bytes()))
}
