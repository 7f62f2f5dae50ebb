//! Whole cycles against a recording writer.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::config::{Config, profiles};
use crate::queue::Delays;
use crate::recorder::Recorder;
use crate::testing::{node, pod};
use crate::writer::{Writer, Written};

/// Remembers writes.
#[derive(Default)]
struct Recording {
    writes: Mutex<Vec<String>>,
}

impl Recording {
    fn say<'a>(&'a self, what: String) -> Written<'a> {
        self.writes.lock().push(what);
        Box::pin(async { Ok(()) })
    }
}

impl Writer for Recording {
    fn bind<'a>(&'a self, _: &'a str, name: &'a str, uid: &'a str, node: &'a str) -> Written<'a> {
        self.say(format!("bind {name} {uid} {node}"))
    }

    fn patch_status<'a>(&'a self, _: &'a str, name: &'a str, patch: Value) -> Written<'a> {
        let condition = &patch["status"]["conditions"][0];
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_string();
        let nominated = &patch["status"]["nominatedNodeName"];
        self.say(format!("patch {name} {} {} {}", text("type"), text("reason"), nominated))
    }

    fn delete<'a>(&'a self, _: &'a str, name: &'a str) -> Written<'a> {
        self.say(format!("delete {name}"))
    }
}

struct World {
    scheduler: Arc<Scheduler>,
    writer: Arc<Recording>,
    events: tokio::sync::mpsc::Receiver<k8s_openapi::api::events::v1::Event>,
    algorithm: Algorithm,
}

impl World {
    fn new() -> Self {
        let (recorder, events) = Recorder::channel();
        let writer = Arc::new(Recording::default());
        let handle = Handle { recorder, writer: writer.clone(), ..Handle::for_test() };
        let made = profiles::make(&Config::default(), &handle).unwrap();
        let profiles = Arc::new(made.into_iter().map(|(name, profile)| (name, Arc::new(profile))).collect());
        let delays = Delays {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            max_unschedulable: Duration::from_secs(300),
        };
        let queue = Queue::new(Arc::clone(&profiles), handle.nominator.clone(), delays);
        let scheduler = Arc::new(Scheduler { profiles, cache: Mutex::default(), queue, handle });
        World { scheduler, writer, events, algorithm: Algorithm::new(0, Some(1)) }
    }

    fn add_node(&self, name: &str, cpu: &str) {
        let status = format!(r#"{{"allocatable":{{"cpu":"{cpu}","pods":"10"}}}}"#);
        let node = node(&format!(r#"{{"metadata":{{"name":"{name}"}},"status":{status}}}"#));
        self.scheduler.on_node(None, Some(&Arc::new(node)));
    }

    fn add_pod(&self, name: &str, cpu: &str, more: &str) -> Arc<Pod> {
        let containers = format!(r#"[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]"#);
        let spec = format!(r#"{{"schedulerName":"default-scheduler","containers":{containers}{more}}}"#);
        let meta = format!(r#"{{"namespace":"d","name":"{name}","uid":"u-{name}"}}"#);
        let pod = Arc::new(pod(&format!(r#"{{"metadata":{meta},"spec":{spec}}}"#)));
        self.scheduler.handle.listers.pods.insert(pod.clone());
        self.scheduler.on_pod(None, Some(&pod));
        pod
    }

    /// Schedules one pod and lets everything it starts finish.
    async fn step(&mut self) -> Vec<String> {
        let pod = self.scheduler.queue.pop().await;
        self.scheduler.schedule_one(&mut self.algorithm, pod);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        std::mem::take(&mut *self.writer.writes.lock())
    }

    fn event(&mut self) -> String {
        let event = self.events.try_recv().expect("an event");
        format!("{} {} {}", event.type_.unwrap(), event.reason.unwrap(), event.note.unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_and_counted_at_once() {
    let mut world = World::new();
    world.add_node("n1", "1");
    world.add_pod("a", "1", "");
    world.add_pod("b", "1", "");
    assert_eq!(world.step().await, ["bind a u-a n1"]);
    assert_eq!(world.event(), "Normal Scheduled Successfully assigned d/a to n1");
    assert_eq!(world.step().await, [r#"patch b PodScheduled Unschedulable null"#]);
    assert_eq!(
        world.event(),
        "Warning FailedScheduling 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 \
         No preemption victims found for incoming pod."
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_is_scheduled_when_a_node_comes() {
    let mut world = World::new();
    world.add_node("small", "1");
    world.add_pod("p", "2", "");
    world.step().await;
    world.add_node("large", "4");
    let start = tokio::time::Instant::now();
    assert_eq!(world.step().await, ["bind p u-p large"]);
    assert_eq!(start.elapsed(), Duration::from_secs(1), "after its first penalty");
}

#[tokio::test(start_paused = true)]
async fn without_nodes_the_pod_waits() {
    let mut world = World::new();
    world.add_pod("p", "1", "");
    assert_eq!(world.step().await, [r#"patch p PodScheduled Unschedulable null"#]);
    assert_eq!(world.event(), "Warning FailedScheduling no nodes available to schedule pods");
}

#[tokio::test(start_paused = true)]
async fn a_high_priority_pod_takes_the_place_of_a_low_one() {
    let mut world = World::new();
    world.add_node("n1", "1");
    let low = world.add_pod("low", "1", "");
    assert_eq!(world.step().await, ["bind low u-low n1"]);
    let low_there = Arc::new(on_node(&low, "n1"));
    world.scheduler.on_pod(Some(&low), Some(&low_there));
    world.scheduler.handle.listers.pods.insert(low_there.clone());
    world.add_pod("high", "1", r#","priority":10"#);
    let mut writes = world.step().await;
    writes.sort();
    assert_eq!(
        writes,
        [
            "delete low",
            r#"patch high PodScheduled Unschedulable "n1""#,
            "patch low DisruptionTarget PreemptionByScheduler null",
        ]
    );
    let told: Vec<String> = (0..3).map(|_| world.event()).collect();
    assert!(told.contains(&"Normal Preempted Preempted by pod u-high on node n1".to_string()), "{told:?}");
    let message = "Warning FailedScheduling 0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential \
                   placement for pod on node n1, preempting 1 victims";
    assert!(told.contains(&message.to_string()), "{told:?}");
    world.scheduler.on_pod(Some(&low_there), None);
    assert_eq!(world.step().await, ["bind high u-high n1"]);
}
