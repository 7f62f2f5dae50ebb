//! Requests that no client should send: each is refused as upstream refuses it, the server's memory stays bounded, and health
//! checks are answered all the while.
//!
//! The answers are upstream's: with KEELSON_HOSTILE_SIDE=upstream its API server has to give them.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tests::raw::{Server, http2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use xtask::plane::{self, Side};
use xtask::process;

const SIDE: &str = "KEELSON_HOSTILE_SIDE";
/// Pause between two health checks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a server may keep a connection on which nothing whole ever comes: upstream gives up after 32 seconds.
const CLOSE_LIMIT: Duration = Duration::from_secs(120);
/// What the server's process may take at most, in KiB.
const MEMORY_KIB_MAX: u64 = 700 << 10;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const BODY_BYTES_MAX: usize = 3 << 20;

/// A request, and what its answer has to say.
struct Case {
    name: &'static str,
    request: String,
    headers: Vec<String>,
    body: Vec<u8>,
    code: u16,
    says: &'static str,
    /// Upstream's server takes it for seconds, or ends.
    ours: bool,
}

fn case(name: &'static str, request: &str, code: u16, says: &'static str) -> Case {
    Case { name, request: request.into(), headers: Vec::new(), body: Vec::new(), code, says, ours: false }
}

impl Case {
    fn ours(mut self) -> Self {
        self.ours = true;
        self
    }

    fn header(mut self, header: impl Into<String>) -> Self {
        self.headers.push(header.into());
        self
    }

    fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header(format!("Content-Type: {content_type}"))
    }
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + inner + &close.repeat(depth)
}

/// So many MiB of blanks, each a member of its own.
fn gzip(mebibytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 1 << 20]).expect("memory");
    encoder.finish().expect("memory").repeat(mebibytes)
}

/// The tag and length of a field of protobuf.
fn prefix(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut rest in [number << 3 | 2, length] {
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

fn field(number: usize, inner: &[u8]) -> Vec<u8> {
    [&prefix(number, inner.len()), inner].concat()
}

/// A definition in protobuf whose schema is nested: spec.versions.schema.openAPIV3Schema.not.not...
fn deep_protobuf(depth: usize) -> Vec<u8> {
    const NOT: usize = 28;
    let (mut outwards, mut length) = (Vec::new(), 0);
    for _ in 0..depth {
        let prefix = prefix(NOT, length);
        length += prefix.len();
        outwards.push(prefix);
    }
    outwards.reverse();
    let version = [field(1, b"v1"), field(4, &field(1, &outwards.concat()))].concat();
    let definition = field(2, &field(7, &version));
    let kind = [field(1, b"apiextensions.k8s.io/v1"), field(2, b"CustomResourceDefinition")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &definition)].concat()
}

fn json_patch(operation: &str, count: usize) -> String {
    format!("[{}]", vec![operation; count].join(","))
}

/// Bodies.
fn bodies() -> Vec<Case> {
    let create = format!("POST {MAPS}");
    let patch = format!("PATCH {MAPS}/kube-root-ca.crt");
    let (json, yaml) = ("application/json", "application/yaml");
    let deep = |depth| format!("{{\"data\":{}}}", nested("{\"a\":", "1", "}", depth));
    let aliases = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, at| {
        let nine = vec![format!("*a{}", at - 1); 9].join(", ");
        format!("{text}a{at}: &a{at} [{nine}]\n")
    });
    let definitions = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let protobuf = "application/vnd.kubernetes.protobuf";
    vec![
        case("a gzip bomb", &create, 400, "the object provided is unrecognized (must be of type ConfigMap)")
            .header("Content-Encoding: gzip")
            .body(json, gzip(1024)),
        case("too large", &create, 413, "Request entity too large: limit is 3145728")
            .body(json, vec![b' '; BODY_BYTES_MAX + 1]),
        case("deep JSON", &create, 400, "exceeded max depth").body(json, deep(10_001)),
        case("deepest JSON", &create, 400, "exceeded max depth").body(json, deep(BODY_BYTES_MAX / 7)),
        case("deep YAML", &create, 400, "exceeded max depth of 10000").body(yaml, nested("[", "", "]", 10_001)),
        case("YAML aliases", &create, 400, "document contains excessive aliasing").body(yaml, aliases),
        case("deep protobuf", definitions, 400, "nested too deep").ours().body(protobuf, deep_protobuf(10_000)),
        case("deepest protobuf", definitions, 400, "nested too deep").ours().body(protobuf, deep_protobuf(300_000)),
        case("CBOR", &create, 415, "the body of the request was in an unknown format - accepted media types include: ")
            .body("application/cbor", [0x81; 10_001]),
        case("many operations", &patch, 413, "The allowed maximum operations in a JSON patch is 10000, got 10001")
            .body("application/json-patch+json", json_patch(r#"{"op":"test","path":"/kind","value":"x"}"#, 10_001)),
        case("copies of copies", &patch, 422, "the server rejected our request due to an error in our request")
            .body("application/json-patch+json", json_patch(r#"{"op":"copy","from":"/data","path":"/data/a"}"#, 9_000)),
        case("a deep merge patch", &patch, 400, "invalid JSON patch")
            .body("application/merge-patch+json", deep(10_001)),
        case("a deep strategic patch", &patch, 400, "invalid JSON patch")
            .body("application/strategic-merge-patch+json", deep(10_001)),
        case("deep YAML to apply", &format!("{patch}?fieldManager=a"), 400, "exceeded max depth of 10000")
            .body("application/apply-patch+yaml", nested("[", "", "]", 10_001)),
    ]
}

/// Request lines and headers.
fn heads() -> Vec<Case> {
    let list = |parameter: &str, value: &str| format!("GET {MAPS}?{parameter}={value}");
    let values: Vec<String> = (0..8_000).map(|number| format!("v{number}")).collect();
    let many = format!("a%20in%20({})", values.join(","));
    let fields = vec!["metadata.name!=a"; 3_000].join(",");
    vec![
        case("a large label selector", &list("labelSelector", &many), 200, "ConfigMapList"),
        case("a broken label selector", &list("labelSelector", &"(".repeat(60_000)), 400, "found '(', expected: !"),
        case(
            "a label that is too long",
            &list("labelSelector", &"a".repeat(60_000)),
            400,
            "unable to parse requirement",
        ),
        case("a large field selector", &list("fieldSelector", &fields), 200, "ConfigMapList"),
        case("a broken field selector", &list("fieldSelector", &"a".repeat(60_000)), 400, "invalid selector"),
        case("a parameter that cannot be read", &list("labelSelector", "%zz"), 200, "kube-root-ca.crt"),
        case("a token to continue at", &list("continue", &"a".repeat(60_000)), 400, "continue key is not valid"),
        case("a large bearer token", "GET /api/v1/nodes", 200, "NodeList")
            .header(format!("Authorization: Bearer {}", "a.".repeat(100_000))),
        case("headers of the largest size", "GET /api/v1/nodes", 200, "NodeList")
            .header(format!("X-A: {}", "a".repeat(900 << 10))),
        case(
            "a user of many groups",
            "GET /api/v1/nodes",
            403,
            "nodes is forbidden: User \\\"a\\\" cannot list resource",
        )
        .header("Impersonate-User: a".to_owned() + &"\r\nImpersonate-Group: a".repeat(200)),
        case("large headers", "GET /api/v1/nodes", 431, "").header(format!("X-A: {}", "a".repeat(2 << 20))),
        case("many groups", "GET /api/v1/nodes", 431, "").header("Impersonate-Group: a\r\n".repeat(100_000) + "X-A: a"),
    ]
}

/// What is wrong with the answers.
async fn answers(server: &Server, cases: Vec<Case>) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let start = Instant::now();
        let answer = server.send(&case.request, &case.headers, &case.body).await;
        let took = start.elapsed().as_secs_f64();
        match answer {
            Ok(answer) if answer.code == case.code && answer.body.contains(case.says) => {
                println!("{}: {} in {took:.2} s", case.name, answer.code);
            }
            Ok(answer) => {
                let body: String = answer.body.chars().take(600).collect();
                wrong.push(format!("{}: {} in {took:.2} s: {body}", case.name, answer.code));
            }
            Err(error) => wrong.push(format!("{}: {error:#}", case.name)),
        }
    }
    wrong.iter().for_each(|case| println!("{case}"));
    wrong
}

/// Asks for /readyz until it is told to stop; then says how slow the slowest answer was.
async fn health_checks(server: Server, mut stopped: oneshot::Receiver<()>) -> Result<String> {
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
        let start = Instant::now();
        let answer = server.send("GET /readyz", &[], b"").await?;
        ensure!((answer.code, answer.body.as_str()) == (200, "ok"), "{answer:?}");
        count += 1;
        slowest = slowest.max(start.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(format!("{count} health checks, the slowest took {:.0} ms", slowest.as_secs_f64() * 1000.0))
}

/// Until the server ends the connection.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<()> {
    let mut said = Vec::new();
    // However it ends.
    tokio::time::timeout(CLOSE_LIMIT, stream.read_to_end(&mut said)).await.context("the connection goes on").map(drop)
}

/// Connections that begin a handshake, or do not, and go no further.
async fn half_open(server: &Server, count: usize, hello: &[u8]) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = server.connect().await?;
        stream.write_all(hello).await?;
        all.push(stream);
    }
    try_join_all(all.iter_mut().map(closed)).await.map(drop)
}

/// Requests whose headers never end.
async fn slow_headers(server: &Server, count: usize) -> Result<()> {
    let one = async || {
        let mut stream = server.secure("http/1.1").await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nX-A: ").await?;
        stream.flush().await?;
        closed(&mut stream).await
    };
    try_join_all((0..count).map(|_| one())).await.map(drop)
}

/// Requests whose bodies do not come; the connections are held until `done`.
async fn slow_bodies(server: &Server, count: usize, done: impl Future<Output = ()>) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = server.secure("http/1.1").await?;
        let head = format!("POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{{");
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        all.push(stream);
    }
    done.await;
    Ok(())
}

/// Frames of one HTTP/2 connection, until the server has taken them or ends it. Whether it did.
async fn flood(server: &Server, frames: impl Iterator<Item = Vec<u8>>) -> Result<bool> {
    let (mut reader, mut writer) = tokio::io::split(server.secure("h2").await?);
    let writing = async {
        let mut is_open = writer.write_all(http2::PREFACE).await.is_ok();
        for frame in frames {
            is_open = is_open && writer.write_all(&frame).await.is_ok();
        }
        !(is_open && writer.flush().await.is_ok())
    };
    tokio::select! {
        _ = closed(&mut reader) => Ok(true),
        is_closed = writing => Ok(is_closed),
    }
}

/// Requests that are taken back as soon as they are made.
fn resets(count: u32) -> impl Iterator<Item = Vec<u8>> {
    let block = http2::get(MAPS);
    let pair = move |number: u32| {
        let (stream, flags) = (2 * number + 1, http2::END_HEADERS | http2::END_STREAM);
        let cancel = 8u32.to_be_bytes();
        [http2::frame(http2::HEADERS, flags, stream, &block), http2::frame(http2::RESET, 0, stream, &cancel)].concat()
    };
    // A hundred a write.
    (0..count / 100).map(move |begin| (begin * 100..begin * 100 + 100).flat_map(&pair).collect())
}

/// Headers that never end.
fn continuations(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let header = [&[0, 3][..], b"x-a", &[0x7f, 0x81, 0x7f], &vec![b'a'; 16_000][..]].concat();
    let begin = http2::frame(http2::HEADERS, http2::END_STREAM, 1, &http2::get(MAPS));
    let more = http2::frame(http2::CONTINUATION, 0, 1, &header);
    std::iter::once(begin).chain(std::iter::repeat_n(more, count))
}

fn pings(count: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(http2::frame(http2::PING, 0, 0, &[7; 8]).repeat(100), count / 100)
}

/// Half-open and slow connections and floods, side by side.
async fn connections(server: &Server) -> Result<()> {
    let hello = [0x16, 3, 1, 0, 200, 1, 0];
    let (done, held) = oneshot::channel::<()>();
    let all = async {
        let (silent, partial, headers, resets, continued, pings) = tokio::join!(
            half_open(server, 2_000, b""),
            half_open(server, 500, &hello),
            slow_headers(server, 100),
            flood(server, resets(50_000)),
            flood(server, continuations(4_000)),
            flood(server, pings(50_000)),
        );
        silent.context("connections that say nothing")?;
        partial.context("half of a handshake")?;
        headers.context("slow headers")?;
        println!("closed: resets {}, pings {}", resets.context("resets")?, pings.context("pings")?);
        ensure!(continued.context("headers without end")?, "headers without end are taken");
        drop(done);
        Ok(())
    };
    let bodies = slow_bodies(server, 50, async { drop(held.await) });
    let (all, bodies) = tokio::join!(all, bodies);
    bodies.context("slow bodies")?;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_refused_and_health_checks_answered() -> Result<()> {
    let side = match std::env::var(SIDE).as_deref() {
        Ok("upstream") => Side::Upstream,
        _ => Side::Keelson,
    };
    let dir = tempfile::Builder::new().prefix("keelson-hostile-").tempdir()?;
    plane::certificates(dir.path())?;
    let ports: [u16; 3] = process::free_ports()?;
    let mut servers = plane::apiserver(side, dir.path(), ports)?;
    let kubeconfig = plane::kubeconfig(dir.path(), "admin", ports[0])?;
    plane::ready(&mut servers[0], dir.path(), &kubeconfig)?;
    let server = Server::new(dir.path(), ports[0]);
    let map = r#"{"metadata":{"name":"kube-root-ca.crt"},"data":{"a":"b"}}"#;
    let made = case("", &format!("POST {MAPS}"), 201, "").body("application/json", map);
    ensure!(answers(&server, vec![made]).await.is_empty(), "no object\n{}", servers[0].log_end());
    let (stop, stopped) = oneshot::channel();
    let mut checks = JoinSet::new();
    checks.spawn(health_checks(server.clone(), stopped));
    let cases = bodies().into_iter().chain(heads()).filter(|case| side == Side::Keelson || !case.ours);
    let wrong = answers(&server, cases.collect()).await;
    connections(&server).await.with_context(|| servers[0].log_end())?;
    let goes_on = case("an ordinary request", &format!("GET {MAPS}"), 200, "kube-root-ca.crt");
    let after = answers(&server, vec![goes_on]).await;
    drop(stop);
    let health = checks.join_next().await.context("no health checks")?;
    let health = health?.with_context(|| servers[0].log_end())?;
    let memory = process::memory_kib(servers[0].pid(), "VmHWM")?;
    println!("{health}; {} MiB at most", memory >> 10);
    ensure!(wrong.is_empty() && after.is_empty(), "{}\n{}", wrong.join("\n"), after.join("\n"));
    ensure!(side == Side::Upstream || memory < MEMORY_KIB_MAX, "{memory} KiB");
    Ok(())
}
