//! The table: a pod, what runs, what the probes say, and the actions in one line of text.

use cri::v1::{PodSandboxMetadata, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus};

use super::*;
use crate::testing::pod;

/// `sandbox` is `none`, `ready`, `dead` or `noip`; `containers` is like `a=running b=exited:1 c=unknown`,
/// newest first. `!` after a name: its definition is another one.
fn observe(sandbox: &str, containers: &str) -> Observed {
    let state = if sandbox == "dead" { PodSandboxState::SandboxNotready } else { PodSandboxState::SandboxReady };
    let ip = if sandbox == "noip" { "" } else { "10.0.0.2" };
    let status = PodSandboxStatus {
        id: "s".into(),
        state: state as i32,
        metadata: Some(PodSandboxMetadata { attempt: 0, ..Default::default() }),
        network: Some(PodSandboxNetworkStatus { ip: ip.into(), ..Default::default() }),
        ..Default::default()
    };
    let sandboxes = if sandbox == "none" { vec![] } else { vec![status] };
    Observed { sandboxes, containers: containers.split_whitespace().map(seen).collect(), ..Observed::default() }
}

pub(crate) fn seen(text: &str) -> Seen {
    let (name, state) = text.split_once('=').expect("name=state");
    let (state, code) = state.split_once(':').unwrap_or((state, "0"));
    let state = match state {
        "created" => State::Created,
        "running" => State::Running,
        "exited" => State::Exited,
        _ => State::Unknown,
    };
    let plain = name.trim_end_matches('!');
    let container = Container { name: plain.into(), image: Some("i".into()), ..Container::default() };
    let hash = container_hash(&container) + u64::from(plain != name);
    Seen {
        id: plain.into(),
        name: plain.into(),
        sandbox_id: "s".into(),
        state,
        restart_count: 0,
        hash,
        image: "i".into(),
        image_ref: "i".into(),
        exit_code: code.parse().expect("a code"),
        reason: String::new(),
        message: String::new(),
        log_path: String::new(),
        created_at: 1,
        started_at: 1,
        finished_at: 0,
        user: None,
    }
}

fn show(actions: Vec<Action>) -> String {
    let one = |action| match action {
        Action::StopPod => "stop".to_owned(),
        Action::CreateSandbox { attempt } => format!("sandbox:{attempt}"),
        Action::PurgeInit => "purge".to_owned(),
        Action::Kill { name, message, .. } => format!("kill:{name}({message})"),
        Action::Start { kind: Kind::Regular, index } => format!("start:{index}"),
        Action::Start { kind: Kind::Init, index } => format!("init:{index}"),
        Action::Start { kind: Kind::Ephemeral, index } => format!("eph:{index}"),
    };
    actions.into_iter().map(one).collect::<Vec<_>>().join(" ")
}

fn check(spec: &str, sandbox: &str, containers: &str, probes: &Probes, expect: &str) {
    let actions = plan(&pod(spec), &observe(sandbox, containers), probes);
    assert_eq!(show(actions), expect, "{spec}\n{sandbox}: {containers}");
}

#[test]
fn regular_containers() {
    let two = |policy: &str| {
        format!("{{restartPolicy: {policy}, containers: [{{name: a, image: i}}, {{name: b, image: i}}]}}")
    };
    for (policy, sandbox, containers, expect) in [
        ("Always", "none", "", "stop purge sandbox:0 start:0 start:1"),
        ("Always", "ready", "", "start:0 start:1"),
        ("Always", "ready", "a=running b=running", ""),
        ("Always", "ready", "a=running b=exited:0", "start:1"),
        ("OnFailure", "ready", "a=running b=exited:0", ""),
        ("OnFailure", "ready", "a=exited:0 b=exited:0", "stop"),
        ("OnFailure", "ready", "a=exited:0 b=exited:1", "start:1"),
        ("Never", "ready", "a=running b=exited:1", ""),
        ("Never", "ready", "a=exited:1 b=exited:0", "stop"),
        ("Always", "dead", "a=exited:0 b=exited:0", "stop purge sandbox:1 start:0 start:1"),
        ("OnFailure", "dead", "a=exited:0 b=exited:1", "stop purge sandbox:1 start:1"),
        ("OnFailure", "dead", "a=exited:0 b=exited:0", "stop"),
        ("Never", "dead", "a=exited:0 b=exited:1", "stop"),
        ("Never", "dead", "", "stop purge sandbox:1 start:0 start:1"),
        ("Always", "noip", "", "stop purge sandbox:1 start:0 start:1"),
        ("Always", "ready", "a=created b=running", "start:0"),
        (
            "Always",
            "ready",
            "a!=running b=running",
            "kill:a(Container a definition changed, will be restarted) start:0",
        ),
        (
            "Never",
            "ready",
            "a=unknown b=running",
            "kill:a(Container is in \"unknown\" state, try killing it before restart) start:0",
        ),
    ] {
        check(&two(policy), sandbox, containers, &Probes::default(), expect);
    }
}

#[test]
fn init_containers() {
    let spec = |policy: &str| {
        format!(
            "{{restartPolicy: {policy}, initContainers: [{{name: x, image: i}}, {{name: y, image: i}}], containers: [{{name: a, image: i}}]}}"
        )
    };
    for (policy, sandbox, containers, expect) in [
        ("Always", "none", "", "stop purge sandbox:0 init:0"),
        ("Always", "ready", "", "init:0"),
        ("Always", "ready", "x=running", ""),
        ("Always", "ready", "x=exited:0", "init:1"),
        ("Always", "ready", "x=exited:1", "init:0"),
        ("Never", "ready", "x=exited:1", "stop"),
        ("Always", "ready", "y=running x=exited:0", ""),
        ("Always", "ready", "y=exited:0 x=exited:0", "start:0"),
        ("Always", "ready", "y=exited:0", "start:0"),
        ("Always", "ready", "a=running", ""),
        ("Always", "ready", "a=exited:1", "start:0"),
        ("Always", "ready", "x=created", "init:0"),
    ] {
        check(&spec(policy), sandbox, containers, &Probes::default(), expect);
    }
}

#[test]
fn sidecars_and_ephemeral_containers() {
    let spec = "{restartPolicy: Never, initContainers: [{name: s, image: i, restartPolicy: Always}, {name: x, image: i}], \
        containers: [{name: a, image: i}], ephemeralContainers: [{name: e, image: i}]}";
    for (containers, expect) in [
        ("e=exited:0", "init:0"),
        ("s=running", "eph:0 init:1"),
        ("s=running e=exited:0 x=exited:0", "start:0"),
        ("s=exited:0 e=running x=exited:0", "init:0 start:0"),
        ("s=exited:0 e=running x=exited:0 a=running", "init:0"),
        ("e=running x=exited:0 a=running", "init:0"),
        ("s=running e=running x=exited:0 a=exited:0", "stop"),
        ("s!=running e=running x=exited:0 a=running", "kill:s(Init container s definition changed) init:0"),
    ] {
        check(spec, "ready", containers, &Probes::default(), expect);
    }
}

#[test]
fn probes_decide() {
    let spec = |policy: &str| {
        format!("{{restartPolicy: {policy}, containers: [{{name: a, image: i}}, {{name: b, image: i}}]}}")
    };
    let mut failed = Probes::default();
    failed.set_liveness("a", Outcome::Failure);
    let restarted = "kill:a(Container a failed liveness probe, will be restarted) start:0";
    check(&spec("Always"), "ready", "a=running b=running", &failed, restarted);
    let left = "kill:a(Container a failed liveness probe)";
    check(&spec("Never"), "ready", "a=running b=running", &failed, left);
    let sidecar = "{initContainers: [{name: s, image: i, restartPolicy: Always, startupProbe: {}}], containers: [{name: a, image: i}]}";
    check(sidecar, "ready", "s=running", &Probes::default(), "");
    let mut started = Probes::default();
    started.set_startup("s", Outcome::Success);
    check(sidecar, "ready", "s=running", &started, "start:0");
    started.set_startup("s", Outcome::Failure);
    check(sidecar, "ready", "s=running", &started, "kill:s(Init container s failed startup probe) init:0");
}
