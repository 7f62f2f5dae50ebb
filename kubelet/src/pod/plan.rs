//! What to do for a pod, given what is wanted, what is there and what the probes say. Pure
//! (pkg/kubelet/kuberuntime/kuberuntime_manager.go@v1.37.2, computePodActions, and
//! kuberuntime_container.go, computeInitContainerActions).
//!
//! Invariant: the actions are in the order in which they are done. Non-goal: back-off and pulls,
//! which the executor meets when it starts a container.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::observed::{Observed, Sandbox, Seen, State, sandbox};
use super::shape;
use crate::hash::container_hash;
use crate::probe::results::{Outcome, Probes};

/// Which list of the spec a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ephemeral,
    Init,
    Regular,
}

/// Why a container is killed, where that changes its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    StartupProbe,
    LivenessProbe,
    Unknown,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stop every container and the sandbox.
    StopPod,
    CreateSandbox {
        attempt: u32,
    },
    /// Remove the init containers that ended, before they run again in a new sandbox.
    PurgeInit,
    Kill {
        id: String,
        name: String,
        message: String,
        why: Why,
    },
    Start {
        kind: Kind,
        index: usize,
    },
}

pub(crate) fn plan(pod: &Pod, observed: &Observed, probes: &Probes) -> Vec<Action> {
    match sandbox(pod, observed) {
        Sandbox::Needed { attempt, .. } => in_new_sandbox(pod, observed, attempt),
        Sandbox::Usable { .. } => Planner { pod, observed, probes, kills: vec![], starts: vec![] }.in_current_sandbox(),
    }
}

/// Everything starts over, unless the pod is over.
fn in_new_sandbox(pod: &Pod, observed: &Observed, attempt: u32) -> Vec<Action> {
    let stop = || vec![Action::StopPod];
    if shape::restart_policy(pod) == "Never" && attempt != 0 && !observed.containers.is_empty() {
        return stop();
    }
    let containers = &shape::spec(pod).containers;
    let wanted: Vec<usize> = (0..containers.len()).filter(|i| !is_done(pod, &containers[*i], observed)).collect();
    if wanted.is_empty() && observed.has_any_regular(pod) {
        return stop();
    }
    let mut actions = stop();
    actions.extend([Action::PurgeInit, Action::CreateSandbox { attempt }]);
    if shape::init_containers(pod).is_empty() {
        actions.extend(wanted.into_iter().map(|index| Action::Start { kind: Kind::Regular, index }));
    } else {
        actions.push(Action::Start { kind: Kind::Init, index: 0 });
    }
    actions
}

/// A container that succeeded and runs once does not come back with a new sandbox.
fn is_done(pod: &Pod, container: &Container, observed: &Observed) -> bool {
    let policy = container.restart_policy.as_deref().unwrap_or_else(|| shape::restart_policy(pod));
    let succeeded = |seen: &Seen| seen.state == State::Exited && seen.exit_code == 0;
    policy == "OnFailure" && observed.container(&container.name).is_some_and(succeeded)
}

struct Planner<'a> {
    pod: &'a Pod,
    observed: &'a Observed,
    probes: &'a Probes,
    kills: Vec<Action>,
    starts: Vec<Action>,
}

/// How far the init containers are.
#[derive(PartialEq)]
enum Init {
    Pending,
    Done,
    /// One failed for good: the pod is over.
    Failed,
}

impl Planner<'_> {
    fn in_current_sandbox(mut self) -> Vec<Action> {
        for (index, container) in shape::ephemeral_containers(self.pod).iter().enumerate() {
            if self.observed.container(&container.name).is_none() {
                self.start(Kind::Ephemeral, index);
            }
        }
        match self.init_containers() {
            Init::Failed => return vec![Action::StopPod],
            Init::Pending => return self.done(),
            Init::Done => {}
        }
        let mut keep = 0;
        let mut started = false;
        for (index, container) in shape::spec(self.pod).containers.iter().enumerate() {
            match self.regular(index, container) {
                Fate::Keep => keep += 1,
                Fate::Start => started = true,
                Fate::Leave => {}
            }
        }
        if keep == 0 && !started { vec![Action::StopPod] } else { self.done() }
    }

    fn done(self) -> Vec<Action> {
        self.kills.into_iter().chain(self.starts).collect()
    }

    fn start(&mut self, kind: Kind, index: usize) {
        self.starts.push(Action::Start { kind, index });
    }

    fn kill(&mut self, seen: &Seen, message: String, why: Why) {
        self.kills.push(Action::Kill { id: seen.id.clone(), name: seen.name.clone(), message, why });
    }

    fn regular(&mut self, index: usize, container: &Container) -> Fate {
        let Some(seen) = self.observed.container(&container.name) else {
            return self.fate_of_stopped(index, container, None);
        };
        if seen.state != State::Running {
            return self.fate_of_stopped(index, container, Some(seen));
        }
        let (what, why, restart) = if seen.hash != container_hash(container) {
            ("definition changed", Why::Other, true)
        } else if self.probes.liveness(&seen.id) == Some(Outcome::Failure) {
            ("failed liveness probe", Why::LivenessProbe, shape::restarts_on_failure(container, self.pod))
        } else if self.probes.startup(&seen.id) == Some(Outcome::Failure) {
            ("failed startup probe", Why::StartupProbe, shape::restarts_on_failure(container, self.pod))
        } else {
            return Fate::Keep;
        };
        let suffix = if restart { ", will be restarted" } else { "" };
        self.kill(seen, format!("Container {} {what}{suffix}", container.name), why);
        if restart {
            self.start(Kind::Regular, index);
            return Fate::Start;
        }
        Fate::Leave
    }

    fn fate_of_stopped(&mut self, index: usize, container: &Container, seen: Option<&Seen>) -> Fate {
        if !should_be_restarted(self.pod, container, self.observed) {
            return Fate::Leave;
        }
        if let Some(seen) = seen.filter(|seen| seen.state == State::Unknown) {
            // It may run after all: never two instances at once.
            let text = format!("Container is in {:?} state, try killing it before restart", seen.state.name());
            self.kill(seen, text, Why::Unknown);
        }
        self.start(Kind::Regular, index);
        Fate::Start
    }

    /// Looks from the last init container to the first, because those that ended may be gone from
    /// the runtime; the last one that is known says how far the pod is.
    fn init_containers(&mut self) -> Init {
        let containers = shape::init_containers(self.pod);
        if containers.is_empty() {
            return Init::Done;
        }
        let mut initialized = self.observed.has_active_regular(self.pod);
        let mut later_known = initialized;
        let mut starts = Vec::new();
        for (index, container) in containers.iter().enumerate().rev() {
            let sidecar = shape::is_sidecar(container);
            let Some(seen) = self.observed.active(&container.name) else {
                if later_known && sidecar {
                    starts.push(index);
                }
                continue;
            };
            if later_known && !sidecar {
                continue;
            }
            let step = if sidecar { self.sidecar(container, seen) } else { self.one_shot(container, seen) };
            let last = index + 1 == containers.len();
            match step {
                Step::Fatal => return Init::Failed,
                Step::Again => starts.push(index),
                Step::Wait => {}
                Step::Passed { again } => {
                    match (last, later_known) {
                        (true, _) => initialized = true,
                        (false, false) => starts.push(index + 1),
                        (false, true) => {}
                    }
                    if again {
                        starts.push(index);
                    }
                }
            }
            later_known = true;
        }
        if !later_known {
            starts.push(0);
        }
        starts.into_iter().rev().for_each(|index| self.start(Kind::Init, index));
        if initialized { Init::Done } else { Init::Pending }
    }

    fn sidecar(&mut self, container: &Container, seen: &Seen) -> Step {
        let name = &container.name;
        match seen.state {
            State::Created | State::Exited => return Step::Again,
            State::Unknown => return self.unknown(seen),
            State::Running => {}
        }
        if container.startup_probe.is_some() {
            match self.probes.startup(&seen.id) {
                Some(Outcome::Success) => {}
                Some(Outcome::Failure) => {
                    self.kill(seen, format!("Init container {name} failed startup probe"), Why::StartupProbe);
                    return Step::Again;
                }
                _ => return Step::Wait,
            }
        }
        let (text, why) = if seen.hash != container_hash(container) {
            (format!("Init container {name} definition changed"), Why::Other)
        } else if self.probes.liveness(&seen.id) == Some(Outcome::Failure) {
            (format!("Init container {name} failed liveness probe"), Why::LivenessProbe)
        } else {
            return Step::Passed { again: false };
        };
        self.kill(seen, text, why);
        Step::Passed { again: true }
    }

    fn one_shot(&mut self, container: &Container, seen: &Seen) -> Step {
        match seen.state {
            State::Created => Step::Again,
            State::Running => Step::Wait,
            State::Exited if seen.exit_code == 0 => Step::Passed { again: false },
            State::Exited if should_be_restarted(self.pod, container, self.observed) => Step::Again,
            State::Exited => Step::Fatal,
            State::Unknown if shape::restarts_on_failure(container, self.pod) => self.unknown(seen),
            State::Unknown => Step::Fatal,
        }
    }

    fn unknown(&mut self, seen: &Seen) -> Step {
        let text = format!("Init container is in {:?} state, try killing it before restart", seen.state.name());
        self.kill(seen, text, Why::Unknown);
        Step::Again
    }
}

enum Fate {
    Keep,
    Start,
    Leave,
}

enum Step {
    Again,
    Wait,
    Passed { again: bool },
    Fatal,
}

/// Whether a container that does not run is to be started
/// (pkg/kubelet/container/helpers.go@v1.37.2, ShouldContainerBeRestarted).
pub(crate) fn should_be_restarted(pod: &Pod, container: &Container, observed: &Observed) -> bool {
    if shape::is_deleted(pod) {
        return false;
    }
    match observed.container(&container.name) {
        None => true,
        Some(seen) => match seen.state {
            State::Running => false,
            State::Created | State::Unknown => true,
            State::Exited => shape::should_restart(container, pod, seen.exit_code),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
