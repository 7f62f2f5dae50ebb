//! One plugin: its health, the seed that writes use, and values through it
//! (encryptionconfig/config.go: kmsv2PluginProbe; kmsv2/envelope.go: envelopeTransformer).
//!
//! Invariant: writes need a state that is not older than its plugin's last good status by more than three minutes; reads need any
//! state. A failed rotation leaves the state as it was.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use futures::lock::Mutex;
use jiff::{SignedDuration, Timestamp};

use super::Service;
use super::messages::{
    Annotations, DecryptRequest, EncryptRequest, EncryptedObject, HKDF_SHA256_XNONCE_AES_GCM_SEED, StatusResponse,
};
use super::object::{self, SourceId, source_id, validate_key_id, validate_source};
use super::sources::{Source, Sources};
use crate::cipher::{SEED_BYTES, random_key};
use crate::metrics::{Metrics, Way};
use crate::{Clock, Error, hash};

/// How long an answer to a check counts.
const HEALTHY_TTL: SignedDuration = SignedDuration::from_secs(20);
const UNHEALTHY_TTL: SignedDuration = SignedDuration::from_secs(3);
/// How long a seed is written with when its plugin fails.
const WRITE_TTL: SignedDuration = SignedDuration::from_mins(3);

/// What a seed is written with.
struct State {
    source: Arc<Source>,
    key_id: String,
    /// The seed as the plugin encrypted it.
    encrypted: Vec<u8>,
    annotations: Annotations,
    id: SourceId,
    expires: Timestamp,
}

/// What checks remember.
#[derive(Default)]
struct Checked {
    outcome: Option<(Result<(), Error>, Timestamp)>,
    /// Of the first status.
    version: String,
}

/// A KMS v2 provider.
pub struct Plugin {
    pub name: String,
    service: Arc<dyn Service>,
    state: ArcSwapOption<State>,
    sources: Sources,
    checked: Mutex<Checked>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// A state at a time, as upstream's messages have it.
fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Plugin {
    pub fn new(name: &str, service: Arc<dyn Service>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Plugin {
            name: name.into(),
            service,
            state: ArcSwapOption::empty(),
            sources: Sources::default(),
            checked: Mutex::default(),
            metrics,
            clock,
        }
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Asks for the status, unless it was asked a moment ago, and takes a new seed when the key has changed.
    ///
    /// # Errors
    /// Why the plugin cannot be relied on; writes may go on for a while.
    pub async fn check(&self) -> Result<(), Error> {
        let mut checked = self.checked.lock().await;
        if let Some((outcome, at)) = &checked.outcome {
            let ttl = if outcome.is_ok() { HEALTHY_TTL } else { UNHEALTHY_TTL };
            if self.now().duration_since(*at) < ttl {
                return outcome.clone();
            }
        }
        let (remembered, told) = match self.called("Status", self.service.status()).await {
            Err(error) => {
                let words = format!(
                    "failed to perform status section of the healthz check for KMS Provider {}, error: ",
                    self.name
                );
                let told = error.within(&words);
                (Err(error), Err(told))
            }
            Ok(status) => {
                let outcome = self.judge(&status, &mut checked.version).await;
                (outcome.clone(), outcome)
            }
        };
        checked.outcome = Some((remembered, self.now()));
        told
    }

    async fn called<T>(&self, method: &str, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let start = Instant::now();
        let answer = call.await;
        let method = format!("/v2.KeyManagementService/{method}");
        self.metrics.called(&self.name, &method, start.elapsed(), answer.as_ref().err());
        answer
    }

    /// config.go: isKMSv2ProviderHealthyAndMaybeRotateDEK.
    async fn judge(&self, status: &StatusResponse, version: &mut String) -> Result<(), Error> {
        let mut errors = Vec::new();
        if status.healthz != "ok" {
            errors.push(Error::new(format!("got unexpected healthz status: {}", status.healthz)));
        }
        let told = &status.version;
        if !matches!(told.as_str(), "v2" | "v2beta1") {
            errors.push(Error::new(format!("expected KMSv2 API version v2, got {told}")));
        } else if version.is_empty() {
            version.clone_from(told);
        } else if version != told {
            errors.push(Error::new(format!(
                "KMSv2 API version should not change after the initial status response version {version}, got {told}"
            )));
        }
        match validate_key_id(&status.key_id) {
            Err((code, why)) => {
                self.metrics.invalid_key_id(&self.name, code);
                let shown = api::field::go_quote(&hash(status.key_id.as_bytes()));
                errors.push(Error::new(format!("got invalid KMSv2 KeyID hash {shown}: {why}")));
            }
            Ok(()) => {
                self.metrics.status_key_id(&self.name, &status.key_id);
                errors.extend(self.rotate(&status.key_id).await.err());
            }
        }
        match Error::all(errors) {
            None => Ok(()),
            Some(error) => Err(error.within(&format!("kmsv2 Provider {} is not healthy, error: ", self.name))),
        }
    }

    /// Takes a new seed when the plugin's key is another one than the state's (config.go: rotateDEKOnKeyIDChange).
    async fn rotate(&self, key_id: &str) -> Result<(), Error> {
        // Before the call: the time is an upper bound.
        let expires = self.now() + WRITE_TTL;
        let state = self.state.load_full();
        if let Some(state) = state.as_ref().filter(|state| state.key_id == key_id) {
            self.state.store(Some(Arc::new(State { expires, ..state.renewed() })));
            return Ok(());
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let made = self.generate(&uid, expires).await;
        let (why, encrypted_with) = match made {
            Ok(made) if made.key_id == key_id => {
                tracing::debug!(uid, provider = self.name, "successfully rotated DEK");
                self.state.store(Some(Arc::new(made)));
                return Ok(());
            }
            Ok(made) => ("<nil>".to_string(), made.key_id),
            Err(error) => (error.to_string(), String::new()),
        };
        let quoted = |key_id: &str| api::field::go_quote(&hash(key_id.as_bytes()));
        let (had, until, missing) = match &state {
            Some(state) => (state.key_id.as_str(), rfc3339(state.expires), "<nil>"),
            None => ("", "0001-01-01T00:00:00Z".to_string(), NO_STATE),
        };
        Err(Error::new(format!(
            "failed to rotate DEK uid=\"{uid}\", useSeed=true, errState={missing}, errGen={why}, statusKeyIDHash={}, encryptKeyIDHash={}, stateKeyIDHash={}, expirationTimestamp={until}",
            quoted(key_id),
            quoted(&encrypted_with),
            quoted(had),
        )))
    }

    /// A new seed, encrypted by the plugin.
    async fn generate(&self, uid: &str, expires: Timestamp) -> Result<State, Error> {
        let start = Instant::now();
        let seed = random_key(SEED_BYTES);
        self.metrics.key_made(start.elapsed(), seed.is_err());
        let seed = seed?;
        let request = EncryptRequest { plaintext: seed.clone(), uid: uid.into() };
        let answer = self.called("Encrypt", self.service.encrypt(request)).await;
        let answer = answer.map_err(|error| error.within("failed to encrypt DEK, error: "))?;
        validate_source(&answer.ciphertext, &answer.key_id, &answer.annotations)?;
        let id = source_id(HKDF_SHA256_XNONCE_AES_GCM_SEED, &answer.ciphertext, &answer.key_id, &answer.annotations);
        Ok(State {
            source: Arc::new(Source::new(true, seed)?),
            key_id: answer.key_id,
            encrypted: answer.ciphertext,
            annotations: answer.annotations,
            id,
            expires,
        })
    }

    fn state(&self) -> Result<Arc<State>, Error> {
        self.state.load_full().ok_or_else(|| Error::new(NO_STATE))
    }

    /// Decrypts what was stored under `key`; true when it is to be written again with the key of now.
    pub(crate) async fn open(&self, key: &[u8], stored: &[u8]) -> Result<(Vec<u8>, bool), Error> {
        let object = object::decode(stored)?;
        let state = self.state()?;
        let source = self.source(&object).await?;
        self.metrics.key_id(Way::FromStorage, &self.name, &object.key_id);
        let plain = source.open(key, &object.encrypted_data)?;
        let stale =
            object.key_id != state.key_id || object.encrypted_dek_source_type != HKDF_SHA256_XNONCE_AES_GCM_SEED;
        Ok((plain, stale))
    }

    /// The decrypted source of an object, from the plugin when it was not seen before.
    async fn source(&self, object: &EncryptedObject) -> Result<Arc<Source>, Error> {
        let (kind, encrypted) = (object.encrypted_dek_source_type, &object.encrypted_dek_source);
        let id = source_id(kind, encrypted, &object.key_id, &object.annotations);
        if let Some(known) = self.sources.get(&id, self.now()) {
            return known;
        }
        self.metrics.missed();
        let request = DecryptRequest {
            ciphertext: encrypted.clone(),
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let answer = self.called("Decrypt", self.service.decrypt(request)).await;
        let source = answer
            .map_err(|error| error.within("failed to decrypt DEK, error: "))
            .and_then(|answer| Source::new(kind == HKDF_SHA256_XNONCE_AES_GCM_SEED, answer.plaintext));
        match source {
            Ok(source) => {
                let source = Arc::new(source);
                self.keep(id, source.clone());
                Ok(source)
            }
            Err(error) => {
                self.sources.refuse(id, error.clone(), self.now());
                Err(error)
            }
        }
    }

    fn keep(&self, id: SourceId, source: Arc<Source>) {
        let count = self.sources.put(id, source, self.now());
        self.metrics.sources(&self.name, count);
    }

    /// Encrypts what is to be stored under `key`.
    pub(crate) fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let state = self.state()?;
        let now = self.now();
        if now > state.expires {
            return Err(Error::new(format!(
                "encryptedDEKSource with keyID hash {} expired at {} (current time is {})",
                api::field::go_quote(&hash(state.key_id.as_bytes())),
                rfc3339(state.expires),
                rfc3339(now),
            )));
        }
        // What is written is read soon, here: without a call.
        self.keep(state.id, state.source.clone());
        let encrypted_data = state.source.seal(key, plain)?;
        self.metrics.key_id(Way::ToStorage, &self.name, &state.key_id);
        object::encode(&EncryptedObject {
            encrypted_data,
            key_id: state.key_id.clone(),
            encrypted_dek_source: state.encrypted.clone(),
            annotations: state.annotations.clone(),
            encrypted_dek_source_type: HKDF_SHA256_XNONCE_AES_GCM_SEED,
        })
    }
}

/// What upstream says of a plugin that never was healthy.
const NO_STATE: &str = "got unexpected nil transformer";

impl State {
    fn renewed(&self) -> State {
        State {
            source: self.source.clone(),
            key_id: self.key_id.clone(),
            encrypted: self.encrypted.clone(),
            annotations: self.annotations.clone(),
            id: self.id,
            expires: self.expires,
        }
    }
}
