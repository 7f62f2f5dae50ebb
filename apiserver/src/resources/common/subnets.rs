//! Subnets in forms that not everyone reads the same (k8s.io/apimachinery/pkg/util/validation/ip.go@v0.37.2).

use std::net::IpAddr;

use api::field::{Path, go_quote};
use api::names;
use ipnet::IpNet;

/// Bits before the address in an IPv6 address that stands for one of IPv4.
const MAPPED_BITS: u8 = 96;

/// As Go prints it: a mapped subnet in its IPv4 form.
fn printed(net: &IpNet) -> String {
    match net.addr().to_canonical() {
        address @ IpAddr::V4(_) if net.addr().is_ipv6() && net.prefix_len() >= MAPPED_BITS => {
            format!("{address}/{}", net.prefix_len() - MAPPED_BITS)
        }
        _ => net.to_string(),
    }
}

/// The subnet of a text that upstream can read.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    let (address, length) = names::parse_cidr_sloppy(text)?;
    IpNet::new(address, length).ok()
}

/// GetWarningsForCIDR.
pub(crate) fn warnings(text: &str, path: &Path) -> Vec<String> {
    let Some(net) = parse(text) else { return Vec::new() };
    let (given, whole, address) = (go_quote(text), net.trunc(), net.addr());
    let mapped = matches!(address, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    let right = go_quote(&printed(&whole));
    let mut all = Vec::new();
    if whole.addr() != address {
        let one = go_quote(&format!("{}/{}", address.to_canonical(), net.max_prefix_len()));
        let why = "is ambiguous in this context";
        all.push(format!("{path}: CIDR value {given} {why} (should be {right} or {one}?)"));
    }
    let strict = text
        .split_once('/')
        .is_some_and(|(address, digits)| address.parse::<IpAddr>().is_ok() && digits == net.prefix_len().to_string());
    if !strict || mapped {
        all.push(format!("{path}: non-standard CIDR value {given} is invalid: use {right}"));
    }
    if all.is_empty() && address.is_ipv6() && net.to_string() != text {
        let right = go_quote(&net.to_string());
        all.push(format!("{path}: IPv6 CIDR value {given} should be in RFC 5952 canonical format ({right})"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_are_worth_a_word() {
        let cases: [(&str, &[&str]); 6] = [
            ("10.0.0.0/8", &[]),
            ("no", &[]),
            (
                "10.1.0.0/8",
                &[
                    r#"p: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)"#,
                ],
            ),
            ("010.0.0.0/8", &[r#"p: non-standard CIDR value "010.0.0.0/8" is invalid: use "10.0.0.0/8""#]),
            (
                "::ffff:1.2.3.0/120",
                &[r#"p: non-standard CIDR value "::ffff:1.2.3.0/120" is invalid: use "1.2.3.0/24""#],
            ),
            (
                "2001:DB8::/32",
                &[r#"p: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")"#],
            ),
        ];
        for (text, expect) in cases {
            assert_eq!(warnings(text, &Path::new("p")), expect, "{text}");
        }
    }
}
