//! `paramKind` and `paramRef`: with which objects a policy looks at a request
//! (k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go@v0.37.2: CollectParams).
//!
//! Invariant: parameters come from the cache; one that is named and not there yet, from the store.

use std::sync::Arc;

use api::facts::split_api_version;
use api::object::Meta;
use api::selector::labels::Selector;
use api::value::{Map, Value};

use super::matching;
use super::request::Request;
use crate::admission::expression::subject::Name;
use crate::registry::{Entry, Registry};

/// The kind of a policy's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamKind(Name);

impl ParamKind {
    pub(super) fn of(kind: &Map) -> ParamKind {
        let (group, version) = split_api_version(kind.str("apiVersion"));
        ParamKind(Name::new(group, version, kind.str("kind")))
    }

    /// What serves the kind.
    ///
    /// # Errors
    /// Nothing does.
    pub(super) fn resolve(&self, registry: &Registry) -> Result<Arc<Entry>, String> {
        let Name { group, version, name } = &self.0;
        let is_it = |entry: &Arc<Entry>| {
            let facts = entry.facts;
            (facts.group, facts.version, facts.kind) == (group, version, name) && entry.storage.is_some()
        };
        let found = registry.entries().into_iter().find(is_it);
        found.ok_or_else(|| format!("failed to find resource referenced by paramKind: '{}'", self.0))
    }
}

/// Which objects of that kind a binding means.
#[derive(Debug)]
pub(super) struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<Result<Selector, String>>,
    /// `parameterNotFoundAction: Deny`.
    deny_missing: bool,
}

impl ParamRef {
    pub(super) fn of(reference: &Map) -> ParamRef {
        ParamRef {
            name: reference.str("name").to_owned(),
            namespace: reference.str("namespace").to_owned(),
            selector: reference.map("selector").map(matching::selector),
            deny_missing: reference.str("parameterNotFoundAction") == "Deny",
        }
    }

    fn scope<'a>(&'a self, entry: &Entry, request: &Request<'a>) -> Result<&'a str, String> {
        match (entry.facts.namespaced, self.namespace.as_str()) {
            (false, "") => Ok(""),
            (false, _) => Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
            (true, "") if request.attributes.namespace.is_empty() => {
                Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into())
            }
            (true, "") => Ok(request.attributes.namespace),
            (true, own) => Ok(own),
        }
    }
}

/// The parameters; one that is `None` where a policy has none. Without any, the policy does not look at the request.
///
/// # Errors
/// Why they cannot be told.
pub(super) async fn collect(
    kind: Option<&Arc<Entry>>,
    reference: Option<&ParamRef>,
    request: &Request<'_>,
) -> Result<Vec<Option<Map>>, String> {
    let (Some(entry), Some(reference)) = (kind, reference) else { return Ok(vec![None]) };
    let namespace = reference.scope(entry, request)?;
    let found = match &reference.selector {
        _ if !reference.name.is_empty() => named(entry, namespace, &reference.name, request).await?,
        Some(selector) => selected(entry, namespace, selector.as_ref().map_err(Clone::clone)?, request),
        None => return Err("one of name or selector must be provided".into()),
    };
    if found.is_empty() && reference.deny_missing {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.into_iter().map(|stored| Some(entry.from_storage(Map::clone(&stored)))).collect())
}

async fn named(entry: &Entry, namespace: &str, name: &str, request: &Request<'_>) -> Result<Vec<Arc<Map>>, String> {
    let (group, plural) = (entry.facts.group, entry.facts.plural);
    if let Some(found) = request.objects.cached(group, plural, namespace, name) {
        return Ok(vec![found]);
    }
    let found = request.objects.live(group, plural, namespace, name).await.map_err(|status| status.message)?;
    Ok(found.map(Arc::new).into_iter().collect())
}

fn selected(entry: &Entry, namespace: &str, selector: &Selector, request: &Request<'_>) -> Vec<Arc<Map>> {
    let mut found = request.objects.list(entry.facts.group, entry.facts.plural, namespace);
    found.retain(|object| {
        let labels = object.meta().map("labels").unwrap_or(Map::EMPTY);
        selector.matches(|key| labels.get(key).and_then(Value::as_str))
    });
    found
}
