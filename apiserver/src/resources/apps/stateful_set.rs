//! StatefulSet (pkg/registry/apps/statefulset/strategy.go, pkg/apis/apps/v1/defaults.go,
//! pkg/apis/apps/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::map;
use api::object::{self, Meta};
use api::value::{Map, Value};

use crate::resources::common::internal::{self, Plain};
use crate::resources::common::workload::{self, TEMPLATE, spec_of, status_of};
use crate::resources::core::pod::defaults::{self, absent, text};
use crate::resources::core::pod::options::Options;
use crate::resources::core::pod::{claim, spec, warnings};
use crate::resources::{check, common};
use crate::strategy::{Context, Generation, Strategy};

const COUNTERS: [&str; 7] = [
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
];

pub(crate) struct StatefulSet;

/// Claims say what they are, whatever a client says (pkg/apis/apps/v1/conversion.go).
fn name_claims(object: &mut Map) {
    let spec = object.get_mut("spec").and_then(Value::as_map_mut);
    for claim in spec.into_iter().flat_map(|spec| spec.maps_mut("volumeClaimTemplates")) {
        object::set_kind(claim, "v1", "PersistentVolumeClaim");
    }
}

/// What an update does not look at again.
#[derive(Clone, Copy, Default)]
struct Skip {
    service_name: bool,
    template: bool,
    claims: bool,
}

fn checked(object: &Map, old: Option<&Map>, skip: Skip) -> Errors {
    let mut errors = Errors::new();
    let (set, path) = (spec_of(object), Path::new("spec"));
    match set.str("podManagementPolicy") {
        "" => errors.push(field::required(&path.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.push(field::invalid(&path.child("podManagementPolicy"), other, why));
        }
    }
    update_strategy(set, &path.child("updateStrategy"), &mut errors);
    if let Some(policy) = set.map("persistentVolumeClaimRetentionPolicy") {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for name in ["whenDeleted", "whenScaled"] {
            if !["Retain", "Delete"].contains(&policy.str(name)) {
                errors.push(field::not_supported(&path.child(name), policy.str(name), &["Retain", "Delete"]));
            }
        }
    }
    for (at, template) in set.maps("volumeClaimTemplates").enumerate().filter(|_| !skip.claims) {
        let path = path.child("volumeClaimTemplates").index(at).child("spec");
        claim::spec(spec_of(template), &path, &mut errors);
    }
    common::none_negative(set, &["replicas", "minReadySeconds"], &path, &mut errors);
    if let Some(start) = set.map("ordinals").and_then(|ordinals| ordinals.i64("start")) {
        common::not_negative(start, &path.child("ordinals.start"), &mut errors);
    }
    if !skip.service_name && !set.str("serviceName").is_empty() {
        common::dns_label(set.str("serviceName"), &path.child("serviceName"), &mut errors);
    }
    pods(object, old, skip, &path, &mut errors);
    errors
}

fn pods(object: &Map, old: Option<&Map>, skip: Skip, path: &Path, errors: &mut Errors) {
    let set = spec_of(object);
    let given = workload::template(object, &TEMPLATE);
    let at = path.child("template");
    if workload::selector(set, path, "statefulset", "", errors) {
        let template = checked_template(set, given);
        workload::matches_template(set, &template, &at, errors);
        let options = Options::template(old.map(|old| workload::template(old, &TEMPLATE)));
        if !skip.template {
            spec::template(&template, &at, &options, errors);
        }
        // Upstream looks at them once more.
        spec::template_metadata(&template, &at, &options, errors);
    }
    workload::always_restarted(given, &at, "StatefulSet", errors);
}

/// The template without the names that its pods get anyway, with volumes for the claims that they get.
fn checked_template(set: &Map, template: &Map) -> Map {
    let mut template = template.clone();
    let spec = template.map_mut("spec");
    spec.remove("subdomain");
    spec.remove("hostname");
    let claims: Vec<&str> = set.maps("volumeClaimTemplates").map(|claim| claim.name()).collect();
    if claims.is_empty() {
        return template;
    }
    let mut volumes: Vec<Value> = Vec::new();
    for (_, name) in claims.iter().enumerate().filter(|(at, name)| !claims[..*at].contains(name)) {
        volumes.push(Value::Map(map! { "name" => *name, "persistentVolumeClaim" => map! { "claimName" => *name } }));
    }
    let others = spec.maps("volumes").filter(|volume| !claims.contains(&volume.str("name")));
    volumes.extend(others.cloned().map(Value::Map));
    spec.set("volumes", volumes);
    template
}

/// The claims as upstream's internal type shows them; their kind is not in it.
fn shown_claims(set: &Map) -> Plain {
    let shown = |claim: &Map| {
        let mut claim = claim.clone();
        claim.retain(|name, _| !matches!(name, "kind" | "apiVersion"));
        internal::shown(&claim, "core.v1.PersistentVolumeClaim")
    };
    let all: Vec<String> = set.maps("volumeClaimTemplates").map(shown).collect();
    let is_none = set.get("volumeClaimTemplates").is_none_or(Value::is_null);
    Plain(if is_none { "null".into() } else { format!("[{}]", all.join(",")) })
}

fn update_strategy(spec: &Map, path: &Path, errors: &mut Errors) {
    let strategy = spec.map("updateStrategy").unwrap_or(Map::EMPTY);
    let at = path.child("rollingUpdate");
    match (strategy.str("type"), strategy.map("rollingUpdate")) {
        ("", _) => errors.push(field::required(path, "")),
        ("OnDelete", Some(rolling)) => {
            let shown = workload::shown(Some(rolling), "apps.v1.RollingUpdateStatefulSetStrategy");
            errors.push(field::invalid(&at, shown, "only allowed for updateStrategy 'RollingUpdate'"));
        }
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            common::none_negative(rolling, &["partition"], &at, errors);
            let at = at.child("maxUnavailable");
            if let Some(unavailable) = rolling.get("maxUnavailable") {
                common::int_or_percent(unavailable, &at, errors);
                if common::count_or_percents(Some(unavailable)) == 0 {
                    errors.push(field::invalid(&at, unavailable.clone(), "cannot be 0"));
                }
                common::at_most_100_percent(unavailable, &at, errors);
            }
        }
        _ => {
            let shown = workload::shown(Some(strategy), "apps.v1.StatefulSetUpdateStrategy");
            errors.push(field::invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        text(spec, "podManagementPolicy", "OrderedReady");
        let strategy = spec.map_mut("updateStrategy");
        if strategy.str("type").is_empty() {
            text(strategy, "type", "RollingUpdate");
            absent(strategy, "rollingUpdate", Map::new());
        }
        if strategy.str("type") == "RollingUpdate" && strategy.contains("rollingUpdate") {
            let rolling = strategy.map_mut("rollingUpdate");
            absent(rolling, "partition", 0i64);
            absent(rolling, "maxUnavailable", 1i64);
        }
        let policy = spec.map_mut("persistentVolumeClaimRetentionPolicy");
        text(policy, "whenDeleted", "Retain");
        text(policy, "whenScaled", "Retain");
        absent(spec, "replicas", 1i64);
        absent(spec, "revisionHistoryLimit", 10i64);
        for claim in spec.maps_mut("volumeClaimTemplates") {
            defaults::claim_spec(claim.map_mut("spec"));
            text(claim.map_mut("status"), "phase", "Pending");
        }
        name_claims(object);
        workload::default_template(object, &TEMPLATE);
    }

    /// The stored form has no room for a claim's kind.
    fn completes_on_read(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        workload::prepare(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        workload::prepare(object, Some(old), &TEMPLATE);
    }

    fn validate(&self, object: &Map) -> Errors {
        checked(object, None, Skip::default())
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut skip = Skip { service_name: true, claims: true, template: false };
        skip.template = !checked(old, Some(old), skip).is_empty();
        let mut errors = checked(object, Some(old), skip);
        let path = Path::new("spec");
        let (spec, was) = (spec_of(object), spec_of(old));
        common::immutable(spec, was, "selector", &path, &mut errors);
        let claims = "volumeClaimTemplates";
        if !common::same(spec.get(claims), was.get(claims)) {
            errors.push(field::invalid(&path.child(claims), shown_claims(spec), common::IMMUTABLE));
        }
        let service = path.child("serviceName");
        check::fixed_text(&service, spec.str("serviceName"), was.str("serviceName"), &mut errors);
        common::immutable(spec, was, "podManagementPolicy", &path, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        let (status, path) = (status_of(object), Path::new("status"));
        common::none_negative(status, &COUNTERS, &path, &mut errors);
        for name in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
            common::at_most(status, name, "replicas", "cannot be greater than status.replicas", &path, &mut errors);
        }
        let why = "cannot be greater than status.readyReplicas";
        common::at_most(status, "availableReplicas", "readyReplicas", why, &path, &mut errors);
        common::collisions(status, status_of(old), &path, &mut errors);
        errors
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        let mut all = workload::warnings(object, old, &TEMPLATE);
        let spec = spec_of(object);
        for (at, template) in spec.maps("volumeClaimTemplates").enumerate() {
            let path = Path::new("spec").child("volumeClaimTemplates").index(at);
            let path = if old.is_some() { path.child("Spec") } else { path };
            warnings::claim(spec_of(template), &path, &mut all);
        }
        if spec.i64("revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            all.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
        }
        all
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        workload::label_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
