//! Who is who in the cluster: every certificate that `up` makes, as kubeadm would, and the kubeconfig files
//! with which upstream's components could take the place of ours.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::files;
use super::kubeconfig::Access;
use super::pki::{Identity, Pki, Subject};
use super::plan::{Nodes, Plan};

const MASTERS: &[&str] = &["system:masters"];
const NODES: &[&str] = &["system:nodes"];
/// The user whom the cluster's DNS is; bound to what CoreDNS may.
pub(crate) const DNS_USER: &str = "system:coredns";

pub(crate) struct Identities {
    pub(crate) pki: Pki,
    pub(crate) admin: Identity,
    pub(crate) controller_manager: Identity,
    pub(crate) scheduler: Identity,
    pub(crate) proxy: Identity,
    pub(crate) dns: Identity,
    /// With which the API server calls kubelets.
    pub(crate) kubelet_client: Identity,
    pub(crate) nodes: BTreeMap<String, Identity>,
}

impl Identities {
    pub(crate) fn make(pki: Pki, plan: &Plan) -> Result<Self> {
        let client =
            |name: &str, user: &str, groups: &[&str]| pki.identity(name, &pki.ca, &Subject::client(user, groups));
        let serving = Subject { user: "kube-apiserver", groups: &[], hosts: plan.server_hosts() };
        pki.identity("apiserver", &pki.ca, &serving)?;
        pki.identity("front-proxy-client", &pki.front_proxy_ca, &Subject::client("front-proxy-client", &[]))?;
        let mut nodes = BTreeMap::new();
        for name in plan.node_names() {
            let user = format!("system:node:{name}");
            if plan.is_real() {
                let serving = Subject { user: &user, groups: NODES, hosts: plan.node_hosts(&name) };
                pki.identity(&kubelet_server(&name), &pki.ca, &serving)?;
            }
            let subject = Subject::client(&user, NODES);
            // Fake nodes are many, and as short-lived as the process.
            let identity = match plan.nodes {
                Nodes::Real(_) => pki.identity(&format!("kubelet-{name}"), &pki.ca, &subject)?,
                _ => pki.passing(&pki.ca, &subject)?,
            };
            nodes.insert(name, identity);
        }
        Ok(Identities {
            admin: client("admin", "kubernetes-admin", MASTERS)?,
            controller_manager: client("controller-manager", "system:kube-controller-manager", &[])?,
            scheduler: client("scheduler", "system:kube-scheduler", &[])?,
            proxy: client("kube-proxy", "system:kube-proxy", &[])?,
            dns: client("dns", DNS_USER, &[])?,
            kubelet_client: client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", MASTERS)?,
            nodes,
            pki,
        })
    }

    /// Writes the kubeconfig files; kubeadm's names, but for the administrator's.
    pub(crate) fn write_kubeconfigs(&self, plan: &Plan) -> Result<()> {
        let mut files = vec![
            (plan.place.admin_kubeconfig(), &self.admin),
            (plan.place.at("controller-manager.conf"), &self.controller_manager),
            (plan.place.at("scheduler.conf"), &self.scheduler),
            (plan.place.at("kube-proxy.conf"), &self.proxy),
            (plan.place.at("dns.conf"), &self.dns),
        ];
        if plan.is_real() {
            files.extend(self.nodes.iter().map(|(name, identity)| (kubelet_conf(plan, name), identity)));
        }
        let (name, server) = (plan.place.label(), plan.server());
        for (path, identity) in files {
            let access = Access { name: &name, server: &server, ca: &self.pki.ca.cert, identity };
            let text = access.file()?;
            if files::read(&path)?.as_deref() != Some(&text) {
                files::write(&path, text.as_bytes(), 0o600, false)?;
            }
        }
        Ok(())
    }
}

/// Base name of the certificate and key with which a node's kubelet serves.
pub(crate) fn kubelet_server(node: &str) -> String {
    format!("kubelet-server-{node}")
}

pub(crate) fn kubelet_conf(plan: &Plan, node: &str) -> PathBuf {
    plan.place.at(format!("kubelet-{node}.conf"))
}
