//! The Cluster service of a cluster of one (`server/etcdserver/api/v3rpc/member.go@v3.7.3`).

use std::sync::Arc;

use store::etcdserverpb as pb;
use tonic::Status;

use crate::server::Server;
use crate::status::{self, Known, not_here, refuse};

type Result<T> = std::result::Result<T, Status>;

const ALONE: &str = "the cluster has one member and stays so";

pub(crate) async fn list(server: Arc<Server>, _: pb::Empty) -> Result<pb::MemberListResponse> {
    let member = pb::Member {
        id: server.identity.member,
        name: server.name.clone(),
        peer_urls: server.peer_urls.clone(),
        client_urls: server.client_urls.clone(),
        is_learner: false,
    };
    // etcd's header of this service has no revision.
    Ok(pb::MemberListResponse { header: server.header(0), members: vec![member] })
}

pub(crate) async fn add(_: Arc<Server>, _: pb::Empty) -> Result<pb::MemberListResponse> {
    Err(not_here(ALONE))
}

pub(crate) async fn remove(server: Arc<Server>, request: pb::MemberRequest) -> Result<pb::MemberListResponse> {
    Err(of_one(&server, request, None))
}

pub(crate) async fn update(server: Arc<Server>, request: pb::MemberRequest) -> Result<pb::MemberListResponse> {
    Err(of_one(&server, request, None))
}

pub(crate) async fn promote(server: Arc<Server>, request: pb::MemberRequest) -> Result<pb::MemberListResponse> {
    Err(of_one(&server, request, Some(status::MEMBER_NOT_LEARNER)))
}

/// What a change of a member is refused with: it is not known, or it is the only one.
fn of_one(server: &Server, request: pb::MemberRequest, known: Option<Known>) -> Status {
    match request.id == server.identity.member {
        true => known.map_or_else(|| not_here(ALONE), refuse),
        false => refuse(status::MEMBER_NOT_FOUND),
    }
}
