//! What plugins are made with: read access to objects, and the ways to act on the cluster.

use std::sync::Arc;

use client::informer::Informers;
use client::task::Tasks;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Namespace, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass, VolumeAttachment};
use tokio::sync::mpsc;

use crate::lister::Lister;
use crate::nominator::Nominator;
use crate::pod_info::Uid;
use crate::recorder::Recorder;
use crate::writer::Writer;

/// Pods that need no place any more are not watched.
pub(crate) const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// The objects that plugins look up.
#[derive(Clone, Default)]
pub(crate) struct Listers {
    pub(crate) pods: Lister<Pod>,
    pub(crate) namespaces: Lister<Namespace>,
    pub(crate) services: Lister<Service>,
    pub(crate) replication_controllers: Lister<ReplicationController>,
    pub(crate) replica_sets: Lister<ReplicaSet>,
    pub(crate) stateful_sets: Lister<StatefulSet>,
    pub(crate) budgets: Lister<PodDisruptionBudget>,
    pub(crate) claims: Lister<PersistentVolumeClaim>,
    pub(crate) volumes: Lister<PersistentVolume>,
    pub(crate) storage_classes: Lister<StorageClass>,
    pub(crate) csi_nodes: Lister<CSINode>,
    pub(crate) attachments: Lister<VolumeAttachment>,
}

impl Listers {
    /// Starts to follow all kinds.
    pub(crate) fn follow(informers: &Informers) -> Self {
        Listers {
            pods: Lister::follow(&informers.with_fields(LIVE_PODS)),
            namespaces: Lister::follow(&informers.of()),
            services: Lister::follow(&informers.of()),
            replication_controllers: Lister::follow(&informers.of()),
            replica_sets: Lister::follow(&informers.of()),
            stateful_sets: Lister::follow(&informers.of()),
            budgets: Lister::follow(&informers.of()),
            claims: Lister::follow(&informers.of()),
            volumes: Lister::follow(&informers.of()),
            storage_classes: Lister::follow(&informers.of()),
            csi_nodes: Lister::follow(&informers.of()),
            attachments: Lister::follow(&informers.of()),
        }
    }

    /// Returns once every kind has been listed.
    pub(crate) async fn synced(informers: &Informers) {
        informers.with_fields::<Pod>(LIVE_PODS).synced().await;
        informers.of::<Namespace>().synced().await;
        informers.of::<Service>().synced().await;
        informers.of::<ReplicationController>().synced().await;
        informers.of::<ReplicaSet>().synced().await;
        informers.of::<StatefulSet>().synced().await;
        informers.of::<PodDisruptionBudget>().synced().await;
        informers.of::<PersistentVolumeClaim>().synced().await;
        informers.of::<PersistentVolume>().synced().await;
        informers.of::<StorageClass>().synced().await;
        informers.of::<CSINode>().synced().await;
        informers.of::<VolumeAttachment>().synced().await;
    }
}

/// What plugins are made with.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) listers: Listers,
    pub(crate) writer: Arc<dyn Writer>,
    pub(crate) recorder: Recorder,
    pub(crate) nominator: Arc<Nominator>,
    pub(crate) tasks: Tasks,
    /// Pods sent here become active at once.
    pub(crate) activate: mpsc::UnboundedSender<Uid>,
}

impl Handle {
    /// A handle that knows no objects and whose writes go nowhere.
    pub(crate) fn detached() -> Self {
        Handle {
            listers: Listers::default(),
            writer: Arc::new(crate::writer::Nowhere),
            recorder: Recorder::channel().0,
            nominator: Arc::default(),
            tasks: Tasks::new(),
            activate: mpsc::unbounded_channel().0,
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Handle::detached()
    }
}
