//! The configuration a server begins with: what is mandatory, what is suggested, and how both are kept
//! (k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go@v0.37.2,
//! pkg/registry/flowcontrol/ensurer/strategy.go@v1.37.2).

use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use crate::schema::{CATCH_ALL, EXEMPT, LevelConfig, Schema};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// `true`: the spec is the server's to keep.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Schema,
    Level,
}

/// An object that a server creates and keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    pub kind: Kind,
    /// Its spec stays as it is here, whatever the annotation says.
    pub mandatory: bool,
    pub object: Map,
}

fn object(kind: Kind, name: &str, spec: Map) -> Map {
    let kind = match kind {
        Kind::Schema => "FlowSchema",
        Kind::Level => "PriorityLevelConfiguration",
    };
    let meta = map! { "name" => name, "annotations" => map! { AUTO_UPDATE => "true" } };
    map! { "kind" => kind, "apiVersion" => API_VERSION, "metadata" => meta, "spec" => spec }
}

fn list(words: &[&str]) -> Vec<Value> {
    words.iter().map(|word| Value::from(*word)).collect()
}

/// Name, shares, lendable percent; queues and hand.
type LevelRow = (&'static str, i64, i64, i64, i64);

/// Requests that wait in one queue.
const QUEUE_LENGTH: i64 = 50;

const SUGGESTED_LEVELS: [LevelRow; 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

fn suggested_level((name, shares, lendable, queues, hand): LevelRow) -> Map {
    let queuing = map! { "queues" => queues, "handSize" => hand, "queueLengthLimit" => QUEUE_LENGTH };
    let response = map! { "type" => "Queue", "queuing" => queuing };
    let limited =
        map! { "nominalConcurrencyShares" => shares, "limitResponse" => response, "lendablePercent" => lendable };
    object(Kind::Level, name, map! { "type" => "Limited", "limited" => limited })
}

fn mandatory_level(name: &str) -> Map {
    let spec = match name {
        EXEMPT => {
            let exempt = map! { "nominalConcurrencyShares" => 0i64, "lendablePercent" => 0i64 };
            map! { "type" => "Exempt", "exempt" => exempt }
        }
        _ => {
            let response = map! { "type" => "Reject" };
            let limited =
                map! { "nominalConcurrencyShares" => 5i64, "limitResponse" => response, "lendablePercent" => 0i64 };
            map! { "type" => "Limited", "limited" => limited }
        }
    };
    object(Kind::Level, name, spec)
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| Value::Map(map! { "kind" => "Group", "group" => map! { "name" => *name } })).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| Value::Map(map! { "kind" => "User", "user" => map! { "name" => *name } })).collect()
}

fn kube_system_accounts() -> Vec<Value> {
    let account = map! { "namespace" => "kube-system", "name" => "*" };
    vec![Value::Map(map! { "kind" => "ServiceAccount", "serviceAccount" => account })]
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule = map! { "verbs" => list(verbs), "apiGroups" => list(&[group]), "resources" => list(resources) };
    if cluster_scope {
        rule.set("clusterScope", true);
    }
    rule.set("namespaces", list(&["*"]));
    Value::Map(rule)
}

fn paths(verbs: &[&str], paths: &[&str]) -> Value {
    Value::Map(map! { "verbs" => list(verbs), "nonResourceURLs" => list(paths) })
}

/// What subjects may be about: the rules for resources and for other paths.
type Rules = (Vec<Value>, Vec<Value>);

fn everything() -> Rules {
    (vec![resources(&["*"], "*", &["*"], true)], vec![paths(&["*"], &["*"])])
}

fn schema(name: &str, level: &str, precedence: i64, method: &str, subjects: Vec<Value>, rules: Rules) -> Map {
    let mut spec =
        map! { "priorityLevelConfiguration" => map! { "name" => level }, "matchingPrecedence" => precedence };
    if !method.is_empty() {
        spec.set("distinguisherMethod", map! { "type" => method });
    }
    let mut rule = map! { "subjects" => subjects };
    for (field, rules) in [("resourceRules", rules.0), ("nonResourceRules", rules.1)] {
        if !rules.is_empty() {
            rule.set(field, rules);
        }
    }
    spec.set("rules", vec![Value::Map(rule)]);
    object(Kind::Schema, name, spec)
}

const ALL_GROUPS: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";
const LEASES: &str = "coordination.k8s.io";

fn suggested_schemas() -> [Map; 9] {
    let nodes = || groups(&["system:nodes"]);
    let node_rules =
        vec![resources(&["*"], "", &["nodes", "nodes/status"], true), resources(&["*"], LEASES, &["leases"], false)];
    let probes = paths(&["get"], &["/healthz", "/readyz", "/livez"]);
    let electors = [users(&[MANAGER, SCHEDULER]), kube_system_accounts()].concat();
    let elections = resources(&["get", "create", "update"], LEASES, &["leases"], false);
    let accounts = groups(&["system:serviceaccounts"]);
    let workload =
        |name, subjects, precedence| schema(name, "workload-high", precedence, "ByNamespace", subjects, everything());
    [
        schema("system-nodes", "system", 500, "ByUser", nodes(), everything()),
        schema("system-node-high", "node-high", 400, "ByUser", nodes(), (node_rules, Vec::new())),
        schema("probes", EXEMPT, 2, "", groups(&ALL_GROUPS), (Vec::new(), vec![probes])),
        schema("system-leader-election", "leader-election", 100, "ByUser", electors, (vec![elections], Vec::new())),
        workload("kube-controller-manager", users(&[MANAGER]), 800),
        workload("kube-scheduler", users(&[SCHEDULER]), 800),
        workload("kube-system-service-accounts", kube_system_accounts(), 900),
        schema("service-accounts", "workload-low", 9000, "ByUser", accounts, everything()),
        schema("global-default", "global-default", 9900, "ByUser", groups(&ALL_GROUPS), everything()),
    ]
}

fn mandatory_schema_object(name: &str) -> Map {
    match name {
        EXEMPT => schema(EXEMPT, EXEMPT, 1, "", groups(&["system:masters"]), everything()),
        _ => schema(CATCH_ALL, CATCH_ALL, 10_000, "ByUser", groups(&ALL_GROUPS), everything()),
    }
}

pub(crate) fn mandatory_schema(name: &str) -> Option<Schema> {
    Some(Schema::of(&mandatory_schema_object(name)))
}

pub(crate) fn mandatory_levels() -> impl Iterator<Item = LevelConfig> {
    [CATCH_ALL, EXEMPT].into_iter().filter_map(|name| LevelConfig::of(&mandatory_level(name)).ok())
}

/// Everything that is kept, in the order in which it is created.
pub fn kept() -> Vec<Kept> {
    let kept = |kind, mandatory, object| Kept { kind, mandatory, object };
    let suggested = SUGGESTED_LEVELS.map(|row| kept(Kind::Level, false, suggested_level(row)));
    let schemas = suggested_schemas().map(|object| kept(Kind::Schema, false, object));
    let mandatory = [CATCH_ALL, EXEMPT].map(|name| kept(Kind::Level, true, mandatory_level(name)));
    let last = [EXEMPT, CATCH_ALL].map(|name| kept(Kind::Schema, true, mandatory_schema_object(name)));
    suggested.into_iter().chain(schemas).chain(mandatory).chain(last).collect()
}

/// strconv.ParseBool of the annotation.
fn annotation(object: &Map) -> Option<bool> {
    match object.at(&["metadata", "annotations"])?.str(AUTO_UPDATE) {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An object of which there is no more in this version, and that was the server's to keep.
pub fn is_unwanted(kind: Kind, object: &Map) -> bool {
    let named = |kept: &Kept| kept.kind == kind && kept.object.name() == object.name();
    annotation(object) == Some(true) && !kept().iter().any(named)
}

impl Kept {
    /// The object as it is to be, if it is not.
    pub fn revised(&self, current: &Map) -> Option<Map> {
        let own = annotation(current);
        // Without an annotation, a spec that nobody changed is the server's.
        let untouched = current.meta().i64("generation") == Some(1);
        let updates = self.mandatory || own.unwrap_or(untouched);
        let changed = updates && !self.fits(current);
        if own == Some(updates) && !changed {
            return None;
        }
        let mut revised = current.clone();
        if changed {
            revised.set("spec", self.object.map("spec").cloned().unwrap_or_default());
        }
        if own != Some(updates) {
            let text = if updates { "true" } else { "false" };
            revised.map_mut("metadata").map_mut("annotations").set(AUTO_UPDATE, text);
        }
        Some(revised)
    }

    /// Whether the spec is as it should be; of the exempt level what it lends is the operator's.
    fn fits(&self, current: &Map) -> bool {
        match self.kind {
            Kind::Schema => Schema::of(current).spec == Schema::of(&self.object).spec,
            Kind::Level => match (LevelConfig::of(current), LevelConfig::of(&self.object)) {
                (Ok(own), Ok(wanted)) => own.spec == wanted.spec || (own.spec.exempt && wanted.spec.exempt),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, kind: Kind) -> Kept {
        kept().into_iter().find(|kept| kept.kind == kind && kept.object.name() == name).expect("it is kept")
    }

    #[test]
    fn what_is_kept_can_be_used() {
        let all = kept();
        assert_eq!(all.len(), 8 + 11);
        for kept in &all {
            match kept.kind {
                Kind::Level => assert!(LevelConfig::of(&kept.object).is_ok(), "{}", kept.object.name()),
                Kind::Schema => {
                    let level = Schema::of(&kept.object).spec.level;
                    let named = |other: &Kept| other.kind == Kind::Level && other.object.name() == &*level;
                    assert!(all.iter().any(named), "{level}");
                }
            }
        }
    }

    /// Rows of upstream's TestSuggestedFSEnsureStrategy_ShouldUpdate and its mandatory twin.
    #[test]
    fn the_annotation_says_whose_the_spec_is() {
        // annotation, generation, the spec was changed -> suggested: annotation and spec; mandatory: the same.
        for (own, generation, changed, suggested, mandatory) in [
            ("true", 1, false, None, None),
            ("true", 2, true, Some(("true", true)), Some(("true", true))),
            ("false", 2, true, None, Some(("true", true))),
            ("false", 1, false, None, Some(("true", true))),
            ("", 1, false, Some(("true", true)), Some(("true", true))),
            ("", 2, true, Some(("false", false)), Some(("true", true))),
            ("notabool", 1, true, Some(("true", true)), Some(("true", true))),
        ] {
            let mut kept = one("system-nodes", Kind::Schema);
            let mut current = kept.object.clone();
            let meta = current.map_mut("metadata");
            meta.set("generation", i64::from(generation));
            meta.map_mut("annotations").set(AUTO_UPDATE, own);
            if changed {
                current.map_mut("spec").set("matchingPrecedence", 7i64);
            }
            for (is_mandatory, expect) in [(false, suggested), (true, mandatory)] {
                kept.mandatory = is_mandatory;
                let got = kept.revised(&current).map(|revised| {
                    let note = revised.at(&["metadata", "annotations"]).map_or("", |map| map.str(AUTO_UPDATE));
                    (note.to_string(), kept.fits(&revised))
                });
                let expect = expect.map(|(note, fits)| (note.to_string(), fits));
                assert_eq!(got, expect, "{own} {generation} {changed} {is_mandatory}");
            }
        }
    }

    #[test]
    fn the_exempt_level_may_be_given_shares() {
        let kept = one(EXEMPT, Kind::Level);
        let mut current = kept.object.clone();
        current.map_mut("spec").map_mut("exempt").set("nominalConcurrencyShares", 10i64);
        assert!(kept.revised(&current).is_none());
        current.map_mut("spec").remove("exempt");
        assert!(kept.revised(&current).is_some());
    }

    #[test]
    fn only_objects_of_the_server_are_removed() {
        let mut old = one("probes", Kind::Schema).object;
        assert!(!is_unwanted(Kind::Schema, &old) && is_unwanted(Kind::Level, &old));
        old.map_mut("metadata").set("name", "of-an-old-version");
        assert!(is_unwanted(Kind::Schema, &old));
        old.map_mut("metadata").map_mut("annotations").set(AUTO_UPDATE, "false");
        assert!(!is_unwanted(Kind::Schema, &old));
    }
}
