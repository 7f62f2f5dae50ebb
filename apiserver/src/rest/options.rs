//! Query parameters of the verbs, checked as upstream checks them
//! (k8s.io/apimachinery/pkg/apis/meta/{v1,internalversion}/validation@v0.37.2).

use std::time::Duration;

use api::field::{self, Errors, Path};
use api::status::Status;
use api::value::{Map, Value};
use base64::Engine;

use crate::admission::Operation;
use crate::request::Query;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Unset,
    NotOlderThan,
    Exact,
}

/// ListOptions.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// `None`: the latest state; `Some(0)`: any state.
    pub(crate) revision: Option<u64>,
    pub(crate) matching: Match,
    pub(crate) limit: usize,
    pub(crate) token: Option<Token>,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial: Option<bool>,
    pub(crate) timeout: Option<Duration>,
}

/// Where a chunked list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The revision of the first chunk; `None` when the client accepted an inconsistent rest.
    pub(crate) revision: Option<u64>,
    /// The first key wanted (the last one seen plus a zero byte), relative to what is listed: a resource, or one of its
    /// namespaces.
    pub(crate) start: String,
}

impl Token {
    /// k8s.io/apiserver/pkg/storage/continue.go@v0.37.2: base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"..."}`.
    pub(crate) fn encode(&self) -> String {
        let revision = self.revision.map_or(-1, |revision| revision as i64);
        let start = serde_json::to_string(&self.start).unwrap_or_default();
        let text = format!("{{\"v\":\"meta.k8s.io/v1\",\"rv\":{revision},\"start\":{start}}}");
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Status> {
        let wrong = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let generic = |why: &dyn std::fmt::Display| wrong(&format!(": {why}"));
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|error| generic(&error))?;
        let token: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| generic(&error))?;
        let version = token["v"].as_str().unwrap_or_default();
        if version != "meta.k8s.io/v1" {
            return Err(wrong(&format!(": server does not recognize this encoded version {version}")));
        }
        let revision = token["rv"].as_i64().unwrap_or(0);
        let start = token["start"].as_str().unwrap_or_default();
        if revision == 0 {
            return Err(wrong(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if start.is_empty() {
            return Err(wrong(": encoded start key empty (version meta.k8s.io/v1)"));
        }
        // What is not a clean path could lead out of what is listed.
        let key = start.strip_prefix('/').unwrap_or(start);
        if !key.is_empty() && key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(generic(&start));
        }
        Ok(Token { revision: u64::try_from(revision).ok(), start: key.into() })
    }
}

impl List {
    pub(crate) fn of(query: &Query, watch: bool) -> Result<Self, Status> {
        let matching = match query.get("resourceVersionMatch") {
            "NotOlderThan" => Match::NotOlderThan,
            "Exact" => Match::Exact,
            _ => Match::Unset,
        };
        check(query, watch)?;
        let revision = match query.get("resourceVersion") {
            "" => None,
            text => Some(parse_revision(text)?),
        };
        let token = match query.get("continue") {
            "" => None,
            _ if revision.is_some_and(|revision| revision > 0) => {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            text => Some(Token::decode(text)?),
        };
        let timeout = query.get("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(List {
            revision,
            matching,
            limit: query.get("limit").parse().unwrap_or(0),
            token,
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
            timeout,
        })
    }
}

pub(crate) fn parse_revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let path = Path::new("resourceVersion");
        let why = format!("strconv.ParseUint: parsing {}: invalid syntax", field::go_quote(text));
        Status::invalid("meta.k8s.io", "ListOptions", "", &[field::invalid(&path, text, why)])
    })
}

/// The combinations of resourceVersionMatch and sendInitialEvents that make no sense.
fn check(query: &Query, watch: bool) -> Result<(), Status> {
    let mut errors = Errors::new();
    let matching = query.get("resourceVersionMatch");
    let at = Path::new("resourceVersionMatch");
    let initial = query.has("sendInitialEvents");
    if !matching.is_empty() && !matches!(matching, "Exact" | "NotOlderThan") {
        errors.push(field::not_supported(&at, matching, &["Exact", "NotOlderThan", ""]));
    }
    if watch {
        match (initial, matching) {
            (false, "") => {}
            (false, _) => errors.push(field::forbidden(
                &at,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
            (true, "") => errors
                .push(field::forbidden(&at, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")),
            (true, "NotOlderThan") => {}
            (true, other) => errors.push(field::not_supported(&at, other, &["NotOlderThan"])),
        }
    } else {
        if initial {
            errors.push(field::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
        }
        if !matching.is_empty() {
            if query.get("resourceVersion").is_empty() {
                errors.push(field::forbidden(
                    &at,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if query.has("continue") && !query.get("continue").is_empty() {
                errors.push(field::forbidden(&at, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if matching == "Exact" && query.get("resourceVersion") == "0" {
                errors.push(field::forbidden(
                    &at,
                    "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

/// `dryRun=All`.
pub(crate) fn dry_run(query: &Query, kind: &str) -> Result<bool, Status> {
    let values: Vec<_> = query.all("dryRun").collect();
    check_dry_run(&values, kind)
}

pub(crate) fn check_dry_run(values: &[&str], kind: &str) -> Result<bool, Status> {
    match values.iter().find(|value| **value != "All") {
        None => Ok(!values.is_empty()),
        Some(_) => {
            let path = Path::new("dryRun");
            let shown = api::value::Value::List(values.iter().map(|value| (*value).into()).collect());
            let error = field::not_supported(&path, shown, &["All"]);
            Err(Status::invalid("meta.k8s.io", kind, "", &[error]))
        }
    }
}

/// The options of a write as admission sees them; those that come in the body of a deletion are not among them.
pub(crate) fn of(operation: Operation, query: &Query, dry_run: bool) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = Map::new();
    api::object::set_kind(&mut options, "meta.k8s.io/v1", kind);
    if dry_run {
        options.set("dryRun", Value::List(vec!["All".into()]));
    }
    let names: &[&'static str] = match operation {
        Operation::Delete => &["propagationPolicy"],
        _ => &["fieldManager", "fieldValidation"],
    };
    for name in names.iter().filter(|name| query.has(name)) {
        options.set(*name, query.get(name));
    }
    if let (Operation::Delete, Ok(seconds)) = (operation, query.get("gracePeriodSeconds").parse::<i64>()) {
        options.set("gracePeriodSeconds", seconds);
    }
    options.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_round_and_bad_ones_are_refused() {
        let token = Token { revision: Some(7), start: "default/a\0".into() };
        assert_eq!(Token::decode(&token.encode()).ok(), Some(token));
        let inconsistent = Token { revision: None, start: "b".into() };
        assert_eq!(Token::decode(&inconsistent.encode()).ok(), Some(inconsistent));
        for wrong in ["%%%", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9hIn0"] {
            assert_eq!(Token::decode(wrong).err().map(|status| status.code), Some(400), "{wrong}");
        }
        for wrong in ["a/../b", "a//b", "./a", "a/", "//a"] {
            let text = Token { revision: Some(1), start: wrong.into() }.encode();
            let told = Token::decode(&text).err().map(|status| status.message);
            assert_eq!(told, Some(format!("invalid continue token: continue key is not valid: {wrong}")));
        }
    }

    fn check_list(query: &str, watch: bool, code: u16) {
        let got = List::of(&Query::parse(query), watch).err().map_or(200, |status| status.code);
        assert_eq!(got, code, "{query}");
    }

    #[test]
    fn combinations() {
        check_list("resourceVersion=5&resourceVersionMatch=Exact", false, 200);
        check_list("resourceVersion=0&resourceVersionMatch=Exact", false, 422);
        check_list("resourceVersionMatch=Exact", false, 422);
        check_list("resourceVersion=x", false, 422);
        check_list("sendInitialEvents=true", true, 422);
        check_list("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true, 200);
        check_list("sendInitialEvents=true", false, 422);
    }
}
