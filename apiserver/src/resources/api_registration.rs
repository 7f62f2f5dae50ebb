//! apiregistration.k8s.io: APIService
//! (k8s.io/kube-aggregator/pkg/{registry/apiservice/strategy.go,apis/apiregistration/validation}@v0.37.2).
//!
//! Non-goal: what is served by one; `crate::aggregation` follows the stored objects.

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::Map;
use base64::Engine;
use structural::conditions::{self, Condition};

use super::check::{said, set_missing};
use super::simple::Simple;
use crate::strategy::MetaCheck;

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;
const HTTPS_PORT: i64 = 443;
const STATUSES: &[&str] = &["True", "False", "Unknown"];

pub(super) const API_SERVICE: Simple = Simple {
    meta: &[MetaCheck::Update, MetaCheck::Whole],
    knows_finalizers: false,
    repeats: true,
    unconditional: false,
    name_in: Some(|object, name, _| self::name(object, name)),
    default: |object| {
        let spec = object.map_mut("spec");
        if spec.map("service").is_some() {
            set_missing(spec.map_mut("service"), "port", HTTPS_PORT);
        }
    },
    create: |cx, object| {
        if object.at(&["spec", "service"]).is_none() {
            conditions::set(object, &local(), cx.now);
        }
    },
    update_status: |_, object, old| {
        for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
            object.meta_mut().take_over(name, old.meta());
        }
    },
    check: api_service,
    check_status: |new, _| statuses(new),
    ..Simple::OWN_STATUS
};

/// A group version that this server has itself is always there (helpers.go: NewLocalAvailableAPIServiceCondition).
pub(crate) fn local() -> Condition {
    Condition {
        ty: "Available".into(),
        status: "True".into(),
        reason: "Local".into(),
        message: "Local APIServices are always available".into(),
    }
}

fn api_service(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (object.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    let (group, version) = (spec.str("group"), spec.str("version"));
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(field::required(&path.child("group"), why));
    }
    if !group.is_empty() {
        errors.extend(said(&path.child("group"), group, &names::is_dns1123_subdomain(group)));
    }
    errors.extend(said(&path.child("version"), version, &names::is_dns1035_label(version)));
    for (name, max) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
        let priority = spec.i64(name).unwrap_or(0);
        if priority <= 0 || priority > max {
            let why = format!("must be positive and less than {max}");
            errors.push(field::invalid(&path.child(name), priority, why));
        }
    }
    match spec.map("service") {
        Some(service) => remote(spec, service, &path, &mut errors),
        None => nothing_remote(spec, &path, &mut errors),
    }
    errors
}

/// Name and generateName have to be the version, a dot and the group.
fn name(object: &Map, name: &str) -> Vec<String> {
    let wrong = names::is_path_segment_name(name);
    if !wrong.is_empty() {
        return wrong;
    }
    let spec = object.map("spec").unwrap_or(Map::EMPTY);
    let required = format!("{}.{}", spec.str("version"), spec.str("group"));
    if name == required {
        return Vec::new();
    }
    vec![format!("must be `spec.version+\".\"+spec.group`: {}", field::go_quote(&required))]
}

fn skips_verification(spec: &Map) -> bool {
    spec.bool("insecureSkipTLSVerify") == Some(true)
}

fn nothing_remote(spec: &Map, path: &Path, errors: &mut Errors) {
    let ca = spec.str("caBundle");
    if !ca.is_empty() {
        let length = base64::engine::general_purpose::STANDARD.decode(ca).map_or(ca.len(), |ca| ca.len());
        let path = path.child("caBundle");
        errors.push(field::invalid(&path, format!("{length} bytes"), "local APIServices may not have a caBundle"));
    }
    if skips_verification(spec) {
        let path = path.child("insecureSkipTLSVerify");
        errors.push(field::invalid(&path, true, "local APIServices may not have insecureSkipTLSVerify"));
    }
}

fn remote(spec: &Map, service: &Map, path: &Path, errors: &mut Errors) {
    let at = path.child("service");
    for name in ["namespace", "name"] {
        if service.str(name).is_empty() {
            errors.push(field::required(&at.child(name), ""));
        }
    }
    let port = service.i64("port").unwrap_or(0);
    let wrong = names::is_valid_port_num(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(field::invalid(&at.child("port"), port, why));
    }
    if skips_verification(spec) && !spec.str("caBundle").is_empty() {
        let path = path.child("insecureSkipTLSVerify");
        errors.push(field::invalid(&path, true, "may not be true if caBundle is present"));
    }
}

fn statuses(object: &Map) -> Errors {
    let conditions = object.map("status").map_or(&[][..], |status| status.list("conditions"));
    let path = Path::new("status").child("conditions");
    let status = |at: &usize| conditions[*at].as_map().map_or("", |condition| condition.str("status"));
    let wrong = (0..conditions.len()).filter(|at| !STATUSES.contains(&status(at)));
    wrong.map(|at| field::not_supported(&path.index(at).child("status"), status(&at), STATUSES)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::webhook::testing::object;

    fn check(text: &str, expect: &[&str]) {
        let mut object = object(text);
        API_SERVICE.default(&mut object);
        let got: Vec<String> = API_SERVICE.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn a_name_is_version_and_group() {
        let service = object(r#"{"spec":{"version":"v2","group":"g"}}"#);
        for (name, expect) in [
            ("v2.g", None),
            ("v2.x", Some(r#"must be `spec.version+"."+spec.group`: "v2.g""#)),
            ("a/b", Some("may not contain '/'")),
        ] {
            let got = API_SERVICE.name_errors_in(&service, name, false);
            assert_eq!(got.first().map(String::as_str), expect, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_in_upstream_s_words() {
        let good = r#""group":"g.example.com","version":"v1","groupPriorityMinimum":1000,"versionPriority":15"#;
        let named = |spec: &str| format!(r#"{{"metadata":{{"name":"v1.g.example.com"}},"spec":{{{good}{spec}}}}}"#);
        check(&named(""), &[]);
        check(&named(r#","service":{"namespace":"n","name":"s"},"insecureSkipTLSVerify":true"#), &[]);
        check(
            &named(r#","caBundle":"Q0E=","insecureSkipTLSVerify":true"#),
            &[
                r#"spec.caBundle: Invalid value: "2 bytes": local APIServices may not have a caBundle"#,
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ],
        );
        check(
            &named(r#","service":{"port":70000},"caBundle":"Q0E=","insecureSkipTLSVerify":true"#),
            &[
                "spec.service.namespace: Required value",
                "spec.service.name: Required value",
                "spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ],
        );
        check(
            r#"{"metadata":{"name":"v2.x"},"spec":{"version":"v2","groupPriorityMinimum":20001}}"#,
            &[
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            ],
        );
    }

    #[test]
    fn a_condition_has_one_of_three_statuses() {
        let status =
            object(r#"{"status":{"conditions":[{"type":"A","status":"True"},{"type":"B","status":"Maybe"}]}}"#);
        let got: Vec<String> = statuses(&status).iter().map(ToString::to_string).collect();
        let want =
            r#"status.conditions[1].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown""#;
        assert_eq!(got, [want]);
    }

    #[test]
    fn local_ones_are_available_at_once() {
        let user = crate::authn::User::default();
        let cx = crate::strategy::Context { user: &user, now: "2026-01-01T00:00:00Z", labels_defaulted: false };
        let mut local = object(r#"{"spec":{"group":"g","version":"v1"}}"#);
        API_SERVICE.prepare_for_create(&cx, &mut local);
        assert!(conditions::is_true(&local, "Available"));
        let mut remote = object(r#"{"spec":{"service":{"name":"s"}}}"#);
        API_SERVICE.prepare_for_create(&cx, &mut remote);
        assert!(remote.map("status").is_none());
    }
}
