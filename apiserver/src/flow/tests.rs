//! The gate: who waits, who is refused, what is given back, and that the configuration is followed.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;

use super::*;

fn info(request: &str) -> Arc<Info> {
    let (method, target) = request.split_once(' ').expect("method");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Arc::new(Info::new(&method.parse::<Method>().expect("method"), path, query).expect("a path"))
}

#[test]
fn connections_are_not_work() {
    for (request, expect) in [
        ("GET /api/v1/pods?watch=1", true),
        ("GET /api/v1/watch/pods", true),
        ("GET /api/v1/namespaces/n/pods/p/log", true),
        ("POST /api/v1/namespaces/n/pods/p/exec", true),
        ("GET /api/v1/namespaces/n/services/s/proxy/x", true),
        ("GET /api/v1/pods", false),
        ("GET /debug/pprof/heap", true),
        ("GET /healthz", false),
    ] {
        assert_eq!(is_long_running(&info(request)), expect, "{request}");
    }
}

#[test]
fn a_request_waits_for_a_quarter_of_its_time() {
    for (request, seconds) in [
        ("GET /api/v1/pods", 15),
        ("GET /api/v1/pods?timeout=20s", 5),
        ("GET /api/v1/pods?timeout=0s", 15),
        ("GET /api/v1/pods?timeout=10m", 15),
        ("GET /api/v1/pods?timeout=x", 15),
        ("GET /api/v1/pods?watch=1&timeout=20s", 15),
    ] {
        assert_eq!(wait_limit(&info(request)), Duration::from_secs(seconds), "{request}");
    }
}

fn user(name: &str) -> User {
    User { name: name.into(), groups: vec!["system:authenticated".into()], ..User::default() }
}

fn hub() -> Hub {
    let registry = crate::registry::Registry::new(|resource| resource.served_by_default());
    Hub::new(store::Store::memory(), registry, Default::default(), Vec::new())
}

fn now() -> Caller {
    Caller { received: Instant::now(), gone: None }
}

fn gate(config: Config) -> Arc<Flow> {
    Arc::new(Flow::new(&config))
}

/// A level with one queue for one request, and a FlowSchema that brings every user there.
fn one_by_one(flow: &Flow) {
    let Gate::Fair(fair) = &flow.gate else { panic!("not fair") };
    let queuing = Some(::flow::schema::Queuing { queues: 1, hand: 1, length: 1 });
    let spec = ::flow::schema::LevelSpec {
        exempt: false,
        shares: 0,
        lendable_percent: 0,
        borrowing_percent: Some(0),
        queuing,
    };
    let level = ::flow::schema::LevelConfig { name: "narrow".into(), uid: "level-uid".into(), spec };
    let rule = api::map! {
        "subjects" => vec![api::value::Value::Map(api::map! {
            "kind" => "Group", "group" => api::map! { "name" => "system:authenticated" },
        })],
        "nonResourceRules" => vec![api::value::Value::Map(api::map! {
            "verbs" => vec![api::value::Value::from("*")],
            "nonResourceURLs" => vec![api::value::Value::from("*")],
        })],
    };
    let schema = ::flow::schema::Schema::of(&api::map! {
        "metadata" => api::map! { "name" => "all", "uid" => "schema-uid" },
        "spec" => api::map! {
            "priorityLevelConfiguration" => api::map! { "name" => "narrow" },
            "rules" => vec![api::value::Value::Map(rule)],
        },
    });
    fair.control.digest(flow.clock.now(), vec![level], vec![schema]);
}

#[tokio::test]
async fn requests_wait_are_refused_and_go_on() {
    let (flow, hub, version) = (gate(Config::default()), hub(), info("GET /version?timeout=200ms"));
    one_by_one(&flow);
    let user = user("u");
    let caller = now();
    let admit = || flow.admit(&hub, &user, &version, &caller);
    let Gate::Fair(fair) = &flow.gate else { panic!("not fair") };
    fair.control.rebalance(flow.clock.now());
    let level = fair.control.route(&digest(&user, &version)).level.clone();
    assert_eq!(&*level.config.name, "narrow");
    let mut second = Box::pin(admit());
    assert!(futures::poll!(&mut second).is_pending(), "there are no seats");
    let refused = admit().await.err().expect("the queue is full");
    assert_eq!(refused.status(), 429);
    let header = |name: &str| refused.headers()[name].to_str().expect("text").to_string();
    assert_eq!(
        (header("retry-after"), header(SCHEMA_HEADER), header(LEVEL_HEADER)),
        ("1".into(), "schema-uid".into(), "level-uid".into())
    );
    assert!(second.await.is_err(), "it waited too long");
    let (gone, begun) = (CancellationToken::new(), Instant::now());
    let leaving = Caller { received: begun + REQUEST_TIME_MAX, gone: Some(Gone(gone.clone())) };
    let mut third = Box::pin(flow.admit(&hub, &user, &version, &leaving));
    assert!(futures::poll!(&mut third).is_pending());
    gone.cancel();
    assert!(third.await.is_err() && begun.elapsed() < REQUEST_TIME_MAX, "nobody waits for it");
    let text = String::from_utf8(crate::metrics::Metrics::new(Vec::new()).expect("metrics").text(families(&flow)))
        .expect("text");
    for line in [
        "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"all\",priority_level=\"narrow\",reason=\"queue-full\"} 1",
        "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"all\",priority_level=\"narrow\",reason=\"time-out\"} 2",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"catch-all\"} 600",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let shown = page(&flow, "/debug/api_priority_and_fairness/dump_priority_levels", &version.query).expect("a page");
    let shown = shown.into_body().collect().await.expect("a body").to_bytes();
    let narrow = "narrow,            0,            true,   false,       0,               0,                 0,                  3,                0,                2\n";
    assert!(String::from_utf8_lossy(&shown).ends_with(narrow), "{shown:?}");
}

#[tokio::test]
async fn a_place_is_left_by_who_goes_and_taken_by_who_stays() {
    let (flow, hub, version) = (
        gate(Config { max_requests_inflight: 1, max_mutating_requests_inflight: 0, ..Config::default() }),
        hub(),
        info("GET /version"),
    );
    let user = user("u");
    // The catch-all level has the one seat, and no queue.
    let first = flow.admit(&hub, &user, &version, &now()).await.unwrap_or_else(|_| panic!("there is a seat"));
    let refused = flow.admit(&hub, &user, &version, &now()).await;
    assert!(refused.is_err());
    let response = flow.attach(first, respond::text(200, "ok"));
    assert_eq!(response.headers()[SCHEMA_HEADER], "");
    // An answer that is not there yet holds the seat until it is taken, or for as long as a request may take.
    for late in [false, true] {
        let pass = flow.admit(&hub, &user, &version, &now()).await.unwrap_or_else(|_| panic!("there is a seat"));
        let frames = futures::stream::iter([Ok(http_body::Frame::data("x".into()))]);
        let response = Response::new(http_body_util::StreamBody::new(frames).boxed_unsync());
        let response = flow.attach(pass, response);
        assert!(flow.admit(&hub, &user, &version, &now()).await.is_err());
        if late {
            let due = flow.clock.now() + REQUEST_TIME_MAX.as_nanos() as Nanos;
            flow.release_overdue(due - 2 * ::flow::SECOND);
            assert!(flow.admit(&hub, &user, &version, &now()).await.is_err());
            flow.release_overdue(due);
        } else {
            assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "x");
        }
        drop(flow.admit(&hub, &user, &version, &now()).await.unwrap_or_else(|_| panic!("there is a seat")));
    }
}

#[tokio::test]
async fn the_plain_limit_spares_masters() {
    let config = Config {
        enable_priority_and_fairness: false,
        max_requests_inflight: 1,
        max_mutating_requests_inflight: 0,
        ..Config::default()
    };
    let (flow, hub, user, master) =
        (gate(config), hub(), user("u"), User { groups: vec!["system:masters".into()], ..user("m") });
    let (read, write) = (info("GET /api/v1/pods"), info("POST /api/v1/namespaces/n/pods"));
    let watch = info("GET /api/v1/pods?watch=1");
    let caller = now();
    let admit = |user, info| flow.admit(&hub, user, info, &caller);
    let first = admit(&user, &read).await.unwrap_or_else(|_| panic!("there is room"));
    let refused = admit(&user, &read).await.err().expect("there is no room");
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &HeaderValue::from_static("1")));
    assert!(admit(&master, &read).await.is_ok() && admit(&user, &write).await.is_ok());
    assert!(admit(&user, &watch).await.is_ok());
    drop(first);
    assert!(admit(&user, &read).await.is_ok());
}

/// A server without a listener, and how its requests are answered.
struct Answering(Arc<crate::chain::Core>);

impl Answering {
    async fn ask(&self, token: &str, method: &str, path: &str) -> (Response<()>, String) {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(respond::full(""));
        let peer = crate::authn::Peer::default();
        let (parts, body) = self.0.answer(&peer, request.expect("a request")).await.into_parts();
        let text = body.collect().await.expect("a body").to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8_lossy(&text).into_owned())
    }

    /// Asks until the answer is as it should be; the digestion of a configuration is not waited for by its writer.
    async fn until(
        &self,
        token: &str,
        path: &str,
        fits: impl Fn(&Response<()>, &str) -> bool,
    ) -> (Response<()>, String) {
        let begun = Instant::now();
        loop {
            let (response, text) = self.ask(token, "GET", path).await;
            if fits(&response, &text) {
                return (response, text);
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{response:?} {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/";
const TOKENS: &str = "t-admin,admin,1,\"system:masters\"\nt-alice,alice,2\n";

async fn follows(server: &Answering) {
    ensure(&server.0).await.unwrap_or_else(|status| panic!("{status}"));
    let found = |_: &Response<()>, text: &str| text.contains("\"reason\":\"Found\"");
    let (_, schema) = server.until("t-admin", &format!("{SCHEMAS}global-default"), found).await;
    for part in ["\"status\":\"False\"", "named \\\"global-default\\\" and it exists", CONSUMER_FIELDS, PRODUCER_FIELDS]
    {
        assert!(schema.contains(part), "{part} {schema}");
    }
    let uid = |text: &str| text.split_once("\"uid\":\"").map(|(_, rest)| rest[..36].to_string()).expect("a uid");
    let named = |response: &Response<()>, header: &str| response.headers()[header].to_str().expect("text").to_string();
    let (answer, _) = server.ask("t-alice", "GET", "/api/v1/pods").await;
    let (_, level) = server.ask("t-admin", "GET", &format!("{LEVELS}global-default")).await;
    assert_eq!(answer.status(), 403);
    assert_eq!((named(&answer, SCHEMA_HEADER), named(&answer, LEVEL_HEADER)), (uid(&schema), uid(&level)));
    let (_, shown) =
        server.ask("t-admin", "GET", "/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1").await;
    assert!(
        shown.lines().any(|line| line.starts_with("exempt,") && line.contains("admin,") && line.contains("-1,")),
        "{shown}"
    );
    server.ask("t-admin", "DELETE", &format!("{LEVELS}global-default")).await;
    let dangling = |_: &Response<()>, text: &str| text.contains("\"reason\":\"NotFound\"");
    server.until("t-admin", &format!("{SCHEMAS}global-default"), dangling).await;
    let (_, catch_all) = server.ask("t-admin", "GET", &format!("{SCHEMAS}catch-all")).await;
    server.until("t-alice", "/api/v1/pods", |answer, _| named(answer, SCHEMA_HEADER) == uid(&catch_all)).await;
    ensure(&server.0).await.unwrap_or_else(|status| panic!("{status}"));
    server.until("t-admin", &format!("{SCHEMAS}global-default"), found).await;
}

const CONSUMER_FIELDS: &str = "{\"manager\":\"api-priority-and-fairness-config-consumer-v1\",\"operation\":\"Apply\",";
const PRODUCER_FIELDS: &str = "{\"manager\":\"api-priority-and-fairness-config-producer-v1\",\"operation\":\"Update\",";

#[tokio::test]
async fn the_configuration_is_followed() {
    let config = Config { static_tokens: Some(TOKENS.into()), ..Config::default() };
    let (core, _definitions, _reloaders) = crate::assemble::core(&config, store::Store::memory()).expect("a server");
    let server = Answering(Arc::new(core));
    let hub = server.0.api.hub.clone();
    let revision = hub.fill().await.expect("filled");
    tokio::select! {
        () = follows(&server) => {}
        ended = hub.follow(revision) => panic!("{ended:?}"),
        () = run(server.0.clone()) => panic!("it never ends"),
    }
}
