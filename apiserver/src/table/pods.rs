//! Pods: the status that is the sum of all that a pod says about itself.

use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{
    NONE, Now, condition, containers, flag, is_true, labels, list, maps, name, number, or, text, text_or,
};
use super::column::{AGE, Column, NAME, column, of};
use super::{Printer, printer};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { conditions: completed, ..printer("", "pods", PODS, pod) },
    printer("", "podtemplates", POD_TEMPLATES, |object, _| {
        let [names, images] = containers(object.map("template"));
        vec![name(object), names, images, labels(object.at(&["template", "metadata", "labels"])).into()]
    }),
];

/// Pods that are over are marked, so that clients can leave them out.
fn completed(pod: &Map) -> Vec<Value> {
    let phase = text(pod, &["status", "phase"]);
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    vec![Value::Map(map! { "type" => "Completed", "status" => "True", "reason" => phase, "message" => message })]
}

fn pod(pod: &Map, now: Now) -> Vec<Value> {
    let seen = Seen::of(pod);
    let restarts = match seen.restarts.last.as_str() {
        last if seen.restarts.count != 0 && !last.is_empty() => {
            format!("{} ({} ago)", seen.restarts.count, now.since(last))
        }
        _ => seen.restarts.count.to_string(),
    };
    let ip = maps(pod, &["status", "podIPs"]).next().map_or("", |ip| ip.str("ip"));
    vec![
        name(pod),
        format!("{}/{}", seen.ready, seen.total).into(),
        reason(pod, seen.reason).into(),
        restarts.into(),
        now.age(pod),
        or(ip, NONE).into(),
        text_or(pod, &["spec", "nodeName"], NONE).into(),
        text_or(pod, &["status", "nominatedNodeName"], NONE).into(),
        readiness_gates(pod).into(),
    ]
}

/// What deletion makes of the reason.
fn reason(pod: &Map, reason: String) -> String {
    if !pod.is_deleting() {
        return reason;
    }
    match text(pod, &["status", "phase"]) {
        _ if text(pod, &["status", "reason"]) == "NodeLost" => "Unknown".into(),
        "Succeeded" | "Failed" => reason,
        _ => "Terminating".into(),
    }
}

fn readiness_gates(pod: &Map) -> String {
    let gates = list(pod, &["spec", "readinessGates"]).len();
    if gates == 0 {
        return NONE.into();
    }
    let open = maps(pod, &["spec", "readinessGates"]).filter(|gate| is_true(pod, gate.str("conditionType"))).count();
    format!("{open}/{gates}")
}

#[derive(Default)]
struct Restarts {
    count: i64,
    /// When the last one was; empty when unknown.
    last: String,
}

impl Restarts {
    fn add(&mut self, status: &Map) {
        self.count += number(status, &["restartCount"]);
        let finished = text(status, &["lastState", "terminated", "finishedAt"]);
        // RFC 3339 in UTC orders as text.
        if finished > self.last.as_str() {
            self.last = finished.into();
        }
    }
}

/// What the containers add up to.
struct Seen {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

impl Seen {
    fn of(pod: &Map) -> Self {
        let phase = text(pod, &["status", "phase"]);
        let gated = maps(pod, &["status", "conditions"])
            .any(|condition| condition.str("type") == "PodScheduled" && condition.str("reason") == "SchedulingGated");
        let reason = if gated { "SchedulingGated" } else { text_or(pod, &["status", "reason"], phase) };
        let sidecars = maps(pod, &["spec", "initContainers"]).filter(|container| is_restartable(container)).count();
        let total = list(pod, &["spec", "containers"]).len() + sidecars;
        let mut seen = Seen { reason: reason.into(), ready: 0, total, restarts: Restarts::default() };
        let (initializing, of_sidecars) = seen.initialize(pod);
        if !initializing || is_true(pod, "Initialized") {
            seen.restarts = of_sidecars;
            seen.run(pod);
        }
        seen
    }

    /// Looks at the init containers up to the one that is under way; gives the restarts of sidecars.
    fn initialize(&mut self, pod: &Map) -> (bool, Restarts) {
        let mut of_sidecars = Restarts::default();
        let all = list(pod, &["spec", "initContainers"]).len();
        for (at, status) in maps(pod, &["status", "initContainerStatuses"]).enumerate() {
            let spec = maps(pod, &["spec", "initContainers"]).find(|spec| spec.str("name") == status.str("name"));
            let sidecar = spec.is_some_and(is_restartable);
            self.restarts.add(status);
            if sidecar {
                of_sidecars.add(status);
            }
            let terminated = status.at(&["state", "terminated"]);
            if terminated.is_some_and(|state| number(state, &["exitCode"]) == 0) {
                continue;
            }
            if sidecar && flag(status, &["started"]) {
                self.ready += usize::from(flag(status, &["ready"]));
                continue;
            }
            let waiting = text(status, &["state", "waiting", "reason"]);
            self.reason = match terminated {
                Some(state) => format!("Init:{}", ended(state)),
                None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
                None => format!("Init:{at}/{all}"),
            };
            return (true, of_sidecars);
        }
        (false, of_sidecars)
    }

    fn run(&mut self, pod: &Map) {
        let (mut running, mut error) = (false, String::new());
        for status in maps(pod, &["status", "containerStatuses"]).rev() {
            self.restarts.add(status);
            let waiting = text(status, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.reason = waiting.into();
            } else if let Some(state) = status.at(&["state", "terminated"]) {
                self.reason = ended(state);
                if number(state, &["exitCode"]) != 0 {
                    error.clone_from(&self.reason);
                }
            } else if flag(status, &["ready"]) && status.at(&["state", "running"]).is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // A pod with a container that still runs is not completed.
        if self.reason == "Completed" {
            if running && condition(pod, "Ready").is_some_and(|ready| ready.str("status") == "True") {
                self.reason = "Running".into();
            } else if !error.is_empty() {
                self.reason = error;
            } else if running {
                self.reason = "NotReady".into();
            }
        }
    }
}

/// Why a container ended.
fn ended(state: &Map) -> String {
    match (state.str("reason"), number(state, &["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(state, &["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

fn is_restartable(container: &Map) -> bool {
    container.str("restartPolicy") == "Always"
}

const PODS: &[Column] = &[
    NAME,
    column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    column("Status", "The aggregate status of the containers in this pod."),
    column(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    of("IP", "io.k8s.api.core.v1.PodStatus", "podIP").wide(),
    of("Node", "io.k8s.api.core.v1.PodSpec", "nodeName").wide(),
    of("Nominated Node", "io.k8s.api.core.v1.PodStatus", "nominatedNodeName").wide(),
    of("Readiness Gates", "io.k8s.api.core.v1.PodSpec", "readinessGates").wide(),
];

const POD_TEMPLATES: &[Column] = &[
    NAME,
    column("Containers", "Names of each container in the template."),
    column("Images", "Images referenced by each container in the template."),
    column("Pod Labels", "The labels for the pod template."),
];
