//! CREATE and UPDATE: decode, admit, prepare, validate, admit again, compare-and-write
//! (k8s.io/apiserver/pkg/endpoints/handlers/{create,update}.go, registry/generic/registry/store.go@v0.37.2).
//!
//! Invariant: nothing is written that was not validated against the state it replaces; a lost race is
//! a retry when the client named no resourceVersion, else a conflict.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use api::field::{self, Path};
use api::json;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use http::Response;
use parking_lot::Mutex;

use super::{Call, OPTIMISTIC_LOCK, managed, metadata, options, precondition_text, show, undecodable};
use crate::admission::{Attributes, Operation};
use crate::audit::{Annotations, Level};
use crate::authz::{Decision, forbidden::Forbidden};
use crate::chain;
use crate::codec::{self, FieldValidation};
use crate::declarative;
use crate::hub::{Current, written};
use crate::negotiate;
use crate::registry::Storage;
use crate::resources::{self, access::Writer};
use crate::respond::Body;
use crate::strategy::Generation;
use crate::subresource::{self, Special, View};

/// Names tried before a generateName conflict is given up (store.go: maxNameGenerationCreateAttempts).
const GENERATE_NAME_ATTEMPTS_MAX: usize = 8;
/// k8s.io/apiserver/pkg/storage/errors.go@v0.37.2: ErrResourceVersionSetOnCreate
const REVISION_OF_NEW: &str = "resourceVersion should not be set on objects to be created";
/// Races lost before an unconditional update gives up.
const UPDATE_RETRIES_MAX: usize = 100;

/// The state that a write starts from.
pub(crate) struct Existing {
    /// In the entry's version.
    pub(crate) object: Map,
    pub(crate) revision: u64,
    /// Not stored in the version, or not encrypted in the way, that it would be stored in now: it is written even when
    /// nothing changes.
    pub(crate) outdated: bool,
}

/// What a write did.
pub(crate) struct Done {
    pub(crate) object: Map,
    pub(crate) created: bool,
}

impl Call<'_> {
    /// Decodes the body as the kind that the path expects.
    pub(crate) async fn body(&self, body: Body) -> Result<Map, Status> {
        let format = negotiate::body_format(self.headers)?;
        let bytes = codec::read_body(body).await?;
        let options = if self.info.verb == "update" { "UpdateOptions" } else { "CreateOptions" };
        options::check_write(&self.info.query, options, None)?;
        let validation = FieldValidation::of(&self.info.query);
        let codec::Received { mut object, warnings, empty } =
            codec::decode(&bytes, format, self.entry.expected(&self.info.subresource), validation)?;
        self.warn(warnings);
        self.keep_empty(empty);
        if let Some(record) = self.audit {
            record.requested(object.map("metadata"), || self.defaulted(&object));
        }
        managed::keep_reset(&bytes, format, &mut object);
        Ok(object)
    }

    /// Remembers the empty lists and maps of what was sent, which canonical objects do not have.
    pub(crate) fn keep_empty(&self, empty: Vec<json::Empty>) {
        *self.empty.lock() = empty;
    }

    /// The object as upstream validates it: with the lists and maps that were sent empty.
    fn as_sent<'o>(&self, object: &'o Map) -> Cow<'o, Map> {
        self.restored(object, |_| true).map_or(Cow::Borrowed(object), Cow::Owned)
    }

    /// The object with those of the lists and maps that were sent empty, if any was.
    pub(crate) fn restored(&self, object: &Map, chosen: impl Fn(&json::Empty) -> bool) -> Option<Map> {
        let mut restored = None;
        for empty in self.empty.lock().iter().filter(|empty| chosen(empty)) {
            empty.restore(restored.get_or_insert_with(|| object.clone()));
        }
        restored
    }

    /// A copy with its defaults: as the audit log has a request's object.
    fn defaulted(&self, object: &Map) -> Map {
        let (mut object, expected) = (object.clone(), self.entry.expected(&self.info.subresource));
        match expected.kind == self.entry.facts.kind {
            true => self.default(&mut object),
            false => api::defaults::apply(&mut object, expected.ty),
        }
        object
    }

    pub(crate) fn finish(&self, done: Done) -> Response<Body> {
        show::value(self, if done.created { 201 } else { 200 }, &done.object)
    }

    pub(crate) async fn create(&self, body: Body) -> Result<Response<Body>, Status> {
        let dry_run = options::dry_run(&self.info.query);
        let object = self.body(body).await?;
        let done = self.create_object(object, dry_run).await?;
        Ok(self.finish(done))
    }

    /// Creates an object that was decoded; the name may have to be generated.
    pub(crate) async fn create_object(&self, mut object: Map, dry_run: bool) -> Result<Done, Status> {
        self.receive_new(&mut object)?;
        self.create_tracked(object, dry_run).await
    }

    /// What is done to an object that was sent to be created, be it stored then or only answered.
    pub(crate) fn receive_new(&self, object: &mut Map) -> Result<(), Status> {
        self.default(object);
        metadata::drop_system_fields(object);
        metadata::match_namespace(object, self.namespace())?;
        self.warn(metadata::drop_repeated_owners(object, false));
        self.track(Map::EMPTY, object);
        Ok(())
    }

    /// Creates an object that has its defaults and its managedFields.
    async fn create_tracked(&self, object: Map, dry_run: bool) -> Result<Done, Status> {
        let generated = object.name().is_empty() && !object.meta().str("generateName").is_empty();
        if !generated {
            return self.create_once(object, dry_run).await;
        }
        for attempt in 1.. {
            let mut candidate = object.clone();
            let base = object.meta().str("generateName");
            let name = match self.entry.strategy.generates_names() {
                true => api::names::generate_name(base, rand::random),
                false => base.to_owned(),
            };
            candidate.meta_mut().set("name", name);
            match self.create_once(candidate, dry_run).await {
                Err(status) if status.reason == "AlreadyExists" && attempt < GENERATE_NAME_ATTEMPTS_MAX => {}
                outcome => return outcome,
            }
        }
        Err(self.conflict("", OPTIMISTIC_LOCK))
    }

    async fn create_once(&self, mut object: Map, dry_run: bool) -> Result<Done, Status> {
        let storage = self.storage()?;
        metadata::fill_for_create(self.entry, &mut object, &self.now);
        let name = object.name().to_string();
        if let Some(why) = self.entry.strategy.refuses_new() {
            return Err(Status::forbidden(self.entry.facts.group, self.entry.facts.plural, &name, why));
        }
        self.admit(Operation::Create, &name, Some(&mut object), None, dry_run).await?;
        self.warn(metadata::drop_repeated_owners(&mut object, true));
        // What a kind takes beside its object comes first: what it took is validated with the rest (store.go: BeginCreate).
        let begun = resources::begin(self.hub(), self.entry, &mut object, None, dry_run).await?;
        let outcome = self.create_begun(storage, object, dry_run).await;
        begun.finish(self.hub(), outcome.is_ok() && !dry_run).await;
        outcome
    }

    async fn create_begun(&self, storage: &Storage, mut object: Map, dry_run: bool) -> Result<Done, Status> {
        let name = object.name().to_string();
        self.prepare_for_create(&mut object);
        json::complete(&mut object, self.entry.facts.ty);
        let mut errors = self.writer().refused(&object, None, &field::Errors::new()).await?;
        let sent = self.as_sent(&object);
        errors.extend(self.entry.strategy.validate_before_meta(&sent));
        if self.entry.strategy.checks_new_meta() {
            errors.extend(metadata::validate(self.entry, &sent));
        }
        errors.extend(self.entry.strategy.validate(&sent));
        if errors.is_empty() {
            errors = metadata::validate_segments(self.entry, &sent);
        }
        errors.extend(self.privileges(&sent, false));
        declarative::merge(&mut errors, self.entry.facts.ty, "", &sent, None);
        self.tell_once(&mut errors);
        if !errors.is_empty() {
            return Err(self.invalid(&name, &errors));
        }
        self.warn(self.entry.strategy.warnings(&object, None));
        self.judge(Operation::Create, &name, Some(&mut object), None, dry_run).await?;
        let object = self.store_new(storage, object, dry_run).await?;
        Ok(Done { object, created: true })
    }

    async fn store_new(&self, storage: &Storage, mut object: Map, dry_run: bool) -> Result<Map, Status> {
        let namespace = self.namespace();
        if dry_run {
            return match self.hub().read(storage, namespace, object.name()).await? {
                Some((there, _)) => Err(self.exists_already(&object, &there)),
                None => Ok(object),
            };
        }
        let version = object.meta_mut().remove("resourceVersion");
        if version
            .as_ref()
            .and_then(Value::as_str)
            .and_then(|text| options::revision(text).ok())
            .is_some_and(|at| at > 0)
        {
            return Err(Status { code: 500, message: REVISION_OF_NEW.into(), ..Status::default() });
        }
        let stored = self.entry.stored(&object, self.hub()).await?;
        let lease = resources::lease(self.hub(), self.entry, self.api.times.event).await?;
        match self.timed(self.hub().write(storage, namespace, object.name(), &stored, 0, lease)).await? {
            Some(revision) => {
                let other = self.entry.unlike_sent(stored);
                self.echoed(object, other, revision).await
            }
            None => {
                let there = self.hub().read(storage, namespace, object.name()).await?.map(|(there, _)| there);
                Err(self.exists_already(&object, there.as_ref().unwrap_or(Map::EMPTY)))
            }
        }
    }

    /// What a client is shown of an object that was stored; `other` is what was stored, if that is to be looked at.
    async fn echoed(&self, object: Map, other: Option<Map>, revision: u64) -> Result<Map, Status> {
        let shown = match other {
            Some(stored) => self.entry.read(stored, self.hub()).await?,
            None => object,
        };
        Ok(written(shown, revision))
    }

    /// There is an object of that name already (store.go: create; create.go: CheckGeneratedNameError).
    fn exists_already(&self, object: &Map, there: &Map) -> Status {
        let (facts, name) = (self.entry.facts, object.name());
        let mut status = Status::already_exists(facts.group, facts.plural, name);
        if !object.meta().str("generateName").is_empty() {
            status.message.push_str(", the server was not able to generate a unique name for the object");
            status.retry_after_seconds = 1;
        }
        if there.is_deleting() {
            status.message.insert_str(0, "object is being deleted: ");
        }
        status
    }

    fn prepare_for_create(&self, object: &mut Map) {
        if self.entry.has_status() && !self.entry.strategy.keeps_new_status() {
            reset_status(self.entry.facts.ty, object);
        }
        self.entry.strategy.prepare_for_create(&self.context(), object);
    }

    /// Fills in defaults: the facts', then the strategy's.
    pub(crate) fn default(&self, object: &mut Map) {
        self.labels_defaulted.store(metadata::lacks_labels(object), Ordering::Relaxed);
        api::defaults::apply(object, self.entry.facts.ty);
        self.entry.strategy.default(object);
    }

    pub(crate) async fn update(&self, body: Body) -> Result<Response<Body>, Status> {
        let dry_run = options::dry_run(&self.info.query);
        let mut object = self.body(body).await?;
        metadata::match_namespace(&mut object, self.namespace())?;
        self.check_name(&object)?;
        self.update_named(object, dry_run).await
    }

    /// The object is the one that the path names (handlers/rest.go: checkName).
    pub(crate) fn check_name(&self, object: &Map) -> Result<(), Status> {
        let (own, name) = (object.name(), &self.info.name);
        if own.is_empty() {
            let text = "was undeterminable: name must be provided";
            return Err(Status::bad_request(format!("the name of the object ({name} based on URL) {text}")));
        }
        if own != name {
            let text = format!("the name of the object ({own}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(text));
        }
        Ok(())
    }

    async fn update_named(&self, mut object: Map, dry_run: bool) -> Result<Response<Body>, Status> {
        self.default(&mut object);
        self.warn(metadata::drop_repeated_owners(&mut object, false));
        let mut make = |existing: &Existing| {
            self.check_uid(&object, existing, dry_run)?;
            let mut wanted = object.clone();
            self.track(&existing.object, &mut wanted);
            Ok(wanted)
        };
        let done = self.change(&mut make, dry_run).await?;
        Ok(self.finish(done))
    }

    /// A uid in a whole object is a precondition (update.go: Preconditions).
    pub(crate) fn check_uid(&self, wanted: &Map, existing: &Existing, dry_run: bool) -> Result<(), Status> {
        let (uid, was) = (wanted.uid(), existing.object.uid());
        if uid.is_empty() || uid == was {
            return Ok(());
        }
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {was}");
        let key = self.storage()?.precondition_key(self.namespace(), &self.info.name, dry_run);
        Err(self.conflict(&self.info.name, &precondition_text(&key, &why)))
    }

    /// Reads, changes and writes the object of the path until no other write comes between. `make`
    /// gives the wanted object from the existing one.
    pub(crate) async fn change(
        &self,
        make: &mut (dyn FnMut(&Existing) -> Result<Map, Status> + Send),
        dry_run: bool,
    ) -> Result<Done, Status> {
        self.change_or_create(make, dry_run, self.entry.strategy.allow_create_on_update()).await
    }

    /// As [`Call::change`]; with `creates`, an object that is not there is created.
    pub(crate) async fn change_or_create(
        &self,
        make: &mut (dyn FnMut(&Existing) -> Result<Map, Status> + Send),
        dry_run: bool,
        creates: bool,
    ) -> Result<Done, Status> {
        let storage = self.storage()?.clone();
        for _ in 0..UPDATE_RETRIES_MAX {
            let found = self.timed(self.hub().current(&storage, self.namespace(), &self.info.name)).await?;
            let Some(Current { object: stored, revision, stale }) = found else {
                let empty = Existing { object: Map::new(), revision: 0, outdated: false };
                if !creates || !self.info.subresource.is_empty() {
                    return Err(self.not_found());
                }
                return self.create_on_change(make(&empty)?, dry_run).await;
            };
            let outdated = stale || self.entry.is_outdated(&stored);
            let object = self.entry.read(stored, self.hub()).await.map_err(|status| match self.entry.asks() {
                true => Status { message: undecodable(revision, &status), ..status },
                false => status,
            })?;
            let existing = Existing { object, revision, outdated };
            let wanted = make(&existing)?;
            // A client that named the state it saw is refused here when a race was lost.
            self.check_preconditions(&wanted, &existing)?;
            if let Some(done) = self.change_once(&storage, wanted, &existing, dry_run).await? {
                return Ok(done);
            }
        }
        Err(self.conflict(&self.info.name, OPTIMISTIC_LOCK))
    }

    /// Creates what an update or apply found missing; whoever may update may not always create.
    async fn create_on_change(&self, mut object: Map, dry_run: bool) -> Result<Done, Status> {
        if !object.uid().is_empty() {
            let uid = object.uid();
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(self.conflict(&self.info.name, &why));
        }
        let attributes = chain::attributes(self.info, self.user, &[]);
        let attributes = crate::authz::Attributes { verb: "create", ..attributes };
        match self.api.authz.judge(&attributes).await.decision {
            Decision::Allow { .. } => {}
            decision => return Err(chain::refused(Forbidden::of(&attributes, decision.reason()))),
        }
        metadata::match_namespace(&mut object, self.namespace())?;
        self.create_tracked(object, dry_run).await
    }

    /// The state that the client named, if it did, must be the existing one.
    fn check_preconditions(&self, wanted: &Map, existing: &Existing) -> Result<(), Status> {
        let name = &self.info.name;
        let version = options::revision(wanted.resource_version());
        match version.map_err(|message| Status { code: 500, message, ..Status::default() })? {
            0 if self.entry.strategy.allow_unconditional_update(self.entry.facts.version) => Ok(()),
            0 => {
                let path = Path::new("metadata.resourceVersion");
                let error = field::invalid(&path, 0i64, "must be specified for an update");
                let facts = self.entry.facts;
                Err(Status::invalid(facts.group, facts.plural, name, &[error]))
            }
            version if version != existing.revision => Err(self.conflict(name, OPTIMISTIC_LOCK)),
            _ => Ok(()),
        }
    }

    /// One try; `None` when another write came between.
    async fn change_once(
        &self,
        storage: &Storage,
        mut object: Map,
        existing: &Existing,
        dry_run: bool,
    ) -> Result<Option<Done>, Status> {
        let old = &existing.object;
        self.admit_update(&mut object, old, dry_run).await?;
        self.warn(metadata::drop_repeated_owners(&mut object, true));
        metadata::match_namespace(&mut object, self.namespace())?;
        if !self.info.subresource.is_empty() {
            return self.change_begun(storage, object, existing, dry_run).await;
        }
        let begun = resources::begin(self.hub(), self.entry, &mut object, Some(old), dry_run).await?;
        let outcome = self.change_begun(storage, object, existing, dry_run).await;
        begun.finish(self.hub(), matches!(outcome, Ok(Some(_))) && !dry_run).await;
        outcome
    }

    async fn change_begun(
        &self,
        storage: &Storage,
        mut object: Map,
        existing: &Existing,
        dry_run: bool,
    ) -> Result<Option<Done>, Status> {
        let (old, name) = (&existing.object, &self.info.name);
        let mut errors = self.prepare_for_update(&mut object, old);
        let refused = self.writer().refused(&object, Some(old), &errors).await?;
        errors.extend(refused);
        if !errors.is_empty() {
            return Err(self.invalid(name, &errors));
        }
        apply::manager::keep_times(&mut object, old);
        self.warn(self.change_warnings(&object, old));
        self.judge_update(&mut object, old, dry_run).await?;
        let done = |object| Some(Done { object, created: false });
        if dry_run {
            return Ok(done(written(object, existing.revision)));
        }
        Ok(self.store_changed(storage, object, existing).await?.and_then(done))
    }

    /// The object as it is stored then; `None` when another write came between.
    async fn store_changed(
        &self,
        storage: &Storage,
        mut object: Map,
        existing: &Existing,
    ) -> Result<Option<Map>, Status> {
        crate::registry::set_resource_version(&mut object, existing.revision);
        object.meta_mut().remove("selfLink");
        if object == existing.object && !existing.outdated {
            return Ok(Some(object));
        }
        let (namespace, name) = (self.namespace(), object.name());
        if is_finished(&object) && !self.entry.strategy.keeps(&object) {
            let removed = self.timed(self.hub().remove(storage, namespace, name, existing.revision)).await?;
            return Ok(removed.map(|revision| written(object, revision)));
        }
        let stored = self.entry.stored(&object, self.hub()).await?;
        let lease = resources::lease(self.hub(), self.entry, self.api.times.event).await?;
        let write = self.hub().write(storage, namespace, name, &stored, existing.revision, lease);
        let Some(revision) = self.timed(write).await? else { return Ok(None) };
        let other = self.entry.unlike_sent(stored);
        self.echoed(object, other, revision).await.map(Some)
    }

    /// Takes over what this path may not change, counts the generation, validates.
    fn prepare_for_update(&self, object: &mut Map, old: &Map) -> field::Errors {
        let (entry, cx) = (self.entry, self.context());
        metadata::keep_for_update(object, old);
        let strategy = &entry.strategy;
        match self.info.subresource.as_str() {
            "" => {
                if entry.has_status() {
                    object.take_over("status", old);
                }
                strategy.prepare_for_update(&cx, object, old);
                self.count_generation(object, old);
            }
            "status" => {
                keep_all_but_status(object, old);
                metadata::prepare_for_status(entry, object, old);
                strategy.prepare_for_status_update(&cx, object, old);
            }
            other => {
                strategy.prepare_for_subresource_update(&cx, other, object, old);
                self.count_generation(object, old);
            }
        }
        json::complete(object, entry.facts.ty);
        let sent = self.as_sent(object);
        let object = &*sent;
        let mut errors = metadata::validate_update(entry, object, old, &self.info.subresource);
        errors.extend(match self.info.subresource.as_str() {
            "" => strategy.validate_update(object, old),
            "status" => strategy.validate_status_update(object, old),
            other => strategy.validate_subresource_update(other, object, old),
        });
        errors.extend(self.privileges(object, true));
        declarative::merge(&mut errors, self.entry.facts.ty, &self.info.subresource, object, Some(old));
        self.tell_once(&mut errors);
        errors
    }

    /// What a client is told of a change; subresources have words of their own, except those of the whole object.
    fn change_warnings(&self, object: &Map, old: &Map) -> Vec<String> {
        match self.info.subresource.as_str() {
            "" | "scale" => self.entry.strategy.warnings(object, Some(old)),
            "status" => self.entry.strategy.status_warnings(object),
            _ => Vec::new(),
        }
    }

    /// Drops what is told already. Upstream's declarative validation leaves nothing twice, even where it finds nothing
    /// itself (k8s.io/apimachinery/pkg/api/validate/errors.go@v0.37.2: FilterCoveredHandwrittenErrors).
    fn tell_once(&self, errors: &mut field::Errors) {
        if !self.entry.strategy.repeats_errors() {
            without_repeats(errors);
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            hub: self.hub(),
            authorizers: &self.api.authz,
            user: self.user,
            verb: self.info.verb,
            facts: self.entry.facts,
            subresource: &self.info.subresource,
            namespace: self.namespace(),
        }
    }

    /// What --allow-privileged would allow.
    fn privileges(&self, object: &Map, update: bool) -> field::Errors {
        if self.api.allow_privileged {
            return field::Errors::new();
        }
        resources::privileges(self.entry, &self.info.subresource, object, update)
    }

    fn count_generation(&self, object: &mut Map, old: &Map) {
        if self.entry.strategy.generation() != Generation::Spec {
            return;
        }
        let same = |name: &str| matches!(name, "metadata" | "status" | "kind" | "apiVersion");
        let exact = self.entry.strategy.counts_empty().then(|| self.restored(object, |_| true)).flatten();
        let counted = exact.as_ref().unwrap_or(object);
        let changed = counted.iter().any(|(name, value)| !same(name) && old.get(name) != Some(value))
            || old.keys().any(|name| !same(name) && !object.contains(name));
        if changed {
            let generation = old.generation() + 1;
            object.meta_mut().set("generation", generation);
        }
    }

    /// What plugins are shown instead of an object that changes.
    fn view(&self) -> Option<&'static dyn View> {
        subresource::find(self.entry.facts, &self.info.subresource, self.info.verb).and_then(Special::view)
    }

    async fn admit_update(&self, object: &mut Map, old: &Map, dry_run: bool) -> Result<(), Status> {
        let name = &self.info.name;
        let Some(view) = self.view() else {
            return self.admit(Operation::Update, name, Some(object), Some(old), dry_run).await;
        };
        let (mut seen, was) = (view.of(self.entry, object), view.of(self.entry, old));
        self.admit(Operation::Update, name, Some(&mut seen), Some(&was), dry_run).await?;
        view.take(self.entry, object, &seen);
        Ok(())
    }

    async fn judge_update(&self, object: &mut Map, old: &Map, dry_run: bool) -> Result<(), Status> {
        let name = &self.info.name;
        let Some(view) = self.view() else {
            return self.judge(Operation::Update, name, Some(object), Some(old), dry_run).await;
        };
        let (mut seen, was) = (view.of(self.entry, object), view.of(self.entry, old));
        self.judge(Operation::Update, name, Some(&mut seen), Some(&was), dry_run).await
    }

    /// Lets plugins change the object.
    pub(crate) async fn admit(
        &self,
        operation: Operation,
        name: &str,
        object: Option<&mut Map>,
        old: Option<&Map>,
        dry_run: bool,
    ) -> Result<(), Status> {
        self.admit_asked(self.attributes(operation, name, object, old, dry_run)).await
    }

    pub(crate) async fn admit_asked(&self, mut attributes: Attributes<'_>) -> Result<(), Status> {
        let outcome = self.api.admission.admit(&mut attributes, self.hub()).await;
        self.heard(attributes);
        outcome
    }

    /// Lets plugins judge the object.
    pub(crate) async fn judge(
        &self,
        operation: Operation,
        name: &str,
        object: Option<&mut Map>,
        old: Option<&Map>,
        dry_run: bool,
    ) -> Result<(), Status> {
        self.judge_asked(self.attributes(operation, name, object, old, dry_run)).await
    }

    pub(crate) async fn judge_asked(&self, attributes: Attributes<'_>) -> Result<(), Status> {
        let outcome = self.api.admission.validate(&attributes, self.hub()).await;
        self.heard(attributes);
        outcome
    }

    /// Takes over what plugins have to tell.
    fn heard(&self, attributes: Attributes<'_>) {
        self.warn(attributes.warnings.into_inner());
        if let Some(record) = self.audit {
            record.absorb(attributes.annotations.into_inner());
        }
    }

    pub(crate) fn attributes<'a>(
        &'a self,
        operation: Operation,
        name: &'a str,
        object: Option<&'a mut Map>,
        old: Option<&'a Map>,
        dry_run: bool,
    ) -> Attributes<'a> {
        let facts = self.entry.facts;
        // A new namespace is in itself (handlers/create.go).
        let is_namespace = (facts.group, facts.plural) == ("", "namespaces");
        let namespace = match self.info.namespace.as_str() {
            "" if is_namespace => name,
            namespace => namespace,
        };
        Attributes {
            operation,
            user: self.user,
            entry: self.entry,
            group: facts.group,
            version: facts.version,
            resource: facts.plural,
            kind: self.entry.expected(&self.info.subresource).kind,
            subresource: &self.info.subresource,
            namespace,
            name,
            object,
            old,
            dry_run,
            options: options::of(operation, &self.info.query, dry_run),
            warnings: Default::default(),
            annotations: Mutex::new(Annotations::new(self.audit.map_or(Level::None, |record| record.level()))),
            reinvocation: Default::default(),
        }
    }
}

fn without_repeats(errors: &mut field::Errors) {
    let all = std::mem::take(errors);
    for error in all {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
}

/// Status as it is on a new object.
fn reset_status(ty: &'static api::facts::Struct, object: &mut Map) {
    match ty.field("status") {
        Some(field) if field.always_in_json() => object.set("status", Map::new()),
        _ => drop(object.remove("status")),
    }
}

/// Through the status subresource only status changes, and of the metadata what strategies let through.
fn keep_all_but_status(object: &mut Map, old: &Map) {
    let mut whole = old.clone();
    for part in ["metadata", "status"] {
        whole.take_over(part, object);
    }
    *object = whole;
}

/// True for an object that only waited for its last finalizer
/// (store.go: deleteWithoutFinalizers, ShouldDeleteDuringUpdate).
pub(crate) fn is_finished(object: &Map) -> bool {
    object.is_deleting()
        && object.finalizers().next().is_none()
        && object.meta().i64("deletionGracePeriodSeconds").unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    /// What a write through the status path makes of an object.
    #[test]
    fn a_status_comes_alone() {
        let old = r#"{"metadata":{"name":"a","labels":{"a":"b"}},"spec":{"x":1},"status":{"y":1}}"#;
        let all = |sent: &str| {
            let mut object = map(sent);
            keep_all_but_status(&mut object, &map(old));
            object
        };
        let sent = r#"{"metadata":{"name":"a","generateName":"g","uid":"u"},"spec":{"x":2},"status":{"y":2}}"#;
        let want = r#"{"metadata":{"name":"a","generateName":"g","uid":"u"},"spec":{"x":1},"status":{"y":2}}"#;
        assert_eq!(all(sent), map(want));
        assert_eq!(all(r#"{"metadata":{"name":"a"},"other":1}"#), map(r#"{"metadata":{"name":"a"},"spec":{"x":1}}"#));
        let mut object = map(want);
        metadata::keep_for_status(&mut object, &map(old));
        assert_eq!(object.meta().get("labels"), map(old).meta().get("labels"));
        assert_eq!(object.meta().str("generateName"), "g");
    }

    #[test]
    fn an_error_is_told_where_it_comes_first() {
        let error = |name: &str| field::required(&Path::new(name), "");
        let mut errors = vec![error("a"), error("b"), error("a"), field::forbidden(&Path::new("a"), ""), error("b")];
        without_repeats(&mut errors);
        assert_eq!(errors, [error("a"), error("b"), field::forbidden(&Path::new("a"), "")]);
    }
}
