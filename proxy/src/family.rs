//! The two IP families and how Go and nft spell them; also lenient address parsing.
//!
//! Invariant: an address is accepted here exactly when upstream's ParseIPSloppy accepts it
//! (k8s.io/utils/net/parse.go): a leading zero is no reason to lose a Service.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    IPv4,
    IPv6,
}

impl Family {
    pub(crate) const ALL: [Family; 2] = [Family::IPv4, Family::IPv6];

    pub(crate) fn of(ip: &IpAddr) -> Self {
        if ip.is_ipv4() { Family::IPv4 } else { Family::IPv6 }
    }

    pub(crate) fn of_net(net: &IpNet) -> Self {
        Family::of(&net.addr())
    }

    /// The v1.IPFamily, which is also the metric label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::IPv4 => "IPv4",
            Family::IPv6 => "IPv6",
        }
    }

    /// nft's name of the table family and of the header that `saddr` and `daddr` belong to.
    pub(crate) fn nft(self) -> &'static str {
        match self {
            Family::IPv4 => "ip",
            Family::IPv6 => "ip6",
        }
    }

    /// nft's type of an address.
    pub(crate) fn address_type(self) -> &'static str {
        match self {
            Family::IPv4 => "ipv4_addr",
            Family::IPv6 => "ipv6_addr",
        }
    }

    /// The NFPROTO_* and AF_* number (they agree for these two).
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::IPv4 => 2,
            Family::IPv6 => 10,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses an address; leading zeros in IPv4 octets are decimal, as in Go before 1.17.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let octets: Vec<u8> = text.split('.').map(|part| decimal(part).ok_or(())).collect::<Result<_, _>>().ok()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

fn decimal(part: &str) -> Option<u8> {
    if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) { None } else { part.parse().ok() }
}

/// Parses a CIDR and clears its host bits.
pub(crate) fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    IpNet::new(parse_ip(address)?, length.parse().ok()?).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_leniently() {
        let cases = [
            ("10.0.0.1", Some("10.0.0.1")),
            ("010.000.000.001", Some("10.0.0.1")),
            ("fd00::1", Some("fd00::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("10.0.0", None),
            ("10.0.0.256", None),
            ("", None),
            ("None", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_ip(text).map(|ip| ip.to_string()).as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn cidrs_lose_their_host_bits() {
        assert_eq!(parse_cidr("203.0.113.77/25").map(|n| n.to_string()).as_deref(), Some("203.0.113.0/25"));
        assert_eq!(parse_cidr("10.0.0.0"), None);
    }
}
