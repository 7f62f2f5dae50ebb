//! Where a request goes: scheme, host, port, path and query.
//!
//! Invariant: pure; a path is cleaned before it is joined, so it cannot climb out of what it was joined to.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What Go leaves alone in a path (net/url: shouldEscape).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Which TLS client a target is spoken to with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// With the certificate for kubelets, whose own is verified when there is a CA for it.
    Kubelet,
    /// The same, not verified.
    KubeletUnverified,
    /// Nobody's, and nothing is verified: pods have certificates of their own making.
    Anyone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) tls: Option<Identity>,
    /// Without brackets.
    pub(super) host: String,
    /// `None` for the scheme's.
    pub(super) port: Option<String>,
    /// Decoded.
    pub(super) path: String,
    /// Encoded.
    pub(super) query: String,
}

impl Target {
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// `host:port` as it is dialled.
    pub(super) fn address(&self) -> String {
        let standard = if self.tls.is_some() { "443" } else { "80" };
        join_host_port(&self.host, self.port.as_deref().filter(|port| !port.is_empty()).unwrap_or(standard))
    }

    /// `host:port` as a URL has it.
    pub(super) fn authority(&self) -> String {
        match self.port.as_deref() {
            Some(port) => join_host_port(&self.host, port),
            None if self.host.contains(':') => format!("[{}]", self.host),
            None => self.host.clone(),
        }
    }

    pub(super) fn escaped_path(&self) -> String {
        escaped_path(&self.path)
    }

    pub(super) fn path_and_query(&self) -> String {
        let path = if self.path.is_empty() { "/".to_owned() } else { self.escaped_path() };
        if self.query.is_empty() { path } else { format!("{path}?{}", self.query) }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority(), self.path_and_query())
    }
}

/// A path as Go's URL.EscapedPath has it.
pub(crate) fn escaped_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

fn join_host_port(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Parameters, encoded and sorted by name as Go's url.Values.Encode has them.
pub(crate) fn query(mut parameters: Vec<(&str, Cow<'_, str>)>) -> String {
    parameters.sort_by_key(|parameter| parameter.0);
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string().replace("%20", "+");
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// `name`, `name:port` or `scheme:name:port` (k8s.io/apimachinery/pkg/util/net/util.go@v0.37.2, SplitSchemeNamePort).
pub(super) fn split_scheme_name_port(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match *parts.as_slice() {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => return None,
    };
    (!name.is_empty() && matches!(scheme, "" | "http" | "https")).then_some((scheme, name, port))
}

/// Go's path.Clean for a path that is rooted; "" stays.
pub(super) fn clean(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The path behind a proxy subresource: decoded, cleaned, with the trailing slash of the request.
pub(super) fn subpath(rest: &str, request_path: &str) -> String {
    let rest = percent_decode_str(rest).decode_utf8_lossy();
    let slash = request_path.ends_with('/');
    let mut path = match (rest.is_empty(), slash) {
        (true, false) => return String::new(),
        _ => clean(&format!("/{rest}")),
    };
    if (slash || rest.ends_with('/')) && !path.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for (id, expect) in [
            ("web", Some(("", "web", ""))),
            ("web:80", Some(("", "web", "80"))),
            ("web:", Some(("", "web", ""))),
            ("https:web:http", Some(("https", "web", "http"))),
            (":web:80", Some(("", "web", "80"))),
            ("ftp:web:80", None),
            ("http::80", None),
            ("a:b:c:d", None),
            ("", None),
        ] {
            assert_eq!(split_scheme_name_port(id), expect, "{id}");
        }
    }

    #[test]
    fn subpaths() {
        for (rest, request, expect) in [
            ("", "/p/proxy", ""),
            ("", "/p/proxy/", "/"),
            ("a/b", "/p/proxy/a/b", "/a/b"),
            ("a/b", "/p/proxy/a/b/", "/a/b/"),
            ("a/../../b", "/p/proxy/a/../../b", "/b"),
            ("a%20b", "/p/proxy/a%20b", "/a b"),
        ] {
            assert_eq!(subpath(rest, request), expect, "{request}");
        }
    }

    #[test]
    fn urls() {
        let mut target = Target {
            tls: None,
            host: "fd00::1".into(),
            port: Some("80".into()),
            path: "/a b".into(),
            query: "x=1".into(),
        };
        assert_eq!(target.url(), "http://[fd00::1]:80/a%20b?x=1");
        (target.port, target.tls) = (None, Some(Identity::Anyone));
        assert_eq!((target.address(), target.authority()), ("[fd00::1]:443".into(), "[fd00::1]".into()));
        let parameters = vec![("command", "ls".into()), ("command", "-l a".into()), ("a", "&".into())];
        assert_eq!(query(parameters), "a=%26&command=ls&command=-l+a");
    }
}
