//! URLs as far as definitions and formats ask: Go 1.26's net/url.Parse and ParseRequestURI with their error texts.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

use api::field::go_quote;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Url {
    pub(crate) scheme: String,
    /// As it stands before the `@`.
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) query: String,
    pub(crate) fragment: String,
}

type Read<T> = Result<T, String>;

/// Go's `url.ParseRequestURI`.
pub(crate) fn parse_request(text: &str) -> Read<Url> {
    read(text, true).map_err(|error| named(text, &error))
}

/// Go's `url.Parse`.
pub(crate) fn parse(text: &str) -> Read<Url> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let mut url = read(before, false).map_err(|error| named(before, &error))?;
    url.fragment = unescaped(fragment, Part::Other).map_err(|error| named(text, &error))?;
    Ok(url)
}

fn named(text: &str, error: &str) -> String {
    format!("parse {}: {error}", go_quote(text))
}

fn read(text: &str, request: bool) -> Read<Url> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".into());
    }
    if text.is_empty() && request {
        return Err("empty url".into());
    }
    if text == "*" {
        return Ok(Url::default());
    }
    let (scheme, rest) = scheme(text)?;
    let (mut rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (rest, ""),
    };
    let mut url = Url { scheme: scheme.to_lowercase(), query: query.into(), ..Url::default() };
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            return Ok(url);
        }
        if request {
            return Err("invalid URI for request".into());
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".into());
        }
    }
    let authority = !scheme.is_empty() || !request && !rest.starts_with("///");
    if let Some(after) = rest.strip_prefix("//").filter(|_| authority) {
        let end = after.find('/').unwrap_or(after.len());
        rest = &after[end..];
        (url.user, url.host) = read_authority(&url.scheme, &after[..end])?;
    }
    unescaped(rest, Part::Other)?;
    Ok(url)
}

fn scheme(text: &str) -> Read<(&str, &str)> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn read_authority(scheme: &str, authority: &str) -> Read<(Option<String>, String)> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let host = read_host(scheme, host)?;
    let Some(user) = user else { return Ok((None, host)) };
    if !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)) {
        return Err("net/url: invalid userinfo".into());
    }
    unescaped(user, Part::Other)?;
    Ok((Some(user.into()), host))
}

fn check_port(port: &str) -> Read<()> {
    let digits = port.strip_prefix(':').unwrap_or(port);
    let good = port.is_empty() || port.starts_with(':') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if good { Ok(()) } else { Err(format!("invalid port {} after host", go_quote(port))) }
}

fn read_host(scheme: &str, host: &str) -> Read<String> {
    match host.rfind('[') {
        Some(0) => return read_literal(host),
        Some(_) => return Err("invalid IP-literal".into()),
        None => {}
    }
    if let Some(first) = host.find(':') {
        let strict = matches!(scheme, "http" | "https");
        let colon = if strict { first } else { host.rfind(':').unwrap_or(first) };
        check_port(&host[colon..])?;
    }
    unescaped(host, Part::Host)
}

/// `[address]:port`
fn read_literal(host: &str) -> Read<String> {
    let Some(close) = host.rfind(']') else { return Err("missing ']' in host".into()) };
    check_port(&host[close + 1..])?;
    let name = &host[1..close];
    let name = match name.find("%25") {
        Some(zone) => unescaped(&name[..zone], Part::Host)? + &unescaped(&name[zone..], Part::Zone)?,
        None => unescaped(name, Part::Host)?,
    };
    let (address, zone) = name.split_once('%').map_or((name.as_str(), None), |(address, zone)| (address, Some(zone)));
    if zone.is_none() && Ipv4Addr::from_str(address).is_ok() {
        return Err("invalid IP-literal".into());
    }
    if Ipv6Addr::from_str(address).is_err() || zone == Some("") {
        return Err(format!("invalid host: ParseAddr({}): unable to parse IP", go_quote(&name)));
    }
    Ok(format!("[{name}]{}", &host[close + 1..]))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Other,
}

fn stands_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn unescaped(text: &str, part: Part) -> Read<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let code = escape(bytes, at, part)?;
            out.push(code);
            at += 3;
            continue;
        }
        if part != Part::Other && byte < 0x80 && !stands_in_host(byte) {
            let quoted = go_quote(&char::from(byte).to_string());
            return Err(format!("invalid character {quoted} in host name"));
        }
        out.push(byte);
        at += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn escape(bytes: &[u8], at: usize, part: Part) -> Read<u8> {
    let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
    let good = |code: u8| match part {
        Part::Other => true,
        Part::Host => code >= 0x80 || code == b'%',
        Part::Zone => matches!(code, b'%' | b' ') || stands_in_host(code),
    };
    code.filter(|code| good(*code)).ok_or_else(|| {
        let piece = String::from_utf8_lossy(&bytes[at..(at + 3).min(bytes.len())]);
        format!("invalid URL escape {}", go_quote(&piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = parse("https://u@h:1/p?q#f").unwrap();
        let want = Url {
            scheme: "https".into(),
            user: Some("u".into()),
            host: "h:1".into(),
            query: "q".into(),
            fragment: "f".into(),
        };
        assert_eq!(url, want);
        for (text, want) in [
            ("", "parse \"\": empty url"),
            ("a/b", "parse \"a/b\": invalid URI for request"),
            ("https://a b", "parse \"https://a b\": invalid character \" \" in host name"),
            ("https://a:x", "parse \"https://a:x\": invalid port \":x\" after host"),
            ("/%zz", "parse \"/%zz\": invalid URL escape \"%zz\""),
            ("https://[::1", "parse \"https://[::1\": missing ']' in host"),
        ] {
            assert_eq!(parse_request(text), Err(want.to_owned()));
        }
    }
}
