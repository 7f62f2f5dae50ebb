//! Requests to a server that tells of them, and what is in its log then: as upstream's has it (`testdata/`).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use api::json::Strictness;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use regex::Regex;

use super::options::{AuditLogOptions, AuditOptions, BATCH};
use crate::authn::Peer;
use crate::chain::Core;
use crate::config::Config;
use crate::custom::controller::Queue;
use crate::respond::full;
use crate::webhook::testing::{Certificate, Webhook};

const TOKENS: &str = "t-admin,admin,1,\"system:masters\"\nt-alice,alice,2\nt-bob,bob,3\n";
const REQUESTS: &str = include_str!("testdata/requests.txt");
const EVENTS: &str = include_str!("testdata/events.txt");

struct World {
    folder: PathBuf,
    core: Arc<Core>,
    _definitions: Queue,
    read: usize,
}

impl World {
    fn new(name: &str, policy: &str, change: impl FnOnce(&mut AuditOptions, &PathBuf)) -> Self {
        let folder = std::env::temp_dir().join(format!("keelson-audited-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let policy_file = folder.join("policy.yaml");
        fs::write(&policy_file, policy).expect("written");
        let log = AuditLogOptions { path: folder.join("log").display().to_string(), ..AuditLogOptions::default() };
        let mut audit = AuditOptions { policy_file: Some(policy_file), log, ..AuditOptions::default() };
        change(&mut audit, &folder);
        let config = Config { static_tokens: Some(TOKENS.into()), audit, ..Config::default() };
        let (core, _definitions, _) = crate::assemble::core(&config, store::Store::memory()).expect("a server");
        World { folder, core: Arc::new(core), _definitions, read: 0 }
    }

    /// Asks what a block of text says, and reads the answer to its end.
    async fn ask(&self, block: &str) -> Response<bytes::Bytes> {
        let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
        let mut lines = head.lines();
        let words: Vec<&str> = lines.next().expect("a line").split(' ').collect();
        let [user, method, target] = words.as_slice() else { panic!("{block}") };
        let mut request = Request::builder()
            .method(*method)
            .uri(*target)
            .header(header::AUTHORIZATION, format!("Bearer t-{user}"))
            .header(header::USER_AGENT, "recorder");
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            request = request.header(name, value);
        }
        let peer = Peer { address: Some([127, 0, 0, 1].into()), ..Peer::default() };
        let request = request.body(full(body.trim_end().to_owned())).expect("a request");
        let (parts, body) = self.core.answer(&peer, request).await.into_parts();
        Response::from_parts(parts, body.collect().await.expect("a body").to_bytes())
    }

    /// What the log has that was not read yet.
    fn told(&mut self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("log")).expect("a log");
        let lines: Vec<String> = text.lines().skip(self.read).map(ToString::to_string).collect();
        self.read += lines.len();
        lines
    }

    /// Runs with caches that follow the store.
    async fn run<T>(self, test: impl AsyncFnOnce(&mut World) -> T) -> T {
        let mut world = self;
        let hub = world.core.api.hub.clone();
        let revision = hub.fill().await.expect("filled");
        let done = tokio::select! {
            done = test(&mut world) => done,
            ended = hub.follow(revision) => panic!("{ended:?}"),
        };
        fs::remove_dir_all(&world.folder).expect("removed");
        done
    }
}

/// Events without what is another at each run.
fn normal(line: &str) -> String {
    let id = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let rules = [
        (format!("\"(auditID|uid)\":\"{id}\""), "\"$1\":\"ID\""),
        ("\"(requestReceivedTimestamp|stageTimestamp|creationTimestamp|time)\":\"[^\"]*\"".into(), "\"$1\":\"TIME\""),
        ("\"resourceVersion\":\"[0-9]+\"".into(), "\"resourceVersion\":\"N\""),
        ("\"[0-9]+s\"".into(), "\"AGE\""),
        ("\"s-[a-z0-9]{5}\"".into(), "\"s-RANDOM\""),
    ];
    rules.iter().fold(line.to_owned(), |text, (pattern, by)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *by).into_owned()
    })
}

#[tokio::test]
async fn events_are_upstream_s() {
    let world = World::new("events", include_str!("testdata/policy.yaml"), |_, _| {});
    let told = world.run(async |world| {
        let mut told = String::new();
        for block in REQUESTS.split("\n===\n") {
            let answer = world.ask(block).await;
            let given = block.contains("Audit-ID: given");
            let id = answer.headers()["audit-id"].to_str().expect("text").to_owned();
            assert_eq!(id == "given", given, "{block}");
            told += &format!("# {}\n", block.lines().next().expect("a line"));
            for line in world.told() {
                assert!(line.contains(&format!("\"auditID\":\"{id}\"")), "{line}");
                told += &(normal(&line) + "\n");
            }
        }
        told
    });
    let told = told.await;
    let (got, want): (Vec<&str>, Vec<&str>) = (told.lines().collect(), EVENTS.lines().collect());
    // Names of fields are in no order.
    let value = |line: &str| api::json::decode_any(line.as_bytes(), Strictness::Lenient).map(|decoded| decoded.0).ok();
    let same = |got: &str, want: &str| got == want || (value(got).is_some() && value(got) == value(want));
    let differ = got.iter().zip(&want).filter(|(got, want)| !same(got, want));
    let differ: Vec<String> = differ.map(|(got, want)| format!("{got}\n   instead of\n{want}")).collect();
    assert!(differ.is_empty() && got.len() == want.len(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

const EVERYTHING: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}";

#[tokio::test]
async fn a_request_that_cannot_be_told_of_is_refused_where_that_is_strict() {
    for (mode, code) in [("blocking-strict", 500), ("blocking", 200)] {
        let world = World::new(mode, EVERYTHING, |options, _| {
            options.log.batch.mode = mode.into();
            options.log.max_size = 0;
            options.log.path = "/dev/full".into();
        });
        let answer = world.run(async |world| world.ask("admin GET /version?a=b&c=d").await).await;
        assert_eq!(answer.status(), code, "{mode}");
        if code == 500 {
            let text = "Internal Server Error: \"/version?a=b&amp;c=d\": failed to store audit event\n";
            assert_eq!(answer.body(), text);
        }
    }
}

#[tokio::test]
async fn without_a_policy_there_is_nothing_but_the_id() {
    let world = World::new("off", EVERYTHING, |options, _| options.policy_file = None);
    world
        .run(async |world| {
            assert!(world.core.audit.is_none());
            assert!(world.ask("admin GET /version").await.headers().contains_key("audit-id"));
            assert_eq!(world.ask("nobody GET /version\nAudit-ID: x").await.headers()["audit-id"], "x");
            assert_eq!(world.told(), Vec::<String>::new());
        })
        .await;
}

#[tokio::test]
async fn a_client_that_goes_early_is_told_of() {
    let world = World::new("early", EVERYTHING, |_, _| {});
    world
        .run(async |world| {
            let request = Request::get("/api/v1/pods?watch=1").header(header::AUTHORIZATION, "Bearer t-admin");
            let request = request.body(full("")).expect("a request");
            drop(world.core.answer(&Peer::default(), request).await);
            let stages: Vec<String> = world.told().iter().map(|line| stage(line)).collect();
            assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
        })
        .await;
}

fn stage(line: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
    event["stage"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_webhook_is_told_in_batches_and_again_when_it_fails() {
    let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = tries.clone();
    let answers = move |_: &api::value::Map| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => (503, "busy".to_owned()),
        _ => (200, String::new()),
    };
    let webhook = Webhook::start(&["localhost"], Certificate::Issued, Arc::new(answers)).await;
    let kubeconfig = format!(
        "{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], users: [{{name: u, user: {{token: t}}}}], clusters: [{{name: k, cluster: {{server: 'https://localhost:{}/audit/', certificate-authority-data: {}}}}}]}}",
        webhook.address.port(),
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &webhook.ca),
    );
    let world = World::new("webhook", EVERYTHING, |options, folder| {
        let file = folder.join("kubeconfig");
        fs::write(&file, kubeconfig).expect("written");
        options.webhook.config_file = file.display().to_string();
        options.webhook.initial_backoff = std::time::Duration::from_millis(1);
        options.webhook.batch.max_size = 3;
        assert_eq!(options.webhook.batch.mode, BATCH);
    });
    world
        .run(async |world| {
            for _ in 0..2 {
                world.ask("admin GET /version").await;
            }
            world.core.audit.as_ref().expect("audit").close().await;
            assert_eq!(world.told().len(), 4, "the log has them as well");
        })
        .await;
    let asked = webhook.asked.lock().clone();
    let mut sizes: Vec<usize> = asked.iter().map(|(_, list)| list.list("items").len()).collect();
    sizes.sort_unstable();
    // One of the two batches was tried twice.
    assert!(sizes == [1, 1, 3] || sizes == [1, 3, 3], "{sizes:?}");
    for (path, list) in &asked {
        assert_eq!((path.as_str(), list.str("kind")), ("/audit?timeout=30s", "EventList"));
        assert_eq!(list.str("apiVersion"), "audit.k8s.io/v1");
        assert!(list.maps("items").all(|item| item.str("level") == "RequestResponse" && !item.contains("kind")));
    }
}

#[test]
fn options_that_are_of_no_use() {
    let check = |change: &dyn Fn(&mut AuditOptions), expect: &str| {
        let mut options = AuditOptions::default();
        change(&mut options);
        let metrics = Arc::new(super::Metrics::new().expect("metrics"));
        assert_eq!(super::Audit::open(&options, &metrics).map(drop).err().as_deref(), Some(expect));
    };
    let gone = "loading audit policy file: failed to read file path \"/nowhere/p\": open /nowhere/p: no such file or directory";
    check(&|options| options.policy_file = Some("/nowhere/p".into()), gone);
    let mode = "invalid audit log mode x, allowed modes are \"batch,blocking,blocking-strict\"";
    let both = |options: &mut AuditOptions| {
        options.log.path = "-".into();
        options.log.batch.mode = "x".into();
        options.log.max_age = -1;
    };
    check(&both, &format!("[{mode}, --audit-log-maxage -1 can't be a negative number]"));
}
