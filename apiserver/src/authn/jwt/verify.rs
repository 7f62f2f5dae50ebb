//! Whether a token is an issuer's, meant for us and of this time (`github.com/coreos/go-oidc/verify.go@v2.5.0`).
//!
//! Invariant: nothing of a token is believed before its signature holds. Must not know: users.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

use super::claims::{Claims, kind};
use super::keyset::KeySet;
use crate::authn::jws::Compact;
use crate::authn::text::{quote, quote_list};

/// How far clocks may differ for `nbf`.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// The one issuer that does not always call itself by its URL.
const GOOGLE: (&str, &str) = ("https://accounts.google.com", "accounts.google.com");
/// What Go prints of a time that is not there.
const NO_TIME: &str = "0001-01-01 00:00:00 +0000 UTC";

/// The issuer that a token names, which is not to be believed (oidc.go: untrustedIssuer).
pub(super) fn untrusted_issuer(token: &str) -> Result<String, String> {
    use base64::Engine as _;
    if token.trim_start().starts_with('{') {
        return Err("token is not compact JWT".into());
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts.as_slice() else { return Err("malformed token".into()) };
    let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload);
    let payload = payload.map_err(|error| format!("error decoding token: {error}"))?;
    let unreadable = |why: String| format!("while unmarshaling token: {why}");
    let claims: Map<String, Json> = serde_json::from_slice(&payload).map_err(|error| unreadable(error.to_string()))?;
    let issuer = match claims.get("iss") {
        None | Some(Json::Null) => "",
        Some(Json::String(issuer)) => issuer,
        Some(other) => {
            return Err(unreadable(format!(
                "json: cannot unmarshal {} into Go struct field .iss of type string",
                kind(other)
            )));
        }
    };
    Ok(if issuer == GOOGLE.1 { GOOGLE.0 } else { issuer }.to_owned())
}

/// Verifies the tokens of one issuer.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) issuer: String,
    pub(super) keys: Arc<KeySet>,
    pub(super) audiences: Arc<[String]>,
    pub(super) algorithms: Arc<[String]>,
}

impl Verifier {
    /// The claims of a token that holds.
    ///
    /// # Errors
    /// go-oidc's texts.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, String> {
        if token.matches('.').count() > 2 {
            return Err("oidc: malformed jwt".into());
        }
        let malformed = "oidc: malformed jwt: go-jose/go-jose: compact JWS format must have three parts";
        let compact = Compact::parse(token).ok_or(malformed)?;
        let algorithm = compact.algorithm();
        if !self.algorithms.iter().any(|known| known == algorithm) {
            let known = quote_list(&self.algorithms);
            let got = quote(algorithm);
            return Err(format!("oidc: id token signed with unsupported algorithm, expected {known} got {got}"));
        }
        let verified = self.keys.verify(&compact, now).await;
        verified.map_err(|why| format!("failed to verify signature: {why}"))?;
        let claims: Claims = serde_json::from_slice(compact.payload())
            .map_err(|error| format!("oidc: failed to unmarshal claims: {error}"))?;
        self.check(&claims, now)?;
        Ok(claims)
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let read = Standard::of(claims).map_err(|why| format!("oidc: failed to unmarshal claims: {why}"))?;
        check_sources(claims)?;
        let own = read.issuer == self.issuer || (self.issuer == GOOGLE.0 && read.issuer == GOOGLE.1);
        if !own {
            let (expected, got) = (quote(&self.issuer), quote(&read.issuer));
            return Err(format!("oidc: id token issued by a different provider, expected {expected} got {got}"));
        }
        if !self.audiences.iter().any(|audience| read.audiences.contains(audience)) {
            let got = quote_list(&read.audiences);
            if let [one] = &*self.audiences {
                return Err(format!("oidc: expected audience {} got {got}", quote(one)));
            }
            let mut sorted = self.audiences.to_vec();
            sorted.sort_unstable();
            return Err(format!("oidc: expected audience in {} got {got}", quote_list(&sorted)));
        }
        let shown = |seconds: Option<i64>| seconds.map_or(NO_TIME.to_owned(), go_time);
        if read.expiry.is_none_or(|at| at < now.as_second() || (at == now.as_second() && now.subsec_nanosecond() > 0)) {
            return Err(format!("oidc: token is expired (Token Expiry: {})", shown(read.expiry)));
        }
        let late = now.saturating_add(LEEWAY).unwrap_or(now).as_second();
        if let Some(not_before) = read.not_before.filter(|at| late < *at) {
            let (now, then) = (go_time(now.as_second()), go_time(not_before));
            return Err(format!("oidc: current time {now} before the nbf (not before) time: {then}"));
        }
        Ok(())
    }
}

/// A time in seconds as Go prints it.
fn go_time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds);
    time.map_or_else(|_| NO_TIME.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string())
}

/// Every claim that is said to be elsewhere has to say where.
fn check_sources(claims: &Claims) -> Result<(), String> {
    let names = claims.get("_claim_names").and_then(Json::as_object);
    for source in names.into_iter().flat_map(Map::values).filter_map(Json::as_str) {
        if source.is_empty() {
            return Err("oidc: failed to obtain source from claim name".into());
        }
        if claims.get("_claim_sources").and_then(|sources| sources.get(source)).is_none() {
            return Err("oidc: source does not exist".into());
        }
    }
    Ok(())
}

/// The claims that every token is judged by.
struct Standard {
    issuer: String,
    audiences: Vec<String>,
    /// Seconds since 1970.
    expiry: Option<i64>,
    not_before: Option<i64>,
}

impl Standard {
    fn of(claims: &Claims) -> Result<Self, String> {
        let wrong = |name: &str, value: &Json, ty: &str| {
            format!("json: cannot unmarshal {} into Go struct field idToken.{name} of type {ty}", kind(value))
        };
        let issuer = match claims.get("iss") {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(issuer)) => issuer.clone(),
            Some(other) => return Err(wrong("iss", other, "string")),
        };
        let audiences = match claims.get("aud") {
            None => Vec::new(),
            Some(Json::String(one)) => vec![one.clone()],
            Some(Json::Null) => vec![String::new()],
            Some(other) => texts(other).ok_or_else(|| wrong("aud", other, "[]string"))?,
        };
        let time = |name: &str| match claims.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or_else(|| wrong(name, value, "json.Number")),
        };
        Ok(Standard { issuer, audiences, expiry: time("exp")?, not_before: time("nbf")? })
    }
}

fn texts(value: &Json) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Whole seconds of a number, or of a text that is one.
fn seconds(value: &Json) -> Option<i64> {
    let float = |number: f64| number as i64;
    match value {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(float)),
        Json::String(text) => text.parse().ok().or_else(|| text.parse().ok().map(float)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::jwt::fetch::Fetcher;

    const NOW: i64 = 1_700_000_000;

    fn check(audiences: &[&str], claims: &str, expect: Result<(), &str>) {
        let fetcher = Fetcher::new(crate::authn::jwt::tests::some_ca().as_bytes()).expect("a client");
        let verifier = Verifier {
            issuer: "https://a".into(),
            keys: KeySet::new(fetcher, "https://a/keys".into(), None),
            audiences: audiences.iter().map(|text| (*text).to_owned()).collect(),
            algorithms: Arc::from(["RS256".to_owned()]),
        };
        let claims: Claims = serde_json::from_str(claims).expect("claims");
        let got = verifier.check(&claims, Timestamp::from_second(NOW).expect("a time"));
        assert_eq!(got, expect.map_err(str::to_owned), "{claims:?}");
    }

    #[tokio::test]
    async fn what_is_asked_of_claims() {
        let good = r#"{"iss":"https://a","aud":"x","exp":1700000001}"#;
        check(&["x"], good, Ok(()));
        check(&["y", "x"], r#"{"iss":"https://a","aud":["q","x"],"exp":"1700000001.5","nbf":1700000060}"#, Ok(()));
        let other = r#"oidc: id token issued by a different provider, expected "https://a" got "https://b""#;
        check(&["x"], r#"{"iss":"https://b","aud":"x","exp":1700000001}"#, Err(other));
        check(&["y"], good, Err(r#"oidc: expected audience "y" got ["x"]"#));
        check(&["z", "y"], good, Err(r#"oidc: expected audience in ["y" "z"] got ["x"]"#));
        let expired = "oidc: token is expired (Token Expiry: 2023-11-14 22:13:19 +0000 UTC)";
        check(&["x"], r#"{"iss":"https://a","aud":"x","exp":1699999999}"#, Err(expired));
        let never = "oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)";
        check(&["x"], r#"{"iss":"https://a","aud":"x"}"#, Err(never));
        let early = "oidc: current time 2023-11-14 22:13:20 +0000 UTC before the nbf (not before) time: 2023-11-14 22:14:21 +0000 UTC";
        check(&["x"], r#"{"iss":"https://a","aud":"x","exp":1800000000,"nbf":1700000061}"#, Err(early));
        let number = "oidc: failed to unmarshal claims: json: cannot unmarshal number into Go struct field idToken.iss of type string";
        check(&["x"], r#"{"iss":1}"#, Err(number));
        let source = r#"{"iss":"https://a","_claim_names":{"groups":"s"}}"#;
        check(&["x"], source, Err("oidc: source does not exist"));
    }

    #[test]
    fn issuers_that_tokens_name() {
        use base64::Engine as _;
        let check = |payload: &str, expect: Result<&str, &str>| {
            let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(payload);
            let got = untrusted_issuer(&format!("h.{payload}.s"));
            assert_eq!(got.as_deref().map_err(String::as_str), expect, "{payload}");
        };
        check(r#"{"iss":"https://a"}"#, Ok("https://a"));
        check(r#"{"iss":"accounts.google.com"}"#, Ok("https://accounts.google.com"));
        check("{}", Ok(""));
        assert_eq!(untrusted_issuer("a.b").err().as_deref(), Some("malformed token"));
        assert_eq!(untrusted_issuer("{\"a\":1}").err().as_deref(), Some("token is not compact JWT"));
    }
}
