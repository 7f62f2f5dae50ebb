//! Several API servers, of either side, on one etcd cluster behind one address.
//!
//! Invariant: every process is started and ended here, by its own handle; a process that is killed is started again with
//! the same flags, files and ports. Non-goal: components that use the API.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use xtask::plane::{self, Member, Side};
use xtask::process::{self, Server};

use crate::balancer::Balancer;

/// How long a process may take to serve.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Neither a port nor /readyz has an event to wait for.
const READY_POLL: Duration = Duration::from_millis(20);
/// How long an API server may take to end after SIGTERM: upstream lets watches go on for a minute.
const END_LIMIT: Duration = Duration::from_secs(90);

/// It is gone when dropped.
pub struct Plane {
    etcd: Vec<Process>,
    apiservers: Vec<Process>,
    members: Vec<Member>,
    balancer: Balancer,
    config: Config,
    /// API servers that were started so far.
    started: u8,
    // Processes end before their files go.
    dir: tempfile::TempDir,
}

struct Process {
    name: String,
    port: u16,
    side: Side,
    /// Of the API servers, for --advertise-address.
    number: u8,
    server: Option<Server>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            server.kill().ok();
        }
    }
}

/// An API server that was told to end.
pub struct Ending(tokio::task::JoinHandle<Result<String>>);

impl Ending {
    /// Waits until it has ended by itself; says how and when.
    pub async fn ended(self) -> Result<String> {
        self.0.await?
    }
}

impl Plane {
    /// Starts so many members of etcd and these API servers, and returns when all serve.
    pub async fn start(members: usize, sides: &[Side]) -> Result<Self> {
        for program in sides.iter().map(|side| side.program("kube-apiserver")).chain([Side::Upstream.program("etcd")]) {
            let path = std::path::Path::new(program.get_program());
            ensure!(path.exists(), "no {}; `cargo xtask build-upstream etcd kube-apiserver` makes it", path.display());
        }
        let dir = tempfile::Builder::new().prefix("keelson-servers-").tempdir()?;
        plane::certificates(dir.path())?;
        let ports = process::steady_ports(members * 2)?;
        let members: Vec<_> = ports.chunks(2).zip(1..).map(|(ports, number)| member(ports, number)).collect();
        let balancer = Balancer::start(&[]).await?;
        let kubeconfig = Kubeconfig::read_from(plane::kubeconfig(dir.path(), "admin", balancer.port())?)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let mut plane = Plane { etcd: vec![], apiservers: vec![], members, balancer, config, started: 0, dir };
        for member in plane.members.clone() {
            let process =
                Process { name: member.name, port: member.client, side: Side::Upstream, number: 0, server: None };
            plane.etcd.push(process);
        }
        // A member serves when it has found the others.
        for at in 0..plane.etcd.len() {
            plane.launch(at)?;
        }
        for at in 0..plane.etcd.len() {
            plane.ready(at).await?;
        }
        for side in sides {
            let process = plane.another(*side)?;
            plane.apiservers.push(process);
        }
        for at in plane.etcd.len()..plane.processes() {
            plane.launch(at)?;
            plane.ready(at).await?;
        }
        plane.balance();
        Ok(plane)
    }

    /// A client's configuration for the one address.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// How many processes there are, etcd's members first.
    pub fn processes(&self) -> usize {
        self.etcd.len() + self.apiservers.len()
    }

    pub fn name(&self, at: usize) -> &str {
        &self.process(at).name
    }

    /// Kills a process without warning, starts it again at once, and returns how long it took until it served again.
    pub async fn kill(&mut self, at: usize) -> Result<Duration> {
        let start = Instant::now();
        let process = self.process_mut(at);
        process.server.as_mut().context("it does not run")?.kill()?;
        self.launch(at)?;
        self.ready(at).await?;
        Ok(start.elapsed())
    }

    /// Tells an API server to end and puts one of another side in its place, which serves when this returns. New
    /// connections go to it from then on.
    pub async fn replace(&mut self, apiserver: usize, side: Side) -> Result<Ending> {
        let next = self.another(side)?;
        let mut old = std::mem::replace(&mut self.apiservers[apiserver], next);
        let mut server = old.server.take().context("it does not run")?;
        let name = old.name.clone();
        let ending = tokio::task::spawn_blocking(move || -> Result<String> {
            let start = Instant::now();
            let status = server.terminate(END_LIMIT)?;
            Ok(format!("{name} ended after {:.2} s: {status}", start.elapsed().as_secs_f64()))
        });
        let at = self.etcd.len() + apiserver;
        self.launch(at)?;
        self.ready(at).await?;
        self.balance();
        Ok(Ending(ending))
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let running = self.etcd.iter().chain(&self.apiservers).filter_map(|process| process.server.as_ref());
        running.map(Server::log_end).collect::<Vec<_>>().join("\n")
    }

    fn balance(&self) {
        let ports: Vec<_> = self.apiservers.iter().map(|process| process.port).collect();
        self.balancer.set(&ports);
    }

    fn process(&self, at: usize) -> &Process {
        self.etcd.get(at).unwrap_or_else(|| &self.apiservers[at - self.etcd.len()])
    }

    fn process_mut(&mut self, at: usize) -> &mut Process {
        let members = self.etcd.len();
        if at < members { &mut self.etcd[at] } else { &mut self.apiservers[at - members] }
    }

    /// An API server that was not started yet.
    fn another(&mut self, side: Side) -> Result<Process> {
        self.started += 1;
        let number = self.started;
        let taken: Vec<_> = self.apiservers.iter().map(|process| process.port).collect();
        let free = process::steady_ports(taken.len() + 1)?;
        let port = free.into_iter().find(|port| !taken.contains(port)).context("no port")?;
        Ok(Process { name: format!("{}-{number}", side.name()), port, side, number, server: None })
    }

    fn launch(&mut self, at: usize) -> Result<()> {
        let dir = self.dir.path();
        let process = self.process(at);
        let mut command = match self.members.get(at) {
            Some(member) => plane::member(dir, &self.members, member),
            None => {
                let urls: Vec<_> = self.members.iter().map(|member| plane::url(member.client)).collect();
                let mut command = process.side.program("kube-apiserver");
                command.arg(format!("--etcd-servers={}", urls.join(",")));
                command.args(plane::apiserver_flags(dir, process.port));
                // Servers tell each other apart by it. Addresses for documentation: nobody connects.
                command.arg(format!("--advertise-address=192.0.2.{}", process.number));
                command
            }
        };
        let server = Server::start(&process.name, &mut command, dir)?;
        self.process_mut(at).server = Some(server);
        Ok(())
    }

    async fn ready(&mut self, at: usize) -> Result<()> {
        let is_etcd = at < self.etcd.len();
        let port = self.process(at).port;
        let (config, path) = match is_etcd {
            true => (Config::new(plane::url(port).parse()?), "/health"),
            false => {
                let mut config = self.config.clone();
                config.cluster_url = format!("https://127.0.0.1:{port}").parse()?;
                (config, "/readyz")
            }
        };
        let process = self.process_mut(at);
        let deadline = Instant::now() + READY_LIMIT;
        while !serves(&config, path).await {
            let server = process.server.as_mut().context("it does not run")?;
            server.check()?;
            if Instant::now() >= deadline {
                bail!("{} does not serve in {READY_LIMIT:?}\n{}", process.name, server.log_end());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }
}

fn member(ports: &[u16], number: u32) -> Member {
    Member { name: format!("etcd-{number}"), client: ports[0], peer: ports[1] }
}

/// Whether the answer is well, by a new connection.
async fn serves(config: &Config, path: &str) -> bool {
    let mut config = config.clone();
    config.default_retry = false;
    let Ok(request) = http::Request::get(path).body(Vec::new()) else { return false };
    let Ok(client) = Client::try_from(config) else { return false };
    let answer = tokio::time::timeout(READY_LIMIT, client.request_text(request)).await;
    answer.is_ok_and(|answer| answer.is_ok())
}
