//! Which ranges of addresses this machine already sends somewhere, and one for pods that it does not.
//!
//! Invariant: nothing is changed. Two clusters on one machine, or one and a company's network, never share a
//! range: the kernel would send the packets of one to the other.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The second byte of upstream's usual range of pods, 10.244.0.0/16, and of the last that is tried.
const SECOND_BYTES: std::ops::RangeInclusive<u8> = 244..=254;

/// A route other than the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) link: String,
    pub(crate) to: Ipv4Net,
}

/// The routes of our network namespace.
pub(crate) fn read() -> Vec<Route> {
    parse(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// Lines of interface, destination, gateway, flags, three counters, mask and more; addresses are the memory of
/// the network's bytes in hexadecimal.
fn parse(text: &str) -> Vec<Route> {
    let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let to = Ipv4Net::with_netmask(address(words.get(1)?)?, address(words.get(7)?)?).ok()?;
        (to.prefix_len() > 0).then(|| Route { link: words[0].to_string(), to })
    };
    text.lines().skip(1).filter_map(route).collect()
}

pub(crate) fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The range of that number.
pub(crate) fn pods(number: u8) -> Ipv4Net {
    let second = SECOND_BYTES.start().saturating_add(number);
    Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16)
}

/// The first range that no route leads to; the first of all if each is taken, which the checks then tell.
pub(crate) fn free_pods(routes: &[Route]) -> Ipv4Net {
    let count = SECOND_BYTES.end() - SECOND_BYTES.start();
    let free = |range: &Ipv4Net| !routes.iter().any(|route| overlap(&route.to, range));
    (0..=count).map(pods).find(free).unwrap_or(pods(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        kn-other\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn a_range_that_something_leads_to_is_left_out() {
        let route = |to: &str| Route { link: "kn-other".into(), to: to.parse().expect("a range") };
        assert_eq!(parse(TEXT), [route("10.244.0.0/24")]);
        for (taken, expect) in [
            (vec![], "10.244.0.0/16"),
            (vec!["192.168.0.0/16", "10.0.0.0/24"], "10.244.0.0/16"),
            (vec!["10.244.7.0/24", "10.245.0.0/16"], "10.246.0.0/16"),
            (vec!["10.0.0.0/8"], "10.244.0.0/16"),
        ] {
            let routes: Vec<Route> = taken.iter().map(|to| route(to)).collect();
            assert_eq!(free_pods(&routes).to_string(), expect, "{taken:?}");
        }
    }
}
