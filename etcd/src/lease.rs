//! The Lease service (`server/etcdserver/api/v3rpc/lease.go@v3.7.3`).

use std::sync::Arc;

use futures::{Stream, StreamExt};
use store::Error;
use store::etcdserverpb as pb;
use tonic::{Status, Streaming};

use crate::server::Server;
use crate::status;

type Result<T> = std::result::Result<T, Status>;

pub(crate) async fn grant(server: Arc<Server>, request: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse> {
    let granted = server.store.grant_lease_as(request.id, request.ttl).await;
    let (id, ttl) = granted.map_err(|error| status::of(&error))?;
    server.metrics.leases_granted.inc();
    Ok(pb::LeaseGrantResponse { header: server.header_now().await?, id, ttl, error: String::new() })
}

pub(crate) async fn revoke(server: Arc<Server>, request: pb::LeaseKeepAliveRequest) -> Result<pb::HeaderResponse> {
    let revision = server.store.revoke_lease(request.id).await.map_err(|error| status::of(&error))?;
    server.metrics.leases_revoked.inc();
    Ok(pb::HeaderResponse { header: server.header(revision) })
}

pub(crate) async fn time_to_live(
    server: Arc<Server>,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse> {
    let pb::LeaseTimeToLiveRequest { id, keys } = request;
    let lease = server.store.lease(id).map_err(|error| status::of(&error))?;
    let header = server.header_now().await?;
    let Some(lease) = lease else {
        return Ok(pb::LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() });
    };
    Ok(pb::LeaseTimeToLiveResponse {
        header,
        id,
        ttl: i64::try_from(lease.remaining.as_secs()).unwrap_or(i64::MAX),
        granted_ttl: lease.ttl_seconds,
        keys: if keys { lease.keys } else { Vec::new() },
    })
}

pub(crate) async fn leases(server: Arc<Server>, _: pb::Empty) -> Result<pb::LeaseLeasesResponse> {
    let ids = server.store.leases().map_err(|error| status::of(&error))?;
    let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
    Ok(pb::LeaseLeasesResponse { header: server.header_now().await?, leases })
}

/// Renews the lease of each request; one that is not known has 0 seconds.
pub(crate) fn keep_alive(
    server: Arc<Server>,
    requests: Streaming<pb::LeaseKeepAliveRequest>,
) -> impl Stream<Item = Result<pb::LeaseKeepAliveResponse>> + Send + 'static {
    requests.then(move |request| {
        let server = server.clone();
        async move { renew(&server, request?.id).await }
    })
}

async fn renew(server: &Server, id: i64) -> Result<pb::LeaseKeepAliveResponse> {
    // Of before, so that a client never sees a renewal at a revision at which the lease was gone.
    let header = server.header_now().await?;
    let ttl = match server.store.renew_lease(id).await {
        Err(Error::LeaseNotFound) => 0,
        renewed => renewed.map_err(|error| status::of(&error))?,
    };
    server.metrics.leases_renewed.inc();
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
}
