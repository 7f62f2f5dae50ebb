//! internal.apiserver.k8s.io (pkg/registry/apiserverinternal/storageversion/strategy.go,
//! pkg/apis/apiserverinternal/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::common;
use super::simple::Simple;

pub(super) const VERSION: Simple = Simple {
    unconditional: false,
    name: |name, _| self::name(name),
    // A new object has no status, and a spec has no fields.
    check_status: |version, _| status(version),
    ..Simple::OWN_STATUS
};

/// ValidateStorageVersionName: a group, a dot and a resource.
fn name(name: &str) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_string()];
    };
    let group = names::is_dns1123_subdomain(group).into_iter().map(|why| format!("the group segment {why}"));
    let resource = names::is_dns1035_label(resource).into_iter().map(|why| format!("the resource segment {why}"));
    group.chain(resource).collect()
}

fn status(version: &Map) -> Errors {
    let mut errors = Errors::new();
    let (status, path) = (version.map("status").unwrap_or(Map::EMPTY), Path::new("status"));
    let mut seen: Vec<&str> = Vec::new();
    for (at, server) in status.maps("storageVersions").enumerate() {
        let (path, id) = (path.child("storageVersions").index(at), server.str("apiServerID"));
        if seen.contains(&id) {
            errors.push(field::duplicate(&path.child("apiServerID"), id));
        }
        seen.push(id);
        self::server(server, &path, &mut errors);
    }
    agreed(status, &path, &mut errors);
    conditions(status, &path, &mut errors);
    errors
}

fn texts<'m>(map: &'m Map, name: &str) -> Vec<&'m str> {
    map.list(name).iter().filter_map(Value::as_str).collect()
}

/// validateServerStorageVersion.
fn server(server: &Map, path: &Path, errors: &mut Errors) {
    let id = server.str("apiServerID");
    common::each(&path.child("apiServerID"), id, names::name_is_dns_subdomain(id, false), errors);
    let ask = |version: &str, path: &Path, errors: &mut Errors| {
        let wrong = api_version(version);
        if !wrong.is_empty() {
            errors.push(field::invalid(path, version, wrong.join(",")));
        }
    };
    let encoding = server.str("encodingVersion");
    ask(encoding, &path.child("encodingVersion"), errors);
    let (decodable, at) = (texts(server, "decodableVersions"), path.child("decodableVersions"));
    for (index, version) in decodable.iter().enumerate() {
        ask(version, &at.index(index), errors);
    }
    if !decodable.contains(&encoding) {
        let shown = server.get("decodableVersions").cloned().unwrap_or(Value::Null);
        errors.push(field::invalid(&at, shown, format!("decodableVersions must include encodingVersion {encoding}")));
    }
    for (index, version) in texts(server, "servedVersions").iter().enumerate() {
        let path = path.child("servedVersions").index(index);
        ask(version, &path, errors);
        if !decodable.contains(version) {
            let all = decodable.join(" ");
            let why = format!("individual served version : {version} must be included in decodableVersions : [{all}]");
            errors.push(field::invalid(&path, *version, why));
        }
    }
}

/// validateCommonVersion: what all servers encode, where they agree.
fn agreed(status: &Map, path: &Path, errors: &mut Errors) {
    let mut encodings = status.maps("storageVersions").map(|server| server.str("encodingVersion"));
    let first = encodings.next();
    let common = first.filter(|first| encodings.all(|other| other == *first));
    let path = path.child("commonEncodingVersion");
    let said = status.get("commonEncodingVersion").and_then(Value::as_str);
    match (common, said) {
        (None, Some(said)) => {
            let why = "should be nil if servers do not agree on the same encoding version, or if there is no server \
                       reporting the supported versions yet";
            errors.push(field::invalid(&path, said, why));
        }
        (Some(common), None) => {
            errors.push(field::invalid(&path, Value::Null, format!("the common encoding version is {common}")));
        }
        (Some(common), Some(said)) if common != said => {
            errors.push(field::invalid(&path, said, format!("the actual common encoding version is {common}")));
        }
        _ => {}
    }
}

/// validateStorageVersionCondition; upstream leaves `conditions` out of the paths.
fn conditions(status: &Map, path: &Path, errors: &mut Errors) {
    let kinds: Vec<&str> = status.maps("conditions").map(|condition| condition.str("type")).collect();
    for (at, condition) in status.maps("conditions").enumerate() {
        let (path, kind) = (path.index(at), kinds[at]);
        if let Some(before) = kinds[..at].iter().rposition(|other| *other == kind) {
            let why = format!("the type of the condition is not unique, it also appears in conditions[{before}]");
            errors.push(field::invalid(&path.child("type"), kind, why));
        }
        common::qualified_name(kind, &path.child("type"), errors);
        common::qualified_name(condition.str("status"), &path.child("status"), errors);
        common::required(condition, "reason", &path, errors);
        common::required(condition, "message", &path, errors);
    }
}

/// isValidAPIVersion.
fn api_version(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let version = match parts[..] {
        [version] => version,
        [group, version] => {
            let said = match group {
                "" => vec![names::empty_error()],
                group => names::is_dns1123_subdomain(group),
            };
            wrong.extend(said.into_iter().map(|why| format!("group part: {why}")));
            version
        }
        _ => {
            let message = "a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start \
                           with an alphabetic character, and end with an alphanumeric character";
            let form = names::regex_error(message, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]);
            let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')";
            return vec![format!("an apiVersion is {form} {optional}")];
        }
    };
    let said = match version {
        "" => vec![names::empty_error()],
        version => names::is_dns1035_label(version),
    };
    wrong.extend(said.into_iter().map(|why| format!("version part: {why}")));
    wrong
}
