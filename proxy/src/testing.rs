//! Help for tests: Services and EndpointSlices from YAML, and the node that testdata speaks of.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::config::Config;
use crate::endpoint::{endpoints_of, service_of};
use crate::engine::Engine;
use crate::family::Family;
use crate::node::NodeFacts;
use crate::render::{Context, LocalDetector};
use crate::service::ports_of;

pub(crate) const NODE: &str = "test-node";

/// The objects of a YAML stream, by Service.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) services: BTreeMap<Key, Service>,
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
}

impl Objects {
    pub(crate) fn parse(yaml: &str) -> Self {
        let mut objects = Objects::default();
        for document in yaml.split("\n---\n") {
            if document.contains("kind: EndpointSlice") {
                objects.slices.push(Arc::new(serde_saphyr::from_str(document).expect("an EndpointSlice")));
            } else if document.contains("kind: Service") {
                let service: Service = serde_saphyr::from_str(document).expect("a Service");
                objects.services.insert(Key::of(&service), service);
            }
        }
        objects
    }

    /// Notes everything in an engine.
    pub(crate) fn load(&self, engine: &mut Engine) {
        let family = engine.context().family;
        for (key, service) in &self.services {
            let of = (key.namespace.as_str(), key.name.as_str());
            let slices: Vec<_> = self.slices.iter().filter(|slice| service_of(slice) == Some(of)).cloned().collect();
            engine.set_service(of, ports_of(service, family), endpoints_of(of, &slices, family, NODE));
        }
    }
}

/// The node of testdata: that of upstream's own tests.
pub(crate) fn context(family: Family) -> Context {
    let four = family == Family::IPv4;
    let (pods, services) = if four { ("10.0.0.0/8", "172.30.0.0/16") } else { ("fd00:10::/64", "fd00:10:96::/112") };
    let node_ip = if four { "192.168.0.2" } else { "2001:db8::1" }.parse().expect("an address");
    let saddr = format!("{} saddr", family.nft());
    Context {
        family,
        table: "kube-proxy".into(),
        node: NODE.into(),
        node_ip,
        zone: NodeFacts::of(None, &Config::new(NODE)).zone,
        local: Some(LocalDetector { if_local: format!("{saddr} {pods}"), if_not_local: format!("{saddr} != {pods}") }),
        masquerade_all: false,
        masquerade_mark: "0x4000".into(),
        node_port_ips: Some(vec![node_ip]),
        service_cidrs: vec![services.into()],
    }
}

/// The ruleset of a file, as an engine renders it.
pub(crate) fn engine(yaml: &str, context: Context) -> Engine {
    let mut engine = Engine::new(context);
    Objects::parse(yaml).load(&mut engine);
    engine
}

#[test]
fn rulesets_are_upstreams() {
    // The .nft files are what upstream's proxier (pkg/proxy/nftables@v1.37.2 with its fake nft)
    // makes of the same objects, with the elements of each set and map sorted.
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut compared = 0;
    for entry in std::fs::read_dir(&directory).expect("testdata") {
        let path = entry.expect("a file").path();
        let Some(expect) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".nft")) else {
            continue;
        };
        let (name, family) = expect.rsplit_once('.').expect("NAME.FAMILY.nft");
        let family = if family == "IPv4" { Family::IPv4 } else { Family::IPv6 };
        let yaml = std::fs::read_to_string(directory.join(format!("{name}.yaml"))).expect("the objects");
        let found = engine(&yaml, context(family)).render().to_text();
        let expect = std::fs::read_to_string(&path).expect("the ruleset");
        let differs = found.lines().zip(expect.lines()).find(|(found, expect)| found != expect);
        assert_eq!(differs, None, "{}: ours, upstream's", path.display());
        assert_eq!(found.lines().count(), expect.lines().count(), "{}", path.display());
        compared += 1;
    }
    assert_eq!(compared, 8);
}
