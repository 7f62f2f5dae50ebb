//! What a kind may do beyond its facts: hooks that the generic verbs call, all with defaults.
//!
//! Must not know: HTTP, the store, other kinds' strategies. A strategy sees values and says what to
//! change or what is wrong (k8s.io/apiserver/pkg/registry/rest/{create,update,delete}.go@v0.37.2).

use api::field::Errors;
use api::value::Map;
use structural::columns::Column;

use crate::authn::User;
use crate::custom::{Owners, ScalePaths};

/// What a hook may know of the request.
pub(crate) struct Context<'a> {
    pub(crate) user: &'a User,
    /// Now, as metav1.Time text (`2026-11-24T08:00:00Z`).
    pub(crate) now: &'a str,
    /// The client sent no labels: the object has those that defaults gave it, if any.
    pub(crate) labels_defaulted: bool,
}

/// When `metadata.generation` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Never set by the server.
    None,
    /// 1 at creation, and so it stays.
    First,
    /// 1 at creation, one more when anything but metadata and status changes.
    Spec,
}

/// A look at metadata that a kind's own checks of an update take, after the ones that all kinds share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaCheck {
    /// ValidateObjectMeta, with the kind's rule for names.
    Whole,
    /// ValidateObjectMetaUpdate.
    Update,
}

/// What becomes of the metadata that a client sends through the status path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusMetadata {
    /// It is taken, as on the object's own path.
    Taken,
    /// What clients write in metadata stays as it was (ResetObjectMetaForStatus).
    Kept,
    /// All metadata stays as it was, but for who has written what.
    AllKept,
}

/// How an object leaves when it is deleted gracefully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// The kind knows no graceful deletion: it goes at once (finalizers aside).
    None,
    /// Seconds until it may go; 0 is at once.
    Seconds(i64),
}

/// Hooks of a kind. `object` and `old` are canonical values of the version the strategy is registered for.
pub(crate) trait Strategy: Send + Sync {
    /// Fills what upstream's SetDefaults functions fill; the facts' own defaults are there already.
    fn default(&self, _object: &mut Map) {}

    /// Brings an object that a client sent into the kind's schema, before its defaults; what does not belong there is
    /// told in strict decoding's words. The facts have done this for built-in kinds.
    ///
    /// # Errors
    /// What makes the object undecodable.
    fn settle(&self, _object: &mut Map) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// What upstream's conversion to the internal type finds wrong with an object that a client sent.
    ///
    /// # Errors
    /// What makes the object undecodable.
    fn convert(&self, _object: &Map) -> Result<(), String> {
        Ok(())
    }

    /// True when upstream stores objects without all of their defaults: those are put in when one is read.
    fn completes_on_read(&self) -> bool {
        false
    }

    /// As [`Strategy::settle`] and the defaults after it, for an object of the store.
    fn read(&self, _object: &mut Map) {}

    /// Drops what a client may not set, sets what the server decides. Status was dropped already when
    /// the kind has a status subresource.
    fn prepare_for_create(&self, _cx: &Context, _object: &mut Map) {}

    /// A new object has the status that it was sent with.
    fn keeps_new_status(&self) -> bool {
        false
    }

    /// As for create; status was taken over from `old` already when the kind has a status subresource.
    fn prepare_for_update(&self, _cx: &Context, _object: &mut Map, _old: &Map) {}

    /// Before a write through the status subresource: everything but status and metadata was taken over from `old`.
    fn prepare_for_status_update(&self, _cx: &Context, _object: &mut Map, _old: &Map) {}

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Taken
    }

    /// The fields that a path resets, so that nobody owns them through it, where they are others than spec on the
    /// status path and status on the object's own (upstream: GetResetFields).
    fn reset_fields(&self, _subresource: &str) -> Option<&'static [&'static [&'static str]]> {
        None
    }

    /// Everything wrong with a new object; metadata was checked already.
    fn validate(&self, _object: &Map) -> Errors {
        Errors::new()
    }

    /// Everything wrong with an update; metadata was checked already.
    fn validate_update(&self, object: &Map, _old: &Map) -> Errors {
        self.validate(object)
    }

    fn validate_status_update(&self, _object: &Map, _old: &Map) -> Errors {
        Errors::new()
    }

    /// Checks that upstream makes on an update through another subresource than status (`resize`, `ephemeralcontainers`, `approval`, ...).
    fn validate_subresource_update(&self, _subresource: &str, object: &Map, old: &Map) -> Errors {
        self.validate_update(object, old)
    }

    /// What a write through another subresource than status takes from `object`; the rest comes from `old`.
    fn prepare_for_subresource_update(&self, _cx: &Context, _subresource: &str, _object: &mut Map, _old: &Map) {}

    fn warnings(&self, _object: &Map, _old: Option<&Map>) -> Vec<String> {
        Vec::new()
    }

    /// What a client is told of a write through the status subresource.
    fn status_warnings(&self, _object: &Map) -> Vec<String> {
        Vec::new()
    }

    /// What is wrong with a name; with `prefix`, it is a generateName.
    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        api::names::name_is_dns_subdomain(name, prefix)
    }

    /// The same where which names are good depends on the rest of the object.
    fn name_errors_in(&self, _object: &Map, name: &str, prefix: bool) -> Vec<String> {
        self.name_errors(name, prefix)
    }

    /// The kind's own checks of a new object look at its metadata; otherwise that is looked at when nothing else is wrong
    /// (k8s.io/apiserver/pkg/registry/rest/create.go@v0.37.2: ValidateCreate).
    fn checks_new_meta(&self) -> bool {
        true
    }

    /// What is wrong with a new object that is told before its metadata.
    fn validate_before_meta(&self, _object: &Map) -> Errors {
        Errors::new()
    }

    /// The server makes a name of a generateName; otherwise that is the name.
    fn generates_names(&self) -> bool {
        true
    }

    /// What is wrong is told as often as it is found: only the strategies of kinds without declarative validation do so.
    fn repeats_errors(&self) -> bool {
        false
    }

    /// Where upstream's validation of an update looks at metadata once more, with the kind's own rules
    /// (pkg/apis/core/validation/validation.go@v1.37.2: the calls of ValidateObjectMeta and ValidateObjectMetaUpdate).
    fn meta_checks(&self, _subresource: &str) -> &'static [MetaCheck] {
        &[MetaCheck::Update]
    }

    /// Finalizers have to be Kubernetes' own or have a domain; upstream's newer groups check with apimachinery's
    /// functions, which let all qualified names pass.
    fn knows_finalizers(&self) -> bool {
        true
    }

    fn generation(&self) -> Generation {
        Generation::None
    }

    /// An empty list where there was none counts for the generation: upstream compares with reflect.DeepEqual.
    fn counts_empty(&self) -> bool {
        false
    }

    /// PUT may create.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// PUT without resourceVersion overwrites, for clients of the version.
    fn allow_unconditional_update(&self, _version: &str) -> bool {
        true
    }

    /// Selectable fields beyond metadata.name and metadata.namespace, with their values in `object`.
    fn fields(&self, _object: &Map) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Where a kind says which fields select it, metadata.namespace is not always one.
    fn knows_namespace_field(&self) -> bool {
        true
    }

    /// The names of the selectable fields, including those that no object has set.
    fn field_names(&self) -> &[&'static str] {
        &[]
    }

    /// Grace for a deletion; `asked` is DeleteOptions.gracePeriodSeconds.
    fn grace(&self, _object: &Map, _asked: Option<i64>) -> Grace {
        Grace::None
    }

    /// Something beside metadata.finalizers keeps a deleted object (a namespace's spec.finalizers).
    fn keeps(&self, _object: &Map) -> bool {
        false
    }

    /// The object is being marked as deleted and stays for now.
    fn mark_deleting(&self, _object: &mut Map) {}

    /// A deletion answers with the object instead of a Status (upstream: ReturnDeletedObject).
    fn returns_deleted_object(&self, _version: &str) -> bool {
        false
    }

    /// Why no more objects may be created.
    fn refuses_new(&self) -> Option<&'static str> {
        None
    }

    /// The schema by which server-side apply merges, when it is not the facts'.
    fn owners(&self) -> Option<&Owners> {
        None
    }

    /// The columns of tables after the name, when they come from a definition.
    fn columns(&self) -> Option<&[Column]> {
        None
    }

    /// Annotations that upstream's internal type has as fields: what is shown of metadata alone lacks them.
    fn annotations_of_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where the scale subresource finds its numbers, when it is not where built-in kinds have them.
    fn scale(&self) -> Option<&ScalePaths> {
        None
    }

    /// The kind has a deletion of its own, which counts no generation; how it tells of a precondition that does not hold
    /// (pkg/registry/core/namespace/storage/storage.go@v1.37.2,
    /// k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go@v0.37.2: Delete).
    fn own_deletion(&self) -> Option<&'static str> {
        None
    }

    /// An object that cannot be read can be deleted, where upstream's storage of the kind passes that on
    /// (k8s.io/apiserver/pkg/registry/rest/rest.go@v0.37.2: CorruptObjectDeleterProvider).
    fn deletes_unread(&self) -> bool {
        true
    }

    /// The garbage collector does not look at objects of the kind, whatever a deletion asks of it
    /// (k8s.io/apiserver/pkg/registry/rest/delete.go@v0.37.2: Unsupported).
    fn is_garbage_collected(&self) -> bool {
        true
    }

    /// Without propagationPolicy, dependents are orphaned (only legacy kinds do that).
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// What a client is told that deletes without saying what is to become of dependents.
    fn orphan_warning(&self) -> Option<&'static str> {
        None
    }
}

/// A kind without behaviour of its own.
pub(crate) struct Plain;

impl Strategy for Plain {}
