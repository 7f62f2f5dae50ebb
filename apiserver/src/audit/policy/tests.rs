//! Which rule decides of which request, and what is said of policies that are none
//! (k8s.io/apiserver/pkg/audit/policy/{checker,reader}_test.go, pkg/apis/audit/validation@v0.37.2 have the same cases;
//! the texts are those of upstream's kube-apiserver, asked with each file).

use super::*;
use crate::authn::User;
use crate::authz::ResourceAttributes;

/// A policy with rules in flow style, one a line.
fn policy(head: &str, rules: &[&str]) -> String {
    let lines: String = rules.iter().map(|rule| format!("- {{{rule}}}\n")).collect();
    format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{head}\nrules:\n{lines}")
}

const DEFAULT: &str = "level: Metadata";
const CREATE: &str = "level: Request, verbs: [create]";
const TIMS: &str = "level: Metadata, users: [tim@k8s.io]";
const HUMANS: &str = "level: Metadata, userGroups: [humans]";
const ACCOUNTS: &str = "level: Request, userGroups: ['system:serviceaccounts']";
const GET_PODS: &str = "level: RequestResponse, verbs: [get], resources: [{resources: [pods]}]";
const GET_LOGS: &str = "level: Request, verbs: [get], resources: [{resources: [pods/log]}]";
const GET_ANY: &str = "level: Request, verbs: [get], resources: [{resources: ['*']}]";
const ANY_LOG: &str = "level: Request, verbs: [get], resources: [{resources: ['*/log']}]";
const PODS_ANY: &str = "level: Request, verbs: [get], resources: [{resources: ['pods/*']}]";
const ROLES: &str = "level: RequestResponse, verbs: [get], resources: [{group: rbac.authorization.k8s.io, resources: [clusterroles]}], namespaces: ['']";
const STATUS: &str = "level: RequestResponse, verbs: [update], resources: [{group: '*', resources: ['*/status']}]";
const LOGS: &str = "level: RequestResponse, verbs: [get], nonResourceURLs: ['/logs*']";
const METRICS: &str = "level: Request, verbs: [get], nonResourceURLs: [/metrics]";
const EDIT: &str =
    "level: Request, resources: [{group: rbac.authorization.k8s.io, resources: [clusterroles], resourceNames: [edit]}]";
const GROUP: &str = "level: Request, resources: [{group: rbac.authorization.k8s.io}]";

/// Requests by name: verb, group, resource, subresource, namespace, name; or a path.
const REQUESTS: &[(&str, [&str; 6], &str)] = &[
    ("namespaced", ["get", "", "pods", "", "default", "busybox"], ""),
    ("cluster", ["get", "rbac.authorization.k8s.io", "clusterroles", "", "", "edit"], ""),
    ("nonResource", ["get", "", "", "", "", ""], "/logs/kubelet.log"),
    ("subresource", ["get", "", "pods", "log", "default", "busybox"], ""),
    ("nobody", ["get", "", "pods", "", "default", "busybox"], ""),
    ("status", ["update", "rbac.authorization.k8s.io", "clusterroles", "status", "", "somerole"], ""),
];

fn judge(policy: &str, request: &str) -> Verdict {
    let policy = Policy::parse(policy.as_bytes()).expect("a policy");
    let tim = User { name: "tim@k8s.io".into(), groups: vec!["humans".into(), "developers".into()], ..User::default() };
    let user = if request == "nobody" { User::default() } else { tim };
    let &(_, [verb, group, resource, subresource, namespace, name], path) =
        REQUESTS.iter().find(|row| row.0 == request).expect("a request");
    let about = ResourceAttributes { group, resource, subresource, namespace, name, ..ResourceAttributes::default() };
    let resource = path.is_empty().then_some(about);
    policy.judge(&Attributes { user: &user, verb, resource, path })
}

fn check(request: &str, rules: &[&str], expect: Level) {
    assert_eq!(judge(&policy("", rules), request).level, expect, "{request} {rules:?}");
}

#[test]
fn the_first_rule_that_matches_decides() {
    use Level::{Metadata, None, Request, RequestResponse};
    for (request, rows) in [
        (
            "namespaced",
            vec![
                (vec![DEFAULT], Metadata),
                (vec![CREATE], None),
                (vec![TIMS], Metadata),
                (vec![HUMANS], Metadata),
                (vec![ACCOUNTS], None),
                (vec![GET_PODS], RequestResponse),
                (vec![ROLES], None),
                (vec![LOGS], None),
                (vec![METRICS, ACCOUNTS, DEFAULT], Metadata),
                (vec![METRICS, GET_PODS, DEFAULT], RequestResponse),
                (vec![GET_LOGS, GET_PODS], RequestResponse),
                (vec![PODS_ANY], Request),
                (vec![ANY_LOG], None),
            ],
        ),
        (
            "cluster",
            vec![
                (vec![ROLES], RequestResponse),
                (vec![EDIT, ROLES], Request),
                (vec![GET_PODS], None),
                (vec![GET_ANY], None),
                (vec![GROUP], Request),
                (vec![METRICS, ROLES, DEFAULT], RequestResponse),
            ],
        ),
        (
            "nonResource",
            vec![
                (vec![LOGS], RequestResponse),
                (vec![METRICS], None),
                (vec![GET_ANY], None),
                (vec!["level: Request, nonResourceURLs: ['*']"], Request),
                (vec![LOGS, ROLES, DEFAULT], RequestResponse),
            ],
        ),
        (
            "subresource",
            vec![
                (vec![GET_LOGS, GET_PODS], Request),
                (vec![GET_ANY], Request),
                (vec![ANY_LOG], Request),
                (vec![PODS_ANY], Request),
                (vec![GET_PODS], None),
            ],
        ),
        ("nobody", vec![(vec![TIMS, DEFAULT], Metadata), (vec![HUMANS], None)]),
        ("status", vec![(vec![STATUS], RequestResponse), (vec![EDIT], None)]),
    ] {
        rows.into_iter().for_each(|(rules, expect)| check(request, &rules, expect));
    }
}

#[test]
fn stages_and_managed_fields() {
    let omitted = |head: &str, rule: &str| {
        let verdict = judge(&policy(head, &[rule]), "namespaced");
        let omitted: Vec<&str> =
            Stage::ALL.into_iter().filter(|stage| verdict.omitted.has(*stage)).map(Stage::text).collect();
        (omitted, verdict.omit_managed_fields)
    };
    let of_policy = "omitStages: [RequestReceived]\nomitManagedFields: true";
    assert_eq!(omitted("", DEFAULT), (vec![], false));
    assert_eq!(omitted(of_policy, DEFAULT), (vec!["RequestReceived"], true));
    let of_rule = "level: Metadata, omitStages: [Panic, RequestReceived], omitManagedFields: false";
    assert_eq!(omitted(of_policy, of_rule), (vec!["RequestReceived", "Panic"], false));
    assert_eq!(omitted("", "level: Metadata, omitManagedFields: true"), (vec![], true));
    // No rule matches.
    assert_eq!(omitted(of_policy, CREATE), (vec!["RequestReceived"], true));
}

fn refuses(text: &str, expect: &str) {
    assert_eq!(Policy::parse(text.as_bytes()).map(drop).err().as_deref().unwrap_or(""), expect, "{text}");
}

#[test]
fn policies_that_are_none() {
    let unknown = "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy";
    refuses("", unknown);
    refuses("rules: [{level: Metadata}]", unknown);
    refuses("kind: Policy\nrules: [{level: Metadata}]", unknown);
    refuses("apiVersion: audit.k8s.io/v1\nrules: [{level: Metadata}]", "");
    refuses("apiVersion: audit.k8s.io/v1\nkind: Policy", "loaded illegal policy with 0 rules");
    let scheme = "in scheme \"pkg/runtime/scheme.go:111\"";
    let of_version =
        |version: &str| format!("failed decoding: no kind \"Policy\" is registered for version \"{version}\" {scheme}");
    refuses("apiVersion: audit.k8s.io/v1beta1\nkind: Policy", &of_version("audit.k8s.io/v1beta1"));
    refuses(
        "kind: Pod\napiVersion: v1",
        &format!("failed decoding: no kind \"Pod\" is registered for version \"v1\" {scheme}"),
    );
    refuses(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: 1",
        "failed decoding: json: cannot unmarshal number into Go struct field Policy.rules of type []v1.PolicyRule",
    );
    refuses(
        &policy("", &["level: Metadata, users: [1]"]),
        "failed decoding: json: cannot unmarshal number into Go struct field PolicyRule.rules.users of type string",
    );
    refuses(
        "kind: Pod",
        &format!(
            "failed decoding: no kind \"Pod\" is registered for the internal version of group \"audit.k8s.io\" {scheme}"
        ),
    );
    // What is not known is only warned of.
    refuses(&policy("nonsense: 1", &["level: Metadata, verb: [get]"]), "");
}

#[test]
fn rules_that_are_wrong() {
    let check = |rule: &str, expect: &str| refuses(&policy("", &[rule]), expect);
    check("verbs: [get]", "rules[0].level: Required value");
    let levels = "supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"";
    check("level: FooBar", &format!("rules[0].level: Unsupported value: \"FooBar\": {levels}"));
    let both = "rules[0].nonResourceURLs: Invalid value: [\"/logs*\"]: rules cannot apply to both regular resources and non-resource URLs";
    check("level: Metadata, namespaces: [default], nonResourceURLs: ['/logs*']", both);
    check("level: Metadata, resources: [{resources: [secrets]}], nonResourceURLs: ['/logs*']", both);
    let name = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    check(
        "level: Metadata, resources: [{group: rbac.authorization.k8s.io/v1beta1, resources: [roles]}]",
        &format!("rules[0].resources.group: Invalid value: \"rbac.authorization.k8s.io/v1beta1\": {name}"),
    );
    let begin = "non-resource URL rules must begin with a '/' character";
    let wild = "non-resource URL wildcards '*' must be the final character of the rule";
    check(
        "level: Metadata, nonResourceURLs: [logs]",
        &format!("rules[0].nonResourceURLs[0]: Invalid value: \"logs\": {begin}"),
    );
    check(
        "level: Metadata, nonResourceURLs: ['']",
        &format!("rules[0].nonResourceURLs[0]: Invalid value: \"\": {begin}"),
    );
    check(
        "level: Metadata, nonResourceURLs: ['/a', '/logs/*/*']",
        &format!("rules[0].nonResourceURLs[1]: Invalid value: \"/logs/*/*\": {wild}"),
    );
    check(
        "level: Metadata, nonResourceURLs: ['/logs/*.log']",
        &format!("rules[0].nonResourceURLs[0]: Invalid value: \"/logs/*.log\": {wild}"),
    );
    check(
        "level: Metadata, resources: [{resourceNames: [leader]}]",
        "rules[0].resources.resourceNames: Invalid value: [\"leader\"]: using resourceNames requires at least one resource",
    );
    let stages = "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic";
    check("level: Metadata, omitStages: [foo]", &format!("rules[0].omitStages[0]: Invalid value: \"foo\": {stages}"));
    refuses(
        &policy("omitStages: [Panic, foo]", &["verbs: [get]", "level: x"]),
        &format!(
            "[omitStages[1]: Invalid value: \"foo\": {stages}, rules[0].level: Required value, rules[1].level: Unsupported value: \"x\": {levels}]"
        ),
    );
    check("level: Metadata, nonResourceURLs: ['*', '/a*'], userGroups: [a]", "");
}
