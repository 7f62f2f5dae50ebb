//! Bootstrap tokens: `ID.SECRET`, checked against the secret `bootstrap-token-ID` in `kube-system`.
//!
//! Upstream: `plugin/pkg/auth/authenticator/token/bootstrap/bootstrap.go@v1.37.2`,
//! `k8s.io/cluster-bootstrap/util/secrets/secrets.go@v0.37.2`.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{Found, Lookup, User};

const NAMESPACE: &str = "kube-system";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
const DEFAULT_GROUP: &str = "system:bootstrappers";
const GROUP_PREFIX: &str = "system:bootstrappers:";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
/// The longest group name after its prefix.
const MAX_GROUP_LENGTH: usize = 256;

/// The bootstrap token authenticator. A token that does not match is ignored, never an error.
pub(super) struct BootstrapTokens;

impl BootstrapTokens {
    pub(super) async fn authenticate(&self, token: &str, lookup: &dyn Lookup, now: jiff::Timestamp) -> Option<User> {
        let (id, secret) = parse(token)?;
        let name = format!("bootstrap-token-{id}");
        let found = lookup.object("secrets", NAMESPACE, &name).await?;
        match check(&found, id, secret, now) {
            Ok(groups) => Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() }),
            Err(reason) => {
                tracing::info!("Bootstrap secret {NAMESPACE}/{name} matching bearer token {reason}");
                None
            }
        }
    }
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_digit() || b.is_ascii_lowercase()
}

fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let well_formed = |s: &str, length| s.len() == length && s.bytes().all(is_token_byte);
    (well_formed(id, ID_LENGTH) && well_formed(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// The groups of the token, or why it does not count.
fn check(secret: &Found, id: &str, token_secret: &str, now: jiff::Timestamp) -> Result<Vec<String>, String> {
    let invalid = |key: &str| format!("has invalid value for key {key}.");
    if secret.deletion_timestamp.is_some() {
        return Err("is deleted and awaiting removal".into());
    }
    if secret.raw["type"] != SECRET_TYPE || !secret.raw["data"].is_object() {
        return Err(format!("has invalid type, expected {SECRET_TYPE}."));
    }
    let stored = data(&secret.raw, "token-secret");
    if verify_slices_are_equal(stored.as_bytes(), token_secret.as_bytes()).is_err() {
        return Err(invalid("token-secret"));
    }
    if data(&secret.raw, "token-id") != id {
        return Err(invalid("token-id"));
    }
    let expiration = data(&secret.raw, "expiration");
    if !expiration.is_empty() && expiration.parse::<jiff::Timestamp>().map_or(true, |at| at <= now) {
        return Err(format!("has expired: {expiration}"));
    }
    if data(&secret.raw, "usage-bootstrap-authentication") != "true" {
        return Err("not marked usage-bootstrap-authentication=true.".into());
    }
    groups(&data(&secret.raw, "auth-extra-groups")).ok_or_else(|| invalid("auth-extra-groups"))
}

fn data(secret: &Value, key: &str) -> String {
    let decoded = secret["data"][key].as_str().and_then(|v| BASE64_STANDARD.decode(v).ok());
    decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn groups(extra: &str) -> Option<Vec<String>> {
    let mut groups = BTreeSet::from([DEFAULT_GROUP.to_owned()]);
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        if !is_group(group) {
            return None;
        }
        groups.insert(group.to_owned());
    }
    Some(groups.into_iter().collect())
}

fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix(GROUP_PREFIX) else { return false };
    (1..=MAX_GROUP_LENGTH).contains(&rest.len())
        && rest.bytes().all(|b| is_token_byte(b) || b == b':' || b == b'-')
        && rest.bytes().next_back().is_some_and(is_token_byte)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "foobar";
    const SECRET: &str = "circumnavigation";

    fn found(change: impl FnOnce(&mut Value)) -> Found {
        let encode = |s: &str| BASE64_STANDARD.encode(s);
        let mut raw = json!({"type": SECRET_TYPE, "data": {
            "token-id": encode(ID), "token-secret": encode(SECRET), "usage-bootstrap-authentication": encode("true"),
        }});
        change(&mut raw);
        Found { raw, ..Found::default() }
    }

    fn set<'a>(key: &'a str, value: &'a str) -> impl FnOnce(&mut Value) + 'a {
        move |raw| raw["data"][key] = BASE64_STANDARD.encode(value).into()
    }

    #[test]
    fn secrets_are_checked() {
        let now = "2024-01-01T00:00:00Z".parse().unwrap();
        let ok = |found: Found| check(&found, ID, SECRET, now);
        assert_eq!(ok(found(|_| {})), Ok(vec![DEFAULT_GROUP.into()]));
        assert_eq!(ok(found(set("expiration", "2024-01-01T00:00:01Z"))), Ok(vec![DEFAULT_GROUP.into()]));
        let groups = "system:bootstrappers:foo,system:bootstrappers:bar";
        let want = ["system:bootstrappers", "system:bootstrappers:bar", "system:bootstrappers:foo"];
        assert_eq!(ok(found(set("auth-extra-groups", groups))), Ok(want.map(String::from).to_vec()));
        let refused = [
            ("wrong secret", found(set("token-secret", "mismatched000000"))),
            ("wrong id", found(set("token-id", "barfoo"))),
            ("expired", found(set("expiration", "2024-01-01T00:00:00Z"))),
            ("unreadable expiration", found(set("expiration", "soon"))),
            ("not for authentication", found(set("usage-bootstrap-authentication", "yes"))),
            ("foreign group", found(set("auth-extra-groups", "system:bootstrappers:foo,invalid"))),
            ("group ends in a dash", found(set("auth-extra-groups", "system:bootstrappers:foo-"))),
            ("type", found(|raw| raw["type"] = "Opaque".into())),
            ("no data", found(|raw| raw["data"] = Value::Null)),
            ("deleting", Found { deletion_timestamp: Some(now), ..found(|_| {}) }),
        ];
        for (name, found) in refused {
            assert!(ok(found).is_err(), "{name}");
        }
    }

    #[test]
    fn tokens_are_parsed_strictly() {
        assert_eq!(parse("foobar.circumnavigation"), Some((ID, SECRET)));
        for token in ["", ".", "foobar", "foobar.short", "Foobar.circumnavigation", "fooba.circumnavigation1", "a.b.c"]
        {
            assert_eq!(parse(token), None, "{token}");
        }
    }
}
