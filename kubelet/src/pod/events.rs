//! The reasons of the kubelet's events (pkg/kubelet/events/event.go@v1.37.2), and recording them
//! about a pod or one of its containers.

use client::events::Recorder;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;

use super::shape;

pub(crate) const NORMAL: &str = "Normal";
pub(crate) const WARNING: &str = "Warning";

pub(crate) const CREATED: &str = "Created";
pub(crate) const STARTED: &str = "Started";
pub(crate) const FAILED: &str = "Failed";
pub(crate) const KILLING: &str = "Killing";
pub(crate) const BACK_OFF: &str = "BackOff";
pub(crate) const PULLING: &str = "Pulling";
pub(crate) const PULLED: &str = "Pulled";
pub(crate) const INSPECT_FAILED: &str = "InspectFailed";
pub(crate) const NEVER_PULL: &str = "ErrImageNeverPull";
pub(crate) const FAILED_MOUNT: &str = "FailedMount";
pub(crate) const SANDBOX_CHANGED: &str = "SandboxChanged";
pub(crate) const FAILED_SANDBOX: &str = "FailedCreatePodSandBox";
pub(crate) const FAILED_KILL: &str = "FailedKillPod";
pub(crate) const NETWORK_NOT_READY: &str = "NetworkNotReady";
pub(crate) const FAILED_POST_START: &str = "FailedPostStartHook";
pub(crate) const FAILED_PRE_STOP: &str = "FailedPreStopHook";
pub(crate) const UNHEALTHY: &str = "Unhealthy";
pub(crate) const PROBE_WARNING: &str = "ProbeWarning";

pub(crate) fn about_pod(recorder: &Recorder, pod: &Pod, kind: &str, reason: &str, message: impl Into<String>) {
    recorder.about(pod.object_ref(&()), kind, reason, message);
}

pub(crate) fn about_container(
    recorder: &Recorder,
    pod: &Pod,
    container: &str,
    kind: &str,
    reason: &str,
    message: impl Into<String>,
) {
    recorder.about(shape::container_reference(pod, container), kind, reason, message);
}
