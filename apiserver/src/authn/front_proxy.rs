//! The front proxy: an aggregator authenticates itself with a client certificate of its own CA and names the user in
//! request headers.
//!
//! Invariant: headers count only from a peer whose certificate the request-header CA signed (and whose common name is
//! allowed). Non-goal: reading the extension-apiserver-authentication ConfigMap.
//!
//! Upstream: `k8s.io/apiserver/pkg/authentication/request/headerrequest/requestheader.go@v0.37.2`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::x509::Verifier;
use super::{ConfigError, Identity, Outcome, Peer, User};

/// The `--requestheader-*` flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHeaderConfig {
    /// `--requestheader-client-ca-file`, as PEM.
    pub(crate) client_ca: Vec<u8>,
    /// `--requestheader-allowed-names`; empty allows every certificate of the CA.
    pub(crate) allowed_names: Vec<String>,
    pub(crate) username_headers: Vec<String>,
    pub(crate) uid_headers: Vec<String>,
    pub(crate) group_headers: Vec<String>,
    pub(crate) extra_header_prefixes: Vec<String>,
}

impl RequestHeaderConfig {
    /// The header names that are stripped from every request, configured or not.
    pub(crate) fn standard() -> Self {
        RequestHeaderConfig {
            username_headers: vec!["X-Remote-User".into()],
            uid_headers: vec!["X-Remote-Uid".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_header_prefixes: vec!["X-Remote-Extra-".into()],
            ..RequestHeaderConfig::default()
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.username_headers.iter().chain(&self.uid_headers).chain(&self.group_headers)
    }
}

/// The front-proxy authenticator.
pub(super) struct FrontProxy {
    config: RequestHeaderConfig,
    verifier: Verifier,
}

impl FrontProxy {
    pub(super) fn new(mut config: RequestHeaderConfig) -> Result<Self, ConfigError> {
        let lists = [
            &mut config.username_headers,
            &mut config.uid_headers,
            &mut config.group_headers,
            &mut config.extra_header_prefixes,
        ];
        for name in lists.into_iter().flatten() {
            if name.trim().is_empty() {
                return Err(ConfigError::EmptyHeader(name.clone()));
            }
            *name = name.trim().to_owned();
        }
        let verifier = Verifier::new(&config.client_ca)?;
        Ok(FrontProxy { config, verifier })
    }

    pub(super) fn config(&self) -> &RequestHeaderConfig {
        &self.config
    }

    pub(super) fn authenticate(&self, peer: &Peer, headers: &HeaderMap, now: jiff::Timestamp) -> Outcome {
        if peer.certificates.is_empty() {
            return Ok(None);
        }
        let verified = self.verifier.verify(peer, now);
        let subject = verified.as_ref().as_ref().map_err(|e| e.bare.clone())?;
        let (allowed, name) = (&self.config.allowed_names, &subject.common_name);
        if !allowed.is_empty() && !allowed.contains(name) {
            return Err(format!("x509: subject with cn={name} is not in the allowed list"));
        }
        Ok(user_from_headers(&self.config, headers).map(Identity::of))
    }
}

fn user_from_headers(config: &RequestHeaderConfig, headers: &HeaderMap) -> Option<User> {
    Some(User {
        name: first(headers, &config.username_headers)?,
        uid: first(headers, &config.uid_headers).unwrap_or_default(),
        groups: config.group_headers.iter().flat_map(|name| values(headers, name)).filter(|v| !v.is_empty()).collect(),
        extra: extra(headers, &config.extra_header_prefixes),
    })
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let name = HeaderName::try_from(name.as_bytes()).ok();
    let values = name.into_iter().flat_map(|name| headers.get_all(name).iter());
    values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
}

/// The first header whose first value is not empty.
fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().filter_map(|name| values(headers, name).next()).find(|value| !value.is_empty())
}

/// The part of a header name after the prefix, in any case; header names are lower case already.
fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let head = name.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &name[prefix.len()..])
}

fn extra(headers: &HeaderMap, prefixes: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in prefixes {
        for name in headers.keys() {
            let Some(key) = strip_prefix(name.as_str(), prefix) else { continue };
            extra.entry(unescape_extra_key(key)).or_default().extend(values(headers, name.as_str()));
        }
    }
    extra
}

/// Decodes a percent-encoded extra key; a malformed one is kept as it is, so that nothing is lost.
pub(crate) fn unescape_extra_key(key: &str) -> String {
    let mut rest = key.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return key.to_owned(),
        }
    }
    percent_decode_str(key).decode_utf8_lossy().into_owned()
}

/// Removes the headers of the configuration.
pub(super) fn strip(config: &RequestHeaderConfig, headers: &mut HeaderMap) {
    for name in config.names() {
        headers.remove(name.as_str());
    }
    let matches =
        |name: &&HeaderName| config.extra_header_prefixes.iter().any(|p| strip_prefix(name.as_str(), p).is_some());
    let doomed: Vec<HeaderName> = headers.keys().filter(matches).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn users_come_from_headers() {
        let mut config = RequestHeaderConfig::standard();
        config.group_headers.push("X-Group-2".into());
        config.username_headers.insert(0, "X-First".into());
        assert_eq!(user_from_headers(&config, &headers(&[("x-remote-group", "a")])), None, "a group is no user");
        let user = user_from_headers(
            &config,
            &headers(&[
                ("x-first", ""),
                ("x-remote-user", "Bob"),
                ("x-remote-user", "ignored"),
                ("x-remote-uid", "u1"),
                ("x-remote-group", "one"),
                ("x-remote-group", "two"),
                ("x-remote-group", ""),
                ("x-group-2", "three"),
                ("x-remote-extra-example.com%2fsome-key", "v1"),
                ("x-remote-extra-example.com%2fsome-key", "v2"),
                ("x-remote-extra-bad%zz", "v"),
            ]),
        );
        let user = user.unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("Bob", "u1"));
        assert_eq!(user.groups, ["one", "two", "three"]);
        let extra = |k: &str, v: &[&str]| (k.to_owned(), v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(user.extra, BTreeMap::from([extra("example.com/some-key", &["v1", "v2"]), extra("bad%zz", &["v"])]));
    }

    #[test]
    fn strips_what_it_reads() {
        let mut all = headers(&[
            ("x-remote-user", "a"),
            ("x-remote-group", "a"),
            ("x-remote-uid", "a"),
            ("x-remote-extra-foo", "a"),
            ("accept", "a"),
        ]);
        strip(&RequestHeaderConfig::standard(), &mut all);
        assert_eq!(all.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
