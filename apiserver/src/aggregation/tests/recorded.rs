//! What upstream's server registers by itself, and what it says of its readiness.

use api::object::Meta;
use api::value::{Map, Value};

use super::{SERVICES, World};
use crate::webhook::testing::object;

/// `kubectl get apiservices -o json` of kube-apiserver v1.37.2 with default flags.
const RECORDED: &str = include_str!("../testdata/apiservices.json");

/// `/apis` of the same server.
const GROUPS: &str = include_str!("../testdata/apis.json");

/// Name, labels, spec and condition of every APIService.
fn rows(list: &Map) -> Vec<String> {
    let row = |service: &Map| {
        let mut shown = Map::new();
        shown.set("name", service.name());
        shown.set("labels", service.meta().map("labels").cloned().unwrap_or_default());
        shown.set("spec", service.map("spec").cloned().unwrap_or_default());
        let status = service.map("status").unwrap_or(Map::EMPTY);
        let conditions = status.maps("conditions").map(|condition| {
            let mut condition = condition.clone();
            condition.remove("lastTransitionTime");
            Value::Map(condition)
        });
        shown.set("conditions", conditions.collect::<Vec<_>>());
        crate::resources::common::rows::pretty(&shown)
    };
    list.maps("items").map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn built_in_group_versions_are_registered_as_upstream_does() {
    let world = World::new().await;
    let got = rows(&world.get(SERVICES).await.object());
    assert_eq!(got.join(""), rows(&object(RECORDED)).join(""));
    let (ours, theirs) = (world.get("/apis").await.object(), object(GROUPS));
    assert_eq!(ours.list("groups"), theirs.list("groups"));
    let ready = world.get("/readyz?verbose").await.text;
    let ours: Vec<&str> = ready.lines().filter(|line| is_aggregator_s(line)).collect();
    let theirs: Vec<&str> = READY.lines().filter(|line| is_aggregator_s(line)).collect();
    assert_eq!(ours, theirs);
    world.server.stop();
}

/// `/readyz?verbose` of the same server.
const READY: &str = include_str!("../testdata/readyz.txt");

fn is_aggregator_s(line: &str) -> bool {
    ["aggregator", "apiservice", "autoregist"].iter().any(|part| line.contains(part))
}
