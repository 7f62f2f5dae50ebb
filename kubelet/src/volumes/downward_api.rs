//! downwardAPI: fields and resources of the pod as files
//! (pkg/volume/downwardapi/downwardapi.go@v1.37.2).

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, DownwardAPIVolumeSource};

use super::atomic::{Content, Payload};
use super::config_map::DEFAULT_MODE;
use super::{Context, Ready};
use crate::fields::{self, Runtime};

const PLUGIN: &str = "kubernetes.io~downward-api";

pub(super) fn prepare(context: &Context<'_>, source: &DownwardAPIVolumeSource) -> Result<Ready, String> {
    let items = source.items.as_deref().unwrap_or(&[]);
    let payload = read(context, items, source.default_mode.unwrap_or(DEFAULT_MODE))?;
    context.publish(PLUGIN, &payload, true)
}

pub(super) fn read(context: &Context<'_>, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<Payload, String> {
    let allocatable = &context.kubelet.allocatable;
    let runtime = Runtime { pod_ips: &[], host_ips: &[], allocatable };
    let mut payload = Payload::new();
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field(context.pod, &field.field_path, &runtime)?,
            (None, Some(selector)) => fields::resource(context.pod, None, selector, allocatable)?,
            (None, None) => continue,
        };
        let mode = item.mode.unwrap_or(mode).unsigned_abs();
        payload.insert(item.path.clone(), Content { data: value.into_bytes(), mode, user: None });
    }
    Ok(payload)
}
