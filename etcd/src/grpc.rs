//! The list of what is called over gRPC, and the way from a request's path to it.
//!
//! One line a method. Invariant: a method that etcd has and this has not is answered as not implemented, as is one nobody knows.

use std::future::Future;
use std::sync::Arc;

use futures::Stream;
use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::server::Server;
use crate::watch::OVERHEAD_BYTES;
use crate::{auth, cluster, kv, lease, maintenance, watch};

/// A request on its way to what it calls.
struct Call {
    server: Arc<Server>,
    service: String,
    method: String,
    request: Request<Incoming>,
}

/// Answers a request of gRPC.
pub(crate) async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
    let call = Call { server, service: service.to_owned(), method: method.to_owned(), request };
    let response = match service {
        "etcdserverpb.KV" => kv_service(call).await,
        "etcdserverpb.Watch" if method == "Watch" => call.streaming(watch::watch).await,
        "etcdserverpb.Lease" => lease_service(call).await,
        "etcdserverpb.Cluster" => cluster_service(call).await,
        "etcdserverpb.Maintenance" => maintenance_service(call).await,
        "etcdserverpb.Auth" => auth_service(call).await,
        "etcdserverpb.Watch" => call.unknown_method(),
        _ => Status::unimplemented(format!("unknown service {service}")).into_http(),
    };
    reworded(response)
}

async fn kv_service(call: Call) -> Response<Body> {
    match call.method.as_str() {
        "Range" => call.unary(kv::range).await,
        "RangeStream" => call.chunked(kv::range_stream).await,
        "Put" => call.unary(kv::put).await,
        "DeleteRange" => call.unary(kv::delete_range).await,
        "Txn" => call.unary(kv::txn).await,
        "Compact" => call.unary(kv::compact).await,
        _ => call.unknown_method(),
    }
}

async fn lease_service(call: Call) -> Response<Body> {
    match call.method.as_str() {
        "LeaseGrant" => call.unary(lease::grant).await,
        "LeaseRevoke" => call.unary(lease::revoke).await,
        "LeaseKeepAlive" => call.streaming(lease::keep_alive).await,
        "LeaseTimeToLive" => call.unary(lease::time_to_live).await,
        "LeaseLeases" => call.unary(lease::leases).await,
        _ => call.unknown_method(),
    }
}

async fn cluster_service(call: Call) -> Response<Body> {
    match call.method.as_str() {
        "MemberList" => call.unary(cluster::list).await,
        "MemberAdd" => call.unary(cluster::add).await,
        "MemberRemove" => call.unary(cluster::remove).await,
        "MemberUpdate" => call.unary(cluster::update).await,
        "MemberPromote" => call.unary(cluster::promote).await,
        _ => call.unknown_method(),
    }
}

async fn maintenance_service(call: Call) -> Response<Body> {
    match call.method.as_str() {
        "Status" => call.unary(maintenance::status).await,
        "Alarm" => call.unary(maintenance::alarm).await,
        "Defragment" => call.unary(maintenance::defragment).await,
        "Hash" | "HashKV" => call.unary(maintenance::hash).await,
        "Snapshot" => call.unary(maintenance::snapshot).await,
        "MoveLeader" => call.unary(maintenance::move_leader).await,
        "Downgrade" => call.unary(maintenance::downgrade).await,
        _ => call.unknown_method(),
    }
}

async fn auth_service(call: Call) -> Response<Body> {
    match call.method.as_str() {
        "AuthStatus" => call.unary(auth::status).await,
        "AuthEnable" => call.unary(auth::enable).await,
        "AuthDisable" => call.unary(auth::disable).await,
        "Authenticate" => call.unary(auth::authenticate).await,
        "UserAdd" => call.unary(auth::user_add).await,
        "RoleAdd" => call.unary(auth::role_add).await,
        "UserList" | "RoleList" => call.unary(auth::names).await,
        "UserGet" | "UserDelete" | "UserChangePassword" | "UserGrantRole" | "UserRevokeRole" => {
            call.unary(auth::of_user).await
        }
        "RoleGet" | "RoleDelete" | "RoleRevokePermission" => call.unary(auth::of_role).await,
        "RoleGrantPermission" => call.unary(auth::role_grant).await,
        _ => call.unknown_method(),
    }
}

fn grpc<Q, A>(server: &Server) -> Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(server.max_request_bytes + OVERHEAD_BYTES)
}

impl Call {
    fn unknown_method(self) -> Response<Body> {
        Status::unimplemented(format!("unknown method {} for service {}", self.method, self.service)).into_http()
    }

    /// Counts a call that began; gives what counts how it ended.
    fn counted(&self, kind: &'static str) -> impl Fn(Code) + Send + Sync + use<> {
        let (server, service, method) = (self.server.clone(), self.service.clone(), self.method.clone());
        server.metrics.started.with_label_values(&[kind, &service, &method]).inc();
        move |code| {
            // Go's names.
            let name = match code {
                Code::Ok => "OK".to_owned(),
                Code::Cancelled => "Canceled".to_owned(),
                code => format!("{code:?}"),
            };
            server.metrics.handled.with_label_values(&[kind, &service, &method, &name]).inc();
        }
    }

    async fn unary<Q, A, F>(self, handle: impl Fn(Arc<Server>, Q) -> F + Send + Sync) -> Response<Body>
    where
        Q: Message + Default + Send + 'static,
        A: Message + Send + 'static,
        F: Future<Output = Result<A, Status>> + Send,
    {
        let ended = self.counted("unary");
        let Call { server, request, .. } = self;
        let mut grpc = grpc(&server);
        let service = tower::service_fn(|request: tonic::Request<Q>| {
            let (answer, ended) = (handle(server.clone(), request.into_inner()), &ended);
            async move {
                let answer = answer.await;
                ended(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
                answer.map(tonic::Response::new)
            }
        });
        grpc.unary(service, request).await
    }

    /// One request, many responses.
    async fn chunked<Q, A, F, S>(self, handle: impl Fn(Arc<Server>, Q) -> F + Send + Sync) -> Response<Body>
    where
        Q: Message + Default + Send + 'static,
        A: Message + Send + 'static,
        F: Future<Output = Result<S, Status>> + Send,
        S: Stream<Item = Result<A, Status>> + Send + 'static,
    {
        let ended = self.counted("server_stream");
        let Call { server, request, .. } = self;
        let mut grpc = grpc(&server);
        let service = tower::service_fn(|request: tonic::Request<Q>| {
            let (answer, ended) = (handle(server.clone(), request.into_inner()), &ended);
            async move {
                let answer = answer.await;
                ended(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
                answer.map(tonic::Response::new)
            }
        });
        grpc.server_streaming(service, request).await
    }

    /// Many requests, many responses.
    async fn streaming<Q, A, S>(self, handle: impl Fn(Arc<Server>, Streaming<Q>) -> S + Send + Sync) -> Response<Body>
    where
        Q: Message + Default + Send + 'static,
        A: Message + Send + 'static,
        S: Stream<Item = Result<A, Status>> + Send + 'static,
    {
        // How it ends is not known here; that it began is.
        let _ = self.counted("bidi_stream");
        let Call { server, request, .. } = self;
        let mut grpc = grpc(&server);
        let service = tower::service_fn(|request: tonic::Request<Streaming<Q>>| {
            let answers = handle(server.clone(), request.into_inner());
            async move { Ok::<_, Status>(tonic::Response::new(answers)) }
        });
        grpc.streaming(service, request).await
    }
}

/// A message that is too large for the transport is told as grpc-go does, which clients look for.
fn reworded(response: Response<Body>) -> Response<Body> {
    let Some(status) = response.extensions().get::<Status>() else { return response };
    let text = status.message();
    let Some(rest) = text.strip_prefix("Error, decoded message length too large: found ") else { return response };
    let numbers: Vec<&str> = rest.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    match numbers[..] {
        [found, limit] => {
            let text = format!("grpc: received message larger than max ({found} vs. {limit})");
            Status::resource_exhausted(text).into_http()
        }
        _ => response,
    }
}

/// Whether a request is one of gRPC.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_grpc_is_told_by_its_content_type() {
        let request = |kind: &str| Request::builder().header("content-type", kind).body(()).expect("a request");
        assert!(is_grpc(&request("application/grpc")) && is_grpc(&request("application/grpc+proto")));
        assert!(!is_grpc(&request("application/json")) && !is_grpc(&Request::new(())));
    }

    #[test]
    fn too_large_a_message_is_told_as_go_does() {
        let text = "Error, decoded message length too large: found 3000000 bytes, the limit is: 2097152 bytes";
        let response = reworded(Status::out_of_range(text).into_http());
        let status = response.extensions().get::<Status>().expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (3000000 vs. 2097152)");
        let other = reworded(Status::out_of_range("other").into_http());
        assert_eq!(other.extensions().get::<Status>().map(Status::message), Some("other"));
    }
}
