//! Cluster DNS as objects of the API: the Service at its well-known address, the endpoint where it listens,
//! and what its identity may read. Whether it answers is asked as a pod would ask.
//!
//! Invariant: names and labels are those of CoreDNS's usual installation, which may take its place.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use super::identities::DNS_USER;
use super::plan::DNS_ADDRESS;

const PORT: u16 = 53;
/// Between two questions while there is no answer: rules may be on their way.
const ASK_PERIOD: Duration = Duration::from_millis(50);

fn objects(listens: Ipv4Addr) -> [Value; 4] {
    let labels = json!({ "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" });
    let meta = |name: &str, labels: &Value| json!({ "name": name, "namespace": "kube-system", "labels": labels });
    let read = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": ["list", "watch"] });
    let slice_labels = json!({
        "kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "keelson",
    });
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": DNS_USER },
            "rules": [
                read("", &["endpoints", "services", "pods", "namespaces"]),
                read("discovery.k8s.io", &["endpointslices"]),
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": DNS_USER },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DNS_USER },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DNS_USER }],
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta("kube-dns", &labels),
            "spec": {
                "clusterIP": DNS_ADDRESS,
                "ports": [
                    { "name": "dns", "port": PORT, "protocol": "UDP" }, { "name": "dns-tcp", "port": PORT, "protocol": "TCP" },
                ],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta("kube-dns-keelson", &slice_labels),
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [listens], "conditions": { "ready": true } }],
            "ports": [
                { "name": "dns", "port": PORT, "protocol": "UDP" }, { "name": "dns-tcp", "port": PORT, "protocol": "TCP" },
            ],
        }),
    ]
}

/// Makes the objects, or makes them right.
pub(crate) async fn publish(admin: &Client, listens: Ipv4Addr) -> Result<()> {
    for object in objects(listens) {
        let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
        ensure(admin, object).await.with_context(|| what)?;
    }
    Ok(())
}

async fn ensure(admin: &Client, object: Value) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(admin.clone(), namespace, &resource),
        None => Api::all_with(admin.clone(), &resource),
    };
    let name = text(&object["metadata"]["name"]);
    // Asked for first: a second Service of the address would be refused for the address, not for its name.
    if api.get_metadata_opt(&name).await?.is_none() {
        match api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => return Ok(other.map(drop)?),
        }
    }
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&object)).await?;
    Ok(())
}

/// Returns once the cluster's address answers for the name of the API's Service.
pub(crate) async fn answers() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let question = question("kubernetes.default.svc.cluster.local");
    let server = SocketAddr::new(DNS_ADDRESS.into(), PORT);
    let mut answer = [0; 512];
    loop {
        // Without rules yet the host may say that nobody is there; that is no answer.
        let asked = socket.send_to(&question, server).await;
        let received = tokio::time::timeout(ASK_PERIOD, socket.recv(&mut answer)).await;
        match (asked, received) {
            (Ok(_), Ok(Ok(length))) if is_answer(&answer[..length]) => return Ok(()),
            (Ok(_), Err(_)) => {}
            _ => tokio::time::sleep(ASK_PERIOD).await,
        }
    }
}

/// A query for the A records of a name (RFC 1035, 4.1).
fn question(name: &str) -> Vec<u8> {
    const RECURSION_DESIRED: u8 = 1;
    let mut packet = vec![0x4b, 0x45, RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// An answer to us, without error and with a record.
fn is_answer(packet: &[u8]) -> bool {
    packet.len() > 12
        && packet[..2] == [0x4b, 0x45]
        && packet[2] & 0x80 != 0
        && packet[3] & 0x0f == 0
        && packet[6..8] != [0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_no_answer() {
        let mut packet = question("a.b");
        assert_eq!(&packet[12..], [1, b'a', 1, b'b', 0, 0, 1, 0, 1]);
        assert!(!is_answer(&packet));
        packet[2] |= 0x80;
        assert!(!is_answer(&packet), "no record");
        packet[7] = 1;
        assert!(is_answer(&packet));
        packet[3] = 2;
        assert!(!is_answer(&packet), "SERVFAIL");
    }
}
