//! A front proxy proves who it is by a certificate and names the user in headers
//! (k8s.io/apiserver/pkg/authentication/request/headerrequest/requestheader.go@v0.37.2).
//!
//! Invariant: headers count only from a peer whose certificate the authority of front proxies signed.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::authn::{User, subject};
use crate::listen::Peer;
use crate::trust::Authority;

/// The names of the headers, and of those who may send them (`--requestheader-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Everybody whom the authority signed when empty.
    pub allowed_names: Vec<String>,
    pub username: Vec<String>,
    pub uid: Vec<String>,
    pub group: Vec<String>,
    pub extra_prefix: Vec<String>,
}

impl Default for Headers {
    fn default() -> Self {
        Headers {
            allowed_names: vec![],
            username: vec!["x-remote-user".into()],
            uid: vec![],
            group: vec!["x-remote-group".into()],
            extra_prefix: vec!["x-remote-extra-".into()],
        }
    }
}

impl Headers {
    /// As the cluster publishes them: lists in JSON.
    pub(crate) fn of_config_map(data: &BTreeMap<String, String>) -> Self {
        let list = |key: &str| {
            let text = data.get(key).map_or("[]", String::as_str);
            serde_json::from_str::<Vec<String>>(text).unwrap_or_default()
        };
        Headers {
            allowed_names: list("requestheader-allowed-names"),
            username: list("requestheader-username-headers"),
            uid: list("requestheader-uid-headers"),
            group: list("requestheader-group-headers"),
            extra_prefix: list("requestheader-extra-headers-prefix"),
        }
    }

    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[String]| {
            names.iter().filter_map(|name| values(headers, name).next()).find(|value| !value.is_empty())
        };
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefix {
            for name in headers.keys() {
                let (name, length) = (name.as_str(), prefix.len());
                if name.get(..length).is_some_and(|head| head.eq_ignore_ascii_case(prefix)) {
                    let key = percent_decode_str(&name[length..]).decode_utf8_lossy().into_owned();
                    extra.entry(key).or_default().extend(values(headers, name));
                }
            }
        }
        let groups = self.group.iter().flat_map(|name| values(headers, name)).filter(|group| !group.is_empty());
        Some(User {
            name: first(&self.username)?,
            uid: first(&self.uid).unwrap_or_default(),
            groups: groups.collect(),
            extra,
        })
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let name = HeaderName::try_from(name.as_bytes()).ok();
    let values = name.into_iter().flat_map(|name| headers.get_all(name).iter());
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The front proxies of one authority.
#[derive(Clone)]
pub(crate) struct FrontProxy {
    pub(crate) authority: Authority,
    pub(crate) headers: Headers,
}

impl FrontProxy {
    /// The user that the headers name; `None` when they name none or nobody has shown a certificate.
    pub(crate) fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Option<User>, String> {
        let Some((first, rest)) = peer.split_first() else { return Ok(None) };
        self.authority.verify(first, rest)?;
        let name = subject(first).map(|user| user.name).unwrap_or_default();
        let allowed = &self.headers.allowed_names;
        if !allowed.is_empty() && !allowed.contains(&name) {
            return Err(format!("x509: subject with cn={name} is not in the allowed list"));
        }
        Ok(self.headers.user(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_headers() {
        let data = [
            ("requestheader-username-headers", r#"["X-Remote-User","X-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
            ("requestheader-uid-headers", "not a list"),
        ];
        let config = Headers::of_config_map(&data.map(|(key, value)| (key.into(), value.into())).into());
        let mut headers = HeaderMap::new();
        assert_eq!(config.user(&headers), None);
        for (name, value) in [
            ("x-remote-user", ""),
            ("x-user", "u"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("x-remote-uid", "1"),
        ] {
            headers.append(name, value.parse().expect("a value"));
        }
        let extra = BTreeMap::from([("acme.com/project".to_owned(), vec!["p".to_owned()])]);
        let user = User { name: "u".into(), uid: String::new(), groups: vec!["a".into(), "b".into()], extra };
        assert_eq!(config.user(&headers), Some(user));
    }
}
