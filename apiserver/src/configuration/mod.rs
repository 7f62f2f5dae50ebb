//! Configuration files of the group apiserver.config.k8s.io: read strictly, watched for changes, counted when they are
//! loaded again (k8s.io/apiserver/pkg/apis/apiserver@v0.37.2).
//!
//! Invariant: a file that is not wholly understood is not used at all. Must not know: what a configuration means.

pub(crate) mod metrics;
pub(crate) mod watch;

use api::facts::{self, Field, Omit, Struct, Type};
use api::json::{self, Strictness};
use api::value::{Map, Value};
use api::yaml;

pub(crate) const GROUP: &str = "apiserver.config.k8s.io";
/// The versions that hold authentication and authorisation, with the same fields in each.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
/// Other kinds of the group that are well-formed, but not what is asked for.
const KINDS: &[(&str, &[&str])] = &[
    ("AdmissionConfiguration", &VERSIONS),
    ("AuthenticationConfiguration", &VERSIONS),
    ("AuthorizationConfiguration", &VERSIONS),
    ("EgressSelectorConfiguration", &["v1beta1", "v1alpha1"]),
    ("EncryptionConfiguration", &["v1"]),
    ("TracingConfiguration", &VERSIONS),
];

/// A static of a Go struct: its name here, its name in Go, whether it has a kind, its fields.
macro_rules! schema {
    ($name:ident, $go:literal, $kinded:literal, [$($field:expr),* $(,)?]) => {
        static $name: api::facts::Struct = api::facts::Struct {
            name: concat!("v1.", $go),
            atomic: false,
            kinded: $kinded,
            open: false,
            index: api::facts::Index::new(),
            fields: &[$($field),*],
        };
    };
}
pub(crate) use schema;

/// A field that Go leaves out when it is zero.
pub(crate) const fn field(name: &'static str, ty: Type) -> Field {
    Field { name, ty, omit: Omit::Empty, ..Field::BASE }
}

/// A pointer: absent differs from zero.
pub(crate) const fn pointer(name: &'static str, ty: Type) -> Field {
    Field { nilable: true, ..field(name, ty) }
}

/// What is expected of a file.
pub(crate) struct Expected {
    pub(crate) kind: &'static str,
    /// The schema in every version.
    pub(crate) ty: &'static Struct,
    /// The scheme that upstream's errors name.
    pub(crate) scheme: &'static str,
}

/// JSON when it looks like it, YAML otherwise (k8s.io/apimachinery/pkg/util/yaml/decoder.go@v0.37.2: IsJSONBuffer).
fn is_json(data: &[u8]) -> bool {
    data.trim_ascii_start().starts_with(b"{")
}

/// Decodes a file as `runtime.Decode` does with a strict codec.
///
/// # Errors
/// Upstream's texts: no kind, a kind of another name or version, a field of another type, unknown and duplicate fields.
pub(crate) fn decode(data: &[u8], expected: &Expected) -> Result<Map, String> {
    let json = is_json(data);
    let converted;
    let text = if json {
        data
    } else {
        converted = yaml::to_json(data).map_err(|error| error.to_string())?;
        &converted
    };
    check_kind(text, data, expected)?;
    let decoded = json::decode(text, expected.ty, Strictness::Strict).map_err(|error| error.to_string())?;
    let duplicate = if json { None } else { yaml::duplicate_keys(data) };
    let strict: Vec<String> = duplicate.map(|why| why.to_string()).into_iter().chain(decoded.strict).collect();
    if strict.is_empty() { Ok(decoded.value) } else { Err(format!("strict decoding error: {}", strict.join(", "))) }
}

fn check_kind(text: &[u8], data: &[u8], expected: &Expected) -> Result<(), String> {
    let unreadable = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    let head = json::decode_any(text, Strictness::Lenient).map_err(|error| unreadable(error.to_string()))?.0;
    let empty = Map::new();
    let head = match &head {
        Value::Map(head) => head,
        _ => &empty,
    };
    let (kind, api_version) = (head.str("kind"), head.str("apiVersion"));
    let shown = String::from_utf8_lossy(data);
    if kind.is_empty() {
        return Err(format!("Object 'Kind' is missing in '{shown}'"));
    }
    let (group, version) = facts::split_api_version(api_version);
    if version.is_empty() {
        return Err(format!("Object 'apiVersion' is missing in '{shown}'"));
    }
    let known = KINDS.iter().find(|known| known.0 == kind).filter(|known| known.1.contains(&version));
    if group != GROUP || known.is_none() {
        let scheme = expected.scheme;
        return Err(format!("no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"{scheme}\""));
    }
    if kind != expected.kind {
        return Err(format!("expected {}, got *apiserver.{kind}", expected.kind));
    }
    Ok(())
}

/// Go's words for a file that cannot be read.
pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("open {}: {}", path.display(), go_error(&error)))
}

/// An error of the operating system in Go's words.
pub(crate) fn go_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "is a directory".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    schema!(INNER, "Inner", false, [field("name", Type::String), pointer("prefix", Type::String)]);
    schema!(TEST, "AuthenticationConfiguration", true, [field("jwt", Type::List(&Type::Struct(&INNER)))]);
    const EXPECTED: Expected = Expected { kind: "AuthenticationConfiguration", ty: &TEST, scheme: "here" };

    fn check(text: &str, expect: Result<usize, &str>) {
        let got = decode(text.as_bytes(), &EXPECTED).map(|object| object.list("jwt").len());
        assert_eq!(got.as_ref().map_err(String::as_str), expect.as_ref().map_err(|why| *why), "{text}");
    }

    #[test]
    fn files_are_read_strictly() {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        check(&format!("{head}jwt:\n- name: a\n- prefix: ''\n"), Ok(2));
        check(r#"{"apiVersion":"apiserver.config.k8s.io/v1alpha1","kind":"AuthenticationConfiguration"}"#, Ok(0));
        check(&format!("{head}jwt1: []\n"), Err("strict decoding error: unknown field \"jwt1\""));
        let both = "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"name\" already set in map, unknown field \"jwt[0].x\"";
        check(&format!("{head}jwt:\n- name: a\n  name: b\n  x: 1\n"), Err(both));
        let wrong =
            "json: cannot unmarshal string into Go struct field AuthenticationConfiguration.jwt of type []v1.Inner";
        check(&format!("{head}jwt: a\n"), Err(wrong));
        check("kind: X\n", Err("Object 'apiVersion' is missing in 'kind: X\n'"));
        check("apiVersion: v1\n", Err("Object 'Kind' is missing in 'apiVersion: v1\n'"));
        let other = r#"no kind "AuthenticationConfiguration" is registered for version "apiserver.config.k8s.io/v99" in scheme "here""#;
        check("apiVersion: apiserver.config.k8s.io/v99\nkind: AuthenticationConfiguration\n", Err(other));
        let kind = "expected AuthenticationConfiguration, got *apiserver.AuthorizationConfiguration";
        check("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n", Err(kind));
    }
}
