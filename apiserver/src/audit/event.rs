//! What is told of a request: the event, as JSON and as one line of text
//! (k8s.io/apiserver/pkg/apis/audit/v1/types.go, pkg/audit/format.go@v0.37.2).
//!
//! Invariant: the JSON is Go's: field order, omitted fields, escapes. Non-goal: when what is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::field::go_quote;
use api::json::encode_value;
use api::value::{Map, Value};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::authn::User;

/// The group and version that events are written in.
pub(crate) const GROUP_VERSION: &str = "audit.k8s.io/v1";
/// An event that lost its objects says so.
const TRUNCATED: (&str, &str) = ("audit.k8s.io/truncated", "true");

/// How much is told; each level tells what the one before it does, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(super) const ALL: [Level; 4] = [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    RequestReceived,
    /// The head of the answer is there; only of long-running requests.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(super) const ALL: [Stage; 4] =
        [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// The object that a request is about; what is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource_version: String,
    pub(crate) subresource: String,
}

/// One event. Copies share what is large.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) level: Level,
    pub(crate) id: String,
    pub(crate) stage: Stage,
    pub(crate) uri: String,
    pub(crate) verb: &'static str,
    /// Nobody when authentication failed.
    pub(crate) user: Option<Arc<User>>,
    pub(crate) impersonated: Option<Arc<User>>,
    /// The verb of constrained impersonation; empty without.
    pub(crate) constraint: String,
    pub(crate) source_ips: Vec<String>,
    pub(crate) user_agent: String,
    pub(crate) object: Option<Reference>,
    /// A v1 Status without kind and apiVersion.
    pub(crate) status: Option<Map>,
    /// JSON as [`compact`] leaves it.
    pub(crate) request_object: Option<Bytes>,
    pub(crate) response_object: Option<Bytes>,
    pub(crate) received: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Event {
    /// The object's fields after kind and apiVersion, and the brace that closes it.
    pub(super) fn fields(&self) -> Vec<u8> {
        let mut out = Fields(Vec::with_capacity(1024));
        out.text("level", self.level.text());
        out.text("auditID", &self.id);
        out.text("stage", self.stage.text());
        out.text("requestURI", &self.uri);
        out.text("verb", self.verb);
        out.map("user", &self.user.as_ref().map(|user| shown(user)).unwrap_or_default());
        if let Some(user) = &self.impersonated {
            out.map("impersonatedUser", &shown(user));
        }
        if !self.constraint.is_empty() {
            out.map("authenticationMetadata", &api::map! { "impersonationConstraint" => self.constraint.as_str() });
        }
        if !self.source_ips.is_empty() {
            out.value("sourceIPs", &texts(&self.source_ips));
        }
        out.text_unless_empty("userAgent", &self.user_agent);
        if let Some(object) = &self.object {
            out.map("objectRef", &object.shown());
        }
        if let Some(status) = &self.status {
            out.map("responseStatus", status);
        }
        let objects = [("requestObject", &self.request_object), ("responseObject", &self.response_object)];
        objects.into_iter().for_each(|(name, object)| out.raw(name, object.as_deref()));
        out.text("requestReceivedTimestamp", &micro(self.received));
        out.text("stageTimestamp", &micro(self.at));
        if !self.annotations.is_empty() {
            let annotations = self.annotations.iter().map(|(key, value)| (key.into(), value.as_str().into()));
            out.map("annotations", &annotations.collect());
        }
        out.0.push(b'}');
        out.0
    }

    /// The event alone, with a newline.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut line = format!("{{\"kind\":\"Event\",\"apiVersion\":\"{GROUP_VERSION}\",").into_bytes();
        line.extend_from_slice(&self.fields());
        line.push(b'\n');
        line
    }

    /// The line of the old format, without its newline (EventString). `zone` is the server's.
    pub(super) fn line(&self, zone: &TimeZone) -> String {
        let none = "<none>".to_owned();
        let user = self.user.as_deref().filter(|user| !user.name.is_empty());
        let username = user.map_or(none.as_str(), |user| &user.name);
        let groups = user.filter(|user| !user.groups.is_empty()).map_or(none.clone(), |user| quoted(&user.groups));
        let (as_user, as_groups) = match self.impersonated.as_deref() {
            None => ("<self>", "<lookup>".to_owned()),
            Some(user) if user.groups.is_empty() => (user.name.as_str(), "<lookup>".to_owned()),
            Some(user) => (user.name.as_str(), quoted(&user.groups)),
        };
        let namespace = self.object.as_ref().map(|object| object.namespace.as_str()).filter(|name| !name.is_empty());
        let response = self.status.as_ref().map(|status| status.i64("code").unwrap_or(0).to_string());
        format!(
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} response=\"{}\"",
            go_time(self.received, zone),
            go_quote(&self.id),
            go_quote(self.stage.text()),
            go_quote(self.source_ips.first().map_or("<unknown>", String::as_str)),
            go_quote(self.verb),
            go_quote(username),
            go_quote(&groups),
            go_quote(as_user),
            go_quote(&as_groups),
            go_quote(&self.user_agent),
            go_quote(namespace.unwrap_or(&none)),
            go_quote(&self.uri),
            response.as_deref().unwrap_or("<deferred>"),
        )
    }

    /// Takes the objects away (plugin/pkg/audit/truncate/truncate.go@v0.37.2).
    pub(super) fn truncate(&mut self) {
        self.request_object = None;
        self.response_object = None;
        self.annotations.insert(TRUNCATED.0.into(), TRUNCATED.1.into());
    }
}

impl Reference {
    fn shown(&self) -> Map {
        let fields = [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("apiGroup", &self.group),
            ("apiVersion", &self.version),
            ("resourceVersion", &self.resource_version),
            ("subresource", &self.subresource),
        ];
        let there = fields.into_iter().filter(|(_, text)| !text.is_empty());
        there.map(|(name, text)| (name.into(), text.as_str().into())).collect()
    }
}

fn texts(list: &[String]) -> Value {
    Value::List(list.iter().map(|text| text.as_str().into()).collect())
}

/// An authentication.k8s.io/v1 UserInfo.
fn shown(user: &User) -> Map {
    let mut info = Map::new();
    for (name, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            info.set(name, text.as_str());
        }
    }
    if !user.groups.is_empty() {
        info.set("groups", texts(&user.groups));
    }
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(key, values)| (key.into(), texts(values))).collect();
        info.set("extra", extra);
    }
    info
}

/// As Go's `%q` of each, with commas.
fn quoted(list: &[String]) -> String {
    list.iter().map(|text| go_quote(text)).collect::<Vec<_>>().join(",")
}

/// metav1.MicroTime.
fn micro(at: Timestamp) -> String {
    api::time::from_unix(at.as_second(), at.subsec_nanosecond(), true)
}

/// Go's time.RFC3339Nano: only as many digits as are needed.
fn go_time(at: Timestamp, zone: &TimeZone) -> String {
    let local = at.to_zoned(zone.clone());
    let mut text = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    if at.subsec_nanosecond() != 0 {
        text.push_str(format!(".{:09}", at.subsec_nanosecond()).trim_end_matches('0'));
    }
    match local.offset().seconds() {
        0 => text.push('Z'),
        _ => text.push_str(&local.strftime("%:z").to_string()),
    }
    text
}

/// The fields of an object under way.
struct Fields(Vec<u8>);

impl Fields {
    fn name(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        encode_value(&mut self.0, value);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.value(name, &text.into());
    }

    fn text_unless_empty(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    fn map(&mut self, name: &str, map: &Map) {
        self.name(name);
        self.0.push(b'{');
        for (at, (name, value)) in map.iter().enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            encode_value(&mut self.0, &Value::String(name.clone()));
            self.0.push(b':');
            encode_value(&mut self.0, value);
        }
        self.0.push(b'}');
    }

    fn raw(&mut self, name: &str, json: Option<&[u8]>) {
        if let Some(json) = json {
            self.name(name);
            self.0.extend_from_slice(json);
        }
    }
}

/// Valid JSON as Go's encoder puts it into another object: no space between tokens, and of the text only `<`, `>`, `&`,
/// U+2028 and U+2029 escaped (encoding/json: compact).
pub(super) fn compact(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    let mut rest = json;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' if !in_text => continue,
            b'<' | b'>' | b'&' => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            0xe2 if matches!(after, [0x80, 0xa8 | 0xa9, ..]) => {
                out.extend_from_slice(if after[1] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                rest = &after[2..];
            }
            _ => out.push(*byte),
        }
        in_text ^= *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    out.into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::audit) fn event() -> Event {
        let user = User {
            name: "alice".into(),
            uid: "7".into(),
            groups: vec!["a".into(), "b".into()],
            extra: BTreeMap::from([("k".into(), vec!["v".into()])]),
        };
        let boss = User { name: "boss".into(), ..User::default() };
        Event {
            level: Level::Request,
            id: "id-1".into(),
            stage: Stage::ResponseComplete,
            uri: "/api/v1/namespaces/n/pods?a=b&c=<d>".into(),
            verb: "create",
            user: Some(Arc::new(user)),
            impersonated: Some(Arc::new(boss)),
            constraint: "impersonate:user-info".into(),
            source_ips: vec!["10.0.0.1".into(), "::1".into()],
            user_agent: "curl/8".into(),
            object: Some(Reference { resource: "pods".into(), namespace: "n".into(), ..Reference::default() }),
            status: Some(api::map! { "metadata" => Map::new(), "code" => 201i64 }),
            request_object: Some(compact(b"{ \"a\": \"x < y\" }")),
            response_object: None,
            received: "2026-01-02T03:04:05.060708Z".parse().expect("a time"),
            at: "2026-01-02T03:04:06Z".parse().expect("a time"),
            annotations: BTreeMap::from([("b/x".into(), "1".into()), ("a/x".into(), String::new())]),
        }
    }

    #[test]
    fn the_json_is_go_s() {
        let text = String::from_utf8(event().json()).expect("text");
        let expect = concat!(
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"id-1","#,
            r#""stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n/pods?a=b\u0026c=\u003cd\u003e","verb":"create","#,
            r#""user":{"username":"alice","uid":"7","groups":["a","b"],"extra":{"k":["v"]}},"#,
            r#""impersonatedUser":{"username":"boss"},"#,
            r#""authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},"#,
            r#""sourceIPs":["10.0.0.1","::1"],"userAgent":"curl/8","objectRef":{"resource":"pods","namespace":"n"},"#,
            r#""responseStatus":{"metadata":{},"code":201},"requestObject":{"a":"x \u003c y"},"#,
            r#""requestReceivedTimestamp":"2026-01-02T03:04:05.060708Z","stageTimestamp":"2026-01-02T03:04:06.000000Z","#,
            r#""annotations":{"a/x":"","b/x":"1"}}"#,
            "\n"
        );
        assert_eq!(text, expect);
    }

    #[test]
    fn the_line_is_go_s() {
        let mut event = event();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let expect = concat!(
            r#"2026-01-02T05:04:05.060708+02:00 AUDIT: id="id-1" stage="ResponseComplete" ip="10.0.0.1" method="create" "#,
            r#"user="alice" groups="\"a\",\"b\"" as="boss" asgroups="<lookup>" user-agent="curl/8" namespace="n" "#,
            r#"uri="/api/v1/namespaces/n/pods?a=b&c=<d>" response="201""#
        );
        assert_eq!(event.line(&zone), expect);
        (event.user, event.impersonated, event.object, event.status) = (None, None, None, None);
        event.source_ips.clear();
        event.received = event.at;
        let expect = concat!(
            r#"2026-01-02T03:04:06Z AUDIT: id="id-1" stage="ResponseComplete" ip="<unknown>" method="create" "#,
            r#"user="<none>" groups="<none>" as="<self>" asgroups="<lookup>" user-agent="curl/8" namespace="<none>" "#,
            r#"uri="/api/v1/namespaces/n/pods?a=b&c=<d>" response="<deferred>""#
        );
        assert_eq!(event.line(&TimeZone::UTC), expect);
    }

    #[test]
    fn json_inside_json() {
        for (text, expect) in [
            ("{ \"a b\" : [ 1 , 2 ] }\n", r#"{"a b":[1,2]}"#),
            (r#"{"a":"\" x"}"#, r#"{"a":"\" x"}"#),
            (r#"{"a":"\\" , "b":1}"#, r#"{"a":"\\","b":1}"#),
            ("[\"<&>\u{2028}\u{20ac}\"]", "[\"\\u003c\\u0026\\u003e\\u2028\u{20ac}\"]"),
        ] {
            assert_eq!(String::from_utf8_lossy(&compact(text.as_bytes())), expect, "{text}");
        }
    }
}
