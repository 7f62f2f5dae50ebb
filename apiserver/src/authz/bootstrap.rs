//! The bootstrap policy: the roles and bindings that every cluster starts with.
//!
//! The data is `bootstrap.json` in a compact form of our own (see README.md beside it), expanded here to typed objects
//! with upstream's labels and annotations.
//!
//! Upstream: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/{policy,controller_policy,namespace_policy}.go@v1.37.2`.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

const DATA: &str = include_str!("bootstrap.json");
const GROUP: &str = "rbac.authorization.k8s.io";
const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// The value "false" on an existing object keeps reconciliation away from it.
pub(crate) const AUTOUPDATE_ANNOTATION: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// The word in the data for the API group without a name.
const CORE: &str = "core";
const NODE_ROLE: &str = "system:node";

/// Roles that became aggregated: a role of the first name that exists and the second that does not is renamed, so that
/// what an administrator added to it survives.
pub(crate) const CLUSTER_ROLES_TO_AGGREGATE: [(&str, &str); 3] = [
    ("admin", "system:aggregate-to-admin"),
    ("edit", "system:aggregate-to-edit"),
    ("view", "system:aggregate-to-view"),
];
/// Bindings that were split: the second, when it is missing, starts with the subjects, labels and annotations of the
/// first.
pub(crate) const CLUSTER_ROLE_BINDINGS_TO_SPLIT: [(&str, &str); 1] =
    [("system:discovery", "system:public-info-viewer")];

/// All bootstrap objects, in the order in which upstream writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    pub(crate) cluster_roles: Vec<ClusterRole>,
    pub(crate) cluster_role_bindings: Vec<ClusterRoleBinding>,
    pub(crate) roles: Vec<Role>,
    pub(crate) role_bindings: Vec<RoleBinding>,
}

/// `bootstrap.json`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Data {
    generated: String,
    #[serde(rename = "clusterRoles")]
    cluster_roles: Vec<RoleData>,
    #[serde(rename = "clusterRoleBindings")]
    cluster_role_bindings: Vec<BindingData>,
    roles: Vec<RoleData>,
    #[serde(rename = "roleBindings")]
    role_bindings: Vec<BindingData>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct RoleData {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    /// Labels beside the one that all have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// The labels of the roles that this one gathers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gathers: Vec<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleData>,
}

/// A rule; every field is words separated by spaces.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct RuleData {
    verbs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    groups: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resources: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    names: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    urls: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct BindingData {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    /// Kind and name.
    role: String,
    /// Kind and name, of service accounts namespace/name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
}

/// Reads the policy.
pub(crate) fn policy() -> Policy {
    let data = data();
    Policy {
        cluster_roles: data.cluster_roles.into_iter().map(cluster_role).collect(),
        cluster_role_bindings: data.cluster_role_bindings.into_iter().map(cluster_role_binding).collect(),
        roles: data.roles.into_iter().map(role).collect(),
        role_bindings: data.role_bindings.into_iter().map(role_binding).collect(),
    }
}

/// What every node may do: the rules of the role `system:node`.
pub(crate) fn node_rules() -> Vec<PolicyRule> {
    let role = data().cluster_roles.into_iter().find(|role| role.name == NODE_ROLE);
    role.map(|role| role.rules.iter().map(rule).collect()).unwrap_or_default()
}

fn data() -> Data {
    serde_json::from_str(DATA).expect("a test reads the data that is compiled in")
}

fn metadata(name: String, namespace: String, labels: BTreeMap<String, String>) -> ObjectMeta {
    let mut labels = labels;
    labels.insert(LABEL.0.into(), LABEL.1.into());
    ObjectMeta {
        name: Some(name),
        namespace: (!namespace.is_empty()).then_some(namespace),
        labels: Some(labels),
        annotations: Some(BTreeMap::from([(AUTOUPDATE_ANNOTATION.into(), "true".into())])),
        ..ObjectMeta::default()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn optional_words(text: &str) -> Option<Vec<String>> {
    (!text.is_empty()).then(|| words(text))
}

fn rule(data: &RuleData) -> PolicyRule {
    let group = |word: String| if word == CORE { String::new() } else { word };
    PolicyRule {
        verbs: words(&data.verbs),
        api_groups: optional_words(&data.groups).map(|groups| groups.into_iter().map(group).collect()),
        resources: optional_words(&data.resources),
        resource_names: optional_words(&data.names),
        non_resource_urls: optional_words(&data.urls),
    }
}

fn rules(data: &[RuleData]) -> Option<Vec<PolicyRule>> {
    (!data.is_empty()).then(|| data.iter().map(rule).collect())
}

fn cluster_role(data: RoleData) -> ClusterRole {
    let selector = |labels| LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let gathers: Vec<LabelSelector> = data.gathers.into_iter().map(selector).collect();
    ClusterRole {
        aggregation_rule: (!gathers.is_empty()).then_some(AggregationRule { cluster_role_selectors: Some(gathers) }),
        rules: rules(&data.rules),
        metadata: metadata(data.name, data.namespace, data.labels),
    }
}

fn role(data: RoleData) -> Role {
    Role { rules: rules(&data.rules), metadata: metadata(data.name, data.namespace, data.labels) }
}

fn role_ref(text: &str) -> RoleRef {
    let (kind, name) = text.split_once(' ').unwrap_or((text, ""));
    RoleRef { api_group: Some(GROUP.into()), kind: kind.into(), name: name.into() }
}

fn subject(text: &str) -> Subject {
    let (kind, name) = text.split_once(' ').unwrap_or((text, ""));
    match (kind, name.split_once('/')) {
        ("ServiceAccount", Some((namespace, name))) => {
            Subject { kind: kind.into(), name: name.into(), namespace: Some(namespace.into()), api_group: None }
        }
        _ => Subject { kind: kind.into(), name: name.into(), namespace: None, api_group: Some(GROUP.into()) },
    }
}

fn subjects(data: &[String]) -> Option<Vec<Subject>> {
    (!data.is_empty()).then(|| data.iter().map(|text| subject(text)).collect())
}

fn cluster_role_binding(data: BindingData) -> ClusterRoleBinding {
    ClusterRoleBinding {
        role_ref: role_ref(&data.role),
        subjects: subjects(&data.subjects),
        metadata: metadata(data.name, data.namespace, BTreeMap::new()),
    }
}

fn role_binding(data: BindingData) -> RoleBinding {
    RoleBinding {
        role_ref: role_ref(&data.role),
        subjects: subjects(&data.subjects),
        metadata: metadata(data.name, data.namespace, BTreeMap::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde::de::DeserializeOwned;

    use super::*;

    /// Set to write `bootstrap.json` anew from upstream's files.
    const UPDATE: &str = "KEELSON_UPDATE_BOOTSTRAP_POLICY";
    const VERSION: &str = "v1.37.2";
    const NOTE: &str = "generated from k8s.io/kubernetes@v1.37.2 \
                        plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata; see README.md, do not edit";

    #[derive(Deserialize)]
    struct List<T> {
        items: Vec<T>,
    }

    /// Upstream's own rendering of the policy, when the Go module is on this machine.
    fn testdata() -> Option<PathBuf> {
        let cache = std::env::var_os("GOMODCACHE").map(PathBuf::from).or_else(|| {
            let go = std::env::var_os("GOPATH").map(PathBuf::from);
            go.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go")))
                .map(|go| go.join("pkg/mod"))
        })?;
        let module = cache.join(format!("k8s.io/kubernetes@{VERSION}"));
        let folder = module.join("plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata");
        folder.is_dir().then_some(folder)
    }

    fn read<T: DeserializeOwned>(folder: &std::path::Path, files: &[&str]) -> Vec<T> {
        let read = |file: &&str| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            serde_saphyr::from_str::<List<T>>(&text).unwrap().items
        };
        files.iter().flat_map(read).collect()
    }

    fn upstream() -> Option<Policy> {
        let folder = testdata()?;
        let bindings = ["cluster-role-bindings.yaml", "controller-role-bindings.yaml"];
        Some(Policy {
            cluster_roles: read(&folder, &["cluster-roles.yaml", "controller-roles.yaml"]),
            cluster_role_bindings: read(&folder, &bindings),
            roles: read(&folder, &["namespace-roles.yaml"]),
            role_bindings: read(&folder, &["namespace-role-bindings.yaml"]),
        })
    }

    #[test]
    fn the_policy_is_upstreams() {
        let Some(upstream) = upstream() else {
            eprintln!("skipped: k8s.io/kubernetes@{VERSION} is not in the Go module cache");
            return;
        };
        if std::env::var_os(UPDATE).is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/authz/bootstrap.json");
            std::fs::write(path, render(&compact(&upstream))).unwrap();
            return;
        }
        let ours = policy();
        assert_eq!(ours.cluster_roles, upstream.cluster_roles);
        assert_eq!(ours.cluster_role_bindings, upstream.cluster_role_bindings);
        assert_eq!(ours.roles, upstream.roles);
        assert_eq!(ours.role_bindings, upstream.role_bindings);
        assert_eq!(DATA, render(&compact(&upstream)), "the committed file is what the generator writes");
    }

    #[test]
    fn the_policy_is_complete() {
        let policy = policy();
        let counts = [
            policy.cluster_roles.len(),
            policy.cluster_role_bindings.len(),
            policy.roles.len(),
            policy.role_bindings.len(),
        ];
        assert_eq!(counts, [73, 54, 7, 7]);
        assert!(node_rules().len() > 20);
        let lists = |rules: &Option<Vec<PolicyRule>>| {
            let has = |rule: &PolicyRule, verb: &str| rule.verbs.iter().any(|v| v == verb);
            rules.iter().flatten().all(|rule| !has(rule, "list") || has(rule, "watch"))
        };
        let controller = |role: &&ClusterRole| role.metadata.name.iter().any(|n| n.starts_with("system:controller:"));
        for role in policy.cluster_roles.iter().filter(|role| !controller(role)) {
            assert!(lists(&role.rules), "{:?}: who may list may watch", role.metadata.name);
        }
        for role in &policy.roles {
            assert!(lists(&role.rules), "{:?}: who may list may watch", role.metadata.name);
        }
        let names: Vec<&str> = policy.cluster_roles.iter().filter_map(|r| r.metadata.name.as_deref()).collect();
        let bindings = policy.cluster_role_bindings.iter();
        for binding in bindings {
            assert!(names.contains(&binding.role_ref.name.as_str()), "{:?}", binding.metadata.name);
        }
    }

    fn join(list: &Option<Vec<String>>) -> String {
        let word = |w: &String| if w.is_empty() { CORE.to_owned() } else { w.clone() };
        list.iter().flatten().map(word).collect::<Vec<_>>().join(" ")
    }

    fn compact_role(metadata: &ObjectMeta, rules: &Option<Vec<PolicyRule>>, gathers: Vec<LabelSelector>) -> RoleData {
        let mut labels = metadata.labels.clone().unwrap_or_default();
        labels.remove(LABEL.0);
        let rule = |r: &PolicyRule| RuleData {
            verbs: r.verbs.join(" "),
            groups: join(&r.api_groups),
            resources: join(&r.resources),
            names: join(&r.resource_names),
            urls: join(&r.non_resource_urls),
        };
        RoleData {
            name: metadata.name.clone().unwrap(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            labels,
            gathers: gathers.into_iter().map(|s| s.match_labels.unwrap_or_default()).collect(),
            rules: rules.iter().flatten().map(rule).collect(),
        }
    }

    fn compact_binding(metadata: &ObjectMeta, role: &RoleRef, subjects: &Option<Vec<Subject>>) -> BindingData {
        let subject = |s: &Subject| match &s.namespace {
            Some(namespace) => format!("{} {namespace}/{}", s.kind, s.name),
            None => format!("{} {}", s.kind, s.name),
        };
        BindingData {
            name: metadata.name.clone().unwrap(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            role: format!("{} {}", role.kind, role.name),
            subjects: subjects.iter().flatten().map(subject).collect(),
        }
    }

    fn compact(policy: &Policy) -> Data {
        let gathers = |role: &ClusterRole| {
            role.aggregation_rule.clone().and_then(|rule| rule.cluster_role_selectors).unwrap_or_default()
        };
        Data {
            generated: NOTE.into(),
            cluster_roles: policy
                .cluster_roles
                .iter()
                .map(|r| compact_role(&r.metadata, &r.rules, gathers(r)))
                .collect(),
            cluster_role_bindings: policy
                .cluster_role_bindings
                .iter()
                .map(|b| compact_binding(&b.metadata, &b.role_ref, &b.subjects))
                .collect(),
            roles: policy.roles.iter().map(|r| compact_role(&r.metadata, &r.rules, Vec::new())).collect(),
            role_bindings: policy
                .role_bindings
                .iter()
                .map(|b| compact_binding(&b.metadata, &b.role_ref, &b.subjects))
                .collect(),
        }
    }

    /// JSON with one rule or binding a line, which reads and diffs well.
    fn render(data: &Data) -> String {
        let json = |value: &serde_json::Value| value.to_string();
        let role = |r: &RoleData| {
            let mut value = serde_json::to_value(r).unwrap();
            let rules = value.as_object_mut().unwrap().remove("rules");
            let head = json(&value);
            let lines = rules.iter().flat_map(|r| r.as_array().unwrap()).map(|r| format!("      {}", json(r)));
            let lines: Vec<String> = lines.collect();
            match lines.is_empty() {
                true => format!("    {head}"),
                false => format!("    {},\"rules\":[\n{}\n    ]}}", &head[..head.len() - 1], lines.join(",\n")),
            }
        };
        let binding = |b: &BindingData| format!("    {}", json(&serde_json::to_value(b).unwrap()));
        let list = |items: Vec<String>| items.join(",\n");
        format!(
            "{{\n  \"generated\": {},\n  \"clusterRoles\": [\n{}\n  ],\n  \"clusterRoleBindings\": [\n{}\n  ],\n  \
             \"roles\": [\n{}\n  ],\n  \"roleBindings\": [\n{}\n  ]\n}}\n",
            json(&data.generated.clone().into()),
            list(data.cluster_roles.iter().map(role).collect()),
            list(data.cluster_role_bindings.iter().map(binding).collect()),
            list(data.roles.iter().map(role).collect()),
            list(data.role_bindings.iter().map(binding).collect()),
        )
    }
}
