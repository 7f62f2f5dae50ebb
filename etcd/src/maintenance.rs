//! The Maintenance service (`server/etcdserver/api/v3rpc/maintenance.go@v3.7.3`).
//!
//! Hashes and snapshots are of etcd's files and not implemented. Defragmenting is done when it is asked for: the log is rewritten by
//! compactions alone and has no holes.

use std::sync::Arc;

use store::etcdserverpb as pb;
use tonic::Status;

use crate::server::{Server, TERM};
use crate::status::{self, not_here, refuse};
use crate::{CLUSTER_VERSION, VERSION};

type Result<T> = std::result::Result<T, Status>;

/// The version that the cluster tells when it is asked about downgrades.
const CLUSTER: &str = "3.7";
/// The one version that an etcd of this version may be downgraded to.
const DOWNGRADE_TARGET: (u64, u64) = (3, 6);

pub(crate) async fn status(server: Arc<Server>, _: pb::Empty) -> Result<pb::StatusResponse> {
    let revision = server.store.revision().await.map_err(|error| status::of(&error))?;
    let size = server.size().await;
    let errors = server.alarms().iter().map(|alarm| format!("memberID:{} alarm:NOSPACE ", alarm.member_id)).collect();
    Ok(pb::StatusResponse {
        header: server.header(revision),
        version: VERSION.into(),
        db_size: size,
        leader: server.identity.member,
        raft_index: revision,
        raft_term: TERM,
        raft_applied_index: revision,
        errors,
        db_size_in_use: size,
        is_learner: false,
        storage_version: CLUSTER_VERSION.into(),
        db_size_quota: server.quota_bytes,
        downgrade_info: Some(pb::DowngradeInfo::default()),
    })
}

/// Alarms tell that the disk is full, which the store itself notices: they go when it is not.
pub(crate) async fn alarm(server: Arc<Server>, request: pb::AlarmRequest) -> Result<pb::AlarmResponse> {
    const GET: i32 = 0;
    const ACTIVATE: i32 = 1;
    let wanted = |alarm: &pb::AlarmMember| request.alarm == 0 || request.alarm == alarm.alarm;
    let alarms = match request.action {
        GET => server.alarms().into_iter().filter(wanted).collect(),
        ACTIVATE if request.alarm != 0 => return Err(not_here("alarms are raised by the store alone")),
        _ => Vec::new(),
    };
    Ok(pb::AlarmResponse { header: server.header_now().await?, alarms })
}

pub(crate) async fn defragment(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Ok(pb::HeaderResponse { header: None })
}

pub(crate) async fn hash(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Err(not_here("hashes are of etcd's own files"))
}

pub(crate) async fn snapshot(_: Arc<Server>, _: pb::Empty) -> Result<pb::HeaderResponse> {
    Err(not_here("snapshots are etcd's own files; copy the data directory instead"))
}

/// The leader is the only member and stays it.
pub(crate) async fn move_leader(server: Arc<Server>, request: pb::MemberRequest) -> Result<pb::HeaderResponse> {
    match request.id == server.identity.member {
        true => Ok(pb::HeaderResponse { header: None }),
        false => Err(refuse(status::BAD_LEADER_TRANSFEREE)),
    }
}

pub(crate) async fn downgrade(server: Arc<Server>, request: pb::DowngradeRequest) -> Result<pb::DowngradeResponse> {
    const ENABLE: i32 = 1;
    const CANCEL: i32 = 2;
    if request.action != CANCEL {
        let target = version(&request.version).ok_or_else(|| refuse(status::WRONG_DOWNGRADE_FORMAT))?;
        if target != DOWNGRADE_TARGET {
            return Err(refuse(status::INVALID_DOWNGRADE_TARGET));
        }
    }
    if request.action == ENABLE {
        return Err(not_here("there is no other version to go to"));
    }
    Ok(pb::DowngradeResponse { header: server.header_now().await?, version: CLUSTER.into() })
}

/// `major.minor`, or `major.minor.patch`.
fn version(text: &str) -> Option<(u64, u64)> {
    let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [major, minor] | [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}
