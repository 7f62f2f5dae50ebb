//! What reads the bytes of clients, for fuzz/src, which says what has to hold of it. Built with the feature `fuzzing` alone.
//!
//! Invariant: each function is the path that a request takes, without the store. Non-goal: properties.

use std::sync::Arc;

use api::facts::Struct;
use api::json::{self, Strictness};
use api::value::Map;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, header};

use crate::authn::jws::{SigningKey, public_keys_from_pem};
use crate::authn::{Authenticators, Config, Found, Lookup, Peer, RequestHeaderConfig, ServiceAccountConfig, User};
use crate::codec::{self, FieldValidation};
use crate::negotiate::{self, Format, Offer};
use crate::registry::{Entry, Registry};
use crate::request::{Info, Query};
use crate::rest::{delete, managed, metadata, options};
use crate::strategy::Context;
use crate::{admission, authz, declarative, patch, table};

const NOW: &str = "2026-01-01T00:00:00Z";

/// The text of a document with a JSON patch applied.
pub fn json_patch(document: &str, patch: &[u8]) -> Option<Vec<u8>> {
    let _ = patch::json::strict_errors(patch);
    crate::rest::patch::apply_operations(document, patch).ok()
}

/// The text of a document with a merge patch applied.
pub fn merge_patch(document: &str, patch: &str) -> Option<Vec<u8>> {
    patch::merge::apply(document, patch).ok()
}

/// An object with a strategic merge patch applied.
pub fn strategic_patch(object: &Map, patch: &Map, ty: &'static Struct) -> Option<Map> {
    let mut merged = patch::strategic::apply(object, patch, ty).ok()?;
    patch::unstructured::fit(&mut merged, ty).ok()?;
    let mut decoded = json::decode(&json::encode(&merged), ty, Strictness::Strict).ok()?;
    managed::copy_reset(&merged, &mut decoded.value);
    Some(decoded.value)
}

/// The configuration that is to be applied.
pub fn apply_configuration(text: &[u8]) -> Option<Map> {
    managed::read_config(text).ok()
}

/// A resource of one version.
pub struct Resource(Arc<Entry>);

impl Resource {
    /// The resource of a kind.
    pub fn of(group: &str, version: &str, kind: &str) -> Option<Self> {
        thread_local! {
            static REGISTRY: Registry = Registry::below("/registry", |_| true);
        }
        let is =
            |entry: &Arc<Entry>| (entry.facts.group, entry.facts.version, entry.facts.kind) == (group, version, kind);
        REGISTRY.with(|registry| registry.fixed_entries().iter().find(|entry| is(entry)).cloned().map(Resource))
    }

    /// What a body says.
    pub fn decode(&self, body: &[u8]) -> Option<Map> {
        codec::decode(body, Format::Json, self.0.expected(""), FieldValidation::Warn).ok().map(|decoded| decoded.0)
    }

    /// An object with its defaults.
    pub fn default(&self, object: &mut Map) {
        api::defaults::apply(object, self.0.facts.ty);
        self.0.strategy.default(object);
    }

    /// A new object as it would be stored, and how many errors there are in it.
    pub fn create(&self, object: &Map) -> (Map, usize) {
        let (entry, mut object, user) = (&self.0, object.clone(), User::anonymous());
        metadata::fill_for_create(entry, &mut object, NOW);
        metadata::drop_repeated_owners(&mut object, true);
        let context = Context { user: &user, now: NOW, labels_defaulted: false };
        entry.strategy.prepare_for_create(&context, &mut object);
        json::complete(&mut object, entry.facts.ty);
        let mut errors = metadata::validate(entry, &object);
        errors.extend(entry.strategy.validate(&object));
        declarative::merge(&mut errors, entry.facts.ty, "", &object, None);
        entry.strategy.warnings(&object, None);
        let errors = errors.iter().map(ToString::to_string).count();
        (object, errors)
    }

    /// How many errors there are in a change.
    pub fn update(&self, object: &Map, old: &Map) -> usize {
        let (entry, mut object, user) = (&self.0, object.clone(), User::anonymous());
        let context = Context { user: &user, now: NOW, labels_defaulted: false };
        metadata::keep_for_update(&mut object, old);
        entry.strategy.prepare_for_update(&context, &mut object, old);
        let mut errors = metadata::validate_update(entry, &object, old, "");
        errors.extend(entry.strategy.validate_update(&object, old));
        errors.extend(entry.strategy.validate_status_update(&object, old));
        declarative::merge(&mut errors, entry.facts.ty, "", &object, Some(old));
        entry.strategy.warnings(&object, Some(old));
        errors.iter().map(ToString::to_string).count()
    }

    /// The bytes of an object in the store; `None` for what is not stored.
    pub fn store(&self, object: &Map) -> Option<Vec<u8>> {
        self.0.storage.as_ref().map(|storage| storage.encode(&self.0.to_storage(object)))
    }

    /// The object of stored bytes.
    pub fn load(&self, bytes: &[u8]) -> Option<Map> {
        let stored = self.0.storage.as_ref()?.decode(bytes, 1).ok()?;
        Some(self.0.from_storage(&stored))
    }

    /// The table of an object.
    pub fn table(&self, object: &Map) -> Map {
        self.0.strategy.fields(object);
        let options = table::Options { include: "None".into(), headers: true };
        table::of(&self.0, std::slice::from_ref(object), Map::new(), "v1", options, NOW)
    }
}

/// DeleteOptions of a body in JSON, YAML or protobuf.
pub fn delete_options(body: &[u8]) -> [Option<Map>; 3] {
    [Format::Json, Format::Yaml, Format::Protobuf].map(|format| delete::decode_options(body, format).ok())
}

/// What a path is about: namespace, resource, name and subresource.
pub fn request(method: &Method, path: &str, query: &str) -> Option<[String; 4]> {
    let info = Info::new(method, path, query).ok()?;
    info.is_resource.then_some([info.namespace, info.resource, info.name, info.subresource])
}

/// The parameters of a query.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    Query::parse(query).pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Reads a query as the options of every verb; gives the token of a list, written again.
pub fn query_options(query: &str) -> Option<String> {
    let query = Query::parse(query);
    for kind in ["CreateOptions", "PatchOptions"] {
        for apply in [None, Some(true), Some(false)] {
            let _ = options::check_write(&query, kind, apply);
        }
    }
    let _ = (options::check_unstored(&query), options::List::of(&query, true));
    let list = options::List::of(&query, false).ok()?;
    list.token.map(|token| token.encode())
}

/// Where a token has a list go on: the revision and the key.
pub fn continue_token(text: &str) -> Option<(Option<u64>, String)> {
    options::Token::decode(text).ok().map(|token| (token.revision, token.start))
}

/// What an Accept header asks for and what a Content-Type header says, as media types.
pub fn negotiated(accept: &[u8], content_type: &[u8]) -> [Option<&'static str>; 2] {
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::ACCEPT, accept), (header::CONTENT_TYPE, content_type)] {
        headers.extend(value.try_into().ok().map(|value| (name, value)));
    }
    let _ = negotiate::routed(&headers, &negotiate::MEDIA_TYPES);
    let offer = Offer { partial: true, table: true, stream: true };
    let accepted = negotiate::accepted(&headers, &Query::default(), offer).ok();
    [accepted.map(|accepted| accepted.format), negotiate::body_format(&headers).ok()]
        .map(|format| format.map(Format::media_type))
}

/// Whether the certificates of authorities, and a chain that was signed, can be read.
pub fn certificates(pem: &[u8], encoded: &str) -> [bool; 2] {
    let config = Config { client_ca: Some(pem.to_vec()), ..Config::default() };
    [Authenticators::new(config).is_ok(), admission::certificates::chain(encoded).is_ok()]
}

/// Every authenticator that needs no other server.
pub struct Authentication {
    authenticators: Authenticators,
    key: SigningKey,
}

/// One service account, and one bootstrap token.
struct Objects;

impl Lookup for Objects {
    fn object<'a>(&'a self, resource: &'static str, _: &'a str, name: &'a str) -> BoxFuture<'a, Option<Found>> {
        let is_known = match resource {
            "secrets" => name == "bootstrap-token-foobar",
            _ => name == "known",
        };
        let found = is_known.then(|| Found {
            uid: "uid".into(),
            deletion_timestamp: None,
            raw: serde_json::json!({"type": "bootstrap.kubernetes.io/token", "data": {"token-id": "Zm9vYmFy"}}),
        });
        async move { found }.boxed()
    }
}

impl Authentication {
    /// With an authority of clients and of front proxies, and the key that signs tokens, both in PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(authority: &[u8], key: &[u8]) -> Result<Self, String> {
        let keys = public_keys_from_pem(key).map_err(|error| error.to_string())?;
        let key = SigningKey::from_pem(key).map_err(|error| error.to_string())?;
        let issuers = vec!["https://issuer".to_owned()];
        let config = Config {
            client_ca: Some(authority.to_vec()),
            request_header: Some(RequestHeaderConfig {
                client_ca: authority.to_vec(),
                ..RequestHeaderConfig::standard()
            }),
            service_account: Some(ServiceAccountConfig { keys, issuers, lookup: true }),
            audiences: vec!["api".into()],
            bootstrap_tokens: true,
            ..Config::default()
        };
        let authenticators = Authenticators::new(config).map_err(|error| error.to_string())?;
        Ok(Authentication { authenticators, key })
    }

    /// Who asks.
    pub fn identify(&self, headers: &HeaderMap, certificates: Vec<Vec<u8>>) -> Option<String> {
        let certificates = certificates.into_iter().map(Into::into).collect();
        let (peer, now) = (Peer { certificates, address: None }, NOW.parse().ok()?);
        let identity = self.authenticators.identify(&peer, headers, "/api", &Objects, now).now_or_never()?;
        let mut left = headers.clone();
        self.authenticators.strip_credentials(&mut left);
        identity.ok().map(|identity| identity.user.name)
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &serde_json::Value) -> Option<String> {
        self.key.sign(claims).ok()
    }
}

/// Who a request wants to be, by headers that are gone then.
pub fn impersonated(headers: &mut HeaderMap) -> Option<String> {
    authz::impersonation::take_wanted_user(headers).ok().flatten().map(|user| user.name)
}
