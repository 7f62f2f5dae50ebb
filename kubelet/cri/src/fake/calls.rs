//! The calls of a fake runtime: each one looks at or changes the records under one short lock.

use std::collections::HashMap;

use super::state::{not_found, sandbox_state};
use super::*;

/// What `Version` names; it becomes the scheme of container ids.
const RUNTIME_NAME: &str = "fake";

impl Runtime for Fake {
    fn is_fake(&self) -> bool {
        true
    }

    fn version(&self, _: VersionRequest) -> Answer<'_, VersionResponse> {
        answer(Ok(VersionResponse {
            version: "0.1.0".into(),
            runtime_name: RUNTIME_NAME.into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            runtime_api_version: "v1".into(),
        }))
    }

    fn status(&self, _: StatusRequest) -> Answer<'_, StatusResponse> {
        let condition = |kind: &str| RuntimeCondition { r#type: kind.into(), status: true, ..Default::default() };
        let conditions = vec![condition("RuntimeReady"), condition("NetworkReady")];
        answer(Ok(StatusResponse { status: Some(RuntimeStatus { conditions }), ..Default::default() }))
    }

    fn runtime_config(&self, _: RuntimeConfigRequest) -> Answer<'_, RuntimeConfigResponse> {
        let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs as i32 };
        answer(Ok(RuntimeConfigResponse { linux: Some(linux) }))
    }

    fn update_runtime_config(&self, request: UpdateRuntimeConfigRequest) -> Answer<'_, UpdateRuntimeConfigResponse> {
        let cidr = request.runtime_config.and_then(|config| config.network_config).map(|network| network.pod_cidr);
        let first = cidr.as_deref().and_then(|list| list.split(',').next()).filter(|cidr| !cidr.is_empty());
        answer(match first.map(addresses::Addresses::new) {
            None => Ok(UpdateRuntimeConfigResponse {}),
            Some(Err(error)) => Err(error),
            Some(Ok(addresses)) => {
                self.state.lock().addresses = addresses;
                Ok(UpdateRuntimeConfigResponse {})
            }
        })
    }

    fn run_pod_sandbox(&self, request: RunPodSandboxRequest) -> Answer<'_, RunPodSandboxResponse> {
        let id = self.next_id();
        let done = self.state.lock().run_sandbox(id.clone(), request, now());
        answer(done.map(|()| RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    fn stop_pod_sandbox(&self, request: StopPodSandboxRequest) -> Answer<'_, StopPodSandboxResponse> {
        let events = self.state.lock().stop_sandbox(&request.pod_sandbox_id, now());
        events.into_iter().for_each(|event| self.publish(Some(event)));
        answer(Ok(StopPodSandboxResponse {}))
    }

    fn remove_pod_sandbox(&self, request: RemovePodSandboxRequest) -> Answer<'_, RemovePodSandboxResponse> {
        let events = self.state.lock().remove_sandbox(&request.pod_sandbox_id, now());
        events.into_iter().for_each(|event| self.publish(Some(event)));
        answer(Ok(RemovePodSandboxResponse {}))
    }

    fn pod_sandbox_status(&self, request: PodSandboxStatusRequest) -> Answer<'_, PodSandboxStatusResponse> {
        let id = &request.pod_sandbox_id;
        let status = self.state.lock().sandbox_status(id).ok_or_else(|| not_found("sandbox", id));
        answer(status.map(|status| PodSandboxStatusResponse { status: Some(status), ..Default::default() }))
    }

    fn list_pod_sandbox(&self, request: ListPodSandboxRequest) -> Answer<'_, ListPodSandboxResponse> {
        let filter = request.filter.unwrap_or_default();
        let state = self.state.lock();
        let items = state.sandboxes.iter().filter(|(id, sandbox)| {
            (filter.id.is_empty() || filter.id == **id)
                && filter.state.is_none_or(|wanted| wanted.state == sandbox_state(sandbox))
                && has_labels(&sandbox.config.labels, &filter.label_selector)
        });
        let items = items.map(|(id, sandbox)| PodSandbox {
            id: id.clone(),
            metadata: sandbox.config.metadata.clone(),
            state: sandbox_state(sandbox),
            created_at: sandbox.created_at,
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            runtime_handler: sandbox.handler.clone(),
        });
        answer(Ok(ListPodSandboxResponse { items: items.collect() }))
    }

    fn update_pod_sandbox_resources(
        &self,
        _: UpdatePodSandboxResourcesRequest,
    ) -> Answer<'_, UpdatePodSandboxResourcesResponse> {
        answer(Ok(UpdatePodSandboxResourcesResponse {}))
    }

    fn create_container(&self, request: CreateContainerRequest) -> Answer<'_, CreateContainerResponse> {
        let id = self.next_id();
        let done = self.state.lock().create(id.clone(), request, now());
        answer(done.map(|()| CreateContainerResponse { container_id: id }))
    }

    fn start_container(&self, request: StartContainerRequest) -> Answer<'_, StartContainerResponse> {
        let done = self.state.lock().start(&request.container_id, now());
        answer(done.map(|event| {
            self.publish(event);
            if let Some(end) = self.state.lock().end(&request.container_id) {
                self.will_end(&request.container_id, end);
            }
            StartContainerResponse {}
        }))
    }

    fn stop_container(&self, request: StopContainerRequest) -> Answer<'_, StopContainerResponse> {
        let done = self.state.lock().stop(&request.container_id, now());
        answer(done.map(|event| {
            self.publish(event);
            StopContainerResponse {}
        }))
    }

    fn remove_container(&self, request: RemoveContainerRequest) -> Answer<'_, RemoveContainerResponse> {
        let event = self.state.lock().remove(&request.container_id, now());
        self.publish(event);
        answer(Ok(RemoveContainerResponse {}))
    }

    fn list_containers(&self, request: ListContainersRequest) -> Answer<'_, ListContainersResponse> {
        let filter = request.filter.unwrap_or_default();
        let state = self.state.lock();
        let chosen = state.containers.iter().filter(|(id, container)| {
            (filter.id.is_empty() || filter.id == **id)
                && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == container.sandbox_id)
                && filter.state.is_none_or(|wanted| wanted.state == container.status.state)
                && has_labels(&container.status.labels, &filter.label_selector)
        });
        let containers = chosen.map(|(id, container)| Container {
            id: id.clone(),
            pod_sandbox_id: container.sandbox_id.clone(),
            metadata: container.status.metadata.clone(),
            image: container.status.image.clone(),
            image_ref: container.status.image_ref.clone(),
            image_id: container.status.image_id.clone(),
            state: container.status.state,
            created_at: container.status.created_at,
            labels: container.status.labels.clone(),
            annotations: container.status.annotations.clone(),
        });
        answer(Ok(ListContainersResponse { containers: containers.collect() }))
    }

    fn container_status(&self, request: ContainerStatusRequest) -> Answer<'_, ContainerStatusResponse> {
        let id = &request.container_id;
        let state = self.state.lock();
        let status = state.containers.get(id).map(|container| container.status.clone());
        answer(match status {
            Some(status) => Ok(ContainerStatusResponse { status: Some(status), info: HashMap::new() }),
            None => Err(not_found("container", id)),
        })
    }

    fn update_container_resources(
        &self,
        _: UpdateContainerResourcesRequest,
    ) -> Answer<'_, UpdateContainerResourcesResponse> {
        answer(Ok(UpdateContainerResourcesResponse {}))
    }

    fn reopen_container_log(&self, _: ReopenContainerLogRequest) -> Answer<'_, ReopenContainerLogResponse> {
        answer(Ok(ReopenContainerLogResponse {}))
    }

    fn exec_sync(&self, _: ExecSyncRequest) -> Answer<'_, ExecSyncResponse> {
        answer(Ok(ExecSyncResponse::default()))
    }

    fn exec(&self, _: ExecRequest) -> Answer<'_, ExecResponse> {
        answer(Err(no_process("exec")))
    }

    fn attach(&self, _: AttachRequest) -> Answer<'_, AttachResponse> {
        answer(Err(no_process("attach")))
    }

    fn port_forward(&self, _: PortForwardRequest) -> Answer<'_, PortForwardResponse> {
        answer(Err(no_process("port-forward")))
    }

    fn container_stats(&self, _: ContainerStatsRequest) -> Answer<'_, ContainerStatsResponse> {
        answer(Ok(ContainerStatsResponse::default()))
    }

    fn list_container_stats(&self, _: ListContainerStatsRequest) -> Answer<'_, ListContainerStatsResponse> {
        answer(Ok(ListContainerStatsResponse::default()))
    }

    fn pod_sandbox_stats(&self, _: PodSandboxStatsRequest) -> Answer<'_, PodSandboxStatsResponse> {
        answer(Ok(PodSandboxStatsResponse::default()))
    }

    fn list_pod_sandbox_stats(&self, _: ListPodSandboxStatsRequest) -> Answer<'_, ListPodSandboxStatsResponse> {
        answer(Ok(ListPodSandboxStatsResponse::default()))
    }

    fn list_images(&self, _: ListImagesRequest) -> Answer<'_, ListImagesResponse> {
        answer(Ok(ListImagesResponse { images: self.state.lock().images.list() }))
    }

    fn image_status(&self, request: ImageStatusRequest) -> Answer<'_, ImageStatusResponse> {
        let name = request.image.unwrap_or_default().image;
        answer(Ok(ImageStatusResponse { image: self.state.lock().images.get(&name), info: HashMap::new() }))
    }

    fn pull_image(&self, request: PullImageRequest) -> Answer<'_, PullImageResponse> {
        let name = request.image.unwrap_or_default().image;
        answer(self.state.lock().images.pull(&name).map(|image_ref| PullImageResponse { image_ref }))
    }

    fn remove_image(&self, request: RemoveImageRequest) -> Answer<'_, RemoveImageResponse> {
        self.state.lock().images.remove(&request.image.unwrap_or_default().image);
        answer(Ok(RemoveImageResponse {}))
    }

    fn image_fs_info(&self, _: ImageFsInfoRequest) -> Answer<'_, ImageFsInfoResponse> {
        answer(Ok(ImageFsInfoResponse::default()))
    }

    fn container_events(&self) -> Answer<'_, Events> {
        answer(Ok(self.subscribe()))
    }
}

fn has_labels(labels: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn no_process(what: &str) -> Error {
    Error::new(Code::Unavailable, format!("a fake container runs no process to {what} into"))
}
