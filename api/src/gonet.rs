//! Addresses and networks as Go's `net/netip` reads them.
//!
//! Invariant: what is accepted and the error texts are those of Go 1.26. Non-goal: zones, which are read to be refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::go_quote;

pub struct Address {
    pub ip: IpAddr,
    /// It has a zone.
    pub zone: bool,
}

struct Problem {
    message: &'static str,
    at: String,
}

impl Problem {
    fn new(message: &'static str) -> Problem {
        Problem { message, at: String::new() }
    }

    fn at(message: &'static str, at: &str) -> Problem {
        Problem { message, at: at.to_owned() }
    }
}

/// `net.SplitHostPort`: `host:port` or `[host]:port`.
///
/// # Errors
/// Go's texts.
pub fn split_host_port(text: &str) -> Result<(&str, &str), String> {
    let wrong = |why: &str| format!("address {text}: {why}");
    let missing = || wrong("missing port in address");
    let many = || wrong("too many colons in address");
    let (before, port) = text.rsplit_once(':').ok_or_else(missing)?;
    let (host, brackets) = match text.strip_prefix('[') {
        None if before.contains(':') => return Err(many()),
        None => (before, before),
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(|| wrong("missing ']' in address"))?;
            match after.strip_prefix(':') {
                Some(last) if last == port && !last.contains(':') => (host, host),
                Some(_) => return Err(many()),
                None => return Err(missing()),
            }
        }
    };
    match ['[', ']'].into_iter().find(|bracket| brackets.contains(*bracket) || port.contains(*bracket)) {
        Some(bracket) => Err(wrong(&format!("unexpected '{bracket}' in address"))),
        None => Ok((host, port)),
    }
}

/// `netip.ParseAddr`.
///
/// # Errors
/// Go's texts.
pub fn parse_address(text: &str) -> Result<Address, String> {
    let result = match text.bytes().find(|byte| matches!(byte, b'.' | b':' | b'%')) {
        Some(b'.') => v4(text).map(|ip| Address { ip: IpAddr::V4(ip), zone: false }),
        Some(b':') => v6(text),
        Some(_) => Err(Problem::new("missing IPv6 address")),
        None => Err(Problem::new("unable to parse IP")),
    };
    result.map_err(|problem| {
        let at = if problem.at.is_empty() { String::new() } else { format!(" (at {})", go_quote(&problem.at)) };
        format!("ParseAddr({}): {}{at}", go_quote(text), problem.message)
    })
}

fn v4(text: &str) -> Result<Ipv4Addr, Problem> {
    let bytes = text.as_bytes();
    let (mut fields, mut position, mut value, mut digits) = ([0u8; 4], 0, 0u32, 0);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(Problem::new("IPv4 field has octet with leading zero"));
                }
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Err(Problem::new("IPv4 field has value >255"));
                }
            }
            b'.' => {
                if at == 0 || at == bytes.len() - 1 || bytes[at - 1] == b'.' {
                    return Err(Problem::at("IPv4 field must have at least one digit", &text[at..]));
                }
                if position == 3 {
                    return Err(Problem::new("IPv4 address too long"));
                }
                fields[position] = value as u8;
                (position, value, digits) = (position + 1, 0, 0);
            }
            _ => return Err(Problem::at("unexpected character", &String::from_utf8_lossy(&bytes[at..]))),
        }
    }
    if position < 3 {
        return Err(Problem::new("IPv4 address too short"));
    }
    fields[3] = value as u8;
    Ok(Ipv4Addr::from(fields))
}

fn v6(text: &str) -> Result<Address, Problem> {
    let (mut rest, zone) = match text.split_once('%') {
        Some((_, "")) => return Err(Problem::new("zone must be a non-empty string")),
        Some((address, _)) => (address, true),
        None => (text, false),
    };
    let (mut bytes, mut filled, mut ellipsis) = ([0u8; 16], 0usize, None);
    if let Some(after) = rest.strip_prefix("::") {
        (ellipsis, rest) = (Some(0), after);
        if rest.is_empty() {
            return Ok(Address { ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED), zone });
        }
    }
    while filled < 16 {
        let digits = hex_digits(rest)?;
        if rest.as_bytes().get(digits) == Some(&b'.') {
            embedded(rest, ellipsis.is_some(), filled, &mut bytes)?;
            (rest, filled) = ("", filled + 4);
            break;
        }
        let field = u16::from_str_radix(&rest[..digits], 16).unwrap_or_default();
        bytes[filled..filled + 2].copy_from_slice(&field.to_be_bytes());
        filled += 2;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        if !rest.starts_with(':') {
            return Err(Problem::at("unexpected character, want colon", rest));
        }
        if rest.len() == 1 {
            return Err(Problem::at("colon must be followed by more characters", rest));
        }
        rest = &rest[1..];
        if rest.starts_with(':') {
            if ellipsis.is_some() {
                return Err(Problem::at("multiple :: in address", rest));
            }
            ellipsis = Some(filled);
            rest = &rest[1..];
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        return Err(Problem::at("trailing garbage after address", rest));
    }
    expand(&mut bytes, filled, ellipsis)?;
    Ok(Address { ip: IpAddr::V6(Ipv6Addr::from(bytes)), zone })
}

fn hex_digits(rest: &str) -> Result<usize, Problem> {
    match rest.bytes().take_while(u8::is_ascii_hexdigit).count() {
        0 => Err(Problem::at("each colon-separated field must have at least one digit", rest)),
        digits if digits > 4 => Err(Problem::at("each group must have 4 or less digits", rest)),
        digits => Ok(digits),
    }
}

/// An IPv4 address at the end of an IPv6 one.
fn embedded(rest: &str, ellipsis: bool, filled: usize, bytes: &mut [u8; 16]) -> Result<(), Problem> {
    if !ellipsis && filled != 12 {
        return Err(Problem::at("embedded IPv4 address must replace the final 2 fields of the address", rest));
    }
    if filled + 4 > 16 {
        return Err(Problem::at("too many hex fields to fit an embedded IPv4 at the end of the address", rest));
    }
    bytes[filled..filled + 4].copy_from_slice(&v4(rest)?.octets());
    Ok(())
}

fn expand(bytes: &mut [u8; 16], filled: usize, ellipsis: Option<usize>) -> Result<(), Problem> {
    match (ellipsis, filled < 16) {
        (None, true) => Err(Problem::new("address string too short")),
        (Some(_), false) => Err(Problem::new("the :: must expand to at least one field of zeros")),
        (None, false) => Ok(()),
        (Some(at), true) => {
            let zeros = 16 - filled;
            bytes.copy_within(at..filled, at + zeros);
            bytes[at..at + zeros].fill(0);
            Ok(())
        }
    }
}

/// `netip.ParsePrefix`.
///
/// # Errors
/// Go's texts.
pub fn parse_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let error = |message: String| format!("netip.ParsePrefix({}): {message}", go_quote(text));
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| error("no '/'".to_owned()))?;
    let address = parse_address(address).map_err(error)?;
    if address.zone {
        return Err(error("IPv6 zones cannot be present in a prefix".to_owned()));
    }
    let bad = || error(format!("bad bits after slash: {}", go_quote(bits)));
    if bits.len() > 1 && !matches!(bits.as_bytes()[0], b'1'..=b'9') {
        return Err(bad());
    }
    let count: i64 = bits.parse().map_err(|_| bad())?;
    let most = if address.ip.is_ipv4() { 32 } else { 128 };
    match u8::try_from(count).ok().filter(|count| *count <= most) {
        Some(count) => Ok((address.ip, count)),
        None => Err(error("prefix length out of range".to_owned())),
    }
}

/// The bits of an address, and how many there are.
pub fn bits(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

/// The network of an address.
pub fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    let (value, width) = bits(ip);
    let host = u32::from(width - prefix);
    let kept = value.checked_shr(host).and_then(|kept| kept.checked_shl(host)).unwrap_or(0);
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(kept as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(kept)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in ["1.2.3.4", "::", "::1", "fe80::1:2", "1:2:3:4:5:6:7:8", "1::8", "1:2:3:4:5:6:7::"] {
            let parsed = parse_address(text).map(|address| address.ip);
            assert_eq!(parsed, Ok(text.parse().unwrap()), "{text}");
        }
        assert!(parse_address("fe80::1%eth0").is_ok_and(|address| address.zone));
        let cases = [
            ("1.2.3", "ParseAddr(\"1.2.3\"): IPv4 address too short"),
            ("1.2.3.04", "ParseAddr(\"1.2.3.04\"): IPv4 field has octet with leading zero"),
            ("1..2.3", "ParseAddr(\"1..2.3\"): IPv4 field must have at least one digit (at \".2.3\")"),
            ("1:2", "ParseAddr(\"1:2\"): address string too short"),
            ("1::2::3", "ParseAddr(\"1::2::3\"): multiple :: in address (at \":3\")"),
            ("12345::", "ParseAddr(\"12345::\"): each group must have 4 or less digits (at \"12345::\")"),
            ("x", "ParseAddr(\"x\"): unable to parse IP"),
        ];
        for (text, want) in cases {
            assert_eq!(parse_address(text).map(|_| ()), Err(want.to_owned()));
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(parse_prefix("10.0.0.1/8"), Ok(("10.0.0.1".parse().unwrap(), 8)));
        assert_eq!(masked("10.1.2.3".parse().unwrap(), 8), "10.0.0.0".parse::<IpAddr>().unwrap());
        assert_eq!(masked("::1".parse().unwrap(), 0), "::".parse::<IpAddr>().unwrap());
        let refused = parse_prefix("10.0.0.1/33");
        assert_eq!(refused, Err("netip.ParsePrefix(\"10.0.0.1/33\"): prefix length out of range".to_owned()));
    }
}
