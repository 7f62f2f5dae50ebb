//! bootstrap-signer-controller: the ConfigMap kube-public/cluster-info carries a signature by each bootstrap token
//! (pkg/controller/bootstrap/bootstrapsigner.go@v1.37.2, k8s.io/cluster-bootstrap/token/jws@v0.37.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::Sha256;

use super::{ID_LENGTH, NAME_PREFIX, data, is_token, left, tokens};
use crate::Context;
use crate::error::{Result, is_conflict, is_not_found};

const NAME: &str = "bootstrap-signer-controller";
const ACCOUNT: &str = "bootstrap-signer";
const NAMESPACE: &str = "kube-public";
const CONFIG_MAP: &str = "cluster-info";
/// What is signed.
const CONTENT: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";
const WORKERS: usize = 1;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let secrets = tokens(context);
    let maps = context.informers.with_fields::<ConfigMap>(&format!("metadata.name={CONFIG_MAP}"));
    let to = queue.clone();
    maps.on_change(move |_, new| {
        let ours = new.is_some_and(|map| map.metadata.namespace.as_deref() == Some(NAMESPACE));
        if ours {
            to.add(Key::new(NAMESPACE, CONFIG_MAP));
        }
    });
    let to = queue.clone();
    secrets.on_change(move |old, new| {
        if [old, new].into_iter().flatten().any(|secret| is_token(secret)) {
            to.add(Key::new(NAMESPACE, CONFIG_MAP));
        }
    });
    let client = context.client(ACCOUNT);
    context.controller(NAME, queue, WORKERS, (maps, secrets), move |key, (maps, secrets)| {
        let client = client.clone();
        async move { sync(&client, &key, &maps, &secrets).await.map(|()| None) }
    });
}

/// Id and secret of a token that may sign.
fn signer(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let named = secret.metadata.name.as_deref()?.strip_prefix(NAME_PREFIX)?;
    let (id, key) = (data(secret, "token-id"), data(secret, "token-secret"));
    let valid =
        named.len() == ID_LENGTH && named.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let alive = left(secret, now).is_none_or(|left| !left.is_zero());
    let may = data(secret, "usage-bootstrap-signing") == "true";
    (is_token(secret) && valid && id == named && !key.is_empty() && alive && may).then_some((id, key))
}

/// A JWS by HS256 without its content.
fn signature(content: &str, id: &str, key: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let mut mac = <Hmac<Sha256>>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The map's data with the signatures of these tokens; `None` when it has them.
fn signed(map: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> Option<BTreeMap<String, String>> {
    let old = map.data.as_ref()?;
    let content = old.get(CONTENT)?;
    let mut new = old.clone();
    new.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    for (id, key) in tokens.iter().filter_map(|secret| signer(secret, now)) {
        new.insert(format!("{SIGNATURE_PREFIX}{id}"), signature(content, id, key));
    }
    (new != *old).then_some(new)
}

async fn sync(client: &Client, key: &Key, maps: &Cache<ConfigMap>, secrets: &Cache<Secret>) -> Result<()> {
    let Some(map) = maps.by_key(key) else { return Ok(()) };
    let Some(data) = signed(&map, &secrets.list(), Timestamp::now()) else { return Ok(()) };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &key.namespace);
    let changed = ConfigMap { data: Some(data), ..(*map).clone() };
    match api.replace(&key.name, &PostParams::default(), &changed).await {
        // A newer one brings the key back.
        Err(error) if !is_conflict(&error) && !is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::token;
    use super::*;

    /// As k8s.io/cluster-bootstrap/token/jws@v0.37.2 signs it.
    #[test]
    fn a_known_signature() {
        assert_eq!(
            signature(
                "Hello from the other side. I must have called a thousand times.",
                "joshua",
                "my voice is my passcode"
            ),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn only_valid_tokens_sign() {
        let now = "2026-01-01T00:00:00Z".parse().expect("time");
        let good = [("token-id", "abcdef"), ("token-secret", "s"), ("usage-bootstrap-signing", "true")];
        let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
        for (name, pairs, expected) in [
            ("bootstrap-token-abcdef", with(&[]), true),
            ("bootstrap-token-abcdeg", with(&[]), false),
            ("bootstrap-token-ABCDEF", with(&[("token-id", "ABCDEF")]), false),
            ("bootstrap-token-abcdef", with(&[("usage-bootstrap-signing", "false")]), false),
            ("bootstrap-token-abcdef", with(&[("token-secret", "")]), false),
            ("bootstrap-token-abcdef", with(&[("expiration", "2025-01-01T00:00:00Z")]), false),
            ("bootstrap-token-abcdef", with(&[("expiration", "2027-01-01T00:00:00Z")]), true),
        ] {
            assert_eq!(signer(&token(name, &pairs), now).is_some(), expected, "{name} {pairs:?}");
        }
    }

    #[test]
    fn signatures_follow_the_tokens() {
        let now = Timestamp::UNIX_EPOCH;
        let good = [("token-id", "abcdef"), ("token-secret", "s"), ("usage-bootstrap-signing", "true")];
        let tokens = [Arc::new(token("bootstrap-token-abcdef", &good))];
        let data = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
        let mut map = ConfigMap { data: Some(data(&["kubeconfig", "jws-kubeconfig-gone00"])), ..ConfigMap::default() };
        let new = signed(&map, &tokens, now).expect("changed");
        assert_eq!(new.keys().map(String::as_str).collect::<Vec<_>>(), ["jws-kubeconfig-abcdef", "kubeconfig"]);
        map.data = Some(new);
        assert_eq!(signed(&map, &tokens, now), None);
        map.data = Some(data(&["other"]));
        assert_eq!(signed(&map, &tokens, now), None);
    }
}
