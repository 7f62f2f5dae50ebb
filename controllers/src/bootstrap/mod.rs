//! token-cleaner-controller and bootstrap-signer-controller: bootstrap tokens go when they expire, and sign what a new
//! machine reads before it trusts anybody (pkg/controller/bootstrap@v1.37.2).
//!
//! Upstream starts the two only when `--controllers` names them, as kubeadm's clusters do.

mod clean;
mod sign;

pub(crate) use clean::start as start_cleaner;
pub(crate) use sign::start as start_signer;

use std::time::Duration;

use client::informer::Cache;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

use crate::Context;

const NAMESPACE: &str = "kube-system";
const KIND: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";
/// Characters of a token's id.
const ID_LENGTH: usize = 6;

/// The cluster's bootstrap tokens.
fn tokens(context: &Context) -> Cache<Secret> {
    context.informers.with_fields(&format!("type={KIND}"))
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(KIND) && secret.metadata.namespace.as_deref() == Some(NAMESPACE)
}

fn data<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or("")
}

/// How long the token is still valid: zero when it has expired or says nothing readable, `None` for ever.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let text = Some(data(secret, "expiration")).filter(|text| !text.is_empty())?;
    let until: Option<Timestamp> = text.parse().ok();
    Some(until.map_or(Duration::ZERO, |until| Duration::try_from(until.duration_since(now)).unwrap_or_default()))
}

#[cfg(test)]
fn token(name: &str, pairs: &[(&str, &str)]) -> Secret {
    let data = pairs.iter().map(|(key, value)| ((*key).into(), k8s_openapi::ByteString(value.as_bytes().to_vec())));
    let mut secret = Secret { type_: Some(KIND.into()), data: Some(data.collect()), ..Secret::default() };
    secret.metadata.namespace = Some(NAMESPACE.into());
    secret.metadata.name = Some(name.into());
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire() {
        let now = "2026-01-01T00:00:00Z".parse().expect("time");
        for (expiration, expected) in [
            ("", None),
            ("2026-01-01T00:01:00Z", Some(60)),
            ("2026-01-01T02:01:00+02:00", Some(60)),
            ("2025-12-31T23:59:59Z", Some(0)),
            ("soon", Some(0)),
        ] {
            let secret = token("bootstrap-token-abcdef", &[("expiration", expiration)]);
            assert_eq!(left(&secret, now).map(|left| left.as_secs()), expected, "{expiration}");
        }
    }
}
