//! DELETE and DELETECOLLECTION: preconditions, graceful deletion, finalizers, propagation
//! (k8s.io/apiserver/pkg/registry/{rest/delete.go,generic/registry/store.go}@v0.37.2).

use std::sync::Arc;

use api::field::{self, Path};
use api::json::{self, Strictness};
use api::object::Meta;
use api::proto;
use api::status::{self, Status};
use api::value::{Map, Value};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderMap, Response, header};

use super::select::Selection;
use super::write::is_finished;
use super::{Call, OPTIMISTIC_LOCK, metadata, options, show};
use crate::admission::{Attributes, Operation};
use crate::cache::Item;
use crate::codec::{self, Expected, FieldValidation};
use crate::hub::{Current, written};
use crate::negotiate;
use crate::registry::{Storage, relative_key, set_resource_version};
use crate::resources;
use crate::respond::{self, Body};
use crate::strategy::{Grace, Plain};

/// Races lost before a delete gives up.
const DELETE_RETRIES_MAX: usize = 100;
/// Objects of a collection deleted at the same time.
const COLLECTION_WORKERS: usize = 16;

/// DeleteOptions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) orphan: Option<bool>,
    pub(crate) propagation: Option<String>,
    pub(crate) dry_run: bool,
    /// [`IGNORE_READ_ERROR`]
    pub(crate) ignore_read_error: bool,
}

/// Deletes an object that cannot be read, and no other.
pub(crate) const IGNORE_READ_ERROR: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// What is left of an object after a delete.
pub(crate) struct Deleted {
    /// In the entry's version.
    pub(crate) object: Map,
    /// False while finalizers or a grace period keep it.
    pub(crate) gone: bool,
}

impl Options {
    pub(crate) fn of_object(object: &Map) -> Result<Self, Status> {
        let preconditions = object.map("preconditions");
        let text = |name: &str| preconditions.and_then(|p| p.get(name)).and_then(Value::as_str).map(str::to_string);
        let options = Options {
            grace_seconds: object.i64("gracePeriodSeconds"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            orphan: object.bool("orphanDependents"),
            propagation: object.get("propagationPolicy").and_then(Value::as_str).map(str::to_string),
            dry_run: !object.list("dryRun").is_empty(),
            ignore_read_error: object.bool(IGNORE_READ_ERROR) == Some(true),
        };
        let dry_run: Vec<_> = object.list("dryRun").iter().filter_map(Value::as_str).collect();
        options.check(&dry_run)?;
        Ok(options)
    }

    /// As plugins are told them.
    fn to_object(&self) -> Map {
        let mut object = Map::new();
        api::object::set_kind(&mut object, "meta.k8s.io/v1", "DeleteOptions");
        if let Some(seconds) = self.grace_seconds {
            object.set("gracePeriodSeconds", seconds);
        }
        for (name, text) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(text) = text {
                object.map_mut("preconditions").set(name, text.as_str());
            }
        }
        if let Some(orphan) = self.orphan {
            object.set("orphanDependents", orphan);
        }
        if let Some(policy) = &self.propagation {
            object.set("propagationPolicy", policy.as_str());
        }
        if self.ignore_read_error {
            object.set(IGNORE_READ_ERROR, true);
        }
        if self.dry_run {
            object.set("dryRun", vec![Value::from("All")]);
        }
        object
    }

    fn check(&self, dry_run: &[&str]) -> Result<(), Status> {
        let (path, mut errors) = (Path::new("propagationPolicy"), field::Errors::new());
        if let Some(policy) = &self.propagation {
            if self.orphan.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(field::invalid(&path, policy, why));
            }
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                errors.push(field::not_supported(&path, policy, &["Foreground", "Background", "Orphan", "nil"]));
            }
        }
        options::check_dry_run(dry_run, &mut errors);
        if self.ignore_read_error {
            errors.extend(self.unsafe_with());
        }
        if errors.is_empty() { Ok(()) } else { Err(invalid_options(&errors)) }
    }

    /// An object that cannot be read is deleted as it is, or not at all
    /// (apimachinery/pkg/apis/meta/v1/validation/validation.go: ValidateIgnoreStoreReadError).
    fn unsafe_with(&self) -> impl Iterator<Item = field::Error> {
        let set = [
            ("propagationPolicy", self.propagation.is_some()),
            ("orphanDependents", self.orphan.is_some()),
            ("gracePeriodSeconds", self.grace_seconds.is_some()),
            ("preconditions", self.uid.is_some() || self.resource_version.is_some()),
        ];
        let path = Path::new(IGNORE_READ_ERROR);
        set.into_iter()
            .filter(|(_, is)| *is)
            .map(move |(name, _)| field::invalid(&path, true, format!("cannot be set together with .{name}")))
    }
}

fn invalid_options(errors: &[field::Error]) -> Status {
    Status::invalid("meta.k8s.io", "DeleteOptions", "", errors)
}

impl Call<'_> {
    /// DeleteOptions from the body, or from the query when there is no body.
    async fn delete_options(&self, body: Body, headers: &HeaderMap) -> Result<Options, Status> {
        let bytes = codec::read_body(body).await?;
        if !bytes.is_empty() {
            let format = match headers.get(header::CONTENT_TYPE) {
                Some(_) => negotiate::body_format(headers)?,
                None => negotiate::Format::Json,
            };
            let object = decode_options(&bytes, format)?;
            if let Some(record) = self.audit {
                record.requested(None, || of_upstream(&object));
            }
            return Options::of_object(&object);
        }
        let query = &self.info.query;
        let mut object = Map::new();
        if let Some(seconds) = options::number(query, "gracePeriodSeconds")? {
            object.set("gracePeriodSeconds", seconds);
        }
        if query.has("orphanDependents") {
            object.set("orphanDependents", query.flag("orphanDependents"));
        }
        if query.has("propagationPolicy") {
            object.set("propagationPolicy", query.get("propagationPolicy"));
        }
        if query.flag(IGNORE_READ_ERROR) {
            object.set(IGNORE_READ_ERROR, true);
        }
        object.set("dryRun", query.all("dryRun").map(Value::from).collect::<Vec<_>>());
        Options::of_object(&object)
    }

    pub(crate) async fn delete(&self, body: Body) -> Result<Response<Body>, Status> {
        let options = self.delete_options(body, self.headers).await?;
        if options.ignore_read_error {
            return self.delete_unread(&options).await;
        }
        self.warn_of_orphans(&options);
        let deleted = self.delete_named(self.namespace(), &self.info.name, &options).await?;
        let code = if !deleted.gone && options.orphan == Some(false) { 202 } else { 200 };
        if deleted.gone && !self.entry.strategy.returns_deleted_object(self.entry.facts.version) {
            let facts = self.entry.facts;
            let object = &deleted.object;
            let done = status::success(facts.group, facts.plural, object.name(), object.uid());
            return Ok(respond::object(code, &done, &self.accepted));
        }
        Ok(show::value(self, code, &deleted.object))
    }

    fn warn_of_orphans(&self, options: &Options) {
        if options.propagation.is_none() && options.orphan.is_none() {
            self.warn(self.entry.strategy.orphan_warning().map(String::from));
        }
    }

    /// Deletes one object as far as its finalizers and grace period let it.
    pub(crate) async fn delete_named(&self, namespace: &str, name: &str, options: &Options) -> Result<Deleted, Status> {
        let storage = self.storage()?.clone();
        let mut judged = None;
        for _ in 0..DELETE_RETRIES_MAX {
            let key = relative_key(namespace, name);
            let current = self.timed(self.hub().current(&storage, namespace, name)).await;
            let current = current.map_err(|unread| self.unread(&key, unread))?;
            let Current { object, revision, .. } = current.ok_or_else(|| self.not_found_name(name))?;
            let object = self.entry.read(object, self.hub()).await;
            let object = object.map_err(|status| self.corrupt(&key, revision, status))?;
            self.check_delete(&object, name, options)?;
            if judged != Some(revision) {
                self.admit_asked(self.attributes_of_delete(&object, options)).await?;
                self.judge_asked(self.attributes_of_delete(&object, options)).await?;
                judged = Some(revision);
            }
            if let Some(deleted) = self.delete_once(&storage, namespace, name, object, revision, options).await? {
                return Ok(deleted);
            }
        }
        Err(self.conflict(name, OPTIMISTIC_LOCK))
    }

    /// An object of a collection is admitted without its name, as upstream has it.
    fn attributes_of_delete<'a>(&'a self, object: &'a Map, options: &Options) -> Attributes<'a> {
        let name = if self.info.verb == "deletecollection" { "" } else { &self.info.name };
        let attributes = self.attributes(Operation::Delete, name, None, Some(object), options.dry_run);
        Attributes { options: options.to_object().into(), ..attributes }
    }

    pub(crate) fn check_delete(&self, object: &Map, name: &str, options: &Options) -> Result<(), Status> {
        let asked = [
            ("UID", &options.uid, object.uid(), "have been deleted and then recreated"),
            ("ResourceVersion", &options.resource_version, object.resource_version(), "have been modified"),
        ];
        for (what, wanted, has, fate) in asked {
            let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != has) else { continue };
            let facts = self.entry.facts;
            return Err(match self.entry.strategy.own_deletion() {
                Some(words) => {
                    let why = format!("{words}: {what} in precondition: {wanted}, {what} in object meta: {has}");
                    self.conflict(name, &why)
                }
                None => {
                    let why = format!(
                        "the {what} in the precondition ({wanted}) does not match the {what} in record ({has}). The object might {fate}"
                    );
                    Status::conflict(facts.storage_group, facts.kind, name, &why)
                }
            });
        }
        Ok(())
    }

    pub(crate) async fn delete_once(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
        mut object: Map,
        revision: u64,
        options: &Options,
    ) -> Result<Option<Deleted>, Status> {
        let before = object.clone();
        let step = self.plan_delete(&mut object, options);
        let done = |object, gone| Ok(Some(Deleted { object, gone }));
        if options.dry_run || matches!(step, Step::Wait) {
            return done(object, matches!(step, Step::Remove));
        }
        match step {
            Step::Remove => {
                if self.timed(self.hub().remove(storage, namespace, name, revision)).await?.is_none() {
                    return Ok(None);
                }
                resources::after_delete(self.hub(), self.entry, &before).await;
                set_resource_version(&mut object, revision);
                done(object, true)
            }
            Step::Mark | Step::Wait => {
                let stored = self.entry.stored(&object, self.hub()).await?;
                match self.timed(self.hub().write(storage, namespace, name, &stored, revision, 0)).await? {
                    Some(revision) => done(written(object, revision), false),
                    None => Ok(None),
                }
            }
        }
    }

    /// Decides what a delete does to the object, and marks it.
    fn plan_delete(&self, object: &mut Map, options: &Options) -> Step {
        let grace = match self.grace(object, options) {
            Graceful::Pending => return Step::Wait,
            Graceful::Now => 0,
            Graceful::Until(seconds, at) => {
                let first = !object.is_deleting();
                let meta = object.meta_mut();
                meta.set("deletionTimestamp", at);
                meta.set("deletionGracePeriodSeconds", seconds);
                if first && meta.i64("generation").unwrap_or(0) > 0 {
                    let generation = meta.i64("generation").unwrap_or(0) + 1;
                    meta.set("generation", generation);
                }
                seconds
            }
        };
        self.set_propagation(object, options);
        if object.finalizers().next().is_some() || self.entry.strategy.keeps(object) {
            if grace == 0 {
                mark_deleting(object, &self.now, self.entry.strategy.own_deletion().is_none());
            }
            self.entry.strategy.mark_deleting(object);
            return Step::Mark;
        }
        if grace > 0 { Step::Mark } else { Step::Remove }
    }

    fn grace(&self, object: &Map, options: &Options) -> Graceful {
        let asked = options.grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
        if self.entry.strategy.grace(object, asked) == Grace::None {
            return Graceful::Now;
        }
        if object.is_deleting() {
            let current = object.meta().i64("deletionGracePeriodSeconds").unwrap_or(0);
            return match asked {
                _ if current == 0 => Graceful::Now,
                Some(seconds) if seconds < current => self.shortened(object, current, seconds),
                _ => Graceful::Pending,
            };
        }
        match self.entry.strategy.grace(object, asked) {
            Grace::None => Graceful::Now,
            Grace::Seconds(seconds) => Graceful::Until(seconds, self.after(&self.now, seconds)),
        }
    }

    /// A deletion under way may only be made shorter, never into the past.
    fn shortened(&self, object: &Map, current: i64, seconds: i64) -> Graceful {
        let at = self.after(object.meta().str("deletionTimestamp"), seconds - current);
        if at < self.now {
            return Graceful::Until(seconds.min(1), self.now.clone());
        }
        Graceful::Until(seconds, at)
    }

    fn after(&self, text: &str, seconds: i64) -> String {
        let (unix, _) = api::time::to_unix(text).unwrap_or_default();
        api::time::from_unix(unix + seconds, 0, false)
    }

    /// Puts the finalizer for the garbage collector that the propagation policy asks for.
    fn set_propagation(&self, object: &mut Map, options: &Options) {
        let has = |finalizer: &str| object.finalizers().any(|f| f == finalizer);
        let (had_orphan, had_foreground) = (has(metadata::ORPHAN_FINALIZER), has(metadata::FOREGROUND_FINALIZER));
        let (orphan, foreground) = match (options.orphan, options.propagation.as_deref()) {
            _ if !self.entry.strategy.is_garbage_collected() => (false, false),
            (Some(orphan), _) => (orphan, false),
            (None, Some("Orphan")) => (true, false),
            (None, Some("Foreground")) => (false, true),
            (None, Some(_)) => (false, false),
            (None, None) if had_orphan || had_foreground => (had_orphan, had_foreground),
            (None, None) => (self.entry.strategy.orphans_by_default(), false),
        };
        if (orphan, foreground) == (had_orphan, had_foreground) {
            return;
        }
        let mut finalizers: Vec<Value> = object
            .finalizers()
            .filter(|f| !matches!(*f, metadata::ORPHAN_FINALIZER | metadata::FOREGROUND_FINALIZER))
            .map(Value::from)
            .collect();
        if orphan {
            finalizers.push(metadata::ORPHAN_FINALIZER.into());
        }
        if foreground {
            finalizers.push(metadata::FOREGROUND_FINALIZER.into());
        }
        match finalizers.is_empty() {
            true => drop(object.meta_mut().remove("finalizers")),
            false => object.meta_mut().set("finalizers", finalizers),
        }
    }

    /// Deletes one object of a collection; one that is gone meanwhile is none.
    async fn delete_listed(&self, item: Arc<Item>, options: &Options) -> Result<(), Status> {
        match self.delete_named(item.namespace(), item.name(), options).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    pub(crate) async fn delete_collection(&self, body: Body) -> Result<Response<Body>, Status> {
        let storage = self.storage()?.clone();
        let options = self.delete_options(body, self.headers).await?;
        if options.ignore_read_error {
            let why = "is not allowed with DELETECOLLECTION, try again after removing the option";
            return Err(invalid_options(&[field::invalid(&Path::new(IGNORE_READ_ERROR), true, why)]));
        }
        let selection = Selection::of(self.entry, self.info)?;
        let list = options::List::of(&self.info.query, false)?;
        self.warn_of_orphans(&options);
        let listed = self.listed(&storage, &selection, &list).await?;
        let mut deleting: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::with_capacity(listed.items.len());
        for item in &listed.items {
            deleting.push(Box::pin(self.delete_listed(item.clone(), &options)));
        }
        let () = stream::iter(deleting).buffered(COLLECTION_WORKERS).try_collect().await?;
        // As they were listed: what became of them is not told (store.go: DeleteCollection).
        self.show_list(storage, listed).await
    }
}

/// DeleteOptions as upstream's audit log has them: of no version that a client may name.
fn of_upstream(options: &Map) -> Map {
    let mut told = options.clone();
    api::object::set_kind(&mut told, "meta.k8s.io/__internal", "DeleteOptions");
    told
}

enum Step {
    /// Nothing: the grace period runs already.
    Wait,
    /// Write the marked object.
    Mark,
    Remove,
}

enum Graceful {
    Now,
    Pending,
    /// Seconds, and when they are over.
    Until(i64, String),
}

/// An object that stays for its finalizers is marked (store.go: markAsDeleting); `counts`: its generation counts that.
fn mark_deleting(object: &mut Map, now: &str, counts: bool) {
    if !is_finished(object) && !object.is_deleting() {
        let generation = object.generation();
        let meta = object.meta_mut();
        if generation > 0 && counts {
            meta.set("generation", generation + 1);
        }
        meta.set("deletionTimestamp", now);
    }
    object.meta_mut().set("deletionGracePeriodSeconds", 0i64);
}

/// DeleteOptions may come as of any group and version (handlers/delete.go).
pub(crate) fn decode_options(bytes: &[u8], format: negotiate::Format) -> Result<Map, Status> {
    let ty = api::facts::structure("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
        .ok_or_else(|| Status::internal("no DeleteOptions"))?;
    let text = match format {
        negotiate::Format::Protobuf => {
            let own = proto::unwrap(bytes).ok().flatten().map_or("", |unknown| unknown.api_version);
            let (group, version) = api::facts::split_api_version(if own.is_empty() { "v1" } else { own });
            let expected = Expected { group, version, kind: "DeleteOptions", ty, hooks: &Plain };
            return Ok(codec::decode(bytes, format, expected, FieldValidation::Ignore)?.object);
        }
        negotiate::Format::Yaml => {
            api::yaml::to_json(bytes).map_err(|error| Status::bad_request(error.to_string()))?.into()
        }
        negotiate::Format::Json => std::borrow::Cow::Borrowed(bytes),
    };
    let (api_version, kind) = codec::type_meta(&text).map_err(Status::bad_request)?;
    if !matches!(kind.as_str(), "" | "DeleteOptions") {
        let version = if api_version.is_empty() { "v1" } else { api_version.as_str() };
        let place = "in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:29\"";
        let why = format!("no kind \"{kind}\" is registered for version \"{version}\" {place}");
        return Err(Status::bad_request(why));
    }
    let decoded = json::decode(&text, ty, Strictness::Lenient);
    decoded.map(|decoded| decoded.value).map_err(|error| Status::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api_version: &str) {
        let ty = api::facts::structure("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions").expect("a type");
        let mut object = api::map! { "gracePeriodSeconds" => 3i64 };
        let message = proto::wrap(api_version, "DeleteOptions", &proto::encode(&object, ty));
        api::object::set_kind(&mut object, api_version, "DeleteOptions");
        for (body, format) in [(message, negotiate::Format::Protobuf), (json::encode(&object), negotiate::Format::Json)]
        {
            let read = decode_options(&body, format).map_err(|status| status.message).expect("options");
            assert_eq!(read.i64("gracePeriodSeconds"), Some(3), "{api_version}");
        }
    }

    /// Clients send them as of the group of what is deleted.
    #[test]
    fn options_of_any_group() {
        for api_version in ["v1", "apps/v1", "meta.k8s.io/v1", "example.com/v2"] {
            check(api_version);
        }
    }
}
