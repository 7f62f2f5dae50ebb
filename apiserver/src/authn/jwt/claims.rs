//! From the claims of a token to a user (oidc.go@v0.37.2: AuthenticateToken and what it calls).
//!
//! Invariant: pure; the order in which things are asked, and so which error is told, is upstream's.

use std::collections::BTreeMap;

use cel::value::Value;
use serde_json::Value as Json;

use super::config::{JwtAuthenticator, Mapping};
use super::expression::{self, Expression};
use super::validate::Compiled;
use crate::authn::{CREDENTIAL_ID_KEY, User};

/// What a token says, by name.
pub(super) type Claims = serde_json::Map<String, Json>;

/// What Go calls a value of JSON.
pub(super) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn mismatch(value: &Json, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", kind(value))
}

fn text(claims: &Claims, name: &str) -> Result<String, String> {
    match claims.get(name).ok_or("claim not present")? {
        Json::String(text) => Ok(text.clone()),
        Json::Null => Ok(String::new()),
        other => Err(mismatch(other, "string")),
    }
}

/// A text stands for a list of one.
fn text_or_list(value: &Json) -> Result<Vec<String>, String> {
    let list = |list: &Vec<Json>| {
        let text = |text: &Json| match text {
            Json::Null => Some(String::new()),
            text => text.as_str().map(str::to_owned),
        };
        list.iter().map(text).collect::<Option<Vec<String>>>()
    };
    match value {
        Json::Null => Ok(Vec::new()),
        Json::String(text) => Ok(vec![text.clone()]),
        Json::Array(all) => list(all).ok_or_else(|| mismatch(value, "string")),
        other => Err(mismatch(other, "string")),
    }
}

/// How the claims of one issuer's tokens make users.
pub(super) struct Mapper {
    config: JwtAuthenticator,
    compiled: Compiled,
}

impl Mapper {
    pub(super) fn new(config: JwtAuthenticator, compiled: Compiled) -> Self {
        Mapper { config, compiled }
    }

    /// The claim that tells groups, if one does.
    pub(super) fn groups_claim(&self) -> &str {
        &self.config.groups.claim
    }

    /// The user of a token that was verified.
    ///
    /// # Errors
    /// Upstream's texts: a claim that is missing or of another type, a rule that does not hold.
    pub(super) fn user(&self, claims: &Claims) -> Result<User, String> {
        let seen = self.uses_expressions().then(|| expression::claims(claims));
        let seen = seen.unwrap_or(Value::Null);
        let user = User {
            name: self.name(claims, &seen)?,
            groups: self.groups(claims, &seen)?,
            uid: self.uid(claims, &seen)?,
            extra: self.extra(claims, &seen)?,
        };
        self.check_required(claims)?;
        let failed = |what: &str, why: String| format!("oidc: error evaluating {what}: {why}");
        check_rules(&self.compiled.claim_rules, &seen).map_err(|why| failed("claim validation expression", why))?;
        if !self.compiled.user_rules.is_empty() {
            check_rules(&self.compiled.user_rules, &expression::user(&user))
                .map_err(|why| failed("user info validation rule", why))?;
        }
        Ok(user)
    }

    fn uses_expressions(&self) -> bool {
        let compiled = &self.compiled;
        let mapped = [&compiled.username, &compiled.groups, &compiled.uid];
        mapped.iter().any(|one| one.is_some()) || !compiled.extra.is_empty() || !compiled.claim_rules.is_empty()
    }

    fn name(&self, claims: &Claims, seen: &Value) -> Result<String, String> {
        if let Some(expression) = &self.compiled.username {
            let name = told(expression, seen, "username")?;
            return if name.is_empty() {
                Err("oidc: empty username via CEL expression is not allowed".into())
            } else {
                Ok(name)
            };
        }
        let Mapping { claim, prefix, .. } = &self.config.username;
        let name = text(claims, claim)
            .map_err(|why| format!("oidc: parse username claims {}: {why}", crate::authn::text::quote(claim)))?;
        if claim == "email" {
            check_email(claims)?;
        }
        Ok(format!("{}{name}", prefix.as_deref().unwrap_or_default()))
    }

    fn groups(&self, claims: &Claims, seen: &Value) -> Result<Vec<String>, String> {
        let Mapping { claim, prefix, .. } = &self.config.groups;
        if let Some(value) = claims.get(claim).filter(|_| !claim.is_empty()) {
            let groups = text_or_list(value)
                .map_err(|why| format!("oidc: parse groups claim {}: {why}", crate::authn::text::quote(claim)))?;
            let prefix = prefix.as_deref().unwrap_or_default();
            return Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect());
        }
        let Some(expression) = &self.compiled.groups else { return Ok(Vec::new()) };
        let groups = expression.eval(seen).and_then(|value| expression::texts(&value));
        groups.map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))
    }

    fn uid(&self, claims: &Claims, seen: &Value) -> Result<String, String> {
        let claim = &self.config.uid.claim;
        if !claim.is_empty() {
            let quoted = crate::authn::text::quote(claim);
            return text(claims, claim).map_err(|why| format!("oidc: parse uid claim {quoted}: {why}"));
        }
        self.compiled.uid.as_ref().map_or(Ok(String::new()), |expression| told(expression, seen, "uid"))
    }

    fn extra(&self, claims: &Claims, seen: &Value) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut extra = BTreeMap::new();
        if let Some(id) = claims.get("jti").and_then(Json::as_str).filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL_ID_KEY.to_owned(), vec![format!("JTI={id}")]);
        }
        let evaluated: Result<Vec<Value>, String> = self.compiled.extra.iter().map(|(_, one)| one.eval(seen)).collect();
        for ((key, expression), value) in self.compiled.extra.iter().zip(evaluated?) {
            let texts = expression::texts(&value)
                .map_err(|why| format!("oidc: error evaluating extra claim expression: {}: {why}", expression.text))?;
            if !texts.is_empty() {
                extra.insert(key.clone(), texts);
            }
        }
        Ok(extra)
    }

    fn check_required(&self, claims: &Claims) -> Result<(), String> {
        for rule in self.config.claim_rules.iter().filter(|rule| !rule.claim.is_empty()) {
            let (claim, want) = (&rule.claim, &rule.required_value);
            if !claims.contains_key(claim) {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let got = text(claims, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
            if got != *want {
                return Err(format!("oidc: required claim {claim} value does not match. Got = {got}, want = {want}"));
            }
        }
        Ok(())
    }
}

/// The text that an expression has to give.
fn told(expression: &Expression, seen: &Value, what: &str) -> Result<String, String> {
    let failed = |why: String| format!("oidc: error evaluating {what} claim expression: {why}");
    let value = expression.eval(seen).map_err(failed)?;
    match &value {
        Value::String(text) => Ok(text.to_string()),
        _ => Err(failed(format!("{what} claim expression must return a string"))),
    }
}

/// An address that its issuer says is not verified is nobody's.
fn check_email(claims: &Claims) -> Result<(), String> {
    match claims.get("email_verified") {
        None | Some(Json::Bool(true)) => Ok(()),
        Some(Json::Bool(false) | Json::Null) => Err("oidc: email not verified".into()),
        Some(other) => Err(format!("oidc: parse 'email_verified' claim: {}", mismatch(other, "bool"))),
    }
}

/// All rules are evaluated before any is judged.
fn check_rules(rules: &[(Expression, String)], seen: &Value) -> Result<(), String> {
    let evaluated: Result<Vec<Value>, String> = rules.iter().map(|(rule, _)| rule.eval(seen)).collect();
    for ((rule, message), value) in rules.iter().zip(evaluated?) {
        match value.as_bool() {
            Some(true) => {}
            Some(false) => return Err(format!("validation expression '{}' failed: {message}", rule.text)),
            None => return Err("validation expression must return a boolean".into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api::field::Path;

    use super::*;
    use crate::authn::jwt::config::AuthenticationConfiguration;
    use crate::authn::jwt::validate;

    fn mapper(mappings: &str) -> Mapper {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: 'https://a', audiences: [x]}}\n{mappings}"
        );
        let config = AuthenticationConfiguration::decode(text.as_bytes()).expect("read").jwt.remove(0);
        let (compiled, errors) = validate::authenticator(&config, &Path::default(), &[]);
        assert!(errors.is_empty(), "{errors:?}");
        Mapper::new(config, compiled)
    }

    fn check(mappings: &str, claims: &str, expect: Result<&str, &str>) {
        let claims: Claims = serde_json::from_str(claims).expect("claims");
        let got = mapper(mappings).user(&claims);
        let got = got.map(|user| format!("{} {} {:?} {:?}", user.name, user.uid, user.groups, user.extra));
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{mappings} {claims:?}");
    }

    #[test]
    fn plain_claims() {
        let sub = "  claimMappings: {username: {claim: sub, prefix: 'p:'}, groups: {claim: g, prefix: 'g:'}, uid: {claim: id}}\n";
        check(sub, r#"{"sub":"a","g":["x","y"],"id":"1"}"#, Ok(r#"p:a 1 ["g:x", "g:y"] {}"#));
        let id = r#"p:a 1 ["g:x"] {"authentication.kubernetes.io/credential-id": ["JTI=j"]}"#;
        check(sub, r#"{"sub":"a","g":"x","id":"1","jti":"j"}"#, Ok(id));
        check(sub, r#"{"g":"x","id":"1"}"#, Err("oidc: parse username claims \"sub\": claim not present"));
        let number = "oidc: parse groups claim \"g\": json: cannot unmarshal number into Go value of type string";
        check(sub, r#"{"sub":"a","g":1,"id":"1"}"#, Err(number));
        check(sub, r#"{"sub":"a"}"#, Err("oidc: parse uid claim \"id\": claim not present"));
    }

    #[test]
    fn addresses_are_verified() {
        let email = "  claimMappings: {username: {claim: email, prefix: ''}}\n";
        check(email, r#"{"email":"a@b"}"#, Ok("a@b  [] {}"));
        check(email, r#"{"email":"a@b","email_verified":true}"#, Ok("a@b  [] {}"));
        check(email, r#"{"email":"a@b","email_verified":false}"#, Err("oidc: email not verified"));
        let text = "oidc: parse 'email_verified' claim: json: cannot unmarshal string into Go value of type bool";
        check(email, r#"{"email":"a@b","email_verified":"true"}"#, Err(text));
    }

    #[test]
    fn expressions_and_rules() {
        let mappings = "  claimMappings:
    username: {expression: \"'u:' + claims.sub\"}
    groups: {expression: 'claims.roles.split(\",\")'}
    uid: {expression: claims.?id.orValue('')}
    extra: [{key: example.org/t, valueExpression: claims.tenant}, {key: example.org/n, valueExpression: \"''\"}]
  claimValidationRules:
  - {claim: hd, requiredValue: d}
  - {expression: 'claims.exp - claims.nbf <= 100.0', message: too long}
  userValidationRules: [{expression: \"!user.username.startsWith('u:system:')\", message: reserved}]
";
        let claims = |sub: &str, hd: &str, exp: i64| {
            format!(r#"{{"sub":"{sub}","roles":"a,b","tenant":["t"],"hd":"{hd}","exp":{exp},"nbf":1000}}"#)
        };
        let good = r#"u:jane  ["a", "b"] {"example.org/t": ["t"]}"#;
        check(mappings, &claims("jane", "d", 1100), Ok(good));
        let other = "oidc: required claim hd value does not match. Got = e, want = d";
        check(mappings, &claims("jane", "e", 1100), Err(other));
        let long = "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 100.0' failed: too long";
        check(mappings, &claims("jane", "d", 1101), Err(long));
        let reserved = "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('u:system:')' failed: reserved";
        check(mappings, &claims("system:x", "d", 1100), Err(reserved));
        let gone = "oidc: error evaluating username claim expression: expression ''u:' + claims.sub' resulted in error: no such key: sub";
        check(mappings, "{}", Err(gone));
    }

    #[test]
    fn names_have_to_be_names() {
        let by = |expression: &str| format!("  claimMappings: {{username: {{expression: {expression}}}}}\n");
        let empty = "oidc: empty username via CEL expression is not allowed";
        check(&by("claims.sub"), r#"{"sub":""}"#, Err(empty));
        let text = "oidc: error evaluating username claim expression: username claim expression must return a string";
        check(&by("claims.sub"), r#"{"sub":1}"#, Err(text));
    }
}
