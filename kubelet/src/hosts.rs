//! `/etc/hosts`, host names and resolver settings of pods
//! (pkg/kubelet/kubelet_pods.go, network/dns/dns.go@v1.37.2).

use cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::{HostAlias, Pod};

use crate::config::Config;
use crate::pod::shape;

/// Longest host name, and limits of a resolver configuration.
const HOSTNAME_MAX: usize = 63;
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;

/// The pod's host name and domain (empty for none).
pub(crate) fn hostname(pod: &Pod, cluster_domain: &str) -> Result<(String, String), String> {
    let spec = shape::spec(pod);
    if let Some(name) = &spec.hostname_override {
        return Ok((truncate(pod, name)?, String::new()));
    }
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| shape::name(pod));
    let domain = match spec.subdomain.as_deref().filter(|name| !name.is_empty()) {
        Some(subdomain) => format!("{subdomain}.{}.svc.{cluster_domain}", shape::namespace(pod)),
        None => String::new(),
    };
    Ok((truncate(pod, name)?, domain))
}

fn truncate(pod: &Pod, name: &str) -> Result<String, String> {
    let cut: String = name.chars().take(HOSTNAME_MAX).collect();
    if cut.len() == name.len() {
        return Ok(cut);
    }
    match cut.trim_end_matches(['-', '.']) {
        "" => Err(format!("hostname for pod {:?} was invalid: {name:?}", shape::name(pod))),
        cut => Ok(cut.to_owned()),
    }
}

/// The name that the kernel is told: the full one when the pod asks for it.
pub(crate) fn kernel_name(pod: &Pod, name: &str, domain: &str) -> Result<String, String> {
    if shape::spec(pod).set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(name.to_owned());
    }
    let full = format!("{name}.{domain}");
    match full.len() > HOSTNAME_MAX {
        true => Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({HOSTNAME_MAX} characters is the max, {} characters requested)",
            full.len()
        )),
        false => Ok(full),
    }
}

/// The text of `/etc/hosts`; `node` is the host's own file, for pods on the host network.
pub(crate) fn hosts_file(pod: &Pod, ips: &[String], name: &str, domain: &str, node: &str) -> String {
    let aliases = aliases(shape::spec(pod).host_aliases.as_deref().unwrap_or(&[]));
    if shape::host_network(pod) {
        return format!("# Kubernetes-managed hosts file (host network).\n{node}{aliases}");
    }
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match domain {
            "" => text.push_str(&format!("{ip}\t{name}\n")),
            domain => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
        }
    }
    text + &aliases
}

fn aliases(list: &[HostAlias]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let one = |alias: &HostAlias| format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or(&[]).join("\t"));
    format!("\n# Entries added by HostAliases.\n{}", list.iter().map(one).collect::<String>())
}

/// The host's resolver configuration.
pub(crate) fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect(),
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

/// What a pod's resolver is told, by its dnsPolicy; `host` is the node's own.
pub(crate) fn dns(pod: &Pod, config: &Config, host: &DnsConfig) -> DnsConfig {
    let spec = shape::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !shape::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = match policy {
        "None" => DnsConfig::default(),
        _ if cluster && !config.cluster_dns.is_empty() => cluster_dns(pod, config, host),
        _ if config.resolv_conf.is_empty() => {
            DnsConfig { servers: vec!["127.0.0.1".into()], searches: vec![".".into()], options: vec![] }
        }
        _ => host.clone(),
    };
    if let Some(own) = &spec.dns_config {
        dns.servers = unique(dns.servers.into_iter().chain(own.nameservers.iter().flatten().cloned()));
        dns.searches = unique(dns.searches.into_iter().chain(own.searches.iter().flatten().cloned()));
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or("");
            dns.options.retain(|old| old.split(':').next() != Some(name));
            dns.options.push(match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            });
        }
    }
    dns.servers.truncate(NAMESERVERS_MAX);
    dns.searches.truncate(SEARCHES_MAX);
    dns
}

fn cluster_dns(pod: &Pod, config: &Config, host: &DnsConfig) -> DnsConfig {
    let domain = &config.cluster_domain;
    let own = match domain.is_empty() {
        true => vec![],
        false => vec![format!("{}.svc.{domain}", shape::namespace(pod)), format!("svc.{domain}"), domain.clone()],
    };
    let searches = unique(own.into_iter().chain(host.searches.iter().cloned()));
    DnsConfig { servers: config.cluster_dns.clone(), searches, options: vec!["ndots:5".into()] }
}

fn unique(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    values.for_each(|value| {
        if !kept.contains(&value) {
            kept.push(value);
        }
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn hosts_files() {
        let plain = pod("{hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}], containers: []}");
        let text = hosts_file(&plain, &["10.0.0.9".into()], "h", "s.ns.svc.d", "");
        assert!(text.ends_with(
            "fe00::2\tip6-allrouters\n10.0.0.9\th.s.ns.svc.d\th\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
        ));
        let host = pod("{hostNetwork: true, containers: []}");
        assert_eq!(hosts_file(&host, &[], "h", "", "X\n"), "# Kubernetes-managed hosts file (host network).\nX\n");
    }

    #[test]
    fn names() {
        let check = |spec: &str, expect: (&str, &str)| {
            let found = hostname(&pod(spec), "d").expect("valid");
            assert_eq!(found, (expect.0.to_owned(), expect.1.to_owned()), "{spec}");
        };
        check("{containers: []}", ("p", ""));
        check("{hostname: h, subdomain: s, containers: []}", ("h", "s.ns.svc.d"));
        check("{hostnameOverride: o.x, subdomain: s, containers: []}", ("o.x", ""));
        let full = pod("{setHostnameAsFQDN: true, containers: []}");
        assert_eq!(kernel_name(&full, "h", "s.ns.svc.d").as_deref(), Ok("h.s.ns.svc.d"));
        assert!(kernel_name(&full, &"h".repeat(60), "s.ns.svc.d").is_err());
    }

    #[test]
    fn resolvers_by_policy() {
        let mut config = Config::new("n");
        config.cluster_dns = vec!["10.0.0.10".into()];
        config.cluster_domain = "d".into();
        let host = parse_resolv_conf("# x\nnameserver 9.9.9.9\nsearch corp. x\noptions edns0\n");
        let show = |spec: &str| {
            let dns = dns(&pod(spec), &config, &host);
            format!("{} | {} | {}", dns.servers.join(" "), dns.searches.join(" "), dns.options.join(" "))
        };
        let cluster = "10.0.0.10 | ns.svc.d svc.d d corp x | ndots:5";
        assert_eq!(show("{containers: []}"), cluster);
        assert_eq!(show("{hostNetwork: true, containers: []}"), "9.9.9.9 | corp x | edns0");
        assert_eq!(show("{hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet, containers: []}"), cluster);
        assert_eq!(show("{dnsPolicy: Default, containers: []}"), "9.9.9.9 | corp x | edns0");
        let own = "{dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1], searches: [a], options: [{name: ndots, value: '2'}, {name: rotate}]}, containers: []}";
        assert_eq!(show(own), "1.1.1.1 | a | ndots:2 rotate");
    }
}
