//! Statuses in one line of text each.

use super::*;
use crate::testing::{pod, yaml};

fn seen(name: &str, id: &str, state: State, restart_count: i32, exit_code: i32) -> Seen {
    Seen {
        id: id.into(),
        name: name.into(),
        sandbox_id: "s".into(),
        state,
        restart_count,
        hash: 0,
        image: "i:1".into(),
        image_ref: "sha256:1".into(),
        exit_code,
        reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
        message: String::new(),
        log_path: String::new(),
        created_at: 1_000_000_000,
        started_at: 2_000_000_000,
        finished_at: 3_000_000_000,
        user: None,
    }
}

fn make(pod: &Pod, containers: Vec<Seen>, old: &PodStatus, waits: &Waits, is_over: bool) -> PodStatus {
    let observed = Observed { runtime: "fake".into(), ips: vec!["10.0.0.9".into()], sandboxes: vec![], containers };
    let probes = Probes::default();
    let host_ips = ["192.168.0.1".to_owned()];
    generate(&Facts {
        pod,
        observed: &observed,
        old,
        waits,
        probes: &probes,
        host_ips: &host_ips,
        is_over,
        is_late: false,
    })
}

fn show_state(state: &Option<ContainerState>) -> String {
    let state = state.clone().unwrap_or_default();
    match (state.running, state.waiting, state.terminated) {
        (Some(_), ..) => "running".into(),
        (_, Some(waiting), _) => format!("waiting({})", waiting.reason.unwrap_or_default()),
        (.., Some(ended)) => format!("ended({} {})", ended.exit_code, ended.reason.unwrap_or_default()),
        _ => "-".into(),
    }
}

fn show(status: &PodStatus) -> String {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let one = |c: &ContainerStatus| {
        let (state, last) = (show_state(&c.state), show_state(&c.last_state));
        format!("{}:{state}/{last} restarts={} ready={}", c.name, c.restart_count, c.ready)
    };
    let lines: Vec<String> = containers.map(one).collect();
    format!("{} {}", status.phase.as_deref().unwrap_or("?"), lines.join(" "))
}

#[test]
fn a_pod_through_its_life() {
    let pod = pod("{restartPolicy: Always, containers: [{name: a, image: i}]}");
    let old = PodStatus::default();
    let mut waits = Waits::new();
    let made = make(&pod, vec![], &old, &waits, false);
    assert_eq!(show(&made), "Pending a:waiting(ContainerCreating)/- restarts=0 ready=false");
    assert_eq!(made.pod_ip.as_deref(), Some("10.0.0.9"));
    assert_eq!(made.host_ip.as_deref(), Some("192.168.0.1"));
    waits.insert("a".into(), ("ErrImagePull".into(), "no".into()));
    assert_eq!(
        show(&make(&pod, vec![], &old, &waits, false)),
        "Pending a:waiting(ErrImagePull)/- restarts=0 ready=false"
    );
    let running = make(&pod, vec![seen("a", "1", State::Running, 0, 0)], &old, &waits, false);
    assert_eq!(show(&running), "Running a:running/- restarts=0 ready=true");
    waits.insert("a".into(), ("CrashLoopBackOff".into(), "no".into()));
    let crashed = make(&pod, vec![seen("a", "1", State::Exited, 0, 1)], &running, &waits, false);
    assert_eq!(show(&crashed), "Running a:waiting(CrashLoopBackOff)/ended(1 Error) restarts=0 ready=false");
    let again = vec![seen("a", "2", State::Running, 1, 0), seen("a", "1", State::Exited, 0, 1)];
    let again = make(&pod, again, &crashed, &Waits::new(), false);
    assert_eq!(show(&again), "Running a:running/ended(1 Error) restarts=1 ready=true");
    let pruned = make(&pod, vec![seen("a", "2", State::Running, 1, 0)], &again, &Waits::new(), false);
    assert_eq!(show(&pruned), "Running a:running/ended(1 Error) restarts=1 ready=true", "the last report remembers");
    let over = make(&pod, vec![seen("a", "2", State::Exited, 1, 0)], &again, &Waits::new(), true);
    assert_eq!(show(&over), "Succeeded a:ended(0 Completed)/ended(1 Error) restarts=1 ready=false");
}

#[test]
fn what_the_runtime_forgot() {
    let pod = pod("{restartPolicy: Always, containers: [{name: a, image: i}]}");
    let old: PodStatus = yaml(
        "{phase: Running, containerStatuses: [{name: a, image: i, imageID: i, ready: true, restartCount: 2, state: {running: {}}}]}",
    );
    let made = make(&pod, vec![], &old, &Waits::new(), false);
    let expect = "Running a:waiting(ContainerCreating)/ended(137 ContainerStatusUnknown) restarts=3 ready=false";
    assert_eq!(show(&made), expect);
}

#[test]
fn init_containers_and_terminal_phases() {
    let mut pod =
        pod("{restartPolicy: Never, initContainers: [{name: x, image: i}], containers: [{name: a, image: i}]}");
    let old = PodStatus::default();
    let made = make(&pod, vec![seen("x", "1", State::Exited, 0, 0)], &old, &Waits::new(), false);
    let expect =
        "Pending x:ended(0 Completed)/- restarts=0 ready=true a:waiting(PodInitializing)/- restarts=0 ready=false";
    assert_eq!(show(&made), expect);
    let made = make(&pod, vec![seen("a", "2", State::Running, 0, 0)], &old, &Waits::new(), false);
    let expect = "Running x:ended(0 Completed)/- restarts=0 ready=true a:running/- restarts=0 ready=true";
    assert_eq!(show(&made), expect);
    pod.status = Some(yaml("{phase: Failed}"));
    let made = make(&pod, vec![seen("a", "2", State::Running, 0, 0)], &old, &Waits::new(), false);
    assert_eq!(made.phase.as_deref(), Some("Failed"), "a terminal phase stays");
}

#[test]
fn a_pod_past_its_deadline_has_failed() {
    let pod = pod("{activeDeadlineSeconds: 10, restartPolicy: Always, containers: [{name: a, image: i}]}");
    let old: PodStatus = yaml("{startTime: '1970-01-01T00:01:40Z'}");
    assert_eq!([105, 110, 111].map(|now| seconds_left(&pod, &old, now)), [Some(5), Some(0), Some(-1)]);
    let observed = Observed { containers: vec![seen("a", "1", State::Running, 0, 0)], ..Observed::default() };
    let (waits, probes) = (Waits::new(), Probes::default());
    let facts = Facts {
        pod: &pod,
        observed: &observed,
        old: &old,
        waits: &waits,
        probes: &probes,
        host_ips: &[],
        is_over: false,
        is_late: true,
    };
    let made = generate(&facts);
    assert_eq!((made.phase.as_deref(), made.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
}
