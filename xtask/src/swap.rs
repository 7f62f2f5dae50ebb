//! Upstream's components and ours in each other's places, on one etcd: what one API server has stored the other
//! shows, and a Deployment goes on while each component is replaced by the other side's and back.
//!
//! Non-goal: load and faults; those are for the tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::plane::{self, Side};
use crate::process::{self, Server};
use crate::{cluster, paths, upstream};

/// Upstream's programs that this needs.
pub(crate) const PROGRAMS: &[&str] =
    &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "storage"];
const API_SERVER: &str = "kube-apiserver";
const COMPONENTS: [&str; 3] = [API_SERVER, "kube-controller-manager", "kube-scheduler"];
/// How long kubectl waits for the Deployment.
const ROLLOUT_LIMIT: &str = "--timeout=90s";
const NODES: u32 = 2;
/// Kinds that are not served unless asked for are stored, too; nothing makes service accounts. Two alpha features
/// stay off that change what is stored: CBOR, which older versions of upstream cannot read either, and a default.
const EVERYTHING: [&str; 3] = [
    "--runtime-config=api/all=true",
    "--feature-gates=AllAlpha=true,AllBeta=true,CBORServingAndStorage=false,PodGroupPreemptionPolicy=false",
    "--disable-admission-plugins=ServiceAccount",
];

type Scenario = fn() -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("every kind, stored by keelson", || storage(Side::Keelson)),
    ("every kind, stored by upstream", || storage(Side::Upstream)),
    ("components replaced one at a time", components),
];

/// Runs every scenario and returns how many held and how many did not.
pub(crate) fn run() -> Result<(u64, u64)> {
    upstream::build(PROGRAMS)?;
    cluster::build_keelson()?;
    let mut held = 0;
    for (name, scenario) in SCENARIOS {
        println!("-- {name}");
        match scenario() {
            Ok(()) => held += 1,
            Err(error) => println!("error: {name}: {error:#}"),
        }
    }
    Ok((held, SCENARIOS.len() as u64 - held))
}

/// An etcd, and components on it that are replaced.
struct Plane {
    // Dropped in this order: etcd ends last.
    running: BTreeMap<&'static str, (Side, Server)>,
    _etcd: Server,
    dir: tempfile::TempDir,
    etcd_port: u16,
    /// Of each of [`COMPONENTS`].
    ports: [u16; COMPONENTS.len()],
    apiserver_flags: &'static [&'static str],
}

impl Plane {
    fn start(apiserver_flags: &'static [&'static str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keelson-swap-").tempdir()?;
        plane::certificates(dir.path())?;
        let [etcd_port, peer, a, b, c] = process::free_ports()?;
        let etcd = plane::etcd(dir.path(), etcd_port, peer)?;
        Ok(Plane { running: BTreeMap::new(), _etcd: etcd, dir, etcd_port, ports: [a, b, c], apiserver_flags })
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The kubeconfig of a component, or of `admin`.
    fn kubeconfig(&self, name: &str) -> Result<std::path::PathBuf> {
        plane::kubeconfig(self.dir(), name, self.ports[0])
    }

    /// Stops the component, if it runs, and starts that of `side` in its place.
    fn put(&mut self, side: Side, component: &'static str) -> Result<()> {
        drop(self.running.remove(component));
        let at = COMPONENTS.iter().position(|known| *known == component).context("no such component")?;
        let mut command = side.program(component);
        if component == API_SERVER {
            command.arg(format!("--etcd-servers={}", plane::url(self.etcd_port)));
            command.args(plane::apiserver_flags(self.dir(), self.ports[at])).args(self.apiserver_flags);
        } else {
            let kubeconfig = self.kubeconfig(component)?;
            command.args(plane::component_flags(component, self.dir(), &kubeconfig, self.ports[at]));
        }
        let mut server = Server::start(component, &mut command, self.dir())?;
        if component == API_SERVER {
            plane::ready(&mut server, self.dir(), &self.kubeconfig("admin")?)?;
        }
        self.running.insert(component, (side, server));
        Ok(())
    }

    fn kubectl(&self) -> Result<Command> {
        Ok(plane::kubectl(self.dir(), &self.kubeconfig("admin")?))
    }

    /// Runs upstream's objects of every kind against the API server, see conformance/storage.
    fn objects(&self, action: &str) -> Result<()> {
        let file = |name: &str| self.dir().join(name);
        let mut command = Command::new(paths::upstream("storage"));
        command.args(["-server", &format!("https://127.0.0.1:{}", self.ports[0])]);
        command.args(["-etcd", &plane::url(self.etcd_port)]);
        for (flag, name) in [("-ca", "ca.crt"), ("-cert", "admin.crt"), ("-key", "admin.key"), (action, "objects.json")]
        {
            command.arg(flag).arg(file(name));
        }
        process::run(&mut command)
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        self.running.values().map(|(_, server)| server.log_end()).collect::<Vec<_>>().join("\n")
    }

    /// Who runs what, for the reader.
    fn sides(&self) -> String {
        let each = self.running.iter().map(|(component, (side, _))| format!("{component} {}", side.name()));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// One API server stores an object of every kind, the other shows the same, and so does the first again.
fn storage(first: Side) -> Result<()> {
    let mut plane = Plane::start(&EVERYTHING)?;
    plane.put(first, API_SERVER)?;
    plane.objects("-write")?;
    for side in [first.other(), first] {
        plane.put(side, API_SERVER)?;
        println!("{}:", side.name());
        plane.objects("-check")?;
    }
    Ok(())
}

/// A Deployment on kwok's nodes is scaled after each component is replaced, until every one was the other side's
/// and is back.
fn components() -> Result<()> {
    let mut plane = Plane::start(&[])?;
    for component in COMPONENTS {
        plane.put(Side::Keelson, component)?;
    }
    let _kwok = fake_nodes(&plane)?;
    process::run(plane.kubectl()?.args(["create", "deployment", "web", "--image=web:1", "--replicas=3"]))?;
    settled(&plane, 3)?;
    let mut replicas = 3;
    for side in [Side::Upstream, Side::Keelson] {
        for component in COMPONENTS {
            plane.put(side, component)?;
            replicas = if replicas == 3 { 5 } else { 3 };
            process::run(plane.kubectl()?.args(["scale", "deployment", "web", &format!("--replicas={replicas}")]))?;
            settled(&plane, replicas)?;
        }
    }
    Ok(())
}

/// Waits until so many replicas are ready.
fn settled(plane: &Plane, replicas: u32) -> Result<()> {
    let count = format!("--for=jsonpath={{.status.readyReplicas}}={replicas}");
    let waits: [&[&str]; 2] = [&["rollout", "status"], &["wait", &count]];
    for wait in waits {
        let ended = process::run(plane.kubectl()?.args(wait).args(["deployment/web", ROLLOUT_LIMIT]));
        ended.with_context(|| format!("{}\n{}", plane.sides(), plane.logs()))?;
    }
    println!("{replicas} ready: {}", plane.sides());
    Ok(())
}

/// kwok, with nodes that it manages.
fn fake_nodes(plane: &Plane) -> Result<Server> {
    for at in 1..=NODES {
        let amounts = serde_json::json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
        let name = format!("fake-{at}");
        let node = serde_json::json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
            "status": {"allocatable": amounts, "capacity": amounts},
        });
        let file = plane.dir().join("node.json");
        std::fs::write(&file, node.to_string())?;
        process::run(plane.kubectl()?.args(["create", "-f"]).arg(file))?;
    }
    let [port] = process::free_ports()?;
    let mut command = Command::new(paths::upstream("kwok"));
    command.arg("--config").arg(paths::upstream("kwok-stages.yaml"));
    command.arg("--kubeconfig").arg(plane.kubeconfig("admin")?);
    command.args(["--manage-all-nodes=true", "--node-lease-duration-seconds=40"]);
    command.arg(format!("--server-address=127.0.0.1:{port}"));
    Server::start("kwok", &mut command, plane.dir())
}
