//! What the test of recorded outcomes and the example share: the toy plugin of `testdata/record/plugin.go`, and transformers of a
//! configuration's text.

use std::sync::Arc;

use encryption::config::{self, Kms};
use encryption::kms::Service;
use encryption::kms::messages::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse};
use encryption::metrics::Metrics;
use encryption::transform::{Parts, Transformers};
use encryption::{Clock, Error};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Recorded {
    pub(crate) configurations: Vec<Configuration>,
    pub(crate) values: Vec<Transformed>,
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Configuration {
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) reload: bool,
    #[serde(default)]
    pub(crate) error: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transformed {
    pub(crate) writer: String,
    pub(crate) reader: String,
    pub(crate) resource: String,
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) read_key: String,
    /// base64, as is `stored`.
    pub(crate) plain: String,
    pub(crate) stored: String,
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) stale: bool,
}

impl Transformed {
    /// With another key AES-CBC fails in one of several ways, or by chance in none.
    pub(crate) fn is_random(&self) -> bool {
        self.error.contains("padding on input") || self.error.contains("PKCS7")
    }
}

struct Toy {
    key: String,
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

impl Service for Toy {
    fn status(&self) -> BoxFuture<'_, Result<StatusResponse, Error>> {
        let (version, healthz) = ("v2".into(), "ok".into());
        ready(Ok(StatusResponse { version, healthz, key_id: self.key.clone() })).boxed()
    }

    fn encrypt(&self, request: EncryptRequest) -> BoxFuture<'_, Result<EncryptResponse, Error>> {
        let annotations = [("toy.example.com".into(), b"flipped".to_vec())].into();
        let (ciphertext, key_id) = (flipped(&request.plaintext), self.key.clone());
        ready(Ok(EncryptResponse { ciphertext, key_id, annotations })).boxed()
    }

    fn decrypt(&self, request: DecryptRequest) -> BoxFuture<'_, Result<DecryptResponse, Error>> {
        let answer = match request.key_id.as_str() {
            "lost" => Err(Error::call("NotFound", "no key lost")),
            _ => Ok(DecryptResponse { plaintext: flipped(&request.ciphertext) }),
        };
        ready(answer).boxed()
    }
}

/// The transformers of a text; the error as upstream's server ends with it.
pub(crate) fn load(text: &str, reload: bool) -> Result<Transformers, String> {
    let configuration = config::parse("SOCKETS/config.yaml", text.as_bytes(), reload);
    let configuration = configuration.map_err(|why| format!("error while parsing file: {why}"))?;
    let clock: Clock = Arc::new(Timestamp::now);
    let connect = |kms: &Kms| {
        let key = kms.endpoint.rsplit('/').next().unwrap_or_default().trim_end_matches(".sock");
        Ok(Arc::new(Toy { key: key.into() }) as Arc<dyn Service>)
    };
    let metrics = Arc::new(Metrics::new("apiserver-x", clock.clone()));
    let made = Transformers::new(&configuration, &Parts { metrics, clock, connect: &connect });
    let made = made.map_err(|why| format!("error while building transformers: {why}"))?;
    for plugin in &made.plugins {
        futures::executor::block_on(plugin.check()).map_err(|error| error.to_string())?;
    }
    Ok(made)
}

/// Resource and group.
pub(crate) fn split(resource: &str) -> (&str, &str) {
    resource.split_once('.').unwrap_or((resource, ""))
}
