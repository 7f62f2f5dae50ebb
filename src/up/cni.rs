//! The pod network of a node: a bridge of our own and the CNI configuration that puts pods on it.
//!
//! Invariant: names, address pool and configuration directory are the cluster's own. Masquerading is a table
//! of nftables of our own, not CNI's iptables rules. Non-goal: networks across machines.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde_json::json;

/// Where distributions and users put the plugins.
pub(crate) const DIRS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
pub(crate) const PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];
/// Longest name of an interface, in bytes.
const LINK_NAME_MAX: usize = 15;

pub(crate) fn plugin_dir() -> Option<PathBuf> {
    let complete = |dir: &str| PLUGINS.iter().all(|name| super::plan::is_program(&Path::new(dir).join(name)));
    DIRS.iter().find(|dir| complete(dir)).map(PathBuf::from)
}

/// The bridge of a cluster; long names of clusters are told apart by a digest.
pub(crate) fn bridge_name(cluster: &str) -> String {
    let name = format!("kn-{cluster}");
    if name.len() <= LINK_NAME_MAX {
        return name;
    }
    use sha2::Digest;
    let digest = sha2::Sha256::digest(cluster.as_bytes());
    format!("kn-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

/// The first address of the node's range: the bridge's own.
pub(crate) fn gateway(range: Ipv4Net) -> Ipv4Addr {
    range.hosts().next().unwrap_or(range.addr())
}

/// A locally administered MAC address made of the bridge's; one that is set stays when ports come and go.
pub(crate) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// The network's configuration list.
pub(crate) fn conflist(network: &str, bridge: &str, range: Ipv4Net, data_dir: &Path) -> String {
    let ipam = json!({
        "type": "host-local", "dataDir": data_dir, "ranges": [[{ "subnet": range.to_string(), "gateway": gateway(range) }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let bridge = json!({
        "type": "bridge", "bridge": bridge, "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": ipam,
    });
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true });
    let list = json!({ "cniVersion": "0.4.0", "name": network, "plugins": [bridge, portmap] });
    serde_json::to_string_pretty(&list).expect("plain data")
}

/// Masquerades what leaves the cluster, once more than pods' own networks.
pub(crate) fn masquerade(table: &str, pods: Ipv4Net) -> String {
    format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n  comment \"masquerades pods\"\n  chain postrouting {{\n    \
         type nat hook postrouting priority 100; policy accept;\n    ip saddr {pods} ip daddr != {pods} ip daddr != 224.0.0.0/4 masquerade\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(bridge_name("default"), "kn-default");
        let long = bridge_name("a-cluster-with-a-long-name");
        assert!(long.len() <= LINK_NAME_MAX && long != bridge_name("a-cluster-with-a-long-name-2"), "{long}");
    }

    #[test]
    fn the_list_names_our_things_only() {
        let range = "10.244.3.0/24".parse().expect("range");
        let text = conflist("keelson-t", "kn-t", range, Path::new("/d/cni"));
        let list: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(
            list["plugins"][0]["ipam"]["ranges"][0][0],
            json!({"subnet": "10.244.3.0/24", "gateway": "10.244.3.1"})
        );
        assert_eq!((&list["name"], &list["plugins"][0]["bridge"]), (&json!("keelson-t"), &json!("kn-t")));
        assert_eq!(mac(gateway(range)), [0x0a, 0x58, 10, 244, 3, 1]);
    }
}
