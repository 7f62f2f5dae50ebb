//! Requests that are handed on to where pods run: log, exec, attach, port-forward and proxy
//! (pkg/registry/core/{pod,node,service}@v1.37.2).
//!
//! Invariant: a backend is only ever what the cluster's objects say it is; a client cannot name an address.

pub(crate) mod backends;
mod choose;
mod log;
mod node;
mod pod;
pub(crate) mod proxy;
mod rewrite;
pub(crate) mod service;
pub(crate) mod target;
#[cfg(test)]
mod testing;

pub(crate) use backends::Backends;

use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;
use http::{Response, Uri};
use streams::upgrade::{self, Asked as Wanted, How};

use super::{Incoming, Special};
use crate::admission::{Operation, Reader};
use crate::authz::Decision;
use crate::authz::forbidden::Forbidden;
use crate::chain::{self, Asked};
use crate::respond::{self, Body};
use crate::rest::Call;
use target::Target;

/// One of the subresources that connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connect {
    Log,
    Exec,
    Attach,
    PortForward,
    PodProxy,
    NodeProxy,
    ServiceProxy,
}

impl Special for Connect {
    fn streams(&self) -> bool {
        true
    }

    fn answer<'a>(
        &'a self,
        asked: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(async move {
            match self {
                Connect::Log => log::answer(asked, call).await,
                Connect::Exec | Connect::Attach | Connect::PortForward => {
                    pod::stream(asked, call, incoming, *self).await
                }
                Connect::PodProxy => {
                    let target = pod::proxy_target(call).await?;
                    proxy::answer(asked, call, incoming, target).await
                }
                Connect::NodeProxy => {
                    let target = node::proxy_target(asked, call).await?;
                    proxy::answer(asked, call, incoming, target).await
                }
                Connect::ServiceProxy => {
                    let target = service::proxy_target(call).await?;
                    proxy::answer(asked, call, incoming, target).await
                }
            }
        })
    }
}

/// Plugins see the options of a connection as its object.
async fn admit(call: &Call<'_>) -> Result<(), Status> {
    let mut options = Map::new();
    if let Some(sub) = call.entry.subresource(&call.info.subresource) {
        api::object::set_kind(&mut options, &call.entry.api_version, sub.kind);
    }
    for (name, value) in call.info.query.pairs() {
        options.set(name.to_owned(), value);
    }
    let name = &call.info.name;
    call.admit(Operation::Connect, name, Some(&mut options), None, false).await?;
    call.judge(Operation::Connect, name, Some(&mut options), None, false).await?;
    Ok(())
}

/// A WebSocket comes as GET, SPDY as POST: whoever may not create may not come as the former either
/// (pkg/registry/core/pod/rest/authorize.go@v1.37.2).
fn may_create(asked: &Asked<'_>) -> Result<(), Status> {
    if asked.info.verb == "create" {
        return Ok(());
    }
    let mut attributes = chain::attributes(asked.info, asked.user, &[]);
    attributes.verb = "create";
    match asked.core.authz.decide(&attributes) {
        Decision::Allow { .. } => Ok(()),
        decision => {
            let info = asked.info;
            Err(chain::refused(Forbidden::new(&info.group, &info.resource, &info.name, decision.reason())))
        }
    }
}

/// An object as the store has it now.
async fn live(call: &Call<'_>, resource: &str, namespace: &str, name: &str) -> Result<Map, Status> {
    let found = call.hub().live("", resource, namespace, name).await?;
    found.ok_or_else(|| Status::not_found("", resource, name))
}

/// An error that has no Status of its own.
fn plain(code: u16, message: impl Into<String>) -> Status {
    Status { code, message: message.into(), ..Status::default() }
}

/// Hands a request to upgrade on to its target.
async fn upgrade(
    asked: &Asked<'_>,
    incoming: Incoming<'_>,
    target: Target,
    how: How,
) -> Result<Response<Body>, Status> {
    let Some(on_upgrade) = incoming.upgrade.filter(|_| upgrade::is_wanted(asked.headers)) else {
        return Err(Status::bad_request("Upgrade request required"));
    };
    let wanted = Wanted { method: incoming.method, headers: asked.headers, upgrade: on_upgrade };
    let uri = Uri::try_from(target.path_and_query()).map_err(|error| plain(500, error.to_string()))?;
    let backends = &asked.core.backends;
    let dial = backends.dialer(&target);
    let served = upgrade::serve(wanted, uri, how, dial).await.map_err(|error| plain(500, error.to_string()))?;
    if let Some(work) = served.work {
        // The request ends when the stream does.
        let record = asked.audit.cloned();
        backends.run(async move {
            let ended = work.await;
            drop(record);
            ended
        });
    }
    Ok(served.response.map(respond::full))
}
