//! Addresses and networks.
//!
//! Invariant: overloads and errors of `k8s.io/apiserver/pkg/cel/library/{ip,cidr}.go@v0.37.2`.

use std::any::Any;
use std::net::IpAddr;

use api::gonet as net;

use super::strings::text;
use crate::functions::{Compute, Library};
use crate::types::Type;
use crate::value::{Fault, Object, Outcome, Value, go_quote};

pub(crate) const IP: Library = Library { declarations: IP_DECLARATIONS, compute };
pub(crate) const CIDR: Library = Library { declarations: CIDR_DECLARATIONS, compute };

const IP_DECLARATIONS: &str = "
ip string_to_ip (string) -> net.IP
family ip_family net.IP.() -> int
ip.isCanonical ip_is_canonical (string) -> bool
isUnspecified ip_is_unspecified net.IP.() -> bool
isLoopback ip_is_loopback net.IP.() -> bool
isLinkLocalMulticast ip_is_link_local_multicast net.IP.() -> bool
isLinkLocalUnicast ip_is_link_local_unicast net.IP.() -> bool
isGlobalUnicast ip_is_global_unicast net.IP.() -> bool
isIP is_ip (string) -> bool
string ip_to_string (net.IP) -> string
";

const CIDR_DECLARATIONS: &str = "
cidr string_to_cidr (string) -> net.CIDR
containsIP cidr_contains_ip_string net.CIDR.(string) -> bool
containsIP cidr_contains_ip_ip net.CIDR.(net.IP) -> bool
containsCIDR cidr_contains_cidr_string net.CIDR.(string) -> bool
containsCIDR cidr_contains_cidr net.CIDR.(net.CIDR) -> bool
ip cidr_ip net.CIDR.() -> net.IP
prefixLength cidr_prefix_length net.CIDR.() -> int
masked cidr_masked net.CIDR.() -> net.CIDR
isCIDR is_cidr (string) -> bool
string cidr_to_string (net.CIDR) -> string
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ip(IpAddr);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cidr(IpAddr, u8);

impl Object for Ip {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::opaque("net.IP")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        other.downcast::<Ip>().map(|other| self == other).ok_or_else(Fault::no_overload)
    }

    fn cost_size(&self) -> Option<u64> {
        Some(u64::from(net::bits(self.0).1 / 8))
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn to_text(&self) -> Option<String> {
        Some(self.text())
    }
}

impl Object for Cidr {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::opaque("net.CIDR")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        other.downcast::<Cidr>().map(|other| self == other).ok_or_else(Fault::no_overload)
    }

    fn cost_size(&self) -> Option<u64> {
        Some(u64::from(self.1.div_ceil(8)))
    }

    fn text(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }

    fn to_text(&self) -> Option<String> {
        Some(self.text())
    }
}

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "string_to_ip" => |args| parse_ip(text(args, 0)?).map(|ip| Value::object(Ip(ip))).map_err(Fault::new),
        "ip_family" => |args| about(args, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "ip_is_canonical" => |args| {
            let text = text(args, 0)?;
            parse_ip(text).map(|ip| Value::Bool(ip.to_string() == text)).map_err(Fault::new)
        },
        "ip_is_unspecified" => |args| about(args, |ip| Value::Bool(ip.is_unspecified())),
        "ip_is_loopback" => |args| about(args, |ip| Value::Bool(ip.is_loopback())),
        "ip_is_link_local_multicast" => |args| about(args, |ip| Value::Bool(is_link_local_multicast(ip))),
        "ip_is_link_local_unicast" => |args| about(args, |ip| Value::Bool(is_link_local_unicast(ip))),
        "ip_is_global_unicast" => |args| about(args, |ip| Value::Bool(is_global_unicast(ip))),
        "is_ip" => |args| Ok(Value::Bool(parse_ip(text(args, 0)?).is_ok())),
        "ip_to_string" | "cidr_to_string" => |args| args[0].convert(&Type::String),
        "string_to_cidr" => |args| cidr_of(text(args, 0)?).map(Value::object),
        "is_cidr" => |args| Ok(Value::Bool(parse_cidr(text(args, 0)?).is_ok())),
        "cidr_contains_ip_string" => |args| {
            // What is no address is an address of another type.
            let ip = parse_ip(text(args, 1)?).map_err(|_| Fault::no_overload())?;
            Ok(Value::Bool(contains(cidr(args, 0)?, Cidr(ip, net::bits(ip).1))))
        },
        "cidr_contains_ip_ip" => |args| {
            let ip = args[1].downcast::<Ip>().ok_or_else(Fault::no_overload)?.0;
            Ok(Value::Bool(contains(cidr(args, 0)?, Cidr(ip, net::bits(ip).1))))
        },
        "cidr_contains_cidr_string" => |args| Ok(Value::Bool(contains(cidr(args, 0)?, cidr_of(text(args, 1)?)?))),
        "cidr_contains_cidr" => |args| Ok(Value::Bool(contains(cidr(args, 0)?, cidr(args, 1)?))),
        "cidr_ip" => |args| Ok(Value::object(Ip(cidr(args, 0)?.0))),
        "cidr_prefix_length" => |args| Ok(Value::Int(i64::from(cidr(args, 0)?.1))),
        "cidr_masked" => |args| {
            let Cidr(ip, prefix) = cidr(args, 0)?;
            Ok(Value::object(Cidr(net::masked(ip, prefix), prefix)))
        },
        _ => return None,
    })
}

fn about(args: &[Value], answer: fn(IpAddr) -> Value) -> Outcome {
    args[0].downcast::<Ip>().map(|ip| answer(ip.0)).ok_or_else(Fault::no_overload)
}

fn cidr(args: &[Value], at: usize) -> Result<Cidr, Fault> {
    args.get(at).and_then(Value::downcast::<Cidr>).copied().ok_or_else(Fault::no_overload)
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let quoted = || go_quote(text);
    let address = net::parse_address(text)
        .map_err(|error| format!("IP Address {} parse error during conversion from string: {error}", quoted()))?;
    if address.zone {
        return Err(format!("IP address {} with zone value is not allowed", quoted()));
    }
    if is_mapped(address.ip) {
        return Err(format!("IPv4-mapped IPv6 address {} is not allowed", quoted()));
    }
    Ok(address.ip)
}

const NETWORK_ERROR: &str = "network address parse error during conversion from string";

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let (ip, prefix) = net::parse_prefix(text).map_err(|error| format!("{NETWORK_ERROR}: {error}"))?;
    match is_mapped(ip) {
        true => Err(format!("IPv4-mapped IPv6 address {} is not allowed", go_quote(text))),
        false => Ok(Cidr(ip, prefix)),
    }
}

fn cidr_of(text: &str) -> Result<Cidr, Fault> {
    parse_cidr(text).map_err(|error| Fault::new(format!("{NETWORK_ERROR}: {error}")))
}

/// Whether all addresses of one network are in the other.
fn contains(outer: Cidr, inner: Cidr) -> bool {
    outer.0.is_ipv4() == inner.0.is_ipv4()
        && outer.1 <= inner.1
        && net::masked(outer.0, outer.1) == net::masked(inner.0, outer.1)
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local_unicast(ip))
}
