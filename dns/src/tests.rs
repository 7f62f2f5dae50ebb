//! Questions and their answers as data, and real servers on loopback.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::Key;
use client::task::Tasks;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::answer::{Answer, Zone, answer};
use crate::config::{Config, Forward};
use crate::objects::{Objects, cluster_ips, ready_ips, service_of};
use crate::start;

const MODIFIED: u32 = 1_700_000_000;

/// A cluster in a YAML stream.
#[derive(Default)]
struct Fixed {
    namespaces: Vec<String>,
    services: BTreeMap<Key, Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
    unsynced: AtomicBool,
}

impl Fixed {
    fn parse(yaml: &str) -> Self {
        let mut fixed = Fixed::default();
        for document in yaml.split("\n---\n") {
            if document.contains("kind: EndpointSlice") {
                fixed.slices.push(Arc::new(serde_saphyr::from_str(document).expect("an EndpointSlice")));
            } else if document.contains("kind: Namespace") {
                let namespace: Namespace = serde_saphyr::from_str(document).expect("a Namespace");
                fixed.namespaces.extend(namespace.metadata.name);
            } else {
                let service: Service = serde_saphyr::from_str(document).expect("a Service");
                fixed.services.insert(Key::of(&service), Arc::new(service));
            }
        }
        fixed
    }

    fn testdata() -> Self {
        Fixed::parse(&read("cluster.yaml"))
    }

    fn slices_where(&self, wanted: impl Fn(&EndpointSlice) -> bool) -> Vec<Arc<EndpointSlice>> {
        self.slices.iter().filter(|slice| wanted(slice)).cloned().collect()
    }
}

impl Objects for Fixed {
    fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.iter().any(|namespace| namespace == name)
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(&Key::new(namespace, name)).cloned()
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices_where(|s| s.metadata.namespace.as_deref() == Some(namespace) && service_of(s) == Some(service))
    }

    fn services_of_ip(&self, ip: &str) -> Vec<Arc<Service>> {
        self.services.values().filter(|service| cluster_ips(service).iter().any(|own| own == ip)).cloned().collect()
    }

    fn slices_of_ip(&self, ip: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices_where(|slice| ready_ips(slice).iter().any(|own| own == ip))
    }

    fn synced(&self) -> bool {
        !self.unsynced.load(Ordering::Relaxed)
    }

    fn modified(&self) -> u32 {
        MODIFIED
    }
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn zone() -> Zone {
    Zone { name: name("cluster.local."), ttl: 5, own: vec![Ipv4Addr::new(10, 9, 8, 7).into()] }
}

/// Owner, TTL, type and data of a record on a line; SOA serials are as [`MODIFIED`].
fn line(section: &str, record: &Record) -> String {
    format!("  {section} {} {} {} {}\n", record.name, record.ttl, record.record_type(), record.data)
}

fn describe(answer: Answer) -> String {
    let reply = match answer {
        Answer::Forward => return "  forwarded\n".into(),
        Answer::Ours(reply) => reply,
    };
    let mut text = format!("  {}\n", format!("{:?}", reply.code).to_uppercase());
    let sections = [("answer", reply.answers), ("authority", reply.authorities), ("additional", reply.additionals)];
    for (section, records) in sections {
        text.extend(records.iter().map(|record| line(section, record)));
    }
    text + &reply.target.map(|target| format!("  looked up {target}\n")).unwrap_or_default()
}

fn answers_text() -> String {
    let (zone, objects) = (zone(), Fixed::testdata());
    let mut text = String::new();
    for question in read("questions.txt").lines() {
        let (asked, kind) = question.split_once(' ').expect("NAME TYPE");
        let kind = RecordType::from_str(kind).expect("a type");
        text.push_str(&format!("{question}\n{}", describe(answer(&zone, &objects, &name(asked), kind))));
    }
    text
}

#[test]
fn answers_are_as_recorded() {
    let (found, expect) = (answers_text(), read("answers.txt"));
    let differs = found.lines().zip(expect.lines()).find(|(found, expect)| found != expect);
    assert_eq!(differs, None, "ours, recorded");
    assert_eq!(found.lines().count(), expect.lines().count());
}

#[test]
fn nobody_denies_names_before_the_caches_are_filled() {
    let objects = Fixed::testdata();
    objects.unsynced.store(true, Ordering::Relaxed);
    let reply = |asked: &str| describe(answer(&zone(), &objects, &name(asked), RecordType::A));
    assert!(reply("nowhere.testns.svc.cluster.local.").starts_with("  SERVFAIL"));
    assert!(reply("web.testns.svc.cluster.local.").starts_with("  NOERROR"));
}

#[test]
fn the_zone_has_nameservers() {
    let mut objects = Fixed::testdata();
    let reply = |objects: &Fixed, asked, kind| describe(answer(&zone(), objects, &name(asked), kind));
    let own = "  NOERROR\n  answer cluster.local. 5 NS ns.dns.cluster.local.\n  additional ns.dns.cluster.local. 5 A 10.9.8.7\n";
    assert_eq!(reply(&objects, "cluster.local.", RecordType::NS), own);
    let address = "  NOERROR\n  answer ns.dns.cluster.local. 5 A 10.9.8.7\n";
    assert_eq!(reply(&objects, "ns.dns.cluster.local.", RecordType::A), address);
    let more = "kind: Namespace\nmetadata: {name: kube-system}\n---\nkind: Service\nmetadata: {namespace: kube-system, name: kube-dns}\nspec: {clusterIP: 10.0.0.10}\n---\nkind: EndpointSlice\nmetadata: {namespace: kube-system, name: a, labels: {kubernetes.io/service-name: kube-dns}}\naddressType: IPv4\nendpoints: [{addresses: [10.9.8.7]}]";
    let more = Fixed::parse(more);
    objects.services.extend(more.services);
    objects.slices.extend(more.slices);
    let service = "  NOERROR\n  answer cluster.local. 5 NS kube-dns.kube-system.svc.cluster.local.\n  additional kube-dns.kube-system.svc.cluster.local. 5 A 10.0.0.10\n";
    assert_eq!(reply(&objects, "cluster.local.", RecordType::NS), service);
}

/// A server on a port of its own.
struct Running {
    address: SocketAddr,
    tasks: Tasks,
}

impl Running {
    fn start(objects: Fixed, forward: Vec<SocketAddr>) -> Self {
        let config = Config {
            bind_addresses: vec![Ipv4Addr::LOCALHOST.into()],
            port: 0,
            forward: Forward::To(forward),
            ..Config::default()
        };
        let tasks = Tasks::new();
        let bound = start(&config, Arc::new(objects), &tasks).expect("loopback is there");
        Running { address: bound[0], tasks }
    }

    async fn udp(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.send_to(request, self.address).await?;
        let mut buffer = vec![0; 65_535];
        let received = tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await;
        let (length, _) = received.map_err(|_| io::ErrorKind::TimedOut)??;
        buffer.truncate(length);
        Ok(buffer)
    }

    async fn tcp(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_u16(request.len() as u16).await?;
        stream.write_all(request).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    async fn ask(&self, asked: &str, kind: RecordType) -> Message {
        let answer = self.udp(&question(asked, kind, None)).await.expect("an answer");
        Message::from_vec(&answer).expect("a message")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn question(asked: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(asked), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().expect("a message")
}

/// A headless Service with many endpoints.
fn crowd() -> Fixed {
    let mut fixed = Fixed::testdata();
    let endpoints: Vec<String> = (1..=100).map(|n| format!("{{addresses: [172.17.0.{n}]}}")).collect();
    let yaml = format!(
        "kind: Service\nmetadata: {{namespace: testns, name: crowd}}\nspec: {{clusterIP: None}}\n---\nkind: EndpointSlice\nmetadata: {{namespace: testns, name: crowd-a, labels: {{kubernetes.io/service-name: crowd}}}}\naddressType: IPv4\nendpoints: [{}]",
        endpoints.join(", ")
    );
    let more = Fixed::parse(&yaml);
    fixed.services.extend(more.services);
    fixed.slices.extend(more.slices);
    fixed
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_and_tcp_and_truncation() {
    let server = Running::start(crowd(), vec![]);
    let reply = server.ask("web.testns.svc.cluster.local.", RecordType::A).await;
    assert!(reply.metadata.authoritative && reply.metadata.recursion_desired && !reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 1);
    assert!(reply.edns.is_none(), "no EDNS unless asked");

    let many = "crowd.testns.svc.cluster.local.";
    let short = server.udp(&question(many, RecordType::A, None)).await.expect("an answer");
    assert!(short.len() <= 512, "{}", short.len());
    let short = Message::from_vec(&short).expect("a message");
    assert!(short.metadata.truncation && (1..100).contains(&short.answers.len()), "{}", short.answers.len());

    let large = server.udp(&question(many, RecordType::A, Some(4096))).await.expect("an answer");
    let large = Message::from_vec(&large).expect("a message");
    assert!(!large.metadata.truncation);
    assert_eq!((large.answers.len(), large.edns.map(|edns| edns.max_payload())), (100, Some(4096)));

    let whole = server.tcp(&question(many, RecordType::A, None)).await.expect("an answer");
    assert_eq!(Message::from_vec(&whole).expect("a message").answers.len(), 100);
    let again = server.ask(many, RecordType::A).await;
    assert_ne!(again.answers, short.answers, "the order changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused() {
    let server = Running::start(Fixed::testdata(), vec![]);
    let code = async |request: Vec<u8>| {
        let answer = server.udp(&request).await.expect("an answer");
        Message::from_vec(&answer).expect("a message").metadata.response_code
    };
    let with = |change: fn(&mut Message)| {
        let mut message = Message::from_vec(&question("web.testns.svc.cluster.local.", RecordType::A, Some(1232)));
        change(message.as_mut().expect("a message"));
        message.expect("a message").to_vec().expect("a message")
    };
    assert_eq!(code(vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63]).await, ResponseCode::FormErr);
    assert_eq!(code(with(|m| m.queries.clear())).await, ResponseCode::ServFail);
    assert_eq!(code(with(|m| m.metadata.op_code = OpCode::Status)).await, ResponseCode::NotImp);
    let chaos = with(|m| {
        m.queries[0].set_query_class(DNSClass::CH);
    });
    assert_eq!(code(chaos).await, ResponseCode::Refused);
    let newer = with(|m| {
        if let Some(edns) = &mut m.edns {
            edns.set_version(1);
        }
    });
    // 16 is both BADVERS and BADSIG; hickory reads it as the latter.
    assert_eq!(u16::from(code(newer).await), u16::from(ResponseCode::BADVERS));
    // Garbage and answers get nothing, and the server goes on.
    let response = with(|m| m.metadata.message_type = MessageType::Response);
    for junk in [vec![], vec![0; 5], vec![255; 11], response] {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.send_to(&junk, server.address).await.expect("sent");
        let silent = tokio::time::timeout(Duration::from_millis(100), socket.recv(&mut [0; 512])).await;
        assert!(silent.is_err(), "{junk:?}");
    }
    assert_eq!(server.ask("web.testns.svc.cluster.local.", RecordType::A).await.answers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_are_forwarded() {
    // The upstream is another of our servers, for another cluster.
    let config = Config {
        cluster_domain: "example".into(),
        bind_addresses: vec![Ipv4Addr::LOCALHOST.into()],
        port: 0,
        forward: Forward::To(vec![]),
        ..Config::default()
    };
    let yaml = "kind: Namespace\nmetadata: {name: a}\n---\nkind: Service\nmetadata: {namespace: a, name: b}\nspec: {clusterIP: 192.0.2.1, ports: [{port: 1}]}";
    let upstream_tasks = Tasks::new();
    let upstream = start(&config, Arc::new(Fixed::parse(yaml)), &upstream_tasks).expect("loopback");
    let mut objects = Fixed::testdata();
    let external = "kind: Service\nmetadata: {namespace: testns, name: abroad}\nspec: {type: ExternalName, externalName: b.a.svc.example}\n---\nkind: Service\nmetadata: {namespace: testns, name: lost}\nspec: {type: ExternalName, externalName: no.such.name}";
    objects.services.extend(Fixed::parse(external).services);
    let server = Running::start(objects, upstream);

    let reply = server.ask("b.a.svc.example.", RecordType::A).await;
    assert_eq!(reply.answers[0].data, RData::A(Ipv4Addr::new(192, 0, 2, 1).into()));
    let answer = server.tcp(&question("b.a.svc.example.", RecordType::A, None)).await.expect("an answer");
    assert_eq!(Message::from_vec(&answer).expect("a message").answers.len(), 1);
    let reply = server.ask("c.a.svc.example.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);

    let reply = server.ask("abroad.testns.svc.cluster.local.", RecordType::A).await;
    let kinds: Vec<RecordType> = reply.answers.iter().map(Record::record_type).collect();
    assert_eq!(kinds, [RecordType::CNAME, RecordType::A]);

    // With nobody to ask: an error, soon, and for an ExternalName too.
    upstream_tasks.cancel();
    upstream_tasks.join().await;
    let start = Instant::now();
    let reply = server.ask("b.a.svc.example.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let reply = server.ask("lost.testns.svc.cluster.local.", RecordType::A).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
    assert_eq!(server.ask("web.testns.svc.cluster.local.", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let config = Config { bind_addresses: vec![Ipv4Addr::LOCALHOST.into()], port, ..Config::default() };
    let error = start(&config, Arc::new(Fixed::default()), &Tasks::new()).expect_err("the port is taken");
    assert!(error.to_string().starts_with(&format!("failed to listen for DNS on 127.0.0.1:{port}: ")), "{error}");
    let config = Config { cluster_domain: "no..domain".into(), ..config };
    assert!(start(&config, Arc::new(Fixed::default()), &Tasks::new()).is_err());
}
