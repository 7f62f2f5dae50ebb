//! Real traffic through real rules: a node, two pods and an outside client, each a network
//! namespace of this test. Needs root, nft and iproute2, and says so when one is missing.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::apply::Nft;
use crate::conntrack::{Frontends, clean_stale};
use crate::engine::Engine;
use crate::family::Family;
use crate::netns::within;
use crate::testing::{Objects, context};
use crate::watch::TableWatcher;

/// A refusal comes at once, or to the second SYN, a second later; what takes longer was dropped.
const PATIENCE: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 24;

/// The namespaces of one test; dropping it removes them.
struct Net {
    prefix: String,
}

/// Redirects share the rate limit of the refusals we look for; duplicate address detection takes
/// its second.
const SYSCTLS: [(&str, &str); 6] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
    ("/proc/sys/net/ipv4/icmp_ratelimit", "0"),
    ("/proc/sys/net/ipv6/icmp/ratelimit", "0"),
    ("/proc/sys/net/ipv6/conf/all/accept_dad", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
];

const HOSTS: [&str; 4] = ["node", "pod1", "pod2", "out"];

impl Net {
    fn new(test: &str) -> Self {
        let net = Net { prefix: format!("keelson-proxy-{}-{test}", std::process::id()) };
        for host in HOSTS {
            net.ip(&format!("netns add {}-{host}", net.prefix));
            net.ip(&format!("-n {}-{host} link set lo up", net.prefix));
            net.within(host, || SYSCTLS.iter().try_for_each(|(name, value)| std::fs::write(name, value)))
                .expect("this test needs to set sysctls of its namespaces");
        }
        for (host, v4, v6) in [("pod1", "10.0.1.2", "fd00:10::2"), ("pod2", "10.0.1.3", "fd00:10::3")] {
            net.pod(host, v4, v6);
        }
        let p = &net.prefix;
        net.ip(&format!("-n {p}-node link add out type veth peer name eth0 netns {p}-out"));
        net.ip(&format!("-n {p}-node addr add 192.168.0.2/24 dev out"));
        net.ip(&format!("-n {p}-node link set out up"));
        // A packet of the node to a service address is routed before it is redirected.
        net.ip(&format!("-n {p}-node route add default via 192.168.0.9"));
        net.ip(&format!("-n {p}-node -6 route add default dev out"));
        net.ip(&format!("-n {p}-out addr add 192.168.0.9/24 dev eth0"));
        net.ip(&format!("-n {p}-out link set eth0 up"));
        net.ip(&format!("-n {p}-out route add default via 192.168.0.2"));
        net
    }

    fn pod(&self, host: &str, v4: &str, v6: &str) {
        let p = &self.prefix;
        self.ip(&format!("-n {p}-node link add {host} type veth peer name eth0 netns {p}-{host}"));
        self.ip(&format!("-n {p}-node addr add 10.0.1.1/32 dev {host}"));
        self.ip(&format!("-n {p}-node addr add fd00:10::1/128 dev {host} nodad"));
        self.ip(&format!("-n {p}-node link set {host} up"));
        self.ip(&format!("-n {p}-node route add {v4}/32 dev {host}"));
        self.ip(&format!("-n {p}-node -6 route add {v6}/128 dev {host}"));
        self.ip(&format!("-n {p}-{host} addr add {v4}/32 dev eth0"));
        self.ip(&format!("-n {p}-{host} addr add {v6}/128 dev eth0 nodad"));
        self.ip(&format!("-n {p}-{host} link set eth0 up"));
        self.ip(&format!("-n {p}-{host} route add 10.0.1.1 dev eth0"));
        self.ip(&format!("-n {p}-{host} route add default via 10.0.1.1"));
        self.ip(&format!("-n {p}-{host} -6 route add fd00:10::1 dev eth0"));
        self.ip(&format!("-n {p}-{host} -6 route add default via fd00:10::1"));
    }

    fn ip(&self, arguments: &str) {
        let output = Command::new("ip").args(arguments.split(' ')).output();
        let output = output.expect("this test needs `ip` (Debian package iproute2)");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "this test needs root and network namespaces: ip {arguments}: {why}");
    }

    fn path(&self, host: &str) -> PathBuf {
        format!("/run/netns/{}-{host}", self.prefix).into()
    }

    fn within<T: Send>(&self, host: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        within(Some(&self.path(host)), work)
    }

    /// A server that answers with `host@address-of-the-client`.
    fn serve_tcp(&self, host: &'static str, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let listener = self.within(host, || TcpListener::bind(address)).expect("the pod can listen");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
                let _ = (&stream).write_all(format!("{host}@{peer}").as_bytes());
            }
        });
    }

    fn serve_udp(&self, host: &'static str, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = self.within(host, || UdpSocket::bind(address)).expect("the pod can listen");
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(host.as_bytes(), peer);
            }
        });
    }

    fn ask(&self, from: &str, to: &str) -> io::Result<String> {
        let to: SocketAddr = to.parse().expect("an address");
        self.within(from, || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    fn answers(&self, from: &str, to: &str) -> BTreeSet<String> {
        let ask = |_| self.ask(from, to).unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
        (0..ROUNDS).map(ask).collect()
    }

    fn failure(&self, from: &str, to: &str) -> io::ErrorKind {
        self.ask(from, to).expect_err("nobody should answer").kind()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in HOSTS {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{host}", self.prefix)]).status();
        }
    }
}

struct Node {
    engine: Engine,
    nft: Nft,
    net: Net,
}

impl Node {
    async fn new(test: &str, family: Family, yaml: &str) -> Self {
        let net = Net::new(test);
        let nft = Nft { netns: Some(net.path("node")), ..Nft::default() };
        let mut node = Node { engine: Engine::new(context(family)), nft, net };
        node.apply(yaml).await;
        node
    }

    async fn apply(&mut self, yaml: &str) {
        Objects::parse(yaml).load(&mut self.engine);
        self.sync().await;
    }

    async fn sync(&mut self) -> bool {
        let synced = self.engine.sync(&self.nft, Instant::now()).await;
        synced.expect("this test needs nft (Debian package nftables) and a kernel with nf_tables").full
    }
}

fn service(name: &str, spec: &str) -> String {
    format!("kind: Service\nmetadata: {{namespace: ns, name: {name}}}\nspec: {{{spec}}}\n---\n")
}

/// A slice of one port; each endpoint is `address[@node]`.
fn slice(name: &str, protocol: &str, port: u16, endpoints: &[&str]) -> String {
    let endpoint = |text: &&str| {
        let (address, node) = text.split_once('@').unwrap_or((text, "elsewhere"));
        format!("{{addresses: [\"{address}\"], nodeName: {node}}}")
    };
    let kind = if endpoints.iter().any(|e| e.contains("::")) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    format!(
        "kind: EndpointSlice\nmetadata: {{namespace: ns, name: {name}-a, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: {kind}\nports: [{{name: p, port: {port}, protocol: {protocol}}}]\nendpoints: [{}]\n---\n",
        endpoints.join(", ")
    )
}

const BOTH: [&str; 2] = ["10.0.1.2@test-node", "10.0.1.3@test-node"];
const TCP_PORT: &str = "ports: [{name: p, port: 80, protocol: TCP, nodePort: 31080}]";

#[tokio::test(flavor = "multi_thread")]
async fn cluster_ips_and_node_ports() {
    let spec = format!("type: NodePort, clusterIP: 172.30.0.10, {TCP_PORT}");
    let mut node = Node::new("tcp", Family::IPv4, &(service("web", &spec) + &slice("web", "TCP", 8080, &BOTH))).await;
    node.net.serve_tcp("pod1", "10.0.1.2:8080");
    node.net.serve_tcp("pod2", "10.0.1.3:8080");
    let net = &node.net;
    let hosts = |answers: BTreeSet<String>| -> BTreeSet<String> {
        answers.into_iter().filter_map(|a| a.split_once('@').map(|(host, _)| host.to_owned())).collect()
    };
    let both: BTreeSet<String> = ["pod1", "pod2"].map(String::from).into();
    for from in HOSTS {
        assert_eq!(hosts(net.answers(from, "172.30.0.10:80")), both, "cluster IP from {from}");
        assert_eq!(hosts(net.answers(from, "192.168.0.2:31080")), both, "node port from {from}");
    }
    // The client is seen as itself inside, as the node from outside and from itself (hairpin).
    let from_pod1 = net.answers("pod1", "172.30.0.10:80");
    assert_eq!(from_pod1, ["pod1@10.0.1.1", "pod2@10.0.1.2"].map(String::from).into());
    assert_eq!(net.answers("out", "192.168.0.2:31080"), ["pod1@10.0.1.1", "pod2@10.0.1.1"].map(String::from).into());
    assert_eq!(net.failure("pod1", "172.30.0.10:81"), io::ErrorKind::ConnectionRefused, "wrong port");
    assert_eq!(net.failure("pod1", "172.30.0.99:80"), io::ErrorKind::TimedOut, "unallocated cluster IP");

    node.apply(&(service("web", &spec) + &slice("web", "TCP", 8080, &[]))).await;
    for (from, to) in [("pod1", "172.30.0.10:80"), ("node", "172.30.0.10:80"), ("out", "192.168.0.2:31080")] {
        let start = Instant::now();
        assert_eq!(node.net.failure(from, to), io::ErrorKind::ConnectionRefused, "no endpoints, from {from}");
        assert!(start.elapsed() < PATIENCE / 2, "a refusal comes at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn affinity_binds_a_client_to_an_endpoint() {
    let affinity = "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}";
    let spec = format!("clusterIP: 172.30.0.10, {affinity}, {TCP_PORT}");
    let yaml = service("web", &spec) + &slice("web", "TCP", 8080, &BOTH);
    let mut node = Node::new("affinity", Family::IPv4, &yaml).await;
    node.net.serve_tcp("pod1", "10.0.1.2:8080");
    node.net.serve_tcp("pod2", "10.0.1.3:8080");
    let first = node.net.answers("node", "172.30.0.10:80");
    assert_eq!(first.len(), 1, "{first:?}");
    // A full sync must not forget who is bound where.
    node.engine.forget_applied();
    assert!(node.sync().await, "a full sync");
    assert_eq!(node.net.answers("node", "172.30.0.10:80"), first);
    let mut seen = first.clone();
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.len() == 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2100));
        seen.extend(node.net.ask("node", "172.30.0.10:80"));
    }
    assert_eq!(seen.len(), 2, "after the timeout any endpoint may serve");
    // A changed timeout changes the set.
    let longer = yaml.replace("timeoutSeconds: 2", "timeoutSeconds: 3");
    node.apply(&longer).await;
    assert_eq!(node.net.answers("node", "172.30.0.10:80").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_policy_keeps_the_client_and_drops_without_local_endpoints() {
    let spec = format!(
        "type: LoadBalancer, clusterIP: 172.30.0.10, externalTrafficPolicy: Local, externalIPs: [192.168.99.9], {TCP_PORT}"
    );
    let local = service("web", &spec) + &slice("web", "TCP", 8080, &["10.0.1.2@test-node", "10.0.1.3"]);
    let mut node = Node::new("local", Family::IPv4, &local).await;
    node.net.serve_tcp("pod1", "10.0.1.2:8080");
    node.net.serve_tcp("pod2", "10.0.1.3:8080");
    for to in ["192.168.0.2:31080", "192.168.99.9:80"] {
        assert_eq!(node.net.answers("out", to), ["pod1@192.168.0.9".to_owned()].into(), "{to}");
    }
    assert_eq!(node.net.answers("pod1", "192.168.0.2:31080").len(), 2, "pods are short-circuited");
    node.apply(&(service("web", &spec) + &slice("web", "TCP", 8080, &["10.0.1.3"]))).await;
    assert_eq!(node.net.failure("out", "192.168.0.2:31080"), io::ErrorKind::TimedOut);
    assert_eq!(node.net.answers("pod1", "192.168.0.2:31080").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_flows_move_when_their_endpoint_goes() {
    let spec = "clusterIP: 172.30.0.53, ports: [{name: p, port: 53, protocol: UDP}]";
    let yaml = |endpoint: &str| service("dns", spec) + &slice("dns", "UDP", 5353, &[endpoint]);
    let mut node = Node::new("udp", Family::IPv4, &yaml("10.0.1.2@test-node")).await;
    node.net.serve_udp("pod1", "10.0.1.2:5353");
    node.net.serve_udp("pod2", "10.0.1.3:5353");
    let socket = node.net.within("node", || UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let ask = || -> io::Result<String> {
        socket.send_to(b"?", "172.30.0.53:53")?;
        let mut buffer = [0; 16];
        let (length, _) = socket.recv_from(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    assert_eq!(ask().expect("an answer"), "pod1");
    node.apply(&yaml("10.0.1.3@test-node")).await;
    assert_eq!(ask().expect("an answer"), "pod1", "the kernel keeps the flow");
    let frontends = Frontends::of(node.engine.maps());
    let clean = || clean_stale(Family::IPv4, &frontends, Some(&node.net.path("node"))).expect("conntrack answers");
    assert_eq!(clean(), 1);
    assert_eq!(ask().expect("an answer"), "pod2");
    assert_eq!(clean(), 0, "the new flow is fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works_alike() {
    let spec = "type: NodePort, clusterIP: \"fd00:10:96::10\", ports: [{name: p, port: 80, protocol: TCP}]";
    let yaml = service("web", spec) + &slice("web", "TCP", 8080, &["fd00:10::2@test-node", "fd00:10::3@test-node"]);
    let node = Node::new("six", Family::IPv6, &yaml).await;
    node.net.serve_tcp("pod1", "[fd00:10::2]:8080");
    node.net.serve_tcp("pod2", "[fd00:10::3]:8080");
    let answers = node.net.answers("pod1", "[fd00:10:96::10]:80");
    assert_eq!(answers, ["pod1@fd00:10::1", "pod2@fd00:10::2"].map(String::from).into());
    assert_eq!(node.net.failure("pod1", "[fd00:10:96::10]:81"), io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn source_ranges_admit_whom_they_name() {
    let spec =
        format!("type: LoadBalancer, clusterIP: 172.30.0.10, loadBalancerSourceRanges: [10.0.1.3/32], {TCP_PORT}");
    let status = "status: {loadBalancer: {ingress: [{ip: 192.168.77.7}]}}\n---\n";
    let service = service("web", &spec).replace("---\n", status);
    let yaml = service + &slice("web", "TCP", 8080, &["10.0.1.2@test-node"]);
    let node = Node::new("ranges", Family::IPv4, &yaml).await;
    node.net.serve_tcp("pod1", "10.0.1.2:8080");
    assert_eq!(node.net.answers("pod2", "192.168.77.7:80").len(), 1);
    assert_eq!(node.net.failure("out", "192.168.77.7:80"), io::ErrorKind::TimedOut);
    assert_eq!(node.net.answers("out", "192.168.0.2:31080").len(), 1, "node ports are not subject to them");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_changes_are_noticed_and_undone() {
    let spec = format!("type: NodePort, clusterIP: 172.30.0.10, {TCP_PORT}");
    let web = service("web", &spec) + &slice("web", "TCP", 8080, &BOTH);
    let mut node = Node::new("foreign", Family::IPv4, &web).await;
    node.net.serve_tcp("pod1", "10.0.1.2:8080");
    node.net.serve_tcp("pod2", "10.0.1.3:8080");
    let watcher = node.net.within("node", || Ok(())).and_then(|()| TableWatcher::open(Some(&node.net.path("node"))));
    let (seen, own) = (Arc::new(AtomicUsize::new(0)), node.nft.own.clone());
    let counter = seen.clone();
    let count = move |family: Family| {
        counter.fetch_add(usize::from(family == Family::IPv4), Ordering::SeqCst);
    };
    let watching = watcher.expect("nftables can be watched").run("kube-proxy", &own, count);
    let watching = async { drop(watching.await) };
    let scenario = async {
        let settle = || tokio::time::sleep(Duration::from_millis(200));
        node.apply(&(service("web", &spec) + &slice("web", "TCP", 8080, &BOTH[..1]))).await;
        assert_eq!(node.net.answers("out", "192.168.0.2:31080").len(), 1);
        settle().await;
        assert_eq!(seen.load(Ordering::SeqCst), 0, "our own change is no news");
        let stranger = Nft { netns: node.nft.netns.clone(), ..Nft::default() };
        stranger.run("add table ip other\nadd chain ip other kube-proxy\n").await.expect("nft runs");
        settle().await;
        assert_eq!(seen.load(Ordering::SeqCst), 0, "other tables are not ours");
        stranger.run("delete table ip kube-proxy\n").await.expect("nft runs");
        settle().await;
        assert!(seen.load(Ordering::SeqCst) > 0, "the loss of the table is noticed");
        assert!(node.net.ask("out", "192.168.0.2:31080").is_err());
        node.engine.forget_applied();
        assert!(node.sync().await, "a full sync");
        assert_eq!(node.net.answers("out", "192.168.0.2:31080").len(), 1);
        // Damage that nobody reported: the delta fails, and the same sync repairs.
        stranger.run("delete table ip kube-proxy\n").await.expect("nft runs");
        node.apply(&web).await;
        assert_eq!(node.net.answers("out", "192.168.0.2:31080").len(), 2);
        // A foreign set of another shape under our name cannot stop us.
        stranger.run("delete table ip kube-proxy\nadd table ip kube-proxy\nadd set ip kube-proxy cluster-ips { type inet_service ; }\n").await.expect("nft runs");
        node.engine.forget_applied();
        node.sync().await;
        assert_eq!(node.net.answers("pod1", "172.30.0.10:80").len(), 2);
    };
    tokio::select! {
        () = scenario => {}
        () = watching => panic!("the watcher ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_used_goes() {
    let affinity = "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 9}}";
    let spec = format!("type: NodePort, clusterIP: 172.30.0.10, {affinity}, {TCP_PORT}");
    let web = service("web", &spec) + &slice("web", "TCP", 8080, &BOTH);
    let mut node = Node::new("stale", Family::IPv4, &web).await;
    let own = |node: &Node| {
        let (nft, table) = (node.nft.clone(), node.engine.context().table.clone());
        async move { nft.existing(Family::IPv4, &table).await.expect("a listing").expect("a table") }
    };
    let slashed = |names: BTreeSet<String>| names.into_iter().filter(|name| name.contains('/')).count();
    let (before, sets) = (own(&node).await, 2);
    assert_eq!(slashed(before.chains), 4, "service, external, two endpoints");
    let affinity_sets = before.containers.keys().filter(|name| name.starts_with("affinity-")).count();
    assert_eq!(affinity_sets, sets);
    node.engine.set_service(("ns", "web"), Default::default(), Default::default());
    node.sync().await;
    let emptied = own(&node).await;
    assert!(!emptied.containers.keys().any(|name| name.starts_with("affinity-")));
    assert_eq!(slashed(emptied.chains), 4, "they rest first");
    let due = node.engine.next_due().expect("a time to delete them");
    tokio::time::sleep_until(due.into()).await;
    node.sync().await;
    assert_eq!(slashed(own(&node).await.chains), 0);
    let address: IpAddr = "172.30.0.10".parse().expect("an address");
    assert!(!node.engine.render().containers["cluster-ips"].elements.contains_key(&address.to_string()));
    node.nft.delete_table(Family::IPv4, "kube-proxy").await.expect("cleanup");
    node.nft.delete_table(Family::IPv4, "kube-proxy").await.expect("cleanup of nothing");
    assert_eq!(node.nft.existing(Family::IPv4, "kube-proxy").await.expect("a listing"), None);
}
