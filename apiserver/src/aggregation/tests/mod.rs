//! A server and another that it hands requests on to.

mod extension;
mod recorded;

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use api::object::Meta;
use api::value::Map;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::extension::{Authority, Extension, PATH};
use crate::respond::{Body, full};
use crate::webhook::testing::object;
use crate::{AggregatorConfig, Config, InProcess, Server};

const TOKENS: &str = "t-admin,admin,1,\"system:masters\"\nt-alice,alice,2,\"a,b\"\n";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// How long what follows an event may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

struct World {
    server: Server,
    asked: InProcess,
    extension: Extension,
    _dir: tempfile::TempDir,
}

struct Answer {
    code: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn object(&self) -> Map {
        object(&self.text)
    }
}

async fn started(dir: &Path, front_proxy: &Authority) -> Server {
    let own = Authority::new();
    own.pair(&["localhost"], "server").write(dir, "server");
    front_proxy.pair(&[], "front-proxy-client").write(dir, "proxy");
    let config = Config {
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        tls_cert_file: dir.join("server.crt"),
        tls_private_key_file: dir.join("server.key"),
        static_tokens: Some(TOKENS.into()),
        service_cidrs: vec!["127.0.0.0/24".parse().expect("a range")],
        aggregator: AggregatorConfig {
            proxy_client: Some((dir.join("proxy.crt"), dir.join("proxy.key"))),
            ..AggregatorConfig::default()
        },
        ..Config::default()
    };
    Server::start(config, store::Store::memory()).await.expect("a server")
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let front_proxy = Authority::new();
        let extension = Extension::start(&front_proxy).await;
        let server = started(dir.path(), &front_proxy).await;
        tokio::time::timeout(LIMIT, server.ready()).await.expect("it becomes ready");
        World { asked: server.in_process(Vec::new()), server, extension, _dir: dir }
    }

    async fn response(&self, token: &str, method: &str, path: &str, accept: &str, body: &str) -> Response<Body> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.header(header::CONTENT_TYPE, "application/json").header(header::ACCEPT, accept);
        self.asked.call(request.body(full(body.to_owned())).expect("a request")).await
    }

    async fn ask(&self, token: &str, method: &str, path: &str, accept: &str, body: &str) -> Answer {
        let (parts, body) = self.response(token, method, path, accept, body).await.into_parts();
        let text = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        Answer { code: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("t-admin", "GET", path, "application/json", "").await
    }

    async fn create(&self, path: &str, body: &str) {
        let answer = self.ask("t-admin", "POST", path, "application/json", body).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
    }

    async fn delete(&self, path: &str) {
        let answer = self.ask("t-admin", "DELETE", path, "application/json", "").await;
        assert_eq!(answer.code, 200, "{}", answer.text);
    }

    /// Registers the other server, whose service has no endpoints yet.
    async fn register(&self) {
        let (port, ca) = (self.extension.address.port(), &self.extension.ca);
        self.create("/api/v1/namespaces", r#"{"metadata":{"name":"wardle"}}"#).await;
        let registered = format!(
            r#"{{"kind":"APIService","apiVersion":"apiregistration.k8s.io/v1","metadata":{{"name":"{NAME}"}},"spec":{{
            "group":"wardle.example.com","version":"v1alpha1","groupPriorityMinimum":2000,"versionPriority":200,
            "caBundle":"{ca}","service":{{"namespace":"wardle","name":"api","port":{port}}}}}}}"#
        );
        self.create(SERVICES, &registered).await;
        // Asked once before it can be found; from then on its availability is waited for.
        let stale = until("stale", || self.discovered()).await;
        assert_eq!((stale.str("freshness"), stale.list("resources").len()), ("Stale", 0));
        let service = format!(
            r#"{{"metadata":{{"name":"api"}},"spec":{{"clusterIP":"127.0.0.2","ports":[{{"port":{port}}}]}}}}"#
        );
        self.create("/api/v1/namespaces/wardle/services", &service).await;
    }

    async fn slice(&self) {
        let port = self.extension.address.port();
        let slice = format!(
            r#"{{"metadata":{{"name":"api-1","labels":{{"kubernetes.io/service-name":"api"}}}},"addressType":"IPv4",
            "ports":[{{"name":"","port":{port}}}],"endpoints":[{{"addresses":["10.0.0.1"]}}]}}"#
        );
        self.create("/apis/discovery.k8s.io/v1/namespaces/wardle/endpointslices", &slice).await;
    }

    async fn condition(&self) -> (String, String, String) {
        let found = self.get(&format!("{SERVICES}/{NAME}")).await.object();
        let condition = found.map("status").and_then(|status| status.maps("conditions").next());
        let text = |name: &str| condition.map_or("", |condition| condition.str(name)).to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// Waits for the reason of the condition.
    async fn becomes(&self, reason: &str) -> String {
        until(reason, || async {
            let (_, has, message) = self.condition().await;
            (has == reason).then_some(message)
        })
        .await
    }

    /// The aggregated document's version of the other server.
    async fn discovered(&self) -> Option<Map> {
        let list = self.ask("t-admin", "GET", "/apis", AGGREGATED, "").await.object();
        let group = list.maps("items").find(|group| group.name() == "wardle.example.com")?;
        group.maps("versions").next().cloned()
    }

    /// Waits until a group is listed after all others.
    async fn lists_last(&self, group: &str) {
        until(group, || async { self.group_names().await.last().is_some_and(|last| last == group).then_some(()) }).await
    }

    async fn group_names(&self) -> Vec<String> {
        let list = self.get("/apis").await.object();
        list.maps("groups").map(|group| group.str("name").to_owned()).collect()
    }
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "it never came to {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_handed_on_while_the_other_server_is_available() {
    let world = World::new().await;
    world.register().await;
    let text = "cannot find endpointslices for service/api in \"wardle\"";
    assert_eq!(world.becomes("EndpointsNotFound").await, text);
    let flunders = format!("{PATH}/namespaces/default/flunders");
    let refused = world.get(&flunders).await;
    assert_eq!((refused.code, refused.text.as_str()), (503, "service unavailable\n"));
    world.slice().await;
    assert_eq!(world.becomes("Passed").await, "all checks passed");
    handed_on(&world, &flunders).await;
    listed(&world).await;
    documented(&world).await;
    let metrics = world.get("/metrics").await.text;
    let counted = format!("aggregator_unavailable_apiservice{{name=\"{NAME}\"}} 0");
    assert!(metrics.contains(&counted), "{counted}");
    gone(&world, &flunders).await;
    world.server.stop();
}

async fn handed_on(world: &World, flunders: &str) {
    let to = world.extension.address;
    let asked = format!("{flunders}/x?b=2&a=1%202");
    let answer = world.ask("t-admin", "GET", &asked, "application/json", "").await;
    let expect = format!(
        "GET {flunders}/x?a=1+2&b=2 x-remote-user=admin x-remote-group=system:masters,system:authenticated x-remote-extra-example.com%2fx= authorization= host={to} forwarded={flunders}/x "
    );
    assert_eq!((answer.code, answer.text), (200, expect));
    assert_eq!(answer.headers.get("access-control-allow-origin"), None);
    let created = world.ask("t-admin", "POST", flunders, "application/json", r#"{"kind":"Flunder"}"#).await;
    assert_eq!(created.code, 201);
    assert!(created.text.starts_with(&format!("POST {flunders} ")) && created.text.ends_with(r#" {"kind":"Flunder"}"#));
    let forbidden = world.ask("t-alice", "GET", flunders, "application/json", "").await;
    let why = r#"flunders.wardle.example.com is forbidden: User \"alice\" cannot list resource \"flunders\" in API group \"wardle.example.com\" in the namespace \"default\""#;
    assert!(forbidden.code == 403 && forbidden.text.contains(why), "{}", forbidden.text);
    let redirected = world.get(&format!("{flunders}/elsewhere")).await;
    let text = "the backend attempted to redirect this request, which is not permitted";
    assert_eq!((redirected.code, redirected.text.as_str()), (502, text));
    // A watch goes on line by line.
    let watch = world.response("t-admin", "GET", &format!("{flunders}?watch=1"), "application/json", "").await;
    let mut body = watch.into_body();
    for line in ["{\"type\":\"ADDED\"}\n", "{\"type\":\"DELETED\"}\n"] {
        world.extension.events.send(line).expect("it watches");
        let frame = tokio::time::timeout(LIMIT, body.frame()).await.expect("in time");
        let data = frame.expect("a frame").expect("no error").into_data().expect("data");
        assert_eq!(data, line.as_bytes());
    }
    upgraded(world, flunders).await;
}

/// Only a connection can be upgraded.
async fn upgraded(world: &World, flunders: &str) {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let tls = tls.expect("versions").dangerous().with_custom_certificate_verifier(tls::unverified(&provider));
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls.with_no_client_auth()));
    let stream = tokio::net::TcpStream::connect(world.server.address()).await.expect("connected");
    let stream = connector.connect("localhost".try_into().expect("a name"), stream).await.expect("a handshake");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(format!("{flunders}/x/connect")).header(header::AUTHORIZATION, "Bearer t-admin");
    let request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "echo").body(full(""));
    let response = sender.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!(response.status(), 101);
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.expect("upgraded"));
    io.write_all(b"abcd").await.expect("written");
    io.flush().await.expect("flushed");
    let mut text = [0; 4];
    tokio::time::timeout(LIMIT, io.read_exact(&mut text)).await.expect("in time").expect("four bytes");
    assert_eq!(&text, b"dcba");
}

async fn listed(world: &World) {
    let current =
        until("current", || async { world.discovered().await.filter(|version| version.str("freshness") == "Current") })
            .await;
    let resources: Vec<&str> = current.maps("resources").map(|resource| resource.str("resource")).collect();
    assert_eq!(resources, ["flunders"]);
    assert_eq!(world.get(PATH).await.object().str("groupVersion"), "wardle.example.com/v1alpha1");
    let group = world.get("/apis/wardle.example.com").await.object();
    assert_eq!(group.map("preferredVersion").expect("one").str("version"), "v1alpha1");
    world.lists_last("wardle.example.com").await;
    // A version of higher priority moves its group, and stands first in it.
    let better = r#"{"metadata":{"name":"v1.wardle.example.com"},"spec":{"group":"wardle.example.com","version":"v1",
        "groupPriorityMinimum":19000,"versionPriority":300,"service":{"namespace":"wardle","name":"none"}}}"#;
    world.create(SERVICES, better).await;
    let first = ["apiregistration.k8s.io", "wardle.example.com", "apps"];
    until("the first", || async { (world.group_names().await[..3] == first).then_some(()) }).await;
    let group = world.get("/apis/wardle.example.com").await.object();
    let versions: Vec<&str> = group.maps("versions").map(|version| version.str("version")).collect();
    assert_eq!(versions, ["v1", "v1alpha1"]);
    world.delete(&format!("{SERVICES}/v1.wardle.example.com")).await;
    world.lists_last("wardle.example.com").await;
}

async fn documented(world: &World) {
    let path = "/apis/wardle.example.com/v1alpha1/flunders";
    let v2 = until("the v2 document", || async {
        let document = world.get("/openapi/v2").await.object();
        document.map("paths").expect("paths").contains(path).then_some(document)
    })
    .await;
    let operation = v2.at(&["paths", path, "get"]).expect("an operation");
    let answer = operation.at(&["responses", "200", "schema"]).expect("a schema");
    assert_eq!(answer.str("$ref"), "#/definitions/io.k8s.api.core.v1.Pod_v2");
    let definitions = v2.map("definitions").expect("definitions");
    let described = |name: &str| definitions.map(name).expect("a definition").str("description").to_owned();
    assert_eq!(described("io.k8s.api.core.v1.Pod_v2"), "a flunder's");
    assert_ne!(described("io.k8s.api.core.v1.Pod"), "a flunder's");
    assert!(v2.at(&["paths", "/apis/apps/v1/deployments"]).is_some());
    let place = until("the v3 index", || async {
        let index = world.get("/openapi/v3").await.object();
        Some(index.at(&["paths", "apis/wardle.example.com/v1alpha1"])?.str("serverRelativeURL").to_owned())
    })
    .await;
    assert_eq!(place, "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1");
    let document = world.get(&place).await.text;
    assert!(document.starts_with(&format!("GET {place} x-remote-user=admin ")), "{document}");
}

async fn gone(world: &World, flunders: &str) {
    world.extension.stop();
    let patch = r#"{"metadata":{"labels":{"touched":"yes"}}}"#;
    let request = Request::patch("/api/v1/namespaces/wardle/services/api");
    let request = request.header(header::AUTHORIZATION, "Bearer t-admin");
    let request = request.header(header::CONTENT_TYPE, "application/merge-patch+json").body(full(patch));
    assert_eq!(world.asked.call(request.expect("a request")).await.status(), 200);
    let to = world.extension.address;
    let url = format!("https://{to}{PATH}");
    let why =
        format!("failing or missing response from {url}: Get \"{url}\": dial tcp {to}: connect: connection refused");
    let expect = ("False".to_owned(), "FailedDiscoveryCheck".to_owned(), why);
    until("refused", || async { (world.condition().await == expect).then_some(()) }).await;
    let refused = world.get(flunders).await;
    assert_eq!((refused.code, refused.text.as_str()), (503, "service unavailable\n"));
    let metrics = world.get("/metrics").await.text;
    let counted =
        format!(r#"aggregator_unavailable_apiservice_total{{name="{NAME}",reason="FailedDiscoveryCheck"}} 1"#);
    assert!(metrics.contains(&counted), "{counted}");
    world.delete(&format!("{SERVICES}/{NAME}")).await;
    until("not found", || async { (world.get(flunders).await.code == 404).then_some(()) }).await;
    assert_eq!(world.get("/apis/wardle.example.com").await.code, 404);
    until("forgotten", || async { world.discovered().await.is_none().then_some(()) }).await;
}

/// A reachable server whose connections fail once it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_between_two_checks_is_not_reached() {
    let world = World::new().await;
    world.register().await;
    world.slice().await;
    world.becomes("Passed").await;
    let available = world.get(&format!("{SERVICES}/{NAME}")).await.object();
    world.extension.stop();
    let flunders = format!("{PATH}/namespaces/default/flunders");
    let refused = until("refused", || async {
        // Whatever the next check has found.
        world.server.core.aggregation.set(NAME, Some(available.clone()));
        let answer = world.get(&flunders).await;
        answer.text.contains("connection refused").then_some(answer)
    })
    .await;
    let expect =
        format!("error trying to reach service: dial tcp {}: connect: connection refused\n", world.extension.address);
    assert_eq!((refused.code, refused.text), (503, expect));
    world.server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_registered_and_removed() {
    let world = World::new().await;
    let definition = r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":
        {"name":"foos.example.com"},"spec":{"group":"example.com","scope":"Cluster","names":{"plural":"foos","kind":"Foo"},
        "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}},
        {"name":"v2","served":false,"storage":false,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#;
    world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    let registered = until("registered", || async {
        let answer = world.get(&format!("{SERVICES}/v1.example.com")).await;
        (answer.code == 200).then(|| answer.object())
    })
    .await;
    let spec = registered.map("spec").expect("a spec");
    assert_eq!((spec.i64("groupPriorityMinimum"), spec.i64("versionPriority")), (Some(1000), Some(100)));
    assert_eq!(registered.label("kube-aggregator.kubernetes.io/automanaged"), Some("true"));
    assert_eq!(world.get(&format!("{SERVICES}/v2.example.com")).await.code, 404);
    world.lists_last("example.com").await;
    // It is kept: who deletes it gets another one.
    world.delete(&format!("{SERVICES}/v1.example.com")).await;
    until("registered again", || async {
        let answer = world.get(&format!("{SERVICES}/v1.example.com")).await;
        (answer.code == 200 && answer.object().uid() != registered.uid()).then_some(())
    })
    .await;
    world.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/foos.example.com").await;
    until("removed", || async { (world.get(&format!("{SERVICES}/v1.example.com")).await.code == 404).then_some(()) })
        .await;
    // A built-in group version is not: who deletes it means it.
    world.delete(&format!("{SERVICES}/v1.batch")).await;
    until("unlisted", || async { (!world.group_names().await.contains(&"batch".to_owned())).then_some(()) }).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.get(&format!("{SERVICES}/v1.batch")).await.code, 404);
    assert_eq!(world.get("/apis/batch/v1/jobs").await.code, 200);
    world.server.stop();
}
