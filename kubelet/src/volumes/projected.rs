//! projected: several sources in one folder, the service-account token among them
//! (pkg/volume/projected/projected.go@v1.37.2).

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use kube::Api;
use kube::api::ListParams;

use super::atomic::{Content, Payload};
use super::config_map::DEFAULT_MODE;
use super::{Context, Ready, config_map, downward_api, secret};
use crate::pod::shape;

const PLUGIN: &str = "kubernetes.io~projected";
/// Life of a token that does not say, in seconds.
const TOKEN_SECONDS: i64 = 3600;
/// Mode of a token when a user or group of the pod must be able to read it.
const OWNED_MODE: u32 = 0o600;

pub(super) async fn prepare(context: &Context<'_>, source: &ProjectedVolumeSource) -> Result<Ready, String> {
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    let mut payload = Payload::new();
    for one in source.sources.iter().flatten() {
        payload.extend(read(context, one, mode).await?);
    }
    context.publish(PLUGIN, &payload, true)
}

async fn read(context: &Context<'_>, source: &VolumeProjection, mode: i32) -> Result<Payload, String> {
    if let Some(from) = &source.config_map {
        let items = from.items.as_deref().unwrap_or(&[]);
        config_map::read(context, &from.name, items, from.optional == Some(true), mode).await
    } else if let Some(from) = &source.secret {
        let items = from.items.as_deref().unwrap_or(&[]);
        secret::read(context, &from.name, items, from.optional == Some(true), mode).await
    } else if let Some(from) = &source.downward_api {
        downward_api::read(context, from.items.as_deref().unwrap_or(&[]), mode)
    } else if let Some(from) = &source.service_account_token {
        token(context, from, mode).await
    } else if let Some(from) = &source.cluster_trust_bundle {
        trust(context, from, mode).await
    } else {
        Err("no volume projection source matched".into())
    }
}

async fn token(context: &Context<'_>, source: &ServiceAccountTokenProjection, mode: i32) -> Result<Payload, String> {
    let seconds = source.expiration_seconds.unwrap_or(TOKEN_SECONDS);
    // Nobody can read it on a fake node: a request for each of thousands of pods would be in vain.
    let token = match context.is_fake() {
        true => String::new(),
        false => context.kubelet.tokens.get(context.pod, source.audience.as_deref().unwrap_or(""), seconds).await?,
    };
    let user = single_user(context.pod);
    let mode = if user.is_some() || context.fs_group().is_some() { OWNED_MODE } else { mode.unsigned_abs() };
    Ok([(source.path.clone(), Content { data: token.into_bytes(), mode, user })].into())
}

/// The user as which every container runs, if there is one such
/// (pkg/volume/util/util.go@v1.37.2, FsUserFrom).
fn single_user(pod: &Pod) -> Option<u32> {
    let of_pod = shape::spec(pod).security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = shape::long_lived(pod)
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

async fn trust(context: &Context<'_>, source: &ClusterTrustBundleProjection, mode: i32) -> Result<Payload, String> {
    let api: Api<ClusterTrustBundle> = Api::all(context.kubelet.client.clone());
    let optional = source.optional == Some(true);
    let failed = |e: kube::Error| crate::tokens::api_text(&e);
    let bundles: Vec<ClusterTrustBundle> = match (&source.name, &source.signer_name) {
        (Some(name), _) => api.get_opt(name).await.map_err(failed)?.into_iter().collect(),
        (None, Some(signer)) => {
            let fields = ListParams::default().fields(&format!("spec.signerName={signer}"));
            let selector = source.label_selector.clone().unwrap_or_default();
            let selector: kube::core::Selector = selector.try_into().map_err(|e| format!("label selector: {e}"))?;
            api.list(&fields.labels_from(&selector)).await.map_err(failed)?.items
        }
        (None, None) => return Err("ClusterTrustBundle projection requires either name or signerName".into()),
    };
    if bundles.is_empty() && !optional {
        let what = source.name.as_deref().or(source.signer_name.as_deref()).unwrap_or("");
        return Err(format!("clustertrustbundles.certificates.k8s.io {what:?} not found"));
    }
    // One PEM block once, as upstream de-duplicates.
    let mut blocks = std::collections::BTreeSet::new();
    for bundle in &bundles {
        let mut block = String::new();
        for line in bundle.spec.trust_bundle.lines() {
            block.push_str(line);
            block.push('\n');
            if line.starts_with("-----END ") {
                blocks.insert(std::mem::take(&mut block));
            }
        }
    }
    let data: String = blocks.into_iter().collect();
    let content = Content { data: data.into_bytes(), mode: mode.unsigned_abs(), user: None };
    Ok([(source.path.clone(), content)].into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn one_user_or_none() {
        for (spec, user) in [
            ("{containers: [{name: a}]}", None),
            ("{securityContext: {runAsUser: 7}, containers: [{name: a}]}", Some(7)),
            (
                "{securityContext: {runAsUser: 7}, containers: [{name: a}, {name: b, securityContext: {runAsUser: 8}}]}",
                None,
            ),
            ("{containers: [{name: a, securityContext: {runAsUser: 8}}]}", Some(8)),
        ] {
            assert_eq!(single_user(&pod(spec)), user, "{spec}");
        }
    }
}
