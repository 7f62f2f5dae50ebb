//! URLs as Go reads them.
//!
//! Invariant: what is accepted, the parts and the error texts are those of Go 1.26's `net/url`.

use crate::field::go_quote;
use crate::gonet;

/// Most parameters of a query.
const MAX_PARAMETERS: usize = 10_000;

/// A URL in its parts.
#[derive(Debug, Clone, Default)]
pub struct Url {
    /// In small letters.
    pub scheme: String,
    /// What follows a scheme without a slash.
    pub opaque: String,
    /// As it is written before the `@`.
    pub user: Option<String>,
    /// With the port, unescaped.
    pub host: Vec<u8>,
    no_host: bool,
    /// Unescaped.
    pub path: Vec<u8>,
    /// As it was given.
    pub raw_path: String,
    /// Without the question mark.
    pub query: String,
    force_query: bool,
    /// As it is written.
    pub fragment: String,
}

/// As Go's `String`.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl Url {
    fn text(&self) -> String {
        let mut out = String::new();
        if !self.scheme.is_empty() {
            out.push_str(&format!("{}:", self.scheme));
        }
        if self.opaque.is_empty() {
            let bare = self.no_host && self.host.is_empty() && self.user.is_none();
            let authority = !self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some();
            if authority && !bare && !(self.host.is_empty() && self.path.is_empty() && self.user.is_none()) {
                out.push_str("//");
            }
            if let Some(user) = &self.user {
                out.push_str(&format!("{user}@"));
            }
            out.push_str(&escape(&self.host, Mode::Host));
            out.push_str(&self.escaped_path());
        } else {
            out.push_str(&self.opaque);
        }
        if self.force_query || !self.query.is_empty() {
            out.push_str(&format!("?{}", self.query));
        }
        if !self.fragment.is_empty() {
            out.push_str(&format!("#{}", self.fragment));
        }
        out
    }

    /// Go's `EscapedPath`.
    pub fn escaped_path(&self) -> String {
        let allowed = |byte: u8| matches!(byte, b'!' | b'\'' | b'(' | b')' | b'*' | b'[' | b']' | b'%');
        if self.raw_path.bytes().all(|byte| allowed(byte) || !must_escape(byte, Mode::Path)) {
            return self.raw_path.clone();
        }
        if self.path == b"*" { "*".to_owned() } else { escape(&self.path, Mode::Path) }
    }

    /// Go's `Hostname` and `Port`.
    pub fn host_and_port(&self) -> (String, String) {
        let host = String::from_utf8_lossy(&self.host);
        let (name, port) = match host.rfind(':') {
            Some(colon) if is_port(&host[colon..]) => (&host[..colon], &host[colon + 1..]),
            _ => (host.as_ref(), ""),
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        (name.to_owned(), port.to_owned())
    }

    /// Go's `Query`: names and values in their order; what cannot be read is left out.
    pub fn parameters(&self) -> Vec<(String, String)> {
        parameters(&self.query)
    }
}

/// As [`Url::parameters`], of a query.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    let few = query.split('&').count() <= MAX_PARAMETERS;
    let pairs = query.split('&').filter(|pair| few && !pair.is_empty() && !pair.contains(';'));
    let read = |text: &str| Some(String::from_utf8_lossy(&unescape(text, Mode::Query).ok()?).into_owned());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((read(key)?, read(value)?))
    };
    pairs.filter_map(pair).collect()
}

fn named(text: &str, error: String) -> String {
    format!("parse {}: {error}", go_quote(text))
}

/// Go's `url.ParseRequestURI`.
///
/// # Errors
/// Go's texts.
pub fn parse_request_uri(text: &str) -> Result<Url, String> {
    read(text, true).map_err(|error| named(text, error))
}

/// Go's `url.Parse`.
///
/// # Errors
/// Go's texts.
pub fn parse(text: &str) -> Result<Url, String> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let mut url = read(before, false).map_err(|error| named(before, error))?;
    let unescaped = unescape(fragment, Mode::Fragment).map_err(|error| named(text, error))?;
    let kept =
        fragment.bytes().all(|byte| matches!(byte, b'\'' | b'[' | b']' | b'%') || !must_escape(byte, Mode::Fragment));
    url.fragment = if kept { fragment.to_owned() } else { escape(&unescaped, Mode::Fragment) };
    Ok(url)
}

fn read(text: &str, via_request: bool) -> Result<Url, String> {
    let error = |message: &str| Err(message.to_owned());
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return error("net/url: invalid control character in URL");
    }
    if text.is_empty() && via_request {
        return error("empty url");
    }
    let mut url = Url::default();
    if text == "*" {
        url.path = b"*".to_vec();
        return Ok(url);
    }
    let (scheme, mut rest) = scheme(text)?;
    url.scheme = scheme.to_lowercase();
    if rest.ends_with('?') && rest.matches('?').count() == 1 {
        url.force_query = true;
        rest = &rest[..rest.len() - 1];
    } else if let Some((before, query)) = rest.split_once('?') {
        (rest, url.query) = (before, query.to_owned());
    }
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            url.opaque = rest.to_owned();
            return Ok(url);
        }
        if via_request {
            return error("invalid URI for request");
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return error("first path segment in URL cannot contain colon");
        }
    }
    let authority = !url.scheme.is_empty() || !via_request && !rest.starts_with("///");
    if let Some(after) = rest.strip_prefix("//").filter(|_| authority) {
        let end = after.find('/').unwrap_or(after.len());
        rest = &after[end..];
        (url.user, url.host) = read_authority(&url.scheme, &after[..end])?;
    } else if !url.scheme.is_empty() && rest.starts_with('/') {
        url.no_host = true;
    }
    url.path = unescape(rest, Mode::Path)?;
    url.raw_path = rest.to_owned();
    Ok(url)
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, char) in text.char_indices() {
        match char {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn read_authority(scheme: &str, authority: &str) -> Result<(Option<String>, Vec<u8>), String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let host = read_host(scheme, host)?;
    let Some(user) = user else { return Ok((None, host)) };
    if !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let (name, password) = user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password)));
    let mut written = escape(&unescape(name, Mode::User)?, Mode::User);
    if let Some(password) = password {
        written.push(':');
        written.push_str(&escape(&unescape(password, Mode::User)?, Mode::User));
    }
    Ok((Some(written), host))
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn read_host(scheme: &str, host: &str) -> Result<Vec<u8>, String> {
    let invalid_port = |port: &str| Err(format!("invalid port {} after host", go_quote(port)));
    match host.rfind('[') {
        Some(0) => return read_literal(host),
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {}
    }
    if let Some(first) = host.find(':') {
        let strict = matches!(scheme, "http" | "https");
        let colon = if strict { first } else { host.rfind(':').unwrap_or(first) };
        if !is_port(&host[colon..]) {
            return invalid_port(&host[colon..]);
        }
    }
    unescape(host, Mode::Host)
}

/// `[address]:port`.
fn read_literal(host: &str) -> Result<Vec<u8>, String> {
    let Some(close) = host.rfind(']') else { return Err("missing ']' in host".to_owned()) };
    let port = &host[close + 1..];
    if !is_port(port) {
        return Err(format!("invalid port {} after host", go_quote(port)));
    }
    let name = &host[1..close];
    let name = match name.find("%25") {
        Some(zone) => [unescape(&name[..zone], Mode::Host)?, unescape(&name[zone..], Mode::Zone)?].concat(),
        None => unescape(name, Mode::Host)?,
    };
    let address =
        gonet::parse_address(&String::from_utf8_lossy(&name)).map_err(|error| format!("invalid host: {error}"))?;
    if address.ip.is_ipv4() {
        return Err("invalid IP-literal".to_owned());
    }
    Ok([b"[", name.as_slice(), b"]", port.as_bytes()].concat())
}

/// Which part of a URL a text is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Path,
    Host,
    Zone,
    User,
    Query,
    Fragment,
}

fn must_escape(byte: u8, mode: Mode) -> bool {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
        return false;
    }
    match mode {
        Mode::Host | Mode::Zone => !b"!$&'()*+,;=:[]<>\"".contains(&byte),
        Mode::Path => !b"$&+,/:;=@".contains(&byte),
        Mode::User => !b"$&+,;=".contains(&byte),
        Mode::Query => true,
        Mode::Fragment => !b"$&+,/:;=?@!()*".contains(&byte),
    }
}

fn escape(bytes: &[u8], mode: Mode) -> String {
    let mut out = String::new();
    for byte in bytes {
        match must_escape(*byte, mode) {
            true => out.push_str(&format!("%{byte:02X}")),
            false => out.push(char::from(*byte)),
        }
    }
    out
}

fn unescape(text: &str, mode: Mode) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let invalid = |at: usize| {
        let piece = String::from_utf8_lossy(&bytes[at..(at + 3).min(bytes.len())]);
        Err(format!("invalid URL escape {}", go_quote(&piece)))
    };
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let Some(code) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                    return invalid(at);
                };
                let percent = code == b'%';
                if mode == Mode::Host && code < 0x80 && !percent
                    || mode == Mode::Zone && !percent && code != b' ' && must_escape(code, Mode::Host)
                {
                    return invalid(at);
                }
                out.push(code);
                at += 3;
                continue;
            }
            b'+' if mode == Mode::Query => out.push(b' '),
            byte if matches!(mode, Mode::Host | Mode::Zone) && byte < 0x80 && must_escape(byte, mode) => {
                let quoted = go_quote(&char::from(byte).to_string());
                return Err(format!("invalid character {quoted} in host name"));
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url = parse("https://user:pass@[::1]:80/a b/%2f?k=a&k=b#frag").unwrap();
        assert_eq!(url.host_and_port(), ("::1".to_owned(), "80".to_owned()));
        assert_eq!(url.escaped_path(), "/a%20b//");
        assert_eq!(url.text(), "https://user:pass@[::1]:80/a%20b//?k=a&k=b#frag");
        assert_eq!(parse("/a/%2f").map(|url| url.escaped_path()).as_deref(), Ok("/a/%2f"));
    }

    #[test]
    fn errors() {
        let cases = [
            ("", "parse \"\": empty url"),
            ("a/b", "parse \"a/b\": invalid URI for request"),
            ("https://a b", "parse \"https://a b\": invalid character \" \" in host name"),
            ("https://a:x", "parse \"https://a:x\": invalid port \":x\" after host"),
            ("/%zz", "parse \"/%zz\": invalid URL escape \"%zz\""),
            ("https://[::1", "parse \"https://[::1\": missing ']' in host"),
            (":x", "parse \":x\": missing protocol scheme"),
        ];
        for (text, want) in cases {
            assert_eq!(parse_request_uri(text).map(drop), Err(want.to_owned()));
        }
    }
}
