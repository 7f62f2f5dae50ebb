//! A plugin's health, its seed and what becomes of both with time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use encryption::config;
use encryption::kms::Service;
use encryption::kms::messages::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse};
use encryption::kms::plugin::Plugin;
use encryption::metrics::Metrics;
use encryption::transform::{Parts, Transformers};
use encryption::{Clock, Error};
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;

/// What the plugin says, and what it was asked.
#[derive(Default)]
struct Script {
    status: Option<StatusResponse>,
    /// Of the answers to `Encrypt`.
    key_id: String,
    decrypts: bool,
    calls: Vec<&'static str>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn with<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.0.lock().expect("a script"))
    }

    fn says(&self, version: &str, healthz: &str, key_id: &str) {
        let status = StatusResponse { version: version.into(), healthz: healthz.into(), key_id: key_id.into() };
        self.with(|script| script.status = Some(status));
    }

    fn calls(&self) -> Vec<&'static str> {
        self.with(|script| std::mem::take(&mut script.calls))
    }
}

impl Service for Scripted {
    fn status(&self) -> BoxFuture<'_, Result<StatusResponse, Error>> {
        let answer = self.with(|script| {
            script.calls.push("Status");
            script.status.clone().ok_or_else(|| Error::call("Unavailable", "gone"))
        });
        ready(answer).boxed()
    }

    fn encrypt(&self, request: EncryptRequest) -> BoxFuture<'_, Result<EncryptResponse, Error>> {
        let key_id = self.with(|script| {
            script.calls.push("Encrypt");
            script.key_id.clone()
        });
        ready(Ok(EncryptResponse { ciphertext: request.plaintext, key_id, annotations: Default::default() })).boxed()
    }

    fn decrypt(&self, request: DecryptRequest) -> BoxFuture<'_, Result<DecryptResponse, Error>> {
        let decrypts = self.with(|script| {
            script.calls.push("Decrypt");
            script.decrypts
        });
        let plaintext = request.ciphertext;
        ready(if decrypts { Ok(DecryptResponse { plaintext }) } else { Err(Error::call("Unavailable", "gone")) })
            .boxed()
    }
}

struct Kms {
    script: Scripted,
    seconds: Arc<AtomicI64>,
    transformers: Transformers,
}

impl Kms {
    fn new(script: Scripted) -> Self {
        let seconds = Arc::new(AtomicI64::new(1_700_000_000));
        let time = seconds.clone();
        let clock: Clock = Arc::new(move || Timestamp::from_second(time.load(Ordering::Relaxed)).expect("a time"));
        let text = "{kind: EncryptionConfiguration, apiVersion: apiserver.config.k8s.io/v1, resources: [{resources: [secrets], \
                    providers: [{kms: {apiVersion: v2, name: toy, endpoint: 'unix:///x'}}]}]}";
        // YAML's flow form is taken for JSON by its first character.
        let text = format!("# YAML\n{text}");
        let configuration = config::parse("x", text.as_bytes(), false);
        let configuration = configuration.unwrap_or_else(|why| panic!("{why}"));
        let connect = |_: &config::Kms| Ok(Arc::new(script.clone()) as Arc<dyn Service>);
        let metrics = Arc::new(Metrics::new("apiserver-x", clock.clone()));
        let transformers = Transformers::new(&configuration, &Parts { metrics, clock, connect: &connect });
        Kms { script, seconds, transformers: transformers.unwrap_or_else(|why| panic!("{why}")) }
    }

    fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn plugin(&self) -> &Plugin {
        &self.transformers.plugins[0]
    }

    /// The error without the uid in it.
    fn check(&self) -> String {
        let text = block_on(self.plugin().check()).map_or_else(|error| error.to_string(), |()| "ok".into());
        match text.split_once("uid=\"") {
            Some((before, after)) => format!("{before}uid=\"{}", &after[36..]),
            None => text,
        }
    }

    fn write(&self) -> Result<Bytes, String> {
        let transformer = self.transformers.of("", "secrets").expect("a transformer");
        transformer.write("secrets", b"k", b"plain".to_vec()).map(Bytes::from).map_err(|error| error.to_string())
    }

    fn read(&self, stored: &Bytes) -> Result<bool, String> {
        let transformer = self.transformers.of("", "secrets").expect("a transformer");
        let plain = block_on(transformer.read("secrets", b"k", stored)).map_err(|error| error.to_string())?;
        assert_eq!(&plain.bytes[..], b"plain");
        Ok(plain.stale)
    }
}

fn healthy(key_id: &str) -> Kms {
    let kms = Kms::new(Scripted::default());
    kms.script.says("v2", "ok", key_id);
    kms.script.with(|script| {
        script.key_id = key_id.into();
        script.decrypts = true;
    });
    assert_eq!(kms.check(), "ok");
    kms
}

const HASH_1: &str = "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
const HASH_2: &str = "sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";

#[test]
fn an_unhealthy_plugin_says_why() {
    let not = |why: &str| format!("kmsv2 Provider toy is not healthy, error: {why}");
    for (version, healthz, key_id, expect) in [
        ("v2beta1", "ok", "1", "ok".to_string()),
        ("v2", "tired", "1", not("got unexpected healthz status: tired")),
        ("v1", "ok", "1", not("expected KMSv2 API version v2, got v1")),
        ("v1", "tired", "1", not("[got unexpected healthz status: tired, expected KMSv2 API version v2, got v1]")),
        ("v2", "ok", "", not("got invalid KMSv2 KeyID hash \"\": keyID is empty")),
        (
            "v2",
            "ok",
            "2",
            not(&format!(
                "failed to rotate DEK uid=\"\", useSeed=true, errState=got unexpected nil transformer, errGen=<nil>, statusKeyIDHash=\"{HASH_2}\", encryptKeyIDHash=\"{HASH_1}\", stateKeyIDHash=\"\", expirationTimestamp=0001-01-01T00:00:00Z"
            )),
        ),
    ] {
        let kms = Kms::new(Scripted::default());
        kms.script.says(version, healthz, key_id);
        kms.script.with(|script| script.key_id = "1".into());
        assert_eq!(kms.check(), expect);
    }
}

#[test]
fn checks_are_remembered_for_a_while() {
    let kms = Kms::new(Scripted::default());
    let gone = "rpc error: code = Unavailable desc = gone";
    let first = format!("failed to perform status section of the healthz check for KMS Provider toy, error: {gone}");
    assert_eq!(kms.check(), first);
    // As upstream, what is remembered lacks the words before it.
    assert_eq!(kms.check(), gone);
    kms.pass(3);
    kms.script.says("v2", "ok", "1");
    kms.script.with(|script| script.key_id = "1".into());
    assert_eq!(kms.check(), "ok");
    kms.script.calls();
    kms.pass(19);
    assert_eq!((kms.check().as_str(), kms.script.calls().len()), ("ok", 0));
    kms.pass(1);
    assert_eq!((kms.check().as_str(), kms.script.calls()), ("ok", vec!["Status"]));
    kms.script.says("v2beta1", "ok", "1");
    kms.pass(20);
    assert!(kms.check().contains("should not change after the initial status response version v2, got v2beta1"));
}

#[test]
fn a_changed_key_makes_a_new_seed_and_old_values_stale() {
    let kms = healthy("1");
    let old = kms.write().expect("written");
    assert_eq!(kms.read(&old), Ok(false));
    kms.script.says("v2", "ok", "2");
    kms.pass(20);
    // The plugin has not made up its mind: what was good stays in use.
    assert!(kms.check().contains(&format!("encryptKeyIDHash=\"{HASH_1}\", stateKeyIDHash=\"{HASH_1}\"")));
    assert_eq!(kms.read(&old), Ok(false));
    kms.script.with(|script| script.key_id = "2".into());
    kms.pass(3);
    assert_eq!(kms.check(), "ok");
    assert_eq!(kms.read(&old), Ok(true));
    let new = kms.write().expect("written");
    assert_eq!(kms.read(&new), Ok(false));
    assert!(!kms.script.calls().contains(&"Decrypt"), "what was written here is read without a call");
}

#[test]
fn writes_end_three_minutes_after_the_last_good_status_and_reads_do_not() {
    let kms = healthy("1");
    let stored = kms.write().expect("written");
    kms.script.with(|script| script.status = None);
    kms.pass(180);
    assert!(kms.write().is_ok());
    kms.pass(1);
    let expired = format!(
        "encryptedDEKSource with keyID hash \"{HASH_1}\" expired at 2023-11-14T22:16:20Z (current time is 2023-11-14T22:16:21Z)"
    );
    assert_eq!(kms.write(), Err(expired));
    assert_eq!(kms.read(&stored), Ok(false));
    kms.script.says("v2", "ok", "1");
    assert_eq!(kms.check(), "ok");
    assert!(kms.write().is_ok(), "the same seed is good again");
}

#[test]
fn a_seed_of_another_server_is_asked_for_once() {
    let stored = healthy("1").write().expect("written");
    let kms = Kms::new(Scripted::default());
    assert_eq!(kms.read(&stored), Err("got unexpected nil transformer".into()));
    let kms = healthy("1");
    kms.script.with(|script| script.decrypts = false);
    kms.script.calls();
    let refused = Err("failed to decrypt DEK, error: rpc error: code = Unavailable desc = gone".to_string());
    assert_eq!((kms.read(&stored), kms.read(&stored)), (refused.clone(), refused));
    assert_eq!(kms.script.calls(), ["Decrypt"], "a refusal counts for a moment");
    kms.script.with(|script| script.decrypts = true);
    kms.pass(1);
    assert_eq!((kms.read(&stored), kms.read(&stored)), (Ok(false), Ok(false)));
    assert_eq!(kms.script.calls(), ["Decrypt"]);
}
