//! ImageLocality: a node that has the pod's images already is better
//! (pkg/scheduler/framework/plugins/imagelocality/image_locality.go@v1.37.2).
//!
//! An image counts less the fewer nodes have it, lest those few nodes get all the pods.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::framework::plugin::{MAX_NODE_SCORE, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::Outcome;
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "ImageLocality";

/// Less than this, in bytes, is not worth looking at.
const THRESHOLD_MIN: i64 = 23 * 1024 * 1024;
/// More than this an image, in bytes, makes no difference.
const THRESHOLD_MAX: i64 = 1000 * 1024 * 1024;

pub(crate) struct ImageLocality;

/// The pod's images by the name nodes use, and how many nodes there are.
#[derive(Clone)]
struct Wanted {
    images: Vec<String>,
    nodes: usize,
}

/// The name with its tag.
fn normalized(name: &str) -> Cow<'_, str> {
    let tagged = name.rfind(':') > name.rfind('/');
    if tagged { name.into() } else { format!("{name}:latest").into() }
}

fn images(pod: &PodInfo) -> Vec<String> {
    let Some(spec) = &pod.pod.spec else { return Vec::new() };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let names = containers.map(|container| container.image.as_deref().unwrap_or_default());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let names = names.chain(volumes.map(|image| image.reference.as_deref().unwrap_or_default()));
    names.map(|name| normalized(name).into_owned()).collect()
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreScore, Point::Score]
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], all: &Snapshot) -> Outcome {
        state.put(Wanted { images: images(pod), nodes: all.nodes().len() });
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(wanted) = state.get::<Wanted>().filter(|wanted| !wanted.images.is_empty()) else { return 0 };
        let here = wanted.images.iter().filter_map(|name| node.images.get(name));
        let spread = |nodes: usize| nodes as f64 / wanted.nodes as f64;
        let sum: i64 = here.map(|i| (i.size as f64 * spread(i.nodes.load(Ordering::Relaxed))) as i64).sum();
        let most = THRESHOLD_MAX * wanted.images.len() as i64;
        MAX_NODE_SCORE * (sum.clamp(THRESHOLD_MIN, most) - THRESHOLD_MIN) / (most - THRESHOLD_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::plugins::testing::scores;
    use crate::testing::{node, pod_info};

    #[test]
    fn images_present_and_widespread_score() {
        let mut cache = Cache::default();
        for (name, images) in [
            ("none", ""),
            ("one", r#"{"names":["web:latest"],"sizeBytes":524288000}"#),
            ("both", r#"{"names":["web:latest"],"sizeBytes":524288000},{"names":["r/db:2"],"sizeBytes":1048576000}"#),
        ] {
            let text = format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"images":[{images}]}}}}"#);
            cache.set_node(&Arc::new(node(&text)));
        }
        let mut all = Snapshot::default();
        cache.update_snapshot(&mut all);
        let pod = pod_info(r#"{"spec":{"containers":[{"name":"a","image":"web"},{"name":"b","image":"r/db:2"}]}}"#);
        // 500 MiB on two of three nodes; 1000 MiB more on one of three.
        assert_eq!(scores(&ImageLocality, &pod, &all), [0, 15, 32]);
    }

    #[test]
    fn names_without_a_tag_mean_latest() {
        for (name, expected) in [
            ("web", "web:latest"),
            ("web:1", "web:1"),
            ("host:5000/web", "host:5000/web:latest"),
            ("host:5000/web:1", "host:5000/web:1"),
            ("web@sha256:ab", "web@sha256:ab"),
        ] {
            assert_eq!(normalized(name), expected);
        }
    }
}
