//! Which objects a pod and a persistent volume refer to, as far as a kubelet needs to read them.
//!
//! Upstream: `pkg/api/v1/pod/util.go@v1.37.2`, `pkg/api/v1/persistentvolume/util.go@v1.37.2`,
//! `k8s.io/dynamic-resource-allocation/resourceclaim/{claim,pod}.go@v0.37.2`.

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, LocalObjectReference, PersistentVolume, Pod, PodSpec, SecretReference, Volume,
};

use super::graph::Kind;

/// Every reference of the pod in its namespace, as kind and name; a name may come more than once.
pub(super) fn of_pod(pod: &Pod) -> Vec<(Kind, String)> {
    let mut found = References::default();
    let Some(spec) = &pod.spec else { return found.0 };
    found.add(Kind::ServiceAccount, spec.service_account_name.as_deref());
    for secret in spec.image_pull_secrets.iter().flatten() {
        found.add(Kind::Secret, Some(&secret.name));
    }
    found.containers(spec);
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    for volume in spec.volumes.iter().flatten() {
        found.volume(volume, pod_name);
    }
    found.resource_claims(pod, spec);
    found.0
}

#[derive(Default)]
struct References(Vec<(Kind, String)>);

impl References {
    fn add(&mut self, kind: Kind, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.0.push((kind, name.to_owned()));
        }
    }

    fn secret(&mut self, reference: Option<&LocalObjectReference>) {
        self.add(Kind::Secret, reference.map(|r| r.name.as_str()));
    }

    fn containers(&mut self, spec: &PodSpec) {
        let container = |c: &Container| (c.env_from.clone(), c.env.clone());
        let ordinary = spec.init_containers.iter().flatten().chain(&spec.containers).map(container);
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| (c.env_from.clone(), c.env.clone()));
        for (sources, variables) in ordinary.chain(ephemeral) {
            sources.iter().flatten().for_each(|source| self.env_from(source));
            variables.iter().flatten().for_each(|variable| self.env(variable));
        }
    }

    fn env_from(&mut self, source: &EnvFromSource) {
        self.add(Kind::Secret, source.secret_ref.as_ref().map(|r| r.name.as_str()));
        self.add(Kind::ConfigMap, source.config_map_ref.as_ref().map(|r| r.name.as_str()));
    }

    fn env(&mut self, variable: &EnvVar) {
        let Some(source) = &variable.value_from else { return };
        self.add(Kind::Secret, source.secret_key_ref.as_ref().map(|r| r.name.as_str()));
        self.add(Kind::ConfigMap, source.config_map_key_ref.as_ref().map(|r| r.name.as_str()));
    }

    fn volume(&mut self, volume: &Volume, pod: &str) {
        self.add(Kind::Secret, volume.azure_file.as_ref().map(|v| v.secret_name.as_str()));
        self.add(Kind::Secret, volume.secret.as_ref().and_then(|v| v.secret_name.as_deref()));
        self.secret(volume.cephfs.as_ref().and_then(|v| v.secret_ref.as_ref()));
        self.secret(volume.cinder.as_ref().and_then(|v| v.secret_ref.as_ref()));
        self.secret(volume.flex_volume.as_ref().and_then(|v| v.secret_ref.as_ref()));
        self.secret(volume.rbd.as_ref().and_then(|v| v.secret_ref.as_ref()));
        self.secret(volume.scale_io.as_ref().map(|v| &v.secret_ref));
        self.secret(volume.iscsi.as_ref().and_then(|v| v.secret_ref.as_ref()));
        self.secret(volume.storageos.as_ref().and_then(|v| v.secret_ref.as_ref()));
        self.secret(volume.csi.as_ref().and_then(|v| v.node_publish_secret_ref.as_ref()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            self.add(Kind::Secret, source.secret.as_ref().map(|s| s.name.as_str()));
            self.add(Kind::ConfigMap, source.config_map.as_ref().map(|c| c.name.as_str()));
        }
        self.add(Kind::ConfigMap, volume.config_map.as_ref().map(|c| c.name.as_str()));
        if let Some(claim) = &volume.persistent_volume_claim {
            self.add(Kind::PersistentVolumeClaim, Some(&claim.claim_name));
        } else if volume.ephemeral.is_some() {
            self.add(Kind::PersistentVolumeClaim, Some(&format!("{pod}-{}", volume.name)));
        }
    }

    /// Claims that exist: named ones, and generated ones once the status tells their names.
    fn resource_claims(&mut self, pod: &Pod, spec: &PodSpec) {
        let status = pod.status.as_ref();
        for claim in spec.resource_claims.iter().flatten() {
            if claim.resource_claim_name.is_some() {
                self.add(Kind::ResourceClaim, claim.resource_claim_name.as_deref());
            } else if claim.resource_claim_template_name.is_some() {
                let generated = status.and_then(|s| s.resource_claim_statuses.as_ref()).into_iter().flatten();
                let generated =
                    generated.filter(|s| s.name == claim.name).find_map(|s| s.resource_claim_name.as_deref());
                self.add(Kind::ResourceClaim, generated);
            }
        }
        let extended = status.and_then(|s| s.extended_resource_claim_status.as_ref());
        self.add(Kind::ResourceClaim, extended.map(|s| s.resource_claim_name.as_str()));
    }
}

/// The secrets that a kubelet needs to mount the volume, as namespace and name.
pub(super) fn secrets_of_volume(volume: &PersistentVolume) -> Vec<(String, String)> {
    let Some(spec) = &volume.spec else { return Vec::new() };
    let claim = spec.claim_ref.as_ref().and_then(|r| r.namespace.clone()).unwrap_or_default();
    // Old objects leave out the namespace and mean that of the claim.
    let in_claim = |r: &SecretReference| {
        let namespace = r.namespace.clone().filter(|ns| !ns.is_empty());
        (namespace.unwrap_or_else(|| claim.clone()), r.name.clone().unwrap_or_default())
    };
    let exactly = |r: &SecretReference| (r.namespace.clone().unwrap_or_default(), r.name.clone().unwrap_or_default());
    let mut found = Vec::new();
    if let Some(v) = &spec.azure_file {
        let namespace = v.secret_namespace.clone().filter(|ns| !ns.is_empty()).unwrap_or_else(|| claim.clone());
        found.push((namespace, v.secret_name.clone()));
    }
    found.extend(spec.cephfs.iter().filter_map(|v| v.secret_ref.as_ref()).map(in_claim));
    found.extend(spec.cinder.iter().filter_map(|v| v.secret_ref.as_ref()).map(exactly));
    found.extend(spec.flex_volume.iter().filter_map(|v| v.secret_ref.as_ref()).map(in_claim));
    found.extend(spec.rbd.iter().filter_map(|v| v.secret_ref.as_ref()).map(in_claim));
    found.extend(spec.scale_io.iter().map(|v| in_claim(&v.secret_ref)));
    found.extend(spec.iscsi.iter().filter_map(|v| v.secret_ref.as_ref()).map(in_claim));
    for reference in spec.storageos.iter().filter_map(|v| v.secret_ref.as_ref()) {
        found.push((reference.namespace.clone().unwrap_or_default(), reference.name.clone().unwrap_or_default()));
    }
    if let Some(v) = &spec.csi {
        let node = [&v.node_publish_secret_ref, &v.node_stage_secret_ref, &v.node_expand_secret_ref];
        found.extend(node.into_iter().flatten().map(exactly));
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_refer_to_what_their_containers_and_volumes_use() {
        let env = |suffix: &str| {
            json!({
                "name": format!("c{suffix}"),
                "envFrom": [{"secretRef": {"name": format!("s-from{suffix}")}}, {"configMapRef": {"name": format!("c-from{suffix}")}}],
                "env": [
                    {"name": "a", "valueFrom": {"secretKeyRef": {"name": format!("s-key{suffix}"), "key": "k"}}},
                    {"name": "b", "valueFrom": {"configMapKeyRef": {"name": format!("c-key{suffix}"), "key": "k"}}},
                    {"name": "c", "value": "v"},
                ],
            })
        };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {
                "serviceAccountName": "sa",
                "imagePullSecrets": [{"name": "s-pull"}, {"name": ""}],
                "containers": [env("1")], "initContainers": [env("2")], "ephemeralContainers": [env("3")],
                "volumes": [
                    {"name": "1", "secret": {"secretName": "s-volume"}},
                    {"name": "2", "configMap": {"name": "c-volume"}},
                    {"name": "3", "projected": {"sources": [{"secret": {"name": "s-projected"}}, {"configMap": {"name": "c-projected"}}]}},
                    {"name": "4", "azureFile": {"secretName": "s-azure", "shareName": ""}},
                    {"name": "5", "cephfs": {"monitors": [], "secretRef": {"name": "s-ceph"}}},
                    {"name": "6", "cinder": {"volumeID": "", "secretRef": {"name": "s-cinder"}}},
                    {"name": "7", "flexVolume": {"driver": "", "secretRef": {"name": "s-flex"}}},
                    {"name": "8", "rbd": {"monitors": [], "image": "", "secretRef": {"name": "s-rbd"}}},
                    {"name": "9", "scaleIO": {"gateway": "", "system": "", "secretRef": {"name": "s-scale"}}},
                    {"name": "10", "iscsi": {"targetPortal": "", "iqn": "", "lun": 0, "secretRef": {"name": "s-iscsi"}}},
                    {"name": "11", "storageos": {"secretRef": {"name": "s-storage"}}},
                    {"name": "12", "csi": {"driver": "", "nodePublishSecretRef": {"name": "s-csi"}}},
                    {"name": "13", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "scratch", "ephemeral": {}},
                ],
                "resourceClaims": [
                    {"name": "a", "resourceClaimName": "named"},
                    {"name": "b", "resourceClaimTemplateName": "t"},
                    {"name": "c", "resourceClaimTemplateName": "pending"},
                ],
            },
            "status": {
                "resourceClaimStatuses": [{"name": "b", "resourceClaimName": "generated"}, {"name": "c"}],
                "extendedResourceClaimStatus": {"requestMappings": [], "resourceClaimName": "extended"},
            },
        }))
        .unwrap();
        let names = |kind: Kind| {
            let mut names: Vec<String> = of_pod(&pod).into_iter().filter(|(k, _)| *k == kind).map(|(_, n)| n).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(
            names(Kind::Secret),
            "s-azure s-ceph s-cinder s-csi s-flex s-from1 s-from2 s-from3 s-iscsi s-key1 s-key2 s-key3 s-projected \
             s-pull s-rbd s-scale s-storage s-volume"
        );
        assert_eq!(names(Kind::ConfigMap), "c-from1 c-from2 c-from3 c-key1 c-key2 c-key3 c-projected c-volume");
        assert_eq!(names(Kind::PersistentVolumeClaim), "claim p-scratch");
        assert_eq!(names(Kind::ResourceClaim), "extended generated named");
        assert_eq!(names(Kind::ServiceAccount), "sa");
    }

    #[test]
    fn volumes_refer_to_secrets_for_the_kubelet_only() {
        let reference = |ns: &str, name: &str| json!({"namespace": ns, "name": name});
        let cases = [
            (json!({"azureFile": {"secretName": "a", "shareName": ""}}), "claim/a"),
            (json!({"azureFile": {"secretName": "a", "secretNamespace": "x", "shareName": ""}}), "x/a"),
            (json!({"cephfs": {"monitors": [], "secretRef": reference("", "a")}}), "claim/a"),
            (json!({"cephfs": {"monitors": [], "secretRef": reference("x", "a")}}), "x/a"),
            (json!({"cinder": {"volumeID": "", "secretRef": reference("x", "a")}}), "x/a"),
            (json!({"storageos": {"secretRef": reference("x", "a")}}), "x/a"),
            (
                json!({"csi": {"driver": "", "volumeHandle": "",
                    "controllerPublishSecretRef": reference("x", "controller"),
                    "controllerExpandSecretRef": reference("x", "controller"),
                    "nodePublishSecretRef": reference("x", "publish"),
                    "nodeStageSecretRef": reference("x", "stage"),
                    "nodeExpandSecretRef": reference("x", "expand")}}),
                "x/publish x/stage x/expand",
            ),
            (json!({"hostPath": {"path": "/"}}), ""),
        ];
        for (mut spec, want) in cases {
            spec["claimRef"] = json!({"namespace": "claim", "name": "c"});
            let volume: PersistentVolume = serde_json::from_value(json!({"spec": spec})).unwrap();
            let got: Vec<String> = secrets_of_volume(&volume).iter().map(|(ns, n)| format!("{ns}/{n}")).collect();
            assert_eq!(got.join(" "), want);
        }
    }
}
