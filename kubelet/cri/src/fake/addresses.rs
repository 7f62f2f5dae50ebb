//! Pod addresses of one IPv4 or IPv6 network: lowest free first, the network's own and the gateway's
//! left out.
//!
//! Invariant: no address is given twice at a time.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tonic::Code;

use crate::{Error, Result};

/// Addresses at the start of a network that pods do not get: the network and the gateway.
const RESERVED: u128 = 2;

pub(super) struct Addresses {
    v4: bool,
    base: u128,
    size: u128,
    next: u128,
    free: BTreeSet<u128>,
}

impl Addresses {
    pub(super) fn new(cidr: &str) -> Result<Self> {
        let invalid = || Error::new(Code::InvalidArgument, format!("invalid CIDR address: {cidr}"));
        let (address, prefix) = cidr.trim().split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u32 = prefix.parse().map_err(|_| invalid())?;
        let (value, bits) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let host_bits = bits.min(127) - prefix.min(bits.min(127));
        if prefix > bits {
            return Err(invalid());
        }
        let size = 1u128 << host_bits;
        Ok(Addresses { v4: address.is_ipv4(), base: value & !(size - 1), size, next: RESERVED, free: BTreeSet::new() })
    }

    pub(super) fn take(&mut self) -> Result<IpAddr> {
        let offset = match self.free.pop_first() {
            Some(offset) => offset,
            None if self.next + 1 < self.size => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(Error::new(Code::Unknown, "no IP addresses available in range set")),
        };
        let value = self.base + offset;
        Ok(if self.v4 { Ipv4Addr::from(value as u32).into() } else { Ipv6Addr::from(value).into() })
    }

    pub(super) fn give_back(&mut self, address: IpAddr) {
        let value = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        // An address of an earlier network is nobody's.
        if let Some(offset) = value.checked_sub(self.base).filter(|offset| *offset < self.next) {
            self.free.insert(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_lowest_free_and_ends() {
        let mut addresses = Addresses::new("10.0.1.9/29").expect("cidr");
        let mut take = || addresses.take().map(|ip| ip.to_string()).unwrap_or_else(|e| e.message);
        let all: Vec<String> = (0..6).map(|_| take()).collect();
        let end = "no IP addresses available in range set";
        assert_eq!(all, ["10.0.1.10", "10.0.1.11", "10.0.1.12", "10.0.1.13", "10.0.1.14", end]);
        addresses.give_back("10.0.1.12".parse().expect("ip"));
        assert_eq!(addresses.take().expect("free").to_string(), "10.0.1.12");
    }

    #[test]
    fn refuses_what_is_no_network() {
        for cidr in ["", "10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert!(Addresses::new(cidr).is_err(), "{cidr}");
        }
    }
}
