//! Claims bound to volumes that need no driver: hostPath and local
//! (pkg/volume/local/local.go@v1.37.2). Others are a later matter (CSI).

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::{Context, Ready};
use crate::pod::shape;
use crate::tokens::api_text;

pub(super) async fn prepare(context: &Context<'_>, claim: &str, read_only: bool) -> Result<Ready, String> {
    let namespace = shape::namespace(context.pod);
    let client = &context.kubelet.client;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let found = claims.get(claim).await.map_err(|e| api_text(&e))?;
    let name = found.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
    let bound = found.status.and_then(|status| status.phase).is_some_and(|phase| phase == "Bound");
    if !bound || name.is_empty() {
        return Err(format!("PVC {namespace}/{claim} is not bound"));
    }
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let volume = volumes.get(&name).await.map_err(|e| api_text(&e))?;
    let spec = volume.spec.unwrap_or_default();
    let path = spec.host_path.map(|source| source.path).or(spec.local.map(|source| source.path));
    let Some(path) = path else { return Err("no volume plugin matched".into()) };
    if !context.is_fake() && !std::path::Path::new(&path).exists() {
        return Err(format!("path {path:?} does not exist"));
    }
    Ok(Ready { path: path.into(), read_only, image: None })
}
