//! How many pods a second the scheduling cycle places, without any API server:
//! `throughput [NODES] [PODS]`.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use scheduler::config::Config;
use scheduler::simulate::Simulation;
use serde_json::json;

fn node(i: usize) -> Node {
    let (name, zone) = (format!("node-{i}"), format!("zone-{}", i % 3));
    let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone});
    let allocatable = json!({"cpu": "32", "memory": "64Gi", "pods": "110"});
    from(json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}}))
}

fn pod(i: usize, spec: &serde_json::Value) -> Pod {
    let requests = json!({"cpu": "100m", "memory": "200Mi"});
    let mut all = json!({"schedulerName": "default-scheduler", "containers": [{"name": "c", "image": "web:1",
        "resources": {"requests": requests}}]});
    for (key, value) in spec.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    let name = format!("pod-{i}");
    from(json!({"metadata": {"name": name, "uid": name, "namespace": "d", "labels": {"app": "web"}}, "spec": all}))
}

fn from<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("the literals above are valid")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let nodes = arguments.next().transpose()?.unwrap_or(1000);
    let pods = arguments.next().transpose()?.unwrap_or(10_000);
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "other"}}});
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let service = json!({"metadata": {"name": "web", "namespace": "d"}, "spec": {"selector": {"app": "web"}}});
    for (what, spec, with_service) in [
        ("plain", json!({}), false),
        ("of a service", json!({}), true),
        ("spread over zones", spread, false),
        ("anti-affinity", apart, false),
    ] {
        let config = Config { seed: Some(1), ..Config::default() };
        let mut simulation = Simulation::new(&config, (0..nodes).map(node))?;
        if with_service {
            simulation.add_service(from::<Service>(service.clone()));
        }
        let made: Vec<Pod> = (0..pods).map(|i| pod(i, &spec)).collect();
        let start = Instant::now();
        let placed = made.into_iter().filter(|pod| simulation.schedule(pod.clone()).is_ok()).count();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{what}: {placed} of {pods} pods on {nodes} nodes in {seconds:.2} s, {:.0} pods/s",
            pods as f64 / seconds
        );
    }
    Ok(())
}
