//! Values on their way into the store and out of it: which transformer a resource has, and what each of its providers does
//! (k8s.io/apiserver/pkg/storage/value/transformer.go, encrypt/identity, pkg/server/options/encryptionconfig/config.go@v0.37.2).
//!
//! Invariant: the first provider writes, every provider reads; what was not written by the first key of the first provider is
//! stale. Non-goal: objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::cipher::{Cbc, Cipher, Gcm, Secretbox};
use crate::config::{self, Configuration, Key, Kms};
use crate::kms::plugin::Plugin;
use crate::metrics::{Metrics, Way};
use crate::validate::{secret, split};
use crate::{Clock, Error, kms};

/// What every encrypted value starts with; no plain one does.
pub const ENCRYPTED: &[u8] = b"k8s:enc:";

const AESCBC: &str = "k8s:enc:aescbc:v1:";
const AESGCM: &str = "k8s:enc:aesgcm:v1:";
const SECRETBOX: &str = "k8s:enc:secretbox:v1:";
const KMS_V2: &str = "k8s:enc:kms:v2:";

/// Why KMS v1 is refused; its feature gate is off.
const NO_KMS_V1: &str = "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.";

/// A value that was read.
#[derive(Debug)]
pub struct Plain {
    pub bytes: Bytes,
    /// It would be written in another way now: an update that changes nothing writes it all the same.
    pub stale: bool,
}

/// What a value is read as where nothing is configured (encrypt/identity/identity.go).
///
/// # Errors
/// The value is encrypted.
pub fn unencrypted(stored: Bytes) -> Result<Plain, Error> {
    match stored.starts_with(ENCRYPTED) {
        true => Err(Error::new("identity transformer tried to read encrypted data")),
        false => Ok(Plain { bytes: stored, stale: false }),
    }
}

/// The transformers of a configuration.
pub struct Transformers {
    /// By resource and group, either of which may be `*`.
    rules: HashMap<(String, String), Transformer>,
    /// In the order of the configuration.
    pub plugins: Vec<Arc<Plugin>>,
    /// Of all plugins, in nanoseconds.
    pub timeouts_nanos: i64,
}

/// What keys and plugins are made with.
pub struct Parts<'a> {
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// Connects to the plugin at an endpoint.
    pub connect: &'a dyn Fn(&Kms) -> Result<Arc<dyn kms::Service>, String>,
}

impl Transformers {
    /// # Errors
    /// Upstream's words for what cannot be made (config.go: getTransformerOverridesAndKMSPluginProbes).
    pub fn new(configuration: &Configuration, parts: &Parts<'_>) -> Result<Self, String> {
        let mut all = Transformers { rules: HashMap::new(), plugins: Vec::new(), timeouts_nanos: 0 };
        for rule in &configuration.rules {
            let mut providers = Vec::with_capacity(rule.providers.len());
            for provider in &rule.providers {
                providers.push(Arc::new(all.provider(provider, parts)?));
            }
            for name in &rule.resources {
                let (resource, group) = split(name);
                all.check_mask(resource, group)?;
                let rule = all.rules.entry((resource.into(), group.into()));
                let made =
                    rule.or_insert_with(|| Transformer { providers: Vec::new(), metrics: parts.metrics.clone() });
                made.providers.extend(providers.iter().cloned());
            }
        }
        Ok(all)
    }

    /// An earlier rule must not hide this one.
    fn check_mask(&self, resource: &str, group: &str) -> Result<(), String> {
        let shown = |resource: &str, group: &str| match (resource, group) {
            ("*", "") => "*.".to_string(),
            _ => api::status::qualified(group, resource),
        };
        for (by_resource, by_group) in [("*", group), ("*", "*")] {
            if self.rules.contains_key(&(by_resource.to_string(), by_group.to_string())) {
                let (what, by) = (shown(resource, group), shown(by_resource, by_group));
                return Err(format!("resource \"{what}\" is masked by earlier rule \"{by}\""));
            }
        }
        Ok(())
    }

    fn provider(&mut self, provider: &config::Provider, parts: &Parts<'_>) -> Result<Provider, String> {
        if let Some(keys) = &provider.aesgcm {
            let make = |key: &[u8]| Gcm::new(key).map(Cipher::Gcm);
            Ok(Provider::Keys(Keys::aes(AESGCM, keys, make)?))
        } else if let Some(keys) = &provider.aescbc {
            let make = |key: &[u8]| Cbc::new(key).map(Cipher::Cbc);
            Ok(Provider::Keys(Keys::aes(AESCBC, keys, make)?))
        } else if let Some(keys) = &provider.secretbox {
            Ok(Provider::Keys(Keys::secretbox(keys)?))
        } else if let Some(kms) = &provider.kms {
            let plugin = self.plugin(kms, parts)?;
            Ok(Provider::Kms { prefix: format!("{KMS_V2}{}:", kms.name), plugin })
        } else {
            Ok(Provider::Identity)
        }
    }

    fn plugin(&mut self, kms: &Kms, parts: &Parts<'_>) -> Result<Arc<Plugin>, String> {
        if kms.api_version != "v2" {
            return Err(NO_KMS_V1.into());
        }
        let service = (parts.connect)(kms);
        let service = service
            .map_err(|why| format!("could not configure KMSv2-Plugin's probe \"{}\", error: {why}", kms.name))?;
        let plugin = Plugin::new(&kms.name, service, parts.metrics.clone(), parts.clock.clone());
        let plugin = Arc::new(plugin);
        self.plugins.push(plugin.clone());
        self.timeouts_nanos = self.timeouts_nanos.saturating_add(kms.timeout_nanos);
        Ok(plugin)
    }

    /// The transformer of a resource: its own, its group's, or that of everything.
    pub fn of(&self, group: &str, resource: &str) -> Option<&Transformer> {
        let names = [(resource, group), ("*", group), ("*", "*")];
        names.iter().find_map(|(resource, group)| self.rules.get(&(resource.to_string(), group.to_string())))
    }
}

/// The providers of a resource in their order.
pub struct Transformer {
    providers: Vec<Arc<Provider>>,
    metrics: Arc<Metrics>,
}

enum Provider {
    Identity,
    Keys(Keys),
    Kms { prefix: String, plugin: Arc<Plugin> },
}

/// What keeps the time of one way of one value, and tells the metrics.
struct Timed<'a> {
    metrics: &'a Metrics,
    resource: &'a str,
    way: Way,
    start: Instant,
}

impl<'a> Timed<'a> {
    fn new(metrics: &'a Metrics, resource: &'a str, way: Way) -> Self {
        Timed { metrics, resource, way, start: Instant::now() }
    }

    fn over(&self, prefix: &str, failure: Option<&Error>) {
        self.metrics.transformed(self.resource, self.way, prefix, self.start.elapsed(), failure);
    }

    /// What is told when no provider or key could read a value: why each failed, or that none was asked.
    fn unread(&self, errors: Vec<Error>, none: &str) -> Error {
        match Error::all(errors) {
            Some(error) => {
                tracing::error!(resource = self.resource, %error, "failed to decrypt data");
                error
            }
            None => {
                let error = Error::new(none);
                self.over("unknown", Some(&error));
                error
            }
        }
    }
}

impl Transformer {
    /// Reads what is stored under `key`; `resource` as metrics show it: `deployments.apps`.
    ///
    /// # Errors
    /// Upstream's words for what cannot be read.
    pub async fn read(&self, resource: &str, key: &[u8], stored: &Bytes) -> Result<Plain, Error> {
        let timed = Timed::new(&self.metrics, resource, Way::FromStorage);
        let mut errors = Vec::new();
        for (at, provider) in self.providers.iter().enumerate() {
            let prefix = provider.prefix();
            if !stored.starts_with(prefix.as_bytes()) {
                continue;
            }
            let outcome = provider.open(&timed, key, stored.slice(prefix.len()..)).await;
            let identity = prefix.is_empty();
            // An encrypted value is a later provider's business.
            if identity && outcome.is_err() {
                continue;
            }
            timed.over(if identity { "identity" } else { prefix }, outcome.as_ref().err());
            match outcome {
                Ok(plain) => return Ok(Plain { stale: plain.stale || at != 0, ..plain }),
                // Another provider may have the same prefix and another key.
                Err(error) => errors.push(error),
            }
        }
        Err(timed.unread(errors, "no matching prefix found"))
    }

    /// What is to be stored under `key`.
    ///
    /// # Errors
    /// The first provider is a plugin that has not been healthy for too long.
    pub fn write(&self, resource: &str, key: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, Error> {
        let timed = Timed::new(&self.metrics, resource, Way::ToStorage);
        let Some(provider) = self.providers.first() else { return Ok(plain) };
        let outcome = provider.seal(&timed, key, plain);
        timed.over(provider.prefix(), outcome.as_ref().err());
        outcome.inspect_err(|error| tracing::error!(resource, %error, "failed to encrypt data"))
    }
}

impl Provider {
    fn prefix(&self) -> &str {
        match self {
            Provider::Identity => "",
            Provider::Keys(keys) => keys.prefix,
            Provider::Kms { prefix, .. } => prefix,
        }
    }

    /// `stored` without the prefix.
    async fn open(&self, timed: &Timed<'_>, key: &[u8], stored: Bytes) -> Result<Plain, Error> {
        match self {
            Provider::Identity => unencrypted(stored),
            Provider::Keys(keys) => keys.open(timed, key, &stored),
            Provider::Kms { plugin, .. } => {
                let (plain, stale) = plugin.open(key, &stored).await?;
                Ok(Plain { bytes: plain.into(), stale })
            }
        }
    }

    /// With the prefix.
    fn seal(&self, timed: &Timed<'_>, key: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, Error> {
        match self {
            Provider::Identity => Ok(plain),
            Provider::Keys(keys) => keys.seal(timed, key, &plain),
            Provider::Kms { prefix, plugin } => Ok([prefix.as_bytes(), &plugin.seal(key, &plain)?].concat()),
        }
    }
}

/// A provider with keys: each has a prefix of its own behind the provider's.
struct Keys {
    prefix: &'static str,
    /// `NAME:` and what it does.
    keys: Vec<(String, Cipher)>,
    none: &'static str,
}

impl Keys {
    fn aes(prefix: &'static str, keys: &[Key], make: impl Fn(&[u8]) -> Result<Cipher, Error>) -> Result<Self, String> {
        let key = |key: &Key| {
            let bytes = secret(&key.secret).unwrap_or_default();
            let cipher = make(&bytes)
                .map_err(|error| format!("error while creating cipher for named key {}: {error}", key.name))?;
            Ok((format!("{}:", key.name), cipher))
        };
        let keys = keys.iter().map(key).collect::<Result<_, String>>()?;
        Ok(Keys { prefix, keys, none: "no matching key was found for the provided AES transformer" })
    }

    fn secretbox(keys: &[Key]) -> Result<Self, String> {
        let key = |key: &Key| {
            let bytes = secret(&key.secret).unwrap_or_default();
            let bytes: &[u8; 32] = bytes[..]
                .try_into()
                .map_err(|_| format!("expected key size 32 for secretbox provider, got {}", bytes.len()))?;
            Ok((format!("{}:", key.name), Cipher::Secretbox(Secretbox::new(bytes))))
        };
        let keys = keys.iter().map(key).collect::<Result<_, String>>()?;
        Ok(Keys { prefix: SECRETBOX, keys, none: "no matching key was found for the provided Secretbox transformer" })
    }

    fn open(&self, outer: &Timed<'_>, key: &[u8], stored: &[u8]) -> Result<Plain, Error> {
        let timed = Timed::new(outer.metrics, outer.resource, outer.way);
        let mut errors = Vec::new();
        for (at, (name, cipher)) in self.keys.iter().enumerate() {
            let Some(sealed) = stored.strip_prefix(name.as_bytes()) else { continue };
            let outcome = cipher.open(key, sealed);
            timed.over(name, outcome.as_ref().err());
            match outcome {
                Ok(plain) => return Ok(Plain { bytes: plain.into(), stale: at != 0 }),
                Err(error) => errors.push(error),
            }
        }
        Err(timed.unread(errors, self.none))
    }

    fn seal(&self, outer: &Timed<'_>, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let timed = Timed::new(outer.metrics, outer.resource, outer.way);
        let (name, cipher) = self.keys.first().ok_or_else(|| Error::new(self.none))?;
        let outcome = cipher.seal(key, plain);
        timed.over(name, outcome.as_ref().err());
        Ok([self.prefix.as_bytes(), name.as_bytes(), &outcome?].concat())
    }
}
