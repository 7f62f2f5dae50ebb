//! The operations, one method a CRI call, in CRI's own requests and responses.
//!
//! Invariant: a call is safe to repeat as CRI says (stop and remove are idempotent). A runtime that
//! lacks a call answers UNIMPLEMENTED; `runtime_config`, `container_events` and
//! `update_pod_sandbox_resources` are the ones that real runtimes lack.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::Result;
use crate::v1::*;

/// The answer of a call.
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// Events of containers from now on.
pub type Events = BoxStream<'static, Result<ContainerEventResponse>>;

/// The table of unary calls: service, method, request, response, and how long it may take given the
/// standard deadline (k8s.io/cri-client/pkg/remote_runtime.go, remote_image.go@v0.37.2).
macro_rules! unary_calls {
    ($with:ident) => {
        $with! {
            runtime version(VersionRequest) -> VersionResponse, |_, d| Some(d);
            runtime status(StatusRequest) -> StatusResponse, |_, d| Some(d);
            runtime runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse, |_, d| Some(d);
            runtime update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse, |_, d| Some(d);
            runtime run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse, |_, d| Some(2 * d);
            runtime stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse, |_, d| Some(d);
            runtime remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse, |_, d| Some(d);
            runtime pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse, |_, d| Some(d);
            runtime list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse, |_, d| Some(d);
            runtime update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse, |_, d| Some(d);
            runtime create_container(CreateContainerRequest) -> CreateContainerResponse, |_, d| Some(d);
            runtime start_container(StartContainerRequest) -> StartContainerResponse, |_, d| Some(d);
            runtime stop_container(StopContainerRequest) -> StopContainerResponse, |r, d| Some(d + seconds(r.timeout));
            runtime remove_container(RemoveContainerRequest) -> RemoveContainerResponse, |_, d| Some(d);
            runtime list_containers(ListContainersRequest) -> ListContainersResponse, |_, d| Some(d);
            runtime container_status(ContainerStatusRequest) -> ContainerStatusResponse, |_, d| Some(d);
            runtime update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse, |_, d| Some(d);
            runtime reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse, |_, d| Some(d);
            runtime exec_sync(ExecSyncRequest) -> ExecSyncResponse, |r, d| (r.timeout > 0).then(|| d + seconds(r.timeout));
            runtime exec(ExecRequest) -> ExecResponse, |_, d| Some(d);
            runtime attach(AttachRequest) -> AttachResponse, |_, d| Some(d);
            runtime port_forward(PortForwardRequest) -> PortForwardResponse, |_, d| Some(d);
            runtime container_stats(ContainerStatsRequest) -> ContainerStatsResponse, |_, d| Some(d);
            runtime list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse, |_, d| Some(d);
            runtime pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse, |_, d| Some(d);
            runtime list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse, |_, d| Some(d);
            image list_images(ListImagesRequest) -> ListImagesResponse, |_, d| Some(d);
            image image_status(ImageStatusRequest) -> ImageStatusResponse, |_, d| Some(d);
            image pull_image(PullImageRequest) -> PullImageResponse, |_, _| None;
            image remove_image(RemoveImageRequest) -> RemoveImageResponse, |_, d| Some(d);
            image image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse, |_, d| Some(d);
        }
    };
}
pub(crate) use unary_calls;

/// Seconds of a CRI request; negative means none.
pub(crate) fn seconds(value: i64) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}

macro_rules! declare {
    ($($service:ident $name:ident($request:ident) -> $response:ident, $deadline:expr;)*) => {
        /// A container runtime.
        pub trait Runtime: Send + Sync + 'static {
            $(fn $name(&self, request: $request) -> Answer<'_, $response>;)*

            /// Subscribes to container events.
            fn container_events(&self) -> Answer<'_, Events>;

            /// True for a runtime whose containers are not processes: there is nothing on the host
            /// to mount into, to limit, or to probe over the network.
            fn is_fake(&self) -> bool {
                false
            }
        }
    };
}

unary_calls!(declare);
