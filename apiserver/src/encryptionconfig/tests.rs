//! A server in this process on a store in memory: what is in the store, and what clients see of it.

mod toy;

use std::time::{Duration, Instant};

use http::{Method, Request, header};
use http_body_util::BodyExt;
use store::Store;

use super::*;
use crate::Config;
use crate::chain::Core;
use crate::respond;

const TOKENS: &str = "t-admin,admin,1,\"system:masters\"\n";
const SECRETS: &str = "/api/v1/namespaces/n/secrets";
const A: &str = "/registry/secrets/n/a";

/// A server and its tasks; another one may follow on the same store and file.
struct Server {
    core: Arc<Core>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    async fn start(store: &Store, flags: EncryptionConfig) -> Server {
        let config = Config { static_tokens: Some(TOKENS.into()), encryption: flags, ..Config::default() };
        let (core, ..) = crate::assemble::core(&config, store.clone()).expect("a server");
        let (core, tasks) = (Arc::new(core), Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new() });
        if let Some(encryption) = &core.api.hub.encryption {
            encryption.prime().await;
        }
        let revision = core.api.hub.fill().await.expect("filled");
        if let Some(encryption) = &core.api.hub.encryption {
            encryption.start(&core.api.hub, &tasks);
        }
        let hub = core.api.hub.clone();
        tasks.spawn(&CancellationToken::new(), async move { drop(hub.follow(revision).await) });
        Server { core, stop: tasks.stop }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let request = request.header(header::AUTHORIZATION, "Bearer t-admin").body(respond::full(body.to_string()));
        let peer = crate::authn::Peer::default();
        let (parts, body) = self.core.answer(&peer, request.expect("a request")).await.into_parts();
        let text = body.collect().await.expect("a body").to_bytes();
        (parts.status.as_u16(), String::from_utf8_lossy(&text).into_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(Method::GET, path, "").await
    }

    async fn create(&self, path: &str, body: &str) {
        let (code, text) = self.ask(Method::POST, path, body).await;
        assert_eq!(code, 201, "{text}");
    }

    /// A namespace and the Secret `a` in it.
    async fn create_secret(&self) {
        self.create("/api/v1/namespaces", r#"{"metadata":{"name":"n"}}"#).await;
        self.create(SECRETS, r#"{"metadata":{"name":"a"},"stringData":{"x":"plain text"}}"#).await;
    }

    /// Updates the Secret with what it is.
    async fn touch(&self) -> (u16, String) {
        let (_, object) = self.get(&format!("{SECRETS}/a")).await;
        self.ask(Method::PUT, &format!("{SECRETS}/a"), &object).await
    }

    async fn until(&self, path: &str, fits: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (code, text) = self.get(path).await;
            if fits(code, &text) {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{path} {code} {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn stored(store: &Store, key: &str) -> (String, u64) {
    let kv = store.get(key.as_bytes(), 0).await.expect("got").kv.unwrap_or_else(|| panic!("no {key}"));
    (String::from_utf8_lossy(&kv.value).into_owned(), kv.mod_revision)
}

fn key(name: &str, fill: u8) -> String {
    use base64::Engine;
    let secret = base64::engine::general_purpose::STANDARD.encode([fill; 32]);
    format!("{{name: {name}, secret: {secret}}}")
}

fn config(rules: &[(&str, &str)]) -> String {
    let mut text = String::from("kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n");
    for (resources, providers) in rules {
        text.push_str(&format!("- resources: [{resources}]\n  providers: [{providers}]\n"));
    }
    text
}

fn secrets(providers: &str) -> String {
    config(&[("secrets", providers)])
}

struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> Self {
        let file = File(tempfile::tempdir().expect("a folder"));
        file.write(text);
        file
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path("config.yaml"), text).expect("written");
    }

    fn flags(&self, automatic_reload: bool) -> EncryptionConfig {
        EncryptionConfig { file: Some(self.path("config.yaml")), automatic_reload }
    }

    async fn server(&self, store: &Store) -> Server {
        Server::start(store, self.flags(false)).await
    }
}

#[tokio::test]
async fn what_is_configured_is_encrypted_and_clients_see_nothing_of_it() {
    let store = Store::memory();
    let one = key("one", 1);
    let file = File::new(&config(&[
        ("configmaps", "{identity: {}}"),
        ("'*.rbac.authorization.k8s.io'", &*format!("{{aesgcm: {{keys: [{one}]}}}}")),
        ("'*.'", &*format!("{{aescbc: {{keys: [{one}]}}}}")),
        ("'*.*'", &*format!("{{secretbox: {{keys: [{one}]}}}}")),
    ]));
    let server = file.server(&store).await;
    server.create_secret().await;
    server.create("/api/v1/namespaces/n/configmaps", r#"{"metadata":{"name":"a"}}"#).await;
    server.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", r#"{"metadata":{"name":"a"},"rules":[]}"#).await;
    server.create("/apis/coordination.k8s.io/v1/namespaces/n/leases", r#"{"metadata":{"name":"a"},"spec":{}}"#).await;
    for (key, prefix) in [
        (A, "k8s:enc:aescbc:v1:one:"),
        ("/registry/namespaces/n", "k8s:enc:aescbc:v1:one:"),
        ("/registry/configmaps/n/a", "k8s\0"),
        ("/registry/clusterroles/a", "k8s:enc:aesgcm:v1:one:"),
        ("/registry/leases/n/a", "k8s:enc:secretbox:v1:one:"),
    ] {
        let (text, _) = stored(&store, key).await;
        assert!(text.starts_with(prefix) && !text.contains("plain text"), "{key} {text}");
    }
    let data = "\"data\":{\"x\":\"cGxhaW4gdGV4dA==\"}";
    server.create(SECRETS, r#"{"metadata":{"name":"b"}}"#).await;
    let (_, first) = server.get(&format!("{SECRETS}?limit=1")).await;
    let token = first.split_once("\"continue\":\"").and_then(|(_, rest)| rest.split('"').next()).expect("a token");
    let (_, second) = server.get(&format!("{SECRETS}?limit=1&continue={token}")).await;
    assert!(second.contains("\"name\":\"b\""), "{second}");
    for path in ["/a", "/a?resourceVersion=0", "", "?limit=1", "?watch=1&timeoutSeconds=1&resourceVersion=0"] {
        let (code, text) = server.get(&format!("{SECRETS}{path}")).await;
        assert!(code == 200 && text.contains(data), "{path} {code} {text}");
    }
    // Another server reads what this one has stored.
    let other = file.server(&store).await;
    assert!(other.get(SECRETS).await.1.contains(data));
    let (_, metrics) = other.get("/metrics").await;
    let read = "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_type=\"from_storage\",transformer_prefix=\"k8s:enc:aescbc:v1:\"} 2";
    assert!(metrics.contains(read), "{metrics}");
}

/// What was written by one file, read and written again by another: what is in the store then.
async fn check_rotation(first: &str, second: &str, before: &str, after: &str) {
    let store = Store::memory();
    let file = File::new(&secrets(first));
    file.server(&store).await.create_secret().await;
    assert!(stored(&store, A).await.0.starts_with(before));
    file.write(&secrets(second));
    let server = file.server(&store).await;
    let (code, text) = server.get(&format!("{SECRETS}/a")).await;
    assert!(code == 200 && text.contains("cGxhaW4gdGV4dA=="), "{text}");
    assert!(stored(&store, A).await.0.starts_with(before), "a read writes nothing");
    assert_eq!(server.touch().await.0, 200);
    let (text, revision) = stored(&store, A).await;
    assert!(text.starts_with(after), "{text}");
    assert_eq!(server.touch().await.0, 200);
    assert_eq!(stored(&store, A).await.1, revision, "what is not stale is not written again");
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_what_is_stale() {
    let (one, two) = (key("one", 1), key("two", 2));
    let keys = |keys: &[&String]| {
        let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        format!("{{secretbox: {{keys: [{}]}}}}", keys.join(", "))
    };
    let with = |name: &str| format!("k8s:enc:secretbox:v1:{name}:");
    let identity = "{identity: {}}";
    check_rotation(&keys(&[&one]), &keys(&[&two, &one]), &with("one"), &with("two")).await;
    check_rotation(&keys(&[&one]), &format!("{identity}, {}", keys(&[&one])), &with("one"), "k8s\0").await;
    check_rotation(identity, &format!("{}, {identity}", keys(&[&one])), "k8s\0", &with("one")).await;
}

const TOKENLESS: &str =
    "data from the storage is not transformable revision=0: no matching key was found for the provided AES transformer";

#[tokio::test]
async fn what_cannot_be_decrypted_is_told_in_upstreams_words() {
    let store = Store::memory();
    let aes = |key: &str| secrets(&format!("{{aesgcm: {{keys: [{key}]}}}}"));
    let file = File::new(&aes(&key("one", 1)));
    file.server(&store).await.create_secret().await;
    file.write(&aes(&key("two", 2)));
    let server = file.server(&store).await;
    let corrupt = |key: &str| {
        format!(
            "StorageError: corrupt object, Code: 7, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {TOKENLESS}"
        )
    };
    let object = format!("Internal error occurred: {}", corrupt("/secrets/n/a"));
    let listed = format!("failed to read one or more secrets from the storage: {}", corrupt(A));
    let waiting = format!("storage is (re)initializing: failed to list <unspecified>: {listed}");
    let changed = format!("Internal error occurred: {TOKENLESS}");
    let patch = r#"{"metadata":{"name":"a"}}"#;
    for (method, path, body, code, message) in [
        (Method::GET, "/a", "", 500, &object),
        (Method::GET, "/a?resourceVersion=0", "", 500, &object),
        (Method::DELETE, "/a", "", 500, &object),
        (Method::PUT, "/a", patch, 500, &changed),
        (Method::GET, "", "", 429, &waiting),
        (Method::GET, "?watch=1", "", 429, &waiting),
        (Method::GET, "?limit=5", "", 500, &listed),
    ] {
        let (found, text) = server.ask(method.clone(), &format!("{SECRETS}{path}"), body).await;
        assert_eq!(found, code, "{method} {path} {text}");
        let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(status["message"].as_str(), Some(message.as_str()), "{method} {path}");
    }
    let (_, text) = server.get(&format!("{SECRETS}?limit=5")).await;
    for part in ["\"reason\":\"StorageReadError\"", "\"name\":\"list\"", "\"field\":\"/registry/secrets/n/a\""] {
        assert!(text.contains(part), "{part} {text}");
    }
    let ignore = "ignoreStoreReadErrorWithClusterBreakingPotential=true";
    // What is new can be had, and the rest of the server does not mind.
    server.create(SECRETS, r#"{"metadata":{"name":"b"}}"#).await;
    assert_eq!(server.get(&format!("{SECRETS}/b")).await.0, 200);
    assert_eq!(server.get("/api/v1/namespaces").await.0, 200);
    let plain = Server::start(&store, EncryptionConfig::default()).await;
    let (_, text) = plain.get(&format!("{SECRETS}/a")).await;
    assert!(text.contains("revision=0: identity transformer tried to read encrypted data"), "{text}");
    assert!(plain.get(SECRETS).await.1.contains("(and 1 more)"));
    // Only what cannot be read is deleted unread.
    let delete = async |query: &str| server.ask(Method::DELETE, &format!("{SECRETS}{query}"), "").await;
    let readable = "invalid object, Code: 4, Key: /registry/secrets/n/b, ResourceVersion: 0, AdditionalErrorMsg: unsafe deletion is not allowed because the object is decodable from storage";
    for (query, code, expect) in [
        (format!("/b?{ignore}"), 409, readable),
        (format!("/a?{ignore}&gracePeriodSeconds=0"), 422, "cannot be set together with .gracePeriodSeconds"),
        (format!("?{ignore}"), 422, "is not allowed with DELETECOLLECTION, try again after removing the option"),
        (format!("/a?{ignore}&dryRun=All"), 200, "\"details\":{\"name\":\"a\",\"kind\":\"Secret\"},\"code\":200"),
        (format!("/a?{ignore}"), 200, "\"status\":\"Success\""),
        (format!("/a?{ignore}"), 404, "not found"),
    ] {
        let (found, text) = delete(&query).await;
        assert!(found == code && text.contains(expect), "{query} {found} {text}");
    }
    server.until(SECRETS, |code, _| code == 200).await;
}

#[tokio::test]
async fn a_changed_file_is_taken_when_it_is_good_and_brings_back_what_was_unreadable() {
    let store = Store::memory();
    let aes = |keys: &str| secrets(&format!("{{aescbc: {{keys: [{keys}]}}}}"));
    let (one, two) = (key("one", 1), key("two", 2));
    let file = File::new(&aes(&one));
    file.server(&store).await.create_secret().await;
    file.write(&aes(&two));
    let server = Server::start(&store, file.flags(true)).await;
    assert_eq!(server.get(SECRETS).await.0, 429);
    assert!(server.get("/readyz?verbose").await.1.contains("[+]kms-providers ok"));
    assert!(server.get("/livez?verbose").await.1.contains(&format!("[+]{HOOK} ok")));
    assert!(!server.get("/livez?verbose").await.1.contains("kms-providers"));
    file.write("kind: nonsense");
    let reloads = |status: &str| {
        let count = format!(
            "apiserver_encryption_config_controller_automatic_reloads_total{{apiserver_id_hash=\"{}\",status=\"{status}\"}}",
            encryption::hash(crate::server_id::here().as_bytes())
        );
        move |_: u16, text: &str| text.contains(&count)
    };
    server.until("/metrics", reloads("failure")).await;
    server.create(SECRETS, r#"{"metadata":{"name":"b"}}"#).await;
    assert!(stored(&store, "/registry/secrets/n/b").await.0.starts_with("k8s:enc:aescbc:v1:two:"));
    let good = aes(&format!("{one}, {two}"));
    file.write(&good);
    let metrics = server.until("/metrics", reloads("success")).await;
    assert!(metrics.contains(&format!("hash=\"{}\"}} 1", encryption::hash(good.as_bytes()))), "{metrics}");
    let list = server.until(SECRETS, |code, _| code == 200).await;
    assert!(list.contains("\"name\":\"a\"") && list.contains("\"name\":\"b\""), "{list}");
    server.create(SECRETS, r#"{"metadata":{"name":"c"}}"#).await;
    assert!(stored(&store, "/registry/secrets/n/c").await.0.starts_with("k8s:enc:aescbc:v1:one:"));
}

#[tokio::test]
async fn a_plugin_that_comes_late_brings_its_objects_with_it() {
    let (store, key_id) = (Store::memory(), toy::KeyId::default());
    *key_id.lock() = "1".into();
    let file = File::new("");
    let socket = file.path("kms.sock");
    file.write(&secrets(&format!(
        "{{kms: {{apiVersion: v2, name: toy, endpoint: 'unix://{}', timeout: 200ms}}}}",
        socket.display()
    )));
    let mut plugin = Box::pin(toy::serve(&socket, key_id.clone()));
    tokio::select! {
        () = &mut plugin => {}
        () = async {
            file.server(&store).await.create_secret().await;
        } => {}
    }
    drop(plugin);
    std::fs::remove_file(&socket).expect("removed");
    assert!(stored(&store, A).await.0.starts_with("k8s:enc:kms:v2:toy:"));
    let server = file.server(&store).await;
    let (code, text) = server.get("/readyz/kms-providers").await;
    assert_eq!(code, 500);
    assert!(text.contains("kms-provider-0: rpc error: code = DeadlineExceeded"), "{text}");
    let (code, text) = server.get(SECRETS).await;
    assert!(code == 429 && text.contains("revision=0: got unexpected nil transformer"), "{text}");
    let (code, text) = server.ask(Method::POST, SECRETS, r#"{"metadata":{"name":"b"}}"#).await;
    assert!(code == 500 && text.contains("Internal error occurred: got unexpected nil transformer"), "{text}");
    let back = async {
        server.until("/readyz/kms-providers", |code, _| code == 200).await;
        assert!(server.until(SECRETS, |code, _| code == 200).await.contains("\"name\":\"a\""));
        server.create(SECRETS, r#"{"metadata":{"name":"b"}}"#).await;
    };
    tokio::select! {
        () = toy::serve(&socket, key_id) => {}
        () = back => {}
    }
}

#[tokio::test]
async fn a_file_that_is_of_no_use_ends_the_server_in_upstreams_words() {
    let missing = EncryptionConfig { file: Some("/nowhere/x.yaml".into()), automatic_reload: false };
    let kms = File::new(&secrets("{kms: {name: toy, endpoint: 'unix:///x'}}"));
    for (flags, expect) in [
        (
            missing,
            "error while parsing file: error while loading file: error reading encryption provider configuration file \"/nowhere/x.yaml\": open /nowhere/x.yaml: no such file or directory",
        ),
        (
            EncryptionConfig { file: None, automatic_reload: true },
            "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config",
        ),
        (
            kms.flags(false),
            "error while building transformers: KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.",
        ),
    ] {
        let config = Config { encryption: flags, ..Config::default() };
        let found = crate::assemble::core(&config, Store::memory()).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), Some(expect));
    }
}
