//! The Auth service of an etcd that has no users (`server/auth/store.go@v3.7.3`): authentication is off and stays so, as the user
//! that could switch it on cannot be made.

use std::sync::Arc;

use store::etcdserverpb as pb;
use tonic::Status;

use crate::server::Server;
use crate::status::{self, Known, not_here, refuse};

type Result<T> = std::result::Result<T, Status>;

/// The revision of what nobody changed.
const AUTH_REVISION: u64 = 1;
const NO_USERS: &str = "users and roles are not supported; clients are told apart by their certificates";

pub(crate) async fn status(server: Arc<Server>, _: pb::Empty) -> Result<pb::AuthStatusResponse> {
    let header = server.header_now().await?;
    Ok(pb::AuthStatusResponse { header, enabled: false, auth_revision: AUTH_REVISION })
}

pub(crate) async fn enable(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Err(refuse(status::ROOT_USER_NOT_EXIST))
}

pub(crate) async fn disable(server: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Ok(pb::HeaderResponse { header: server.header_now().await? })
}

pub(crate) async fn authenticate(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Err(refuse(status::AUTH_NOT_ENABLED))
}

pub(crate) async fn names(server: Arc<Server>, _: pb::Empty) -> Result<pb::NamesResponse> {
    Ok(pb::NamesResponse { header: server.header_now().await?, names: Vec::new() })
}

pub(crate) async fn user_add(_: Arc<Server>, request: pb::NameRequest) -> Result<pb::HeaderResponse> {
    Err(made(&request, status::USER_EMPTY))
}

pub(crate) async fn role_add(_: Arc<Server>, request: pb::NameRequest) -> Result<pb::HeaderResponse> {
    Err(made(&request, status::ROLE_EMPTY))
}

fn made(request: &pb::NameRequest, empty: Known) -> Status {
    if request.name.is_empty() { refuse(empty) } else { not_here(NO_USERS) }
}

/// Anything of a user: there is none.
pub(crate) async fn of_user(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Err(refuse(status::USER_NOT_FOUND))
}

/// Anything of a role: there is none.
pub(crate) async fn of_role(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Err(refuse(status::ROLE_NOT_FOUND))
}

pub(crate) async fn role_grant(
    _: Arc<Server>,
    request: pb::AuthRoleGrantPermissionRequest,
) -> Result<pb::HeaderResponse> {
    Err(refuse(if request.perm.is_none() { status::PERMISSION_NOT_GIVEN } else { status::ROLE_NOT_FOUND }))
}
