//! Links of a proxied answer, changed so that they lead through the proxy again
//! (k8s.io/apimachinery/pkg/util/proxy/transport.go@v0.37.2).
//!
//! Invariant: pure. Only values of attributes that hold one URL change; everything else of a page stays as
//! it is, byte for byte. Non-goal: understanding HTML.

use super::target::clean;

/// Tags and their attributes that hold URLs.
const ATTRIBUTES: [(&str, &[&str]); 26] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &[]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text and no markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// What links are changed by.
pub(crate) struct Links<'a> {
    /// The path of the request up to the proxied path.
    pub(crate) prefix: &'a str,
    /// `host:port` of the backend.
    pub(crate) backend: &'a str,
    /// The host that the client asked.
    pub(crate) asked: &'a str,
    /// Scheme and host that links get; empty where the client's own are to do.
    pub(crate) origin: &'a str,
}

impl Links<'_> {
    /// A link as the client is to see it.
    pub(super) fn rewrite(&self, url: &str) -> String {
        let (scheme_host, rest) = match url.find("://") {
            Some(at) => {
                let start = at + 3;
                let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
                (Some(&url[start..end]), &url[end..])
            }
            None => match url.strip_prefix("//") {
                Some(after) => {
                    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
                    (Some(&after[..end]), &after[end..])
                }
                None => (None, url),
            },
        };
        let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(path_end);
        let elsewhere = scheme_host.is_some_and(|host| !host.is_empty() && host != self.backend && host != self.asked);
        if elsewhere || !path.starts_with('/') {
            return url.to_owned();
        }
        // The host that was asked stays; the backend's is not for the client.
        let front = match scheme_host {
            Some(host) if host == self.asked && !host.is_empty() && self.origin.is_empty() => {
                &url[..url.len() - rest.len()]
            }
            _ => self.origin,
        };
        if path.starts_with(self.prefix) {
            return format!("{front}{path}{tail}");
        }
        let mut joined = clean(&format!("{}{path}", self.prefix));
        if path.ends_with('/') && !joined.ends_with('/') {
            joined.push('/');
        }
        format!("{front}{joined}{tail}")
    }

    /// A page with its links changed.
    pub(super) fn page(&self, html: &str) -> String {
        let mut out = String::with_capacity(html.len() + html.len() / 16);
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            let (text, tag) = rest.split_at(at);
            out.push_str(text);
            if tag.starts_with("<!--") {
                let end = tag.find("-->").map_or(tag.len(), |end| end + 3);
                out.push_str(&tag[..end]);
                rest = &tag[end..];
                continue;
            }
            let name_end = tag[1..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(tag.len(), |end| end + 1);
            let name = tag[1..name_end].to_ascii_lowercase();
            let end = name_end + end_of_tag(&tag[name_end..]);
            match ATTRIBUTES.iter().find(|(has, _)| *has == name) {
                Some((_, attributes)) => {
                    out.push_str(&tag[..name_end]);
                    self.attributes(&tag[name_end..end], attributes, &mut out);
                }
                None => out.push_str(&tag[..end]),
            }
            rest = &tag[end..];
            if RAW.contains(&name.as_str()) && !tag[..end].ends_with("/>") {
                let end = find_close(rest, &name);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        out.push_str(rest);
        out
    }

    /// The attributes of one tag, up to and with its `>`.
    fn attributes(&self, text: &str, wanted: &[&str], out: &mut String) {
        let mut rest = text;
        loop {
            let start = rest.find(|c: char| !c.is_ascii_whitespace() && c != '/' && c != '>').unwrap_or(rest.len());
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            if rest.is_empty() {
                return;
            }
            let end =
                rest[1..].find(|c: char| c.is_ascii_whitespace() || "=/>".contains(c)).map_or(rest.len(), |e| e + 1);
            let name = rest[..end].to_ascii_lowercase();
            let value_at = end + (rest[end..].len() - rest[end..].trim_start().len());
            if !rest[value_at..].starts_with('=') {
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            let after = &rest[value_at + 1..];
            let value_at = rest.len() - after.trim_start().len();
            out.push_str(&rest[..value_at]);
            rest = &rest[value_at..];
            let (quote, value, next) = match rest.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let end = rest[1..].find(quote).map_or(rest.len(), |end| end + 1);
                    (Some(quote), &rest[1..end], &rest[(end + 1).min(rest.len())..])
                }
                _ => {
                    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(rest.len());
                    (None, &rest[..end], &rest[end..])
                }
            };
            let changed = wanted.contains(&name.as_str()).then(|| escape(&self.rewrite(&unescape(value))));
            let quote = quote.map(String::from).or(changed.is_some().then(|| "\"".to_owned())).unwrap_or_default();
            out.push_str(&format!("{quote}{}{quote}", changed.as_deref().unwrap_or(value)));
            rest = next;
        }
    }
}

/// Where a tag ends, quotes heeded.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn find_close(text: &str, name: &str) -> usize {
    let close = format!("</{name}");
    let lower = text.to_ascii_lowercase();
    lower.find(&close).unwrap_or(text.len())
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: Links<'static> =
        Links { prefix: "/api/v1/namespaces/n/pods/p/proxy", backend: "10.0.0.1:80", asked: "api:6443", origin: "" };
    const AGGREGATED: Links<'static> =
        Links { prefix: "", backend: "10.0.0.1:443", asked: "10.0.0.1:443", origin: "https://10.0.0.1:443" };

    #[test]
    fn links() {
        let prefix = LINKS.prefix;
        for (url, expect) in [
            ("/x/", format!("{prefix}/x/")),
            ("x/y", "x/y".into()),
            ("#top", "#top".into()),
            ("http://10.0.0.1:80/x?q=1#f", format!("{prefix}/x?q=1#f")),
            ("http://elsewhere/x", "http://elsewhere/x".into()),
            ("https://api:6443/x", format!("https://api:6443{prefix}/x")),
            ("//10.0.0.1:80/x", format!("{prefix}/x")),
            (&format!("{prefix}/done"), format!("{prefix}/done")),
            ("mailto:a@b", "mailto:a@b".into()),
            ("/../x", "/api/v1/namespaces/n/pods/p/x".into()),
        ] {
            assert_eq!(LINKS.rewrite(url), expect, "{url}");
        }
        for (url, expect) in [
            ("/x", "https://10.0.0.1:443/x"),
            ("x", "x"),
            ("http://10.0.0.1:443/x", "https://10.0.0.1:443/x"),
            ("http://elsewhere/x", "http://elsewhere/x"),
        ] {
            assert_eq!(AGGREGATED.rewrite(url), expect, "{url}");
        }
    }

    #[test]
    fn pages() {
        let prefix = LINKS.prefix;
        for (html, expect) in [
            ("<p>a < b</p>", "<p>a < b</p>".to_owned()),
            ("<A class=\"/c\" HREF='/x'>y</A>", format!("<A class=\"/c\" HREF='{prefix}/x'>y</A>")),
            ("<img src=/i.png>", format!("<img src=\"{prefix}/i.png\">")),
            ("<a href=\"/x?a=1&amp;b=2\"/>", format!("<a href=\"{prefix}/x?a=1&amp;b=2\"/>")),
            ("<!-- <a href=\"/x\"> --><a name>", "<!-- <a href=\"/x\"> --><a name>".into()),
            (
                "<script src=\"/s.js\">var a = '<a href=\"/x\">';</script><a href=\"/y\">",
                format!("<script src=\"{prefix}/s.js\">var a = '<a href=\"/x\">';</script><a href=\"{prefix}/y\">"),
            ),
            ("<a title=\"a > b\" href=\"/x\">", format!("<a title=\"a > b\" href=\"{prefix}/x\">")),
            ("<a href=\"/x", format!("<a href=\"{prefix}/x\"")),
            ("<a", "<a".into()),
            ("é<a href='/ü'>", format!("é<a href='{prefix}/ü'>")),
        ] {
            assert_eq!(LINKS.page(html), expect, "{html}");
        }
    }
}
