//! The life of an object, minimal and rich, through every verb with its query parameters, and the ways to ask
//! wrongly.

use serde_json::{Value, json};

use super::builder::Builder;
use super::{Plan, Subject};
use crate::diff::sequence::{CONTINUE, REVISION, Role, Sequence, Step, UID};
use crate::diff::template::Names;

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// A uid that nothing has.
const NO_UID: &str = "00000000-0000-4000-8000-000000000000";

/// About how many steps a chapter has.
const STEPS: usize = 20;

/// A part of a life: it pushes its steps.
type Chapter = fn(&mut Tale<'_>);

/// Every chapter: what verb it needs, and whether it begins with a stored rich object.
const CHAPTERS: &[(&str, &str, Chapter)] = &[
    ("create", "minimal", create_minimal),
    ("create", "creating", creating),
    ("create", "bodies", bodies),
    ("create", "fields", unknown_fields),
    ("get", "reading", reading),
    ("list", "listing", listing),
    ("update", "updating", updating),
    ("patch", "patching", patching),
    ("patch", "applying", applying),
    ("delete", "deleting", deleting),
    ("delete", "options", delete_options),
    ("delete", "finalizers", finalizers),
    ("deletecollection", "collection", delete_collection),
    ("get", "methods", methods),
];

struct Tale<'a> {
    builder: Builder<'a>,
    names: Names,
    minimal: Value,
    rich: Value,
    collection: String,
    item: String,
}

pub(super) fn plans(subject: Subject<'_>) -> Vec<Plan<'_>> {
    let kind = subject.kind;
    // Reviews are not stored; of their lives there is only the beginning.
    let told = |name: &str| match name {
        "reading" | "listing" => true,
        "creating" => kind.can("create") && kind.can("get"),
        _ => kind.can("create"),
    };
    let chapters = CHAPTERS.iter().filter(|(verb, name, _)| kind.can(verb) && told(name));
    let plan = |(_, name, chapter): &(&str, &'static str, Chapter)| {
        let (family, chapter) = (format!("life/{name}"), *chapter);
        subject.plan(&family.clone(), 0, STEPS, move || sequence(subject, &family, chapter))
    };
    chapters.map(plan).collect()
}

fn sequence(subject: Subject<'_>, family: &str, chapter: Chapter) -> Sequence {
    let builder = Builder::new(subject, family, 0);
    let names = builder.names("it");
    let mut tale = Tale {
        minimal: subject.template.minimal(subject.kind, &names),
        rich: subject.template.rich(subject.kind, &names),
        collection: builder.collection(),
        item: builder.item(&names),
        builder,
        names,
    };
    chapter(&mut tale);
    tale.builder.finish()
}

impl Tale<'_> {
    fn push(&mut self, step: Step) {
        self.builder.push(step);
    }

    fn get(&mut self, query: &str, note: &str) {
        self.push(Step::new("GET", format!("{}{query}", self.item), note));
    }

    fn list(&mut self, query: &str) {
        self.push(Step::new("GET", format!("{}{query}", self.collection), query));
    }

    fn post(&mut self, query: &str, note: &str, body: &Value) {
        self.push(Step::new("POST", format!("{}{query}", self.collection), note).json(body));
    }

    fn put(&mut self, query: &str, note: &str, body: &Value) {
        self.push(Step::new("PUT", format!("{}{query}", self.item), note).json(body));
    }

    fn patch(&mut self, content_type: &'static str, query: &str, note: &str, body: &Value) {
        let step = Step::new("PATCH", format!("{}{query}", self.item), note).text(content_type, body.to_string());
        self.push(step);
    }

    fn delete(&mut self, query: &str, note: &str, body: Option<&Value>) {
        let step = Step::new("DELETE", format!("{}{query}", self.item), note);
        self.push(match body {
            Some(body) => step.json(body),
            None => step,
        });
    }

    fn exists(&mut self) {
        let names = self.names.clone();
        self.builder.create_rich(&names);
    }

    fn gone(&mut self) {
        let names = self.names.clone();
        self.builder.cleanup(&names);
    }

    fn with(&self, metadata: &[(&str, Value)]) -> Value {
        let mut object = self.rich.clone();
        for (field, value) in metadata {
            object["metadata"][*field] = value.clone();
        }
        object
    }
}

fn create_minimal(tale: &mut Tale<'_>) {
    let (minimal, rich) = (tale.minimal.clone(), tale.rich.clone());
    tale.post("?dryRun=All", "minimal, dry run", &minimal);
    tale.post("?dryRun=All", "rich, dry run", &rich);
    tale.post("", "minimal", &minimal);
    if tale.builder.subject.kind.can("get") {
        let names = tale.names.clone();
        tale.builder.settle(&names);
        tale.get("", "minimal, read");
        tale.gone();
        tale.post("?fieldManager=maker", "rich", &rich);
        tale.builder.settle(&names);
        tale.get("", "rich, read");
        tale.gone();
    }
}

fn creating(tale: &mut Tale<'_>) {
    let rich = tale.rich.clone();
    tale.exists();
    tale.post("", "exists already", &rich);
    tale.post("?dryRun=All", "exists already, dry run", &rich);
    for query in
        ["?dryRun=Some", "?dryRun=", "?fieldValidation=Perhaps", "?fieldManager=a%00b", "?unknown=1", "?pretty=true"]
    {
        tale.post(query, query, &rich);
    }
    tale.post(&format!("?fieldManager={}", "m".repeat(129)), "long manager", &rich);
    let changes: &[(&str, Value)] =
        &[("generateName", json!("made-")), ("generateName", json!("Made_")), ("generateName", json!("a".repeat(300)))];
    for (field, value) in changes {
        let mut body = tale.with(&[(*field, value.clone())]);
        body["metadata"].as_object_mut().and_then(|metadata| metadata.remove("name"));
        tale.post("?dryRun=All", &format!("{field} {value}"), &body);
    }
    let body = tale.with(&[("name", Value::Null)]);
    tale.post("?dryRun=All", "no name", &body);
    let values: &[(&str, Value)] = &[
        ("resourceVersion", json!("7")),
        ("resourceVersion", json!("x")),
        ("uid", json!(NO_UID)),
        ("namespace", json!("elsewhere")),
        ("creationTimestamp", json!("2001-01-01T00:00:00Z")),
        ("deletionTimestamp", json!("2001-01-01T00:00:00Z")),
        ("deletionGracePeriodSeconds", json!(3)),
        ("generation", json!(9)),
        ("selfLink", json!("/x")),
        ("managedFields", json!([{"manager": "m", "operation": "Update", "apiVersion": "v1"}])),
        ("managedFields", json!([{}])),
        (
            "ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": NO_UID, "controller": true},
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": NO_UID, "controller": true}]),
        ),
    ];
    for (field, value) in values {
        let mut body = tale.with(&[(*field, value.clone())]);
        // Not the one that exists.
        let other = tale.builder.names(&format!("{field}{value}"));
        let text = body.to_string().replace(&tale.names.id, &other.id);
        body = serde_json::from_str(&text).unwrap_or(body);
        tale.post("?dryRun=All", &format!("metadata.{field} {value}"), &body);
    }
    tale.gone();
}

/// Bodies that are no object of the kind.
fn bodies(tale: &mut Tale<'_>) {
    let (target, rich) = (format!("{}?dryRun=All", tale.collection), tale.rich.clone());
    let text = rich.to_string();
    let sent: &[(&str, &'static str, String)] = &[
        ("nothing", "application/json", String::new()),
        ("no JSON", "application/json", "{".into()),
        ("a list", "application/json", "[]".into()),
        ("null", "application/json", "null".into()),
        ("a string", "application/json", "\"x\"".into()),
        ("an empty object", "application/json", "{}".into()),
        ("rest after it", "application/json", format!("{text} x")),
        ("as YAML", "application/yaml", text.clone()),
        ("YAML that is none", "application/yaml", "a: b: c".into()),
        ("an unknown type", "text/plain", text.clone()),
        ("a patch type", MERGE, text.clone()),
        ("protobuf that is none", "application/vnd.kubernetes.protobuf", text.clone()),
        ("with a charset", "application/json; charset=utf-8", text.clone()),
    ];
    for (note, content_type, body) in sent {
        tale.push(Step::new("POST", &target, *note).text(*content_type, body.clone()));
    }
    for (field, value) in [
        ("kind", json!("Other")),
        ("apiVersion", json!("other.io/v1")),
        ("kind", Value::Null),
        ("apiVersion", Value::Null),
        ("apiVersion", json!("a/b/c")),
    ] {
        let mut body = rich.clone();
        body[field] = value.clone();
        tale.post("?dryRun=All", &format!("{field} {value}"), &body);
    }
    tale.push(Step::new("POST", &target, "answered as YAML").json(&rich).accept("application/yaml"));
    tale.push(Step::new("POST", &target, "answered as a table").json(&rich).accept(TABLE));
    tale.push(Step::new("POST", &target, "answered as metadata").json(&rich).accept(PARTIAL));
    tale.push(Step::new("POST", &target, "not acceptable").json(&rich).accept("text/html"));
}

/// Unknown and duplicate fields by each way of validation.
fn unknown_fields(tale: &mut Tale<'_>) {
    let text = tale.rich.to_string();
    let duplicate = format!("{},\"kind\":\"{}\"}}", &text[..text.len() - 1], tale.builder.subject.kind.kind);
    let mut strange = tale.rich.clone();
    strange["unknown"] = json!(1);
    strange["metadata"]["strange"] = json!({"a": 1});
    if strange["spec"].is_object() {
        strange["spec"]["odd"] = json!([1]);
    }
    let nested = text.replacen("\"metadata\":{", "\"metadata\":{\"labels\":{\"a\":\"b\"},\"labels\":{\"a\":\"c\"},", 1);
    for (note, body) in [("unknown", strange.to_string()), ("duplicate", duplicate), ("duplicate inside", nested)] {
        for validation in ["", "&fieldValidation=Strict", "&fieldValidation=Warn", "&fieldValidation=Ignore"] {
            let target = format!("{}?dryRun=All{validation}", tale.collection);
            for content_type in ["application/json", "application/yaml"] {
                let note = format!("{note} {validation}");
                tale.push(Step::new("POST", &target, note).text(content_type, body.clone()));
            }
        }
    }
}

fn reading(tale: &mut Tale<'_>) {
    if tale.builder.subject.kind.can("create") {
        tale.exists();
    }
    for query in ["", "?pretty=true", "?resourceVersion=0", "?resourceVersion=x", "?resourceVersion=1", "?unknown=x"] {
        tale.get(query, query);
    }
    for accept in [
        TABLE,
        PARTIAL,
        PARTIAL_LIST,
        "application/yaml",
        "*/*",
        "text/html",
        "application/json;as=Table;v=v9;g=meta.k8s.io",
        "application/json;as=Nothing;v=v1;g=x",
    ] {
        tale.push(Step::new("GET", &tale.item, accept).accept(accept));
    }
    tale.push(Step::new("GET", format!("{}?includeObject=Object", tale.item), "table, object").accept(TABLE));
    tale.push(Step::new("GET", format!("{}?includeObject=None", tale.item), "table, none").accept(TABLE));
    tale.push(Step::new("GET", format!("{}?includeObject=Bad", tale.item), "table, bad").accept(TABLE));
    tale.push(Step::new("GET", format!("{}-none", tale.item), "absent"));
    for subresource in tale.builder.subject.kind.subresources.clone() {
        // Those that connect to a node have nothing to connect to here.
        if subresource.verbs.iter().any(|verb| verb == "get")
            && !matches!(subresource.name.as_str(), "attach" | "exec" | "portforward" | "proxy" | "log")
        {
            let target = format!("{}/{}", tale.item, subresource.name);
            tale.push(Step::new("GET", target, "subresource").of(&subresource.name));
        }
    }
    tale.push(Step::new("GET", format!("{}/nothing", tale.item), "no subresource"));
    if tale.builder.subject.kind.can("create") {
        tale.gone();
        tale.get("", "gone");
    }
}

/// Queries of a list.
const QUERIES: &[&str] = &[
    "",
    "&limit=1",
    "&limit=-1",
    "&limit=x",
    "&resourceVersion=0",
    "&resourceVersion=x",
    "&resourceVersion=99999999",
    "&resourceVersionMatch=Exact",
    "&resourceVersion=0&resourceVersionMatch=Exact",
    "&resourceVersion=1&resourceVersionMatch=NotOlderThan",
    "&resourceVersionMatch=Wrong&resourceVersion=1",
    "&continue=x",
    "&continue=x&resourceVersion=1",
    "&timeoutSeconds=x",
    "&sendInitialEvents=true",
    "&allowWatchBookmarks=true",
    "&pretty=1",
];

/// Label selectors, good and bad.
const LABEL_SELECTORS: &[&str] = &[
    "of",
    "%21of",
    "of+in+%28a%2Cb%29",
    "of+notin+%28a%29",
    "of%3E1",
    "of%21%3Dx",
    "of+in",
    "-bad%3Dx",
    "of%3D-x",
    "a%3Db%3Dc",
    "%3D",
];

/// Field selectors of any kind; most kinds refuse most of them.
const FIELD_SELECTORS: &[&str] = &[
    "metadata.name%3Dx",
    "metadata.name%21%3Dx",
    "metadata.namespace%3Dx",
    "spec.nothing%3Dx",
    "bad",
    "metadata.name",
    "status.phase%3DPending",
    "spec.nodeName%3D",
    "type%3Dx",
    "involvedObject.name%3Dx",
    "reason%3Dx",
    "spec.unschedulable%3Dtrue",
    "status.successful%3D1",
    "status.replicas%3D1",
    "spec.signerName%3Dx",
    "metadata.name%3D%5C",
];

fn listing(tale: &mut Tale<'_>) {
    // What others have stored must not be seen: cluster-wide lists are narrowed by the label.
    let label = tale.names.id.clone();
    let object = tale.with(&[("labels", json!({"of": label}))]);
    let here = format!("labelSelector=of%3D{label}");
    if tale.builder.subject.kind.can("create") {
        let step = Step::new("POST", &tale.collection, "create").json(&object).role(Role::Setup).remember();
        tale.push(step);
        let names = tale.names.clone();
        tale.builder.settle(&names);
    }
    for query in QUERIES {
        tale.list(&format!("?{here}{query}"));
    }
    for selector in LABEL_SELECTORS {
        tale.list(&format!("?{here}%2C{selector}"));
    }
    for field in FIELD_SELECTORS {
        tale.list(&format!("?{here}&fieldSelector={field}"));
    }
    for accept in [TABLE, PARTIAL_LIST, PARTIAL, "application/yaml", "text/html"] {
        tale.push(Step::new("GET", format!("{}?{here}", tale.collection), accept).accept(accept));
    }
    if tale.builder.subject.kind.can("create") {
        chunks(tale, &here, &object);
        tale.gone();
    }
}

/// A second object, and a list in two chunks.
fn chunks(tale: &mut Tale<'_>, here: &str, object: &Value) {
    let other = tale.builder.names("other");
    let text = object.to_string().replace(&format!("\"of\":\"{}\"", tale.names.id), "\"of\":\"$LABEL\"");
    let text = text.replace(&tale.names.id, &other.id).replace("$LABEL", &tale.names.id);
    let step = Step::new("POST", &tale.collection, "a second").text("application/json", text);
    tale.push(step);
    tale.builder.settle(&other);
    tale.list(&format!("?{here}&limit=1"));
    tale.list(&format!("?{here}&limit=1&continue={CONTINUE}"));
    tale.list(&format!("?{here}"));
    tale.builder.cleanup(&other);
}

fn updating(tale: &mut Tale<'_>) {
    let rich = tale.rich.clone();
    tale.put("", "not there", &rich);
    tale.exists();
    tale.put("", "unchanged", &rich);
    let changes: &[(&str, &[(&str, Value)])] = &[
        ("at its revision", &[("resourceVersion", REVISION.into())]),
        ("a stale revision", &[("resourceVersion", "1".into())]),
        ("a bad revision", &[("resourceVersion", "x".into())]),
        ("revision 0", &[("resourceVersion", "0".into())]),
        ("its uid", &[("uid", UID.into()), ("resourceVersion", REVISION.into())]),
        ("another uid", &[("uid", NO_UID.into())]),
        ("another name", &[("name", "other".into())]),
        ("no name", &[("name", Value::Null)]),
        ("another namespace", &[("namespace", "other".into())]),
        ("new labels", &[("labels", json!({"new": "label"})), ("resourceVersion", REVISION.into())]),
        ("generation", &[("generation", json!(77)), ("resourceVersion", REVISION.into())]),
        (
            "created before",
            &[("creationTimestamp", "2001-01-01T00:00:00Z".into()), ("resourceVersion", REVISION.into())],
        ),
        ("deleted", &[("deletionTimestamp", "2001-01-01T00:00:00Z".into()), ("resourceVersion", REVISION.into())]),
        ("managedFields reset", &[("managedFields", json!([{}])), ("resourceVersion", REVISION.into())]),
        ("managedFields bad", &[("managedFields", json!([{"operation": "No"}])), ("resourceVersion", REVISION.into())]),
    ];
    for (note, metadata) in changes {
        let body = tale.with(metadata);
        tale.put("?dryRun=All", note, &body);
    }
    for query in ["?dryRun=Bad", "?fieldManager=updater", "?fieldValidation=No"] {
        let body = tale.with(&[("annotations", json!({"by": "updater"})), ("resourceVersion", REVISION.into())]);
        tale.put(query, query, &body);
    }
    tale.get("", "what is stored");
    let minimal = tale.minimal.clone();
    tale.put("?dryRun=All", "made minimal", &minimal);
    tale.gone();
}

fn patching(tale: &mut Tale<'_>) {
    let label = json!({"metadata": {"labels": {"patched": "yes"}}});
    tale.patch(MERGE, "", "not there", &label);
    tale.exists();
    for content_type in [MERGE, STRATEGIC] {
        for (note, body) in [
            ("a label", label.clone()),
            ("a label removed", json!({"metadata": {"labels": {"patched": null}}})),
            ("nothing", json!({})),
            ("a list", json!([])),
            ("text", json!("x")),
            ("null metadata", json!({"metadata": null})),
            ("its name", json!({"metadata": {"name": "other"}})),
            ("its kind", json!({"kind": "Other"})),
            ("its version", json!({"apiVersion": "x/v1"})),
            ("a stale revision", json!({"metadata": {"resourceVersion": "1", "labels": {"p": "q"}}})),
            ("another uid", json!({"metadata": {"uid": NO_UID}})),
            ("$patch delete", json!({"metadata": {"$patch": "delete"}})),
            ("$patch replace", json!({"metadata": {"labels": {"$patch": "replace", "only": "one"}}})),
            ("$patch unknown", json!({"metadata": {"labels": {"$patch": "mangle"}}})),
            ("$retainKeys", json!({"spec": {"$retainKeys": ["x"]}})),
            ("finalizers", json!({"metadata": {"finalizers": ["example.com/a"]}})),
            (
                "$deleteFromPrimitiveList",
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}),
            ),
            (
                "$setElementOrder",
                json!({"metadata": {"$setElementOrder/finalizers": ["b.io/b", "a.io/a"], "finalizers": ["a.io/a", "b.io/b"]}}),
            ),
            ("spec text", json!({"spec": "x"})),
        ] {
            tale.patch(content_type, "?dryRun=All", note, &body);
        }
        let step = Step::new("PATCH", &tale.item, "no JSON").text(content_type, "{");
        tale.push(step);
    }
    json_patches(tale);
    let item = tale.item.clone();
    let unknown = Step::new("PATCH", &item, "an unknown type").text("application/json", "{}");
    tale.push(unknown);
    tale.push(Step::new("PATCH", &item, "no type"));
    for query in ["?force=true", "?dryRun=Bad", "?fieldManager=patcher", "?fieldValidation=Strict"] {
        tale.patch(MERGE, query, query, &json!({"metadata": {"labels": {"q": "r"}}, "unknownField": 1}));
    }
    tale.get("", "what is stored");
    tale.gone();
}

fn json_patches(tale: &mut Tale<'_>) {
    for (note, body) in [
        ("add", json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}])),
        ("add deep", json!([{"op": "add", "path": "/metadata/none/deep", "value": 1}])),
        ("remove absent", json!([{"op": "remove", "path": "/metadata/none"}])),
        ("replace absent", json!([{"op": "replace", "path": "/metadata/none", "value": 1}])),
        ("test holds", json!([{"op": "test", "path": "/kind", "value": tale.builder.subject.kind.kind}])),
        ("test fails", json!([{"op": "test", "path": "/kind", "value": "x"}])),
        ("copy", json!([{"op": "copy", "from": "/metadata/name", "path": "/metadata/annotations", "value": {}}])),
        ("move", json!([{"op": "move", "from": "/kind", "path": "/apiVersion"}])),
        ("unknown op", json!([{"op": "mangle", "path": "/kind"}])),
        ("no path", json!([{"op": "add", "value": 1}])),
        ("root", json!([{"op": "replace", "path": "", "value": {}}])),
        ("an object", json!({})),
        ("empty", json!([])),
        ("bad pointer", json!([{"op": "add", "path": "kind", "value": 1}])),
        ("bad index", json!([{"op": "add", "path": "/metadata/finalizers/7", "value": "x"}])),
    ] {
        tale.patch(JSON, "?dryRun=All", note, &body);
    }
}

fn applying(tale: &mut Tale<'_>) {
    let (minimal, rich) = (tale.minimal.clone(), tale.rich.clone());
    tale.patch(APPLY, "", "no manager", &minimal);
    tale.patch(APPLY, "?fieldManager=one&dryRun=All", "dry run", &minimal);
    let step = Step::new("PATCH", format!("{}?fieldManager=one", tale.item), "created").text(APPLY, rich.to_string());
    tale.push(step.role(Role::Setup).remember());
    let names = tale.names.clone();
    tale.builder.settle(&names);
    tale.patch(APPLY, "?fieldManager=one", "again", &rich);
    tale.patch(APPLY, "?fieldManager=two", "shared", &rich);
    let labelled = |label: &str| {
        let mut object = minimal.clone();
        object["metadata"]["labels"] = json!({"owned": label});
        object
    };
    for (query, label) in [
        ("?fieldManager=one&force=false", "by-one"),
        ("?fieldManager=two", "by-two"),
        ("?fieldManager=two&force=true", "by-two"),
        ("?fieldManager=one&force=x", "by-one"),
        ("?fieldManager=one&fieldValidation=Strict", "by-one"),
    ] {
        tale.patch(APPLY, query, query, &labelled(label));
    }
    tale.patch(
        MERGE,
        "?fieldManager=three",
        "updated by another",
        &json!({"metadata": {"labels": {"owned": "by-three"}}}),
    );
    tale.patch(APPLY, "?fieldManager=two", "a conflict with an update", &labelled("again"));
    tale.patch(APPLY, "?fieldManager=two&force=true", "given up", &minimal);
    let mut unknown = minimal.clone();
    unknown["nothingLikeIt"] = json!(1);
    for validation in ["", "&fieldValidation=Strict", "&fieldValidation=Warn", "&fieldValidation=Ignore"] {
        tale.patch(
            APPLY,
            &format!("?fieldManager=one&force=true&dryRun=All{validation}"),
            "an unknown field",
            &unknown,
        );
    }
    let mut managed = minimal.clone();
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    tale.patch(APPLY, "?fieldManager=one", "with managedFields", &managed);
    let item = tale.item.clone();
    for (note, text) in [("no YAML", "a: b: c"), ("nothing", ""), ("a list", "[]"), ("no kind", "metadata: {}")] {
        tale.push(Step::new("PATCH", format!("{item}?fieldManager=one"), note).text(APPLY, text));
    }
    tale.get("", "what is stored");
    tale.gone();
}

fn deleting(tale: &mut Tale<'_>) {
    tale.delete("", "not there", None);
    tale.exists();
    for query in [
        "?dryRun=All",
        "?dryRun=Bad",
        "?propagationPolicy=Bad",
        "?orphanDependents=true&propagationPolicy=Orphan",
        "?gracePeriodSeconds=x",
        "?gracePeriodSeconds=-1&dryRun=All",
        "?gracePeriodSeconds=0&dryRun=All",
        "?gracePeriodSeconds=30&dryRun=All",
        "?propagationPolicy=Foreground&dryRun=All",
        "?propagationPolicy=Orphan&dryRun=All",
        "?ignoreStoreReadErrorWithClusterBreakingPotential=true",
    ] {
        tale.delete(query, query, None);
    }
    tale.get("", "still there");
    tale.delete("", "deleted", None);
    tale.get("", "gone");
    tale.delete("", "again", None);
}

fn delete_options(tale: &mut Tale<'_>) {
    tale.exists();
    for body in [
        json!({}),
        json!({"kind": "DeleteOptions", "apiVersion": "v1"}),
        json!({"kind": "Other", "apiVersion": "v1"}),
        json!({"kind": "DeleteOptions", "apiVersion": "apps/v9"}),
        json!({"preconditions": {"uid": UID}}),
        json!({"preconditions": {"resourceVersion": REVISION}}),
        json!({"gracePeriodSeconds": 5}),
        json!({"propagationPolicy": "Background"}),
        json!({"unknown": 1}),
        json!({"gracePeriodSeconds": "x"}),
        json!([]),
    ] {
        let mut dry = body.clone();
        if dry.is_object() {
            dry["dryRun"] = json!(["All"]);
        }
        tale.delete("", &body.to_string(), Some(&dry));
    }
    for body in [
        json!({"preconditions": {"uid": NO_UID}}),
        json!({"preconditions": {"resourceVersion": "1"}}),
        json!({"dryRun": ["Bad"]}),
        json!({"orphanDependents": true, "propagationPolicy": "Orphan"}),
        json!({"propagationPolicy": "Bad"}),
    ] {
        tale.delete("", &body.to_string(), Some(&body));
    }
    tale.delete("", "by its uid", Some(&json!({"preconditions": {"uid": UID}})));
    tale.get("", "gone");
}

fn finalizers(tale: &mut Tale<'_>) {
    let object = tale.with(&[("finalizers", json!(["example.com/hold"]))]);
    let step = Step::new("POST", &tale.collection, "create").json(&object).role(Role::Setup).remember();
    tale.push(step);
    let names = tale.names.clone();
    tale.builder.settle(&names);
    tale.delete("?propagationPolicy=Foreground", "waits for finalizers", None);
    tale.get("", "terminating");
    tale.delete("", "again", None);
    tale.patch(
        MERGE,
        "",
        "a finalizer more",
        &json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}),
    );
    tale.patch(MERGE, "", "a label", &json!({"metadata": {"labels": {"late": "yes"}}}));
    tale.patch(MERGE, "", "no more finalizers", &json!({"metadata": {"finalizers": null}}));
    tale.get("", "gone");
}

fn delete_collection(tale: &mut Tale<'_>) {
    let label = tale.names.id.clone();
    let object = tale.with(&[("labels", json!({"of": label}))]);
    let step = Step::new("POST", &tale.collection, "create").json(&object).role(Role::Setup).remember();
    tale.push(step);
    let names = tale.names.clone();
    tale.builder.settle(&names);
    let here = format!("?labelSelector=of%3D{label}");
    for query in [
        "&dryRun=All",
        "&fieldSelector=metadata.name%3Dnone",
        "&fieldSelector=bad",
        "&propagationPolicy=Bad",
        "&limit=x",
        "&dryRun=Bad",
        "",
    ] {
        tale.push(Step::new("DELETE", format!("{}{here}{query}", tale.collection), query));
    }
    tale.push(Step::new("DELETE", format!("{}?labelSelector=%21%21", tale.collection), "a bad selector"));
    tale.get("", "gone");
}

/// Methods and paths that do not go together.
fn methods(tale: &mut Tale<'_>) {
    let (collection, item, rich) = (tale.collection.clone(), tale.item.clone(), tale.rich.clone());
    tale.push(Step::new("POST", &item, "create at a name").json(&rich));
    tale.push(Step::new("PUT", &collection, "update without a name").json(&rich));
    tale.push(Step::new("PATCH", &collection, "patch without a name").text(MERGE, "{}"));
    tale.push(Step::new("OPTIONS", &collection, "options"));
    tale.push(Step::new("HEAD", &item, "head"));
    tale.push(Step::new("GET", format!("{item}/a/b/c"), "too deep"));
    tale.push(Step::new("POST", format!("{item}/status"), "create a status").json(&rich));
    tale.push(Step::new("DELETE", format!("{item}/status"), "delete a status"));
}
