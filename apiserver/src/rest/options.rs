//! Query parameters of the verbs, checked as upstream checks them
//! (k8s.io/apimachinery/pkg/apis/meta/{v1,internalversion}/validation@v0.37.2).

use std::time::Duration;

use api::field::{self, Errors, Path};
use api::json;
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
        let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text);
        let bytes = decoded.map_err(|error| generic(&json::illegal_base64(text, &error)))?;
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
        let timeout = number(query, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let limit = number(query, "limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
        let matching = match query.get("resourceVersionMatch") {
            "NotOlderThan" => Match::NotOlderThan,
            "Exact" => Match::Exact,
            _ => Match::Unset,
        };
        check(query, watch)?;
        let version = query.get("resourceVersion");
        let token = match query.get("continue") {
            "" => None,
            text => Some(Token::decode(text)?),
        };
        if token.is_some() && !matches!(version, "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let revision = match version {
            "" => None,
            text if watch => Some(parse_revision(text)?),
            text => Some(
                revision_of_query(text)
                    .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?,
            ),
        };
        Ok(List {
            revision,
            matching,
            limit,
            token,
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
            timeout: timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        })
    }
}

/// What is wrong with the options of a list of what is made when it is asked for: no store looks at revisions and tokens.
pub(crate) fn check_unstored(query: &Query) -> Result<(), Status> {
    for name in ["timeoutSeconds", "limit"] {
        number(query, name)?;
    }
    check(query, false)
}

/// The revision that an object's resourceVersion names, 0 without one (api_object_versioner.go: ObjectResourceVersion).
///
/// # Errors
/// Go's text.
pub(crate) fn revision(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let why = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => "value out of range",
        false => "invalid syntax",
    };
    let parsed = text.parse().ok().filter(|_| why != "invalid syntax");
    parsed.ok_or_else(|| format!("strconv.ParseUint: parsing {}: {why}", field::go_quote(text)))
}

/// The revision that a query names (api_object_versioner.go: ParseResourceVersion).
///
/// # Errors
/// Upstream's text.
pub(crate) fn revision_of_query(text: &str) -> Result<u64, String> {
    revision(text).map_err(|why| field::invalid(&Path::new("resourceVersion"), text, why).to_string())
}

fn parse_revision(text: &str) -> Result<u64, Status> {
    revision(text).map_err(|why| {
        let error = field::invalid(&Path::new("resourceVersion"), text, why);
        Status::invalid("meta.k8s.io", "ListOptions", "", &[error])
    })
}

/// The combinations of resourceVersionMatch and sendInitialEvents that make no sense.
fn check(query: &Query, watch: bool) -> Result<(), Status> {
    let mut errors = Errors::new();
    let matching = query.get("resourceVersionMatch");
    let at = Path::new("resourceVersionMatch");
    let initial = query.has("sendInitialEvents");
    if watch {
        if initial && matching != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(field::forbidden(&at, why));
        }
        if !matching.is_empty() {
            if !initial {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(field::forbidden(&at, why));
            }
            if matching != "NotOlderThan" {
                errors.push(field::not_supported(&at, matching, &["NotOlderThan"]));
            }
        }
    } else {
        check_match_of_list(query, matching, &at, &mut errors);
        if initial {
            errors.push(field::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
        }
    }
    if !matching.is_empty() && watch && !query.get("continue").is_empty() {
        errors.push(field::forbidden(&at, "resourceVersionMatch is forbidden when continue is provided"));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

fn check_match_of_list(query: &Query, matching: &str, at: &Path, errors: &mut Errors) {
    if matching.is_empty() {
        return;
    }
    if query.get("resourceVersion").is_empty() {
        errors.push(field::forbidden(at, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if !query.get("continue").is_empty() {
        errors.push(field::forbidden(at, "resourceVersionMatch is forbidden when continue is provided"));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        errors.push(field::not_supported(at, matching, &["Exact", "NotOlderThan", ""]));
    }
    if matching == "Exact" && query.get("resourceVersion") == "0" {
        let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(field::forbidden(at, why));
    }
}

/// `dryRun=All`.
pub(crate) fn dry_run(query: &Query) -> bool {
    query.has("dryRun")
}

/// What the dryRun of a write may not say.
pub(crate) fn check_dry_run(values: &[&str], errors: &mut Errors) {
    if values.iter().any(|value| *value != "All") {
        let shown = Value::List(values.iter().map(|value| (*value).into()).collect());
        errors.push(field::not_supported(&Path::new("dryRun"), shown, &["All"]));
    }
}

/// Longest name of a field manager, in bytes (apimachinery metav1 validation: FieldManagerMaxLength).
pub(crate) const MANAGER_BYTES_MAX: usize = 128;

/// Checks the parameters of a write that is no deletion; `apply` is `None` for one that is no patch
/// (ValidateCreateOptions, ValidateUpdateOptions, ValidatePatchOptions).
pub(crate) fn check_write(query: &Query, kind: &str, apply: Option<bool>) -> Result<(), Status> {
    let mut errors = Errors::new();
    let (path, name) = (Path::new("fieldManager"), query.get("fieldManager"));
    match apply {
        Some(true) if name.is_empty() => errors.push(field::required(&path, "is required for apply patch")),
        Some(false) if query.has("force") => {
            errors.push(field::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        _ => {}
    }
    if name.len() > MANAGER_BYTES_MAX {
        errors.push(field::too_long(&path, MANAGER_BYTES_MAX));
    }
    for (at, character) in name.char_indices().filter(|(_, character)| !is_print(*character)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(character));
        errors.push(field::invalid(&path, name, why));
    }
    check_dry_run(&query.all("dryRun").collect::<Vec<_>>(), &mut errors);
    let (path, validation) = (Path::new("fieldValidation"), query.get("fieldValidation"));
    if !["", "Ignore", "Strict", "Warn"].contains(&validation) {
        errors.push(field::not_supported(&path, validation, &["", "Ignore", "Strict", "Warn"]));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", &errors)) }
}

/// Nearly Go's unicode.IsPrint: no controls, and of the white space only the plain space.
pub(crate) fn is_print(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

/// A parameter that is a number, when it is there.
///
/// # Errors
/// 400 with Go's text.
pub(crate) fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let text = query.get(name);
    if !query.has(name) {
        return Ok(None);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let why = match !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => "value out of range",
        false => "invalid syntax",
    };
    let wrong = || Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", field::go_quote(text)));
    text.parse().map(Some).map_err(|_| wrong())
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
    fn what_is_not_stored_has_no_revisions() {
        for (query, want) in [
            ("resourceVersion=x&continue=x", 200),
            ("resourceVersionMatch=Exact", 422),
            ("limit=x", 400),
            ("timeoutSeconds=x", 400),
            ("sendInitialEvents=true", 422),
        ] {
            let got = check_unstored(&Query::parse(query)).err().map_or(200, |status| status.code);
            assert_eq!(got, want, "{query}");
        }
    }

    fn check_options(query: &str, apply: Option<bool>, want: Option<&str>) {
        let got = check_write(&Query::parse(query), "PatchOptions", apply).err().map(|status| status.message);
        let want = want.map(|want| format!("PatchOptions.meta.k8s.io \"\" is invalid: {want}"));
        assert_eq!(got, want, "{query}");
    }

    #[test]
    fn parameters_of_a_write() {
        check_options("", Some(false), None);
        check_options("fieldManager=a", Some(true), None);
        check_options("", Some(true), Some("fieldManager: Required value: is required for apply patch"));
        check_options("force=true", Some(false), Some("force: Forbidden: may not be specified for non-apply patch"));
        let long = format!("fieldManager={}", "x".repeat(129));
        check_options(&long, None, Some("fieldManager: Too long: may not be more than 128 bytes"));
        let bell = "fieldManager: Invalid value: \"a\\a\": invalid character U+0007 (at position 1)";
        check_options("fieldManager=a%07", Some(false), Some(bell));
        let both = "[dryRun: Unsupported value: [\"Some\"]: supported values: \"All\", fieldValidation: Unsupported value: \
                    \"Perhaps\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]";
        check_options("dryRun=Some&fieldValidation=Perhaps", None, Some(both));
    }

    #[test]
    fn numbers() {
        let check = |query: &str, want: Result<Option<i64>, &str>| {
            let got = number(&Query::parse(query), "n").map_err(|status| status.message);
            assert_eq!(got.as_ref().map(|got| *got).map_err(String::as_str), want, "{query}");
        };
        check("", Ok(None));
        check("n=-3", Ok(Some(-3)));
        check("n=x", Err("strconv.ParseInt: parsing \"x\": invalid syntax"));
        check("n=99999999999999999999", Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range"));
    }

    #[test]
    fn combinations() {
        check_list("resourceVersion=5&resourceVersionMatch=Exact", false, 200);
        check_list("resourceVersion=0&resourceVersionMatch=Exact", false, 422);
        check_list("resourceVersionMatch=Exact", false, 422);
        check_list("resourceVersion=x", false, 400);
        check_list("resourceVersion=x", true, 422);
        check_list("limit=x", false, 400);
        check_list("sendInitialEvents=true", true, 422);
        check_list("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true, 200);
        check_list("sendInitialEvents=true", false, 422);
    }
}
