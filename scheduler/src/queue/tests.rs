//! The queue under a paused clock.

use super::*;
use crate::framework::event::Action;
use crate::plugins::testing::default_profile;
use crate::testing::{node, pod};

const DELAYS: Delays = Delays {
    initial_backoff: Duration::from_secs(1),
    max_backoff: Duration::from_secs(10),
    max_unschedulable: Duration::from_secs(300),
};

fn queue() -> Queue {
    let profiles = Profiles::from([("default-scheduler".to_string(), Arc::new(default_profile()))]);
    Queue::new(Arc::new(profiles), Arc::default(), DELAYS)
}

fn named(name: &str, spec: &str) -> Arc<Pod> {
    Arc::new(pod(&format!(
        r#"{{"metadata":{{"name":"{name}","uid":"{name}","namespace":"d"}},
        "spec":{{"schedulerName":"default-scheduler",{spec}}}}}"#
    )))
}

const ONE_CPU: &str = r#""containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]"#;

fn refuse(queue: &Queue, mut pod: Queued, plugins: &[&'static str]) {
    pod.refused_by = plugins.iter().copied().collect();
    queue.give_back(pod);
}

fn everyone(_: &PodInfo) -> bool {
    true
}

fn node_with(cpu: &str) -> Arc<k8s_openapi::api::core::v1::Node> {
    let status = format!(r#"{{"allocatable":{{"cpu":"{cpu}","pods":"10"}}}}"#);
    Arc::new(node(&format!(r#"{{"metadata":{{"name":"n"}},"status":{status}}}"#)))
}

fn node_added(queue: &Queue, cpu: &str) {
    let event = ClusterEvent::new(Resource::Node, Action::ADD);
    queue.on_event(event, &Change::Node(None, Some(node_with(cpu))), &everyone);
}

async fn pop_after(queue: &Queue) -> (String, f64) {
    let start = Instant::now();
    let pod = queue.pop().await;
    let taken = start.elapsed().as_secs_f64();
    let name = pod.info.name().to_string();
    refuse(queue, pod, &["NodeResourcesFit"]);
    (name, taken)
}

#[tokio::test(start_paused = true)]
async fn the_highest_priority_comes_first_then_the_oldest() {
    let queue = queue();
    for (name, priority) in [("low", 0), ("first", 10), ("second", 10)] {
        queue.add(&named(name, &format!(r#""priority":{priority}"#)));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    for expected in ["first", "second", "low"] {
        assert_eq!(queue.pop().await.info.name(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_waits_for_an_event_that_helps_and_its_penalty_doubles() {
    let queue = queue();
    queue.add(&named("p", ONE_CPU));
    assert_eq!(pop_after(&queue).await, ("p".into(), 0.0));
    node_added(&queue, "500m");
    assert_eq!(queue.lengths(), (0, 0, 1), "a node too small does not help");
    for expected in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
        node_added(&queue, "2");
        assert_eq!(queue.lengths(), (0, 1, 0));
        assert_eq!(pop_after(&queue).await, ("p".into(), expected));
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    node_added(&queue, "2");
    assert_eq!(queue.lengths(), (1, 0, 0), "the penalty was over long ago");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nothing_helps_is_tried_again_after_five_minutes() {
    let queue = queue();
    queue.add(&named("p", ONE_CPU));
    pop_after(&queue).await;
    assert_eq!(pop_after(&queue).await, ("p".into(), 300.0));
    assert_eq!(pop_after(&queue).await, ("p".into(), 300.0));
}

#[tokio::test(start_paused = true)]
async fn an_event_during_scheduling_is_not_lost() {
    let queue = queue();
    queue.add(&named("p", ONE_CPU));
    let pod = queue.pop().await;
    node_added(&queue, "2");
    refuse(&queue, pod, &["NodeResourcesFit"]);
    assert_eq!(queue.lengths(), (0, 1, 0));
    let pod = queue.pop().await;
    refuse(&queue, pod, &["NodeResourcesFit"]);
    assert_eq!(queue.lengths(), (0, 0, 1), "that event was before this attempt");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_the_pods_is_retried_without_an_event() {
    let queue = queue();
    queue.add(&named("p", ONE_CPU));
    for expected in [0.0, 1.0, 2.0] {
        let start = Instant::now();
        let pod = queue.pop().await;
        assert_eq!(start.elapsed().as_secs_f64(), expected);
        refuse(&queue, pod, &[]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_is_not_tried_until_its_gates_are_gone() {
    let queue = queue();
    let (gated, open) = (named("p", r#""schedulingGates":[{"name":"g"}]"#), named("p", r#""priority":0"#));
    queue.add(&gated);
    node_added(&queue, "2");
    queue.on_event(ClusterEvent::ANY, &Change::None, &everyone);
    assert_eq!(queue.lengths(), (0, 0, 1));
    queue.update(&gated, &open);
    assert_eq!(pop_after(&queue).await, ("p".into(), 0.0));
}

#[tokio::test(start_paused = true)]
async fn deleted_pods_are_gone_and_activated_pods_come_at_once() {
    let queue = queue();
    queue.add(&named("p", ONE_CPU));
    queue.add(&named("q", ONE_CPU));
    queue.remove("p");
    assert_eq!(pop_after(&queue).await, ("q".into(), 0.0));
    queue.activate(&Uid::from("q"));
    assert_eq!(pop_after(&queue).await, ("q".into(), 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_changed_pod_is_tried_as_it_is_now() {
    let queue = queue();
    let (old, new) = (named("p", ONE_CPU), named("p", r#""priority":7"#));
    queue.add(&old);
    queue.update(&old, &new);
    assert_eq!(queue.pop().await.info.priority, 7);
}
