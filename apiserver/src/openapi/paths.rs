//! The operations of a group version, from its resources
//! (k8s.io/apiserver/pkg/endpoints/installer.go@v0.37.2, .../endpoints/openapi/openapi.go@v0.37.2).
//!
//! Invariant: names of operations, their order of verbs and their parameters follow from facts alone.

use api::facts::{Resource, Subresource};

use super::operation::{Answer, Body, Operation, Parameter, Path};
use super::parameters;
use crate::resources;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const ANYTHING: &[&str] = &["*/*"];
const OBJECTS: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOGS: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const JSON: &[&str] = &["application/json"];
const JWKS: &[&str] = &["application/jwk-set+json"];

/// Where the operations of a group version live and how they are named.
struct Place {
    /// `/apis/apps/v1`
    base: String,
    /// `AppsV1`
    prefix: String,
    /// `apps_v1`
    tag: String,
}

/// The path of a group or version: `/api`, `/api/v1`, `/apis/apps`.
pub(super) fn base(group: &str, version: &str) -> String {
    let root = if group.is_empty() { "/api".to_string() } else { format!("/apis/{group}") };
    if version.is_empty() { root } else { format!("{root}/{version}") }
}

fn place(group: &str, version: &str) -> Place {
    let group_words = camel(if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") });
    let prefix = format!("{}{}", title(&group_words), title(version));
    let tag = if version.is_empty() { group_words } else { format!("{group_words}_{version}") };
    Place { base: base(group, version), prefix, tag }
}

/// `flowcontrol.apiserver` as `flowcontrolApiserver`.
fn camel(text: &str) -> String {
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_string();
    words.fold(first, |so_far, word| so_far + &title(word))
}

/// The first letter in upper case.
fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn plain(method: &'static str, id: String, tag: &str, description: &str, answer: Answer) -> Operation {
    Operation {
        method,
        id,
        tag: tag.into(),
        description: description.into(),
        action: "",
        kind: None,
        parameters: Vec::new(),
        body: Body::None,
        consumes: OBJECTS,
        produces: OBJECTS,
        codes: &[200],
        answer,
    }
}

fn single(base: &str, operation: Operation) -> Path {
    Path { path: format!("{base}/"), operations: vec![operation] }
}

/// `/apis/G/`, `/api/` or, for no group at all, `/apis/`.
pub(super) fn group(group: Option<&str>) -> Path {
    let Some(name) = group else {
        let answer = Answer::Object(format!("{META}.APIGroupList"));
        return single("/apis", plain("get", "getAPIVersions".into(), "apis", "get available API versions", answer));
    };
    let place = place(name, "");
    let (what, description, kind) = match name {
        "" => ("APIVersions", "get available API versions", "APIVersions"),
        _ => ("APIGroup", "get information of a group", "APIGroup"),
    };
    let id = format!("get{}{what}", place.prefix);
    single(&place.base, plain("get", id, &place.tag, description, Answer::Object(format!("{META}.{kind}"))))
}

/// Paths outside /api and /apis that have a document.
pub(super) fn others() -> Vec<(&'static str, Path)> {
    let version = Answer::Object("io.k8s.apimachinery.pkg.version.Info".into());
    let mut version =
        plain("get", "getCodeVersion".into(), "version", "get the version information for this server", version);
    version.consumes = JSON;
    version.produces = JSON;
    let configuration = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'";
    let id = "getServiceAccountIssuerOpenIDConfiguration".to_string();
    let mut configuration = plain("get", id, "WellKnown", configuration, Answer::Text);
    configuration.consumes = &[];
    configuration.produces = JSON;
    let keys = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)";
    let mut keys = plain("get", "getServiceAccountIssuerOpenIDKeyset".into(), "openid", keys, Answer::Text);
    keys.consumes = &[];
    keys.produces = JWKS;
    let all = [(".well-known/openid-configuration", configuration), ("openid/v1/jwks", keys), ("version", version)];
    all.into_iter().map(|(name, operation)| (name, single(&format!("/{name}"), operation))).collect()
}

/// Every path of a group version.
pub(super) fn version(group: &str, version: &str, resources: &[&'static Resource]) -> Vec<Path> {
    let place = place(group, version);
    let id = format!("get{}APIResources", place.prefix);
    let answer = Answer::Object(format!("{META}.APIResourceList"));
    let mut paths = vec![single(&place.base, plain("get", id, &place.tag, "get available resources", answer))];
    for facts in resources {
        paths.extend(Routes { place: &place, facts }.all());
    }
    paths.retain(|path| !path.operations.is_empty());
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    paths
}

/// The routes of one resource.
struct Routes<'a> {
    place: &'a Place,
    facts: &'static Resource,
}

impl Routes<'_> {
    fn all(&self) -> Vec<Path> {
        let facts = self.facts;
        let scope = if facts.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{}{scope}/{}", self.place.base, facts.plural);
        let watched = format!("{}/watch{scope}/{}", self.place.base, facts.plural);
        let mut paths = vec![
            self.path(collection.clone(), self.collection()),
            self.path(format!("{collection}/{{name}}"), self.item()),
            self.path(watched.clone(), self.watch("watchlist", "List")),
            self.path(format!("{watched}/{{name}}"), self.watch("watch", "")),
        ];
        if facts.namespaced && self.has("list") {
            let (base, plural) = (&self.place.base, facts.plural);
            paths.push(self.path(format!("{base}/{plural}"), vec![self.list("", "ForAllNamespaces")]));
            let watch = self.watch_everywhere();
            paths.push(self.path(format!("{base}/watch/{plural}"), watch));
        }
        for sub in facts.subresources {
            let path = format!("{collection}/{{name}}/{}", sub.name);
            if !sub.kind.ends_with("Options") {
                paths.push(self.path(path, self.subresource(sub)));
                continue;
            }
            if sub.ty.is_some_and(|ty| ty.field("path").is_some()) {
                paths.push(self.path(format!("{path}/{{path}}"), self.connect(sub, "WithPath")));
            }
            paths.push(self.path(path, self.connect(sub, "")));
        }
        paths
    }

    /// Adds the parameters that the path itself asks for.
    fn path(&self, path: String, mut operations: Vec<Operation>) -> Path {
        for operation in &mut operations {
            if path.contains("{namespace}") {
                let description = "object name and auth scope, such as for teams and projects".to_string();
                operation.parameters.push(Parameter::path("namespace", description));
            }
            if path.contains("{name}") {
                let kind = operation.kind.map_or(self.facts.kind, |kind| kind.2);
                operation.parameters.push(Parameter::path("name", format!("name of the {kind}")));
            }
            if path.ends_with("{path}") {
                operation.parameters.push(Parameter::path("path", "path to the resource".into()));
            }
            if operation.action != "connect" {
                operation.parameters.push(parameters::pretty());
            }
        }
        Path { path, operations }
    }

    fn has(&self, verb: &str) -> bool {
        self.facts.verbs.contains(&verb)
    }

    fn namespaced(&self) -> &'static str {
        if self.facts.namespaced { "Namespaced" } else { "" }
    }

    fn operation(&self, method: &'static str, action: &'static str, id: String, description: String) -> Operation {
        let facts = self.facts;
        Operation {
            action,
            kind: Some((facts.group, facts.version, facts.kind)),
            consumes: ANYTHING,
            description,
            ..plain(method, id, &self.place.tag, "", Answer::Object(facts.ty.name.into()))
        }
    }

    /// `readCoreV1NamespacedPodStatus` of "read" and "status".
    fn id(&self, verb: &str, sub: &str) -> String {
        format!("{verb}{}{}{}{}", self.place.prefix, self.namespaced(), self.facts.kind, title(sub))
    }

    fn collection(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        if self.has("list") {
            operations.push(self.list(self.namespaced(), ""));
        }
        if self.has("create") {
            operations.push(self.create(None));
        }
        if self.has("deletecollection") {
            let prefix = &self.place.prefix;
            let id = format!("delete{prefix}Collection{}{}", self.namespaced(), self.facts.kind);
            let description = format!("delete collection of {}", self.facts.kind);
            let mut operation = self.operation("delete", "deletecollection", id, description);
            operation.parameters = parameters::list();
            operation.parameters.retain(|p| !matches!(p.name.as_str(), "watch" | "allowWatchBookmarks"));
            operation.parameters.extend(parameters::delete());
            operation.body = Body::Optional(format!("{META}.DeleteOptions"));
            operation.answer = Answer::Object(format!("{META}.Status"));
            operations.push(operation);
        }
        operations
    }

    fn list(&self, namespaced: &str, suffix: &str) -> Operation {
        let facts = self.facts;
        let id = format!("list{}{namespaced}{}{suffix}", self.place.prefix, facts.kind);
        let watched = if self.has("watch") { "list or watch" } else { "list" };
        let mut operation = self.operation("get", "list", id, format!("{watched} objects of kind {}", facts.kind));
        operation.parameters = parameters::list();
        operation.produces = STREAMS;
        operation.answer = Answer::Object(format!("{}List", facts.ty.name));
        operation
    }

    fn create(&self, sub: Option<&'static Subresource>) -> Operation {
        let kind = self.facts.kind;
        let article = article(kind);
        let (name, description) = match sub {
            Some(sub) => (sub.name, format!("create {} of{article}{kind}", sub.name)),
            None => ("", format!("create{article}{kind}")),
        };
        let mut operation = self.operation("post", "post", self.id("create", name), description);
        operation.codes = &[200, 201, 202];
        self.about(&mut operation, sub);
        operation.parameters = parameters::write("post");
        operation.body = Body::Required(self.ty(sub).into());
        operation
    }

    /// The struct that a request about the resource or its subresource carries.
    fn ty(&self, sub: Option<&'static Subresource>) -> &'static str {
        sub.and_then(|sub| sub.ty).unwrap_or(self.facts.ty).name
    }

    fn about(&self, operation: &mut Operation, sub: Option<&'static Subresource>) {
        if let Some(sub) = sub {
            operation.kind = Some((sub.group, sub.version, sub.kind));
        }
        operation.answer = Answer::Object(self.ty(sub).into());
    }

    fn item(&self) -> Vec<Operation> {
        let mut operations = self.read_and_write(None, self.facts.verbs);
        if !self.has("delete") {
            return operations;
        }
        let kind = self.facts.kind;
        let description = format!("delete{}{kind}", article(kind));
        let mut operation = self.operation("delete", "delete", self.id("delete", ""), description);
        operation.codes = &[200, 202];
        operation.parameters = parameters::delete();
        operation.body = Body::Optional(format!("{META}.DeleteOptions"));
        // A namespace is answered with, but upstream does not say so.
        let strategy = resources::strategy(self.facts.group, self.facts.plural);
        if !strategy.returns_deleted_object(self.facts.version) || self.facts.plural == "namespaces" {
            operation.answer = Answer::Object(format!("{META}.Status"));
        }
        operations.push(operation);
        operations
    }

    fn subresource(&self, sub: &'static Subresource) -> Vec<Operation> {
        let mut operations = self.read_and_write(Some(sub), sub.verbs);
        if sub.verbs.contains(&"create") {
            operations.push(self.create(Some(sub)));
        }
        // The one subresource that is text: a container's log.
        if let (("", "pods", "log"), Some(operation)) =
            ((self.facts.group, self.facts.plural, sub.name), operations.first_mut())
        {
            operation.answer = Answer::Text;
            operation.produces = LOGS;
            operation.parameters = parameters::of_options("io.k8s.api.core.v1.PodLogOptions");
        }
        operations
    }

    fn read_and_write(&self, sub: Option<&'static Subresource>, verbs: &[&str]) -> Vec<Operation> {
        let name = sub.map_or("", |sub| sub.name);
        let of = if name.is_empty() { String::new() } else { format!("{name} of ") };
        let kinds = [
            ("get", "get", "get", "read"),
            ("update", "put", "put", "replace"),
            ("patch", "patch", "patch", "partially update"),
        ];
        let mut operations = Vec::new();
        for (_, method, action, doing) in kinds.into_iter().filter(|kind| verbs.contains(&kind.0)) {
            let verb = if action == "patch" { "patch" } else { doing };
            let description = format!("{doing} {of}the specified {}", self.facts.kind);
            let mut operation = self.operation(method, action, self.id(verb, name), description);
            self.about(&mut operation, sub);
            if method != "get" {
                operation.codes = &[200, 201];
                operation.parameters = parameters::write(method);
                operation.body = Body::Required(self.ty(sub).into());
            }
            if method == "patch" {
                operation.parameters.push(parameters::force());
                operation.body = Body::Required(format!("{META}.Patch"));
                operation.consumes = PATCHES;
            }
            operations.push(operation);
        }
        operations
    }

    fn watch(&self, action: &'static str, suffix: &str) -> Vec<Operation> {
        let kind = self.facts.kind;
        let id = format!("watch{}{}{kind}{suffix}", self.place.prefix, self.namespaced());
        self.watch_as(action, id)
    }

    fn watch_everywhere(&self) -> Vec<Operation> {
        let id = format!("watch{}{}ListForAllNamespaces", self.place.prefix, self.facts.kind);
        self.watch_as("watchlist", id)
    }

    fn watch_as(&self, action: &'static str, id: String) -> Vec<Operation> {
        if !self.has("watch") {
            return Vec::new();
        }
        let kind = self.facts.kind;
        let instead = "deprecated: use the 'watch' parameter with a list operation instead";
        let description = match action {
            "watch" => format!(
                "watch changes to an object of kind {kind}. {instead}, filtered to a single item with the 'fieldSelector' parameter."
            ),
            _ => format!("watch individual changes to a list of {kind}. {instead}."),
        };
        let mut operation = self.operation("get", action, id, description);
        operation.parameters = parameters::list();
        operation.produces = STREAMS;
        operation.answer = Answer::Object(format!("{META}.WatchEvent"));
        vec![operation]
    }

    fn connect(&self, sub: &'static Subresource, suffix: &str) -> Vec<Operation> {
        // A verb of connecting stands for the methods that authorise as it.
        let methods: &[&'static str] = match sub.verbs.contains(&"patch") {
            true => &["get", "put", "post", "delete", "options", "head", "patch"],
            false => &["get", "post"],
        };
        let parameters = sub.ty.map(|ty| parameters::of_options(ty.name)).unwrap_or_default();
        let connect = |method: &&'static str| {
            let upper = method.to_uppercase();
            let (place, kind) = (&self.place.prefix, self.facts.kind);
            let sub_title = title(sub.name);
            let id = format!("connect{place}{}{}{kind}{sub_title}{suffix}", title(method), self.namespaced());
            let description = format!("connect {upper} requests to {} of {kind}", sub.name);
            let mut operation = self.operation(method, "connect", id, description);
            operation.kind = Some((sub.group, sub.version, sub.kind));
            operation.produces = ANYTHING;
            operation.answer = Answer::Text;
            operation.parameters = parameters.clone();
            operation
        };
        methods.iter().map(connect).collect()
    }
}

/// " a ", " an ", or nothing but a space before a plural.
fn article(noun: &str) -> &'static str {
    match noun.as_bytes() {
        [.., before, b's'] if *before != b's' => " ",
        [first, ..] if b"AEIOUaeiou".contains(first) => " an ",
        _ => " a ",
    }
}

#[cfg(test)]
mod tests {
    use super::{article, camel, place};

    #[test]
    fn groups_and_kinds_are_named_as_upstream_does() {
        assert_eq!(place("rbac.authorization.k8s.io", "v1").prefix, "RbacAuthorizationV1");
        assert_eq!(place("flowcontrol.apiserver.k8s.io", "v1").tag, "flowcontrolApiserver_v1");
        assert_eq!(place("", "v1").base, "/api/v1");
        assert_eq!(camel("core"), "core");
        assert_eq!((article("Pod"), article("Ingress"), article("Endpoints")), (" a ", " an ", " "));
    }
}
