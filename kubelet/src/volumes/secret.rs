//! secret, on tmpfs (pkg/volume/secret/secret.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{KeyToPath, Secret, SecretVolumeSource};

use super::atomic::Payload;
use super::config_map::{DEFAULT_MODE, choose};
use super::{Context, Ready};
use crate::objects::Missing;
use crate::pod::shape;

const PLUGIN: &str = "kubernetes.io~secret";

pub(super) async fn prepare(context: &Context<'_>, source: &SecretVolumeSource) -> Result<Ready, String> {
    let name = source.secret_name.as_deref().unwrap_or("");
    let optional = source.optional == Some(true);
    let items = source.items.as_deref().unwrap_or(&[]);
    let payload = read(context, name, items, optional, source.default_mode.unwrap_or(DEFAULT_MODE)).await?;
    context.publish(PLUGIN, &payload, true)
}

pub(super) async fn read(
    context: &Context<'_>,
    name: &str,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
) -> Result<Payload, String> {
    let found = context.kubelet.objects.secrets.get(shape::namespace(context.pod), name).await;
    let secret = match found {
        Err(Missing::NotFound(_)) if optional => Arc::new(Secret::default()),
        other => other.map_err(Missing::text)?,
    };
    let values = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    choose(values, items, optional, mode, "references non-existent secret key")
}
