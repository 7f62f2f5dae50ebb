//! Metadata: what the server fills in and what it checks, the same for every kind
//! (k8s.io/apimachinery/pkg/api/validation/objectmeta.go@v0.37.2, k8s.io/apiserver/pkg/registry/rest/{meta,create,update}.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};

use crate::registry::Entry;
use crate::resources::common::NEGATIVE;
use crate::strategy::{MetaCheck, StatusMetadata};

/// All annotations of an object together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const IMMUTABLE: &str = "field is immutable";

pub(crate) const ORPHAN_FINALIZER: &str = "orphan";
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// The namespace of the object must be that of the path, which it takes when it has none; where the path has none, the
/// object loses its own (meta.go: EnsureObjectNamespaceMatchesRequestNamespace).
pub(crate) fn match_namespace(object: &mut Map, namespace: &str) -> Result<(), Status> {
    let meta = object.meta_mut();
    let own = meta.str("namespace");
    if own == namespace {
        return Ok(());
    }
    if namespace.is_empty() {
        meta.remove("namespace");
    } else if own.is_empty() {
        insert(meta, "namespace", namespace);
    } else {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn insert(meta: &mut Map, name: &'static str, value: impl Into<Value>) {
    meta.set(name, value);
    order(meta);
}

/// Puts metadata back into schema order.
pub(crate) fn order(meta: &mut Map) {
    let ty = api::facts::object_meta();
    meta.sort_by_key(|name| ty.find(name).map_or(u16::MAX, |(at, _)| at));
}

/// Takes away what only the server sets (meta.go: WipeObjectMetaSystemFields).
pub(crate) fn drop_system_fields(object: &mut Map) {
    let meta = object.meta_mut();
    for gone in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "uid", "selfLink"] {
        meta.remove(gone);
    }
}

/// What the server sets on a new object.
pub(crate) fn fill_for_create(entry: &Entry, object: &mut Map, now: &str) {
    drop_system_fields(object);
    let meta = object.meta_mut();
    meta.set("uid", uuid::Uuid::new_v4().to_string());
    meta.set("creationTimestamp", now);
    if entry.strategy.generation() != crate::strategy::Generation::None {
        meta.set("generation", 1i64);
    }
    order(meta);
}

/// What an update may not change is taken from the old object.
pub(crate) fn keep_for_update(object: &mut Map, old: &Map) {
    let from = old.meta();
    let meta = object.meta_mut();
    meta.remove("generation");
    if let Some(generation) = from.get("generation") {
        meta.set("generation", generation.clone());
    }
    if meta.str("uid").is_empty() {
        meta.set("uid", from.str("uid"));
    }
    for kept in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = from.get(kept) {
            meta.set(kept, value.clone());
        }
    }
    if let (Some(grace), false) = (from.get("deletionGracePeriodSeconds"), meta.contains("deletionGracePeriodSeconds"))
    {
        meta.set("deletionGracePeriodSeconds", grace.clone());
    }
    order(meta);
}

pub(crate) fn lacks_labels(object: &Map) -> bool {
    object.meta().map("labels").is_none_or(Map::is_empty)
}

/// What clients write in metadata is what it was (k8s.io/apimachinery/pkg/apis/meta/v1/helpers.go@v0.37.2:
/// ResetObjectMetaForStatus).
pub(crate) fn keep_for_status(object: &mut Map, old: &Map) {
    for name in ["deletionTimestamp", "selfLink", "labels", "annotations", "finalizers", "ownerReferences"] {
        object.meta_mut().take_over(name, old.meta());
    }
    order(object.meta_mut());
}

/// All metadata is what it was, but for who has written what.
fn keep_all_for_status(object: &mut Map, old: &Map) {
    let managers = object.meta_mut().remove("managedFields");
    let mut metadata = old.meta().clone();
    match managers {
        Some(managers) => metadata.set("managedFields", managers),
        None => drop(metadata.remove("managedFields")),
    }
    object.set("metadata", metadata);
}

/// What a write through the status path makes of metadata.
pub(crate) fn prepare_for_status(entry: &Entry, object: &mut Map, old: &Map) {
    match entry.strategy.status_metadata() {
        StatusMetadata::Taken => {}
        StatusMetadata::Kept => keep_for_status(object, old),
        StatusMetadata::AllKept => keep_all_for_status(object, old),
    }
}

/// Takes owners away that are there twice, with what the client is told of it
/// (k8s.io/apiserver/pkg/endpoints/handlers/rest.go@v0.37.2: dedupOwnerReferencesAndAddWarning).
pub(crate) fn drop_repeated_owners(object: &mut Map, admitted: bool) -> Option<String> {
    let owners = object.meta().list("ownerReferences");
    let is_repeated = |at: usize| owners[..at].contains(&owners[at]);
    let repeated: Vec<usize> = (0..owners.len()).filter(|at| is_repeated(*at)).collect();
    if repeated.is_empty() {
        return None;
    }
    let uids: Vec<_> = repeated.iter().filter_map(|at| owners[*at].as_map()).map(|owner| owner.str("uid")).collect();
    let when = if admitted { " after mutating admission happens" } else { "" };
    let told = format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        uids.join(", ")
    );
    let kept = (0..owners.len()).filter(|at| !repeated.contains(at)).map(|at| owners[at].clone()).collect::<Vec<_>>();
    object.meta_mut().set("ownerReferences", kept);
    Some(told)
}

/// Everything wrong with the metadata of a new object.
pub(crate) fn validate(entry: &Entry, object: &Map) -> Errors {
    let mut errors = validate_whole(entry, object, &|name, prefix| entry.strategy.name_errors_in(object, name, prefix));
    validate_known_finalizers(entry, object, &mut errors);
    errors
}

/// What is wrong with a new object of whose metadata the kind has nothing to say (create.go: ValidateCreate).
pub(crate) fn validate_segments(entry: &Entry, object: &Map) -> Errors {
    validate_whole(entry, object, &path_segment)
}

/// Whether a name is one; with the flag, it is the prefix of one.
type NameRule<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

/// What any object must not have (objectmeta.go: ValidateObjectMetaAccessor).
fn validate_whole(entry: &Entry, object: &Map, name_errors: NameRule<'_>) -> Errors {
    let path = Path::new("metadata");
    let meta = object.meta();
    let mut errors = Errors::new();
    let generate = meta.str("generateName");
    if !generate.is_empty() {
        let path = path.child("generateName");
        errors.extend(name_errors(generate, true).iter().map(|message| field::invalid(&path, generate, message)));
    }
    let (name, at) = (meta.str("name"), path.child("name"));
    if name.is_empty() {
        errors.push(field::required(&at, "name or generateName is required"));
    } else {
        errors.extend(name_errors(name, false).iter().map(|message| field::invalid(&at, name, message)));
    }
    validate_namespace(entry, meta, &path.child("namespace"), &mut errors);
    validate_generation(meta, &path, &mut errors);
    validate_common(meta, &path, &mut errors);
    validate_finalizers(meta, &path.child("finalizers"), &mut errors);
    errors
}

/// What no object can be stored under
/// (k8s.io/apiserver/pkg/registry/generic/registry/store.go@v0.37.2: NamespaceKeyFunc).
pub(crate) fn check_key(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let wrong = names::is_path_segment_name(name);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Status::bad_request(format!("Name parameter invalid: {}: {}", field::go_quote(name), wrong.join(";"))))
}

/// What stands for a name in a path.
fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::is_path_segment_prefix(name) } else { names::is_path_segment_name(name) }
}

/// Kubernetes' own finalizers have no domain, all others have one.
fn validate_known_finalizers(entry: &Entry, object: &Map, errors: &mut Errors) {
    if entry.strategy.knows_finalizers() {
        let path = Path::new("metadata").child("finalizers");
        for (at, finalizer) in object.finalizers().enumerate() {
            validate_known_finalizer(finalizer, &path.index(at), errors);
        }
    }
}

/// pkg/apis/core/validation/validation.go@v1.37.2: validateKubeFinalizerName
fn validate_known_finalizer(finalizer: &str, path: &Path, errors: &mut Errors) {
    let is_known = ["kubernetes", ORPHAN_FINALIZER, FOREGROUND_FINALIZER].contains(&finalizer);
    if !finalizer.contains('/') && !is_known {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(field::invalid(path, finalizer, why));
    }
}

/// What is wrong with a finalizer of Kubernetes' own.
pub(crate) fn validate_finalizer(finalizer: &str, path: &Path, errors: &mut Errors) {
    errors.extend(names::is_qualified_name(finalizer).iter().map(|message| field::invalid(path, finalizer, message)));
    validate_known_finalizer(finalizer, path, errors);
}

fn validate_generation(meta: &Map, path: &Path, errors: &mut Errors) {
    let generation = meta.i64("generation").unwrap_or(0);
    if generation < 0 {
        errors.push(field::invalid(&path.child("generation"), generation, NEGATIVE));
    }
}

fn validate_namespace(entry: &Entry, meta: &Map, path: &Path, errors: &mut Errors) {
    let namespace = meta.str("namespace");
    match (entry.facts.namespaced, namespace.is_empty()) {
        (true, true) => errors.push(field::required(path, "")),
        (true, false) => {
            let wrong = names::is_dns1123_label(namespace);
            errors.extend(wrong.iter().map(|message| field::invalid(path, namespace, message)));
        }
        (false, false) => errors.push(field::forbidden(path, "not allowed on this type")),
        (false, true) => {}
    }
}

fn validate_common(meta: &Map, path: &Path, errors: &mut Errors) {
    validate_labels(meta.map("labels"), &path.child("labels"), errors);
    validate_annotations(meta.map("annotations"), &path.child("annotations"), errors);
    validate_owners(meta, &path.child("ownerReferences"), errors);
}

pub(crate) fn validate_labels(labels: Option<&Map>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.into_iter().flat_map(Map::iter) {
        errors.extend(names::is_qualified_name(key).iter().map(|message| field::invalid(path, key.as_str(), message)));
        let text = value.as_str().unwrap_or("");
        errors.extend(names::is_valid_label_value(text).iter().map(|message| field::invalid(path, text, message)));
    }
}

pub(crate) fn validate_annotations(annotations: Option<&Map>, path: &Path, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flat_map(Map::iter) {
        let wrong = names::is_qualified_name(&key.to_lowercase());
        errors.extend(wrong.iter().map(|message| field::invalid(path, key.as_str(), message)));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(field::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn validate_owners(meta: &Map, path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for (at, owner) in meta.maps("ownerReferences").enumerate() {
        let path_at = path.index(at);
        let api_version = owner.str("apiVersion");
        let version_ok = {
            let (_, version) = api::facts::split_api_version(api_version);
            api_version.matches('/').count() <= 1 && !version.is_empty()
        };
        if api_version.is_empty() {
            errors.push(field::required(&path_at.child("apiVersion"), "must not be empty"));
        } else if !version_ok {
            let why = "must be <group>/<version> or <version>";
            errors.push(field::invalid(&path_at.child("apiVersion"), api_version, why));
        }
        for name in ["kind", "name", "uid"] {
            if owner.str(name).is_empty() {
                errors.push(field::required(&path_at.child(name), "must not be empty"));
            }
        }
        if api_version == "v1" && owner.str("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(field::invalid(&path_at, Value::Map(owner.clone()), why));
        }
        if owner.bool("controller") == Some(true) {
            let this = format!("{}/{}", owner.str("kind"), owner.str("name"));
            match &controller {
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    let all = meta.get("ownerReferences").cloned().unwrap_or_default();
                    errors.push(field::invalid(path, all, why));
                }
                None => controller = Some(this),
            }
        }
    }
}

fn validate_finalizers(meta: &Map, path: &Path, errors: &mut Errors) {
    let finalizers: Vec<_> = meta.list("finalizers").iter().filter_map(Value::as_str).collect();
    for finalizer in &finalizers {
        let wrong = names::is_qualified_name(finalizer);
        errors.extend(wrong.iter().map(|message| field::invalid(path, *finalizer, message)));
    }
    if finalizers.contains(&ORPHAN_FINALIZER) && finalizers.contains(&FOREGROUND_FINALIZER) {
        let why = format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set");
        errors.push(field::invalid(path, meta.get("finalizers").cloned().unwrap_or_default(), why));
    }
}

/// Everything wrong with changed metadata, as often as upstream finds it: once for the object and once for the change,
/// and again where the kind's own checks look there (update.go: validateCommonFields).
pub(crate) fn validate_update(entry: &Entry, object: &Map, old: &Map, subresource: &str) -> Errors {
    let mut errors = validate_whole(entry, object, &path_segment);
    validate_change(object, old, &mut errors);
    for check in entry.strategy.meta_checks(subresource) {
        match check {
            MetaCheck::Whole => errors.extend(validate(entry, object)),
            MetaCheck::Update => {
                validate_change(object, old, &mut errors);
                validate_known_finalizers(entry, object, &mut errors);
            }
        }
    }
    errors
}

/// What is wrong with a change of metadata (objectmeta.go: ValidateObjectMetaAccessorUpdate).
fn validate_change(object: &Map, old: &Map, errors: &mut Errors) {
    let path = Path::new("metadata");
    let (meta, from) = (object.meta(), old.meta());
    if from.contains("deletionTimestamp") {
        validate_no_new_finalizers(meta, from, &path, errors);
    }
    validate_generation(meta, &path, errors);
    let generation = meta.i64("generation").unwrap_or(0);
    if generation < from.i64("generation").unwrap_or(0) {
        errors.push(field::invalid(&path.child("generation"), generation, "must not be decremented"));
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, was) = (meta.get(name), from.get(name));
        // An explicit 0 is not nothing.
        let is_same = new == was || name != "deletionGracePeriodSeconds" && is_unset(new) && is_unset(was);
        if !is_same {
            let shown = new.cloned().unwrap_or_default();
            errors.push(field::invalid(&path.child(name), shown, IMMUTABLE));
        }
    }
    validate_common(meta, &path, errors);
}

fn validate_no_new_finalizers(meta: &Map, from: &Map, path: &Path, errors: &mut Errors) {
    let had: Vec<_> = from.list("finalizers").iter().filter_map(Value::as_str).collect();
    let mut extra: Vec<_> =
        meta.list("finalizers").iter().filter_map(Value::as_str).filter(|f| !had.contains(f)).collect();
    extra.sort_unstable();
    extra.dedup();
    if !extra.is_empty() {
        let list: Vec<_> = extra.iter().map(|f| field::go_quote(f)).collect();
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            list.join(", ")
        );
        errors.push(field::forbidden(&path.child("finalizers"), why));
    }
}

fn is_unset(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use api::json::{Strictness, decode_any};

    fn object(meta: &str) -> Map {
        let text = format!("{{\"metadata\":{meta}}}");
        let (value, _) = decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON");
        value.as_map().expect("an object").clone()
    }

    fn told(errors: &Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn check_namespace(own: &str, of_path: &str, want: Option<&str>) {
        let mut sent = object(&format!("{{\"namespace\":{own:?}}}"));
        let got = match_namespace(&mut sent, of_path).ok().map(|()| sent.namespace().to_owned());
        assert_eq!(got.as_deref(), want, "{own} {of_path}");
    }

    #[test]
    fn the_namespace_is_that_of_the_path() {
        check_namespace("", "a", Some("a"));
        check_namespace("a", "a", Some("a"));
        check_namespace("a", "", Some(""));
        check_namespace("a", "b", None);
    }

    /// What upstream says of the metadata of an update of a ConfigMap and of a Lease.
    fn check_update(plural: &str, group: &str, meta: &str, old: &str, want: &[(&str, usize)]) {
        let entry = Registry::new(|_| true).get(group, "v1", plural).expect("an entry");
        let name = if entry.facts.namespaced { r#"{"name":"a","namespace":"n""# } else { r#"{"name":"a""# };
        let with = |meta: &str| object(&if meta.is_empty() { format!("{name}}}") } else { format!("{name},{meta}}}") });
        let got = told(&validate_update(&entry, &with(meta), &with(old), ""));
        let want: Vec<_> = want.iter().flat_map(|(text, times)| vec![(*text).to_owned(); *times]).collect();
        assert_eq!(got, want, "{plural} {meta}");
    }

    #[test]
    fn a_change_is_told_of_as_often_as_it_is_looked_at() {
        let owner = r#""ownerReferences":[{"apiVersion":"v1","kind":"","name":"o","uid":"u"}]"#;
        let kind = "metadata.ownerReferences[0].kind: Required value: must not be empty";
        // In itself, as a change, and by the kind as a change and in itself.
        check_update("configmaps", "", owner, "", &[(kind, 4)]);
        check_update("limitranges", "", owner, "", &[(kind, 3)]);
        check_update("controllerrevisions", "apps", owner, "", &[(kind, 4)]);
        check_update("poddisruptionbudgets", "policy", owner, "", &[(kind, 2)]);
        check_update("leases", "coordination.k8s.io", owner, "", &[(kind, 3)]);
        let known = "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it \
                     fully qualified";
        check_update("configmaps", "", r#""finalizers":["mine"]"#, "", &[(known, 2)]);
        check_update("leases", "coordination.k8s.io", r#""finalizers":["mine"]"#, "", &[]);
        check_update("poddisruptionbudgets", "policy", r#""finalizers":["mine"]"#, "", &[]);
        let uid = "metadata.uid: Invalid value: \"b\": field is immutable";
        check_update("configmaps", "", r#""uid":"b""#, r#""uid":"a""#, &[(uid, 2)]);
        let grace = "metadata.deletionGracePeriodSeconds: Invalid value: 0: field is immutable";
        check_update("configmaps", "", r#""deletionGracePeriodSeconds":0"#, "", &[(grace, 2)]);
    }

    /// Only who looks at the whole of a changed object's metadata refuses what names may be generated from.
    #[test]
    fn what_names_are_generated_from_is_looked_at_by_kind() {
        let upper = r#""generateName":"A""#;
        let subdomain = "metadata.generateName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower \
                         case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
                         (e.g. 'example.com', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        let address = "metadata.generateName: Invalid value: \"A\": must be a valid IP address, (e.g. 10.9.8.7 or \
                       2001:db8::ffff)";
        let named =
            "metadata.name: Invalid value: \"a\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        for (group, plural, want) in [
            ("storage.k8s.io", "storageclasses", &[(subdomain, 1)][..]),
            ("storage.k8s.io", "csinodes", &[(subdomain, 1)]),
            ("storage.k8s.io", "csidrivers", &[]),
            ("networking.k8s.io", "ingresses", &[(subdomain, 1)]),
            ("networking.k8s.io", "ipaddresses", &[(address, 1), (named, 1)]),
            ("networking.k8s.io", "networkpolicies", &[]),
            ("flowcontrol.apiserver.k8s.io", "flowschemas", &[(subdomain, 1)]),
            ("rbac.authorization.k8s.io", "roles", &[]),
            ("resource.k8s.io", "deviceclasses", &[]),
            ("resource.k8s.io", "resourceclaims", &[(subdomain, 1)]),
            ("node.k8s.io", "runtimeclasses", &[(subdomain, 1)]),
            ("coordination.k8s.io", "leases", &[]),
        ] {
            check_update(plural, group, upper, "", want);
        }
    }

    #[test]
    fn what_is_stored_under_a_name() {
        for (name, want) in [
            ("a", ""),
            ("", "Name parameter required."),
            ("a/%", "Name parameter invalid: \"a/%\": may not contain '/';may not contain '%'"),
            ("..", "Name parameter invalid: \"..\": may not be '..'"),
        ] {
            let told = check_key(name).err().map(|status| status.message).unwrap_or_default();
            assert_eq!(told, want, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_new_object() {
        let entry = Registry::new(|_| true).get("", "v1", "configmaps").expect("an entry");
        let check = |meta: &str, want: &[&str]| assert_eq!(told(&validate(&entry, &object(meta))), want, "{meta}");
        check(r#"{"name":"a","namespace":"n","generation":4,"finalizers":["orphan","a.io/b"]}"#, &[]);
        check(
            r#"{"name":"a","namespace":"n","generation":-1}"#,
            &["metadata.generation: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            r#"{"name":"a","namespace":"n","ownerReferences":[{"kind":"K","name":"o","uid":"u"}]}"#,
            &["metadata.ownerReferences[0].apiVersion: Required value: must not be empty"],
        );
        check(
            "{}",
            &["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"],
        );
    }

    #[test]
    fn owners_are_there_once() {
        let owner = r#"{"apiVersion":"v1","kind":"K","name":"o","uid":"u"}"#;
        let other = r#"{"apiVersion":"v1","kind":"K","name":"p","uid":"u"}"#;
        let mut sent = object(&format!("{{\"ownerReferences\":[{owner},{other},{owner}]}}"));
        let told = drop_repeated_owners(&mut sent, false).expect("told");
        assert!(told.ends_with("please fix your requests; duplicate UID(s) observed: u"), "{told}");
        assert_eq!(sent.meta().list("ownerReferences").len(), 2);
        assert_eq!(drop_repeated_owners(&mut sent, true), None);
    }
}
