//! The server as its own client: what it creates and keeps by itself goes down the same verbs, as
//! `system:apiserver` (k8s.io/apiserver/pkg/server/config.go@v0.37.2: loopback client).

use std::sync::Arc;

use api::status::Status;
use api::value::Map;
use api::{facts, object};
use http::HeaderMap;

use crate::authn::{ALL_AUTHENTICATED, SYSTEM_PRIVILEGED_GROUP, User};
use crate::chain::Core;
use crate::negotiate::Accepted;
use crate::registry::Entry;
use crate::request::{Info, Query};
use crate::respond;
use crate::rest::Call;
use crate::rest::delete::Options;
use crate::rest::write::Existing;

fn user() -> User {
    User {
        name: "system:apiserver".into(),
        groups: vec![SYSTEM_PRIVILEGED_GROUP.into(), ALL_AUTHENTICATED.into()],
        ..User::default()
    }
}

fn entry(core: &Core, object: &Map) -> Result<Arc<Entry>, Status> {
    let (group, version) = facts::split_api_version(object.str("apiVersion"));
    let entries = core.api.hub.registry.entries();
    let found = entries.iter().find(|entry| {
        entry.facts.group == group
            && entry.facts.version == version
            && entry.facts.kind == object.str("kind")
            && entry.storage.is_some()
    });
    found.cloned().ok_or_else(Status::no_such_path)
}

fn info(entry: &Entry, verb: &'static str, object: &Map) -> Info {
    let meta = object::Meta::meta(object);
    Info {
        is_resource: true,
        verb,
        group: entry.facts.group.into(),
        version: entry.facts.version.into(),
        resource: entry.facts.plural.into(),
        namespace: meta.str("namespace").into(),
        name: meta.str("name").into(),
        ..Info::default()
    }
}

/// The server's own writes are owned by what upstream's loopback client calls itself.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static("kube-apiserver"));
    headers
}

/// Now as metav1.Time text.
pub(crate) fn now() -> String {
    api::time::from_unix(jiff::Timestamp::now().as_second(), 0, false)
}

/// The server as the caller of one request.
struct Own {
    entry: Arc<Entry>,
    info: Info,
    user: User,
    headers: HeaderMap,
}

impl Own {
    fn new(core: &Core, verb: &'static str, object: &Map) -> Result<Self, Status> {
        let entry = entry(core, object)?;
        Ok(Own { info: info(&entry, verb, object), entry, user: user(), headers: headers() })
    }

    fn call<'a>(&'a self, core: &'a Core) -> Call<'a> {
        Call {
            api: &core.api,
            info: &self.info,
            user: &self.user,
            entry: &self.entry,
            accepted: Accepted::json(),
            headers: &self.headers,
            now: now(),
            warnings: Default::default(),
            labels_defaulted: Default::default(),
            empty: Default::default(),
            audit: None,
        }
    }

    async fn find(&self, core: &Core) -> Result<Option<Map>, Status> {
        let storage = self.entry.storage.as_ref().ok_or_else(Status::no_such_path)?;
        let found = core.api.hub.read(storage, &self.info.namespace, &self.info.name).await?;
        Ok(found.map(|(object, _)| object))
    }
}

/// The object of the name that is there.
pub(crate) async fn find(core: &Core, identity: &Map) -> Result<Option<Map>, Status> {
    Own::new(core, "get", identity)?.find(core).await
}

/// Creates the object; one that is there already stays as it is.
pub(crate) async fn ensure(core: &Core, object: Map) -> Result<(), Status> {
    let own = Own::new(core, "create", &object)?;
    if own.find(core).await?.is_some() {
        return Ok(());
    }
    match own.call(core).create_object(object, false).await {
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Creates or changes the object until `make` gives what is there: `make(None)` for a new one, `None` to leave it.
pub(crate) async fn apply(
    core: &Core,
    identity: &Map,
    make: &mut (dyn FnMut(Option<&Map>) -> Option<Map> + Send),
) -> Result<(), Status> {
    apply_as(core, "", identity, make).await
}

/// [`apply`] as a field manager of its own.
pub(crate) async fn apply_as(
    core: &Core,
    manager: &str,
    identity: &Map,
    make: &mut (dyn FnMut(Option<&Map>) -> Option<Map> + Send),
) -> Result<(), Status> {
    let mut own = Own::new(core, "update", identity)?;
    own.info.query = Query::parse(&format!("fieldManager={manager}"));
    let call = own.call(core);
    if own.find(core).await?.is_none() {
        let Some(object) = make(None) else { return Ok(()) };
        match call.create_object(object, false).await {
            Err(status) if status.reason == "AlreadyExists" => {}
            outcome => return outcome.map(drop),
        }
    }
    let mut change = |existing: &Existing| {
        let mut wanted = make(Some(&existing.object)).unwrap_or_else(|| existing.object.clone());
        call.default(&mut wanted);
        call.track(&existing.object, &mut wanted);
        Ok(wanted)
    };
    call.change(&mut change, false).await.map(drop)
}

/// Changes an object that is there, through a subresource when one is named; `None` leaves it.
pub(crate) async fn update(
    core: &Core,
    identity: &Map,
    subresource: &str,
    make: &mut (dyn FnMut(&Map) -> Option<Map> + Send),
) -> Result<(), Status> {
    let mut own = Own::new(core, "update", identity)?;
    own.info.subresource = subresource.into();
    let call = own.call(core);
    let mut change = |existing: &Existing| {
        let Some(mut wanted) = make(&existing.object) else { return Ok(existing.object.clone()) };
        call.default(&mut wanted);
        call.track(&existing.object, &mut wanted);
        Ok(wanted)
    };
    match call.change(&mut change, false).await {
        Err(status) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Applies the object's status as a field manager, whoever else set it.
pub(crate) async fn apply_status(core: &Core, manager: &str, object: &Map) -> Result<(), Status> {
    let mut own = Own::new(core, "patch", object)?;
    own.info.subresource = "status".into();
    own.info.query = Query::parse(&format!("fieldManager={manager}&force=true"));
    let content_type = http::HeaderValue::from_static("application/apply-patch+yaml");
    own.headers.insert(http::header::CONTENT_TYPE, content_type);
    own.call(core).patch(respond::full(api::json::encode(object))).await.map(drop)
}

/// Deletes the object if it is there.
pub(crate) async fn remove(core: &Core, identity: &Map) -> Result<(), Status> {
    remove_with(core, identity, &Options::default()).await
}

/// Deletes the object if it is there and not another of its name.
pub(crate) async fn remove_exactly(core: &Core, object: &Map) -> Result<(), Status> {
    let uid = Some(object::Meta::uid(object).to_owned());
    remove_with(core, object, &Options { uid, ..Options::default() }).await
}

async fn remove_with(core: &Core, identity: &Map, options: &Options) -> Result<(), Status> {
    let own = Own::new(core, "delete", identity)?;
    match own.call(core).delete_named(&own.info.namespace, &own.info.name, options).await {
        Err(status) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop),
    }
}
