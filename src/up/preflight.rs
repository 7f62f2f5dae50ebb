//! Checks of the machine, before anything is touched; `doctor` shows the same.
//!
//! Invariant: a check changes nothing on the machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use serde::Serialize;

use super::cni;
use super::plan::{Plan, program};
use super::routes::{self, Route};
use crate::cli::Part;
use crate::failure::Failure;

/// Programs a real node cannot do without, and their Debian packages.
const PROGRAMS: [(&str, &str); 5] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
];
/// The longest path of a unix socket, in bytes, less what is put behind the data directory's.
const DIR_BYTES_MAX: usize = 107 - "/run/containerd.sock.ttrpc".len();
const INOTIFY_INSTANCES_MIN: u64 = 256;
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// How one check went.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    /// The observed fact.
    pub(crate) fact: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
    /// A problem that does not keep a cluster from starting.
    pub(crate) note: bool,
}

fn fine(check: &'static str, fact: impl Into<String>) -> Finding {
    Finding { check, fact: fact.into(), code: None, fix: None, note: false }
}

fn bad(check: &'static str, failure: &Failure) -> Finding {
    let fix = Some(failure.fix_text().to_string());
    Finding { check, fact: failure.why.clone(), code: Some(failure.entry.number), fix, note: false }
}

impl Finding {
    pub(crate) fn failure(&self) -> Option<Failure> {
        let code = self.code.filter(|_| !self.note)?;
        let failure = Failure::new(code, &self.fact);
        Some(match &self.fix {
            Some(fix) => failure.fix(fix.clone()),
            None => failure,
        })
    }
}

/// Every check that the plan needs; `running` is left alone: its port is its own.
pub(crate) fn check(plan: &Plan, running: bool) -> Vec<Finding> {
    let mut found = vec![data_dir(&plan.place.dir)];
    if plan.has(Part::KubeApiserver) && !running {
        found.push(port(plan));
    }
    if plan.is_real() && !running {
        found.push(kubelet_port());
    }
    if plan.is_real() {
        found.extend(PROGRAMS.map(|(name, package)| installed(name, package)));
        found.push(pods(plan, &routes::read()));
        found.extend([plugins(), socket_path(&plan.place.dir), processor(), cgroups(), inotify()]);
    }
    found.extend(plan.options.images.as_deref().map(images));
    found
}

fn images(dir: &Path) -> Finding {
    match std::fs::read_dir(dir) {
        Ok(_) => fine("images", dir.display().to_string()),
        Err(error) => bad(
            "images",
            &Failure::new(142, format!("--images {}: {error}", dir.display()))
                .fix("keelson up, with --images and a directory that is there"),
        ),
    }
}

/// Whether the nearest directory that is there can be written to.
fn data_dir(dir: &Path) -> Finding {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return bad("data-dir", &Failure::new(101, format!("{} is no directory", there.display())));
    }
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) => fine("data-dir", dir.display().to_string()),
        Err(error) => bad("data-dir", &Failure::new(101, format!("{}: {error}", there.display()))),
    }
}

fn port(plan: &Plan) -> Finding {
    let fix = format!("keelson up --api-port {}", plan.port.saturating_add(1));
    free("port", SocketAddr::new(plan.bind, plan.port), fix)
}

/// One kubelet per machine has this port, as with upstream's.
fn kubelet_port() -> Finding {
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), kubelet::config::PORT);
    free("kubelet", address, format!("ss -ltnp 'sport = {}' shows whose kubelet it is", address.port()))
}

fn free(check: &'static str, address: SocketAddr, fix: String) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => fine(check, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bad(check, &Failure::new(104, format!("somebody listens on {address}")).fix(fix))
        }
        Err(error) => bad(check, &Failure::new(109, format!("--bind-address {address}: {error}"))),
    }
}

/// Whether packets to pods would go somewhere else.
fn pods(plan: &Plan, routes: &[Route]) -> Finding {
    let bridge = cni::bridge_name(&plan.place.name);
    match routes.iter().find(|route| route.link != bridge && routes::overlap(&route.to, &plan.pods)) {
        None => fine("pods", format!("{} is free", plan.pods)),
        Some(Route { link, to }) => {
            let why = format!("pods would have {}, but {to} is behind {link}", plan.pods);
            bad("pods", &Failure::new(113, why))
        }
    }
}

fn installed(name: &'static str, package: &str) -> Finding {
    match program(name) {
        Some(path) => fine(name, path.display().to_string()),
        None => bad(name, &Failure::new(103, format!("there is no {name}")).fix(format!("apt-get install {package}"))),
    }
}

fn plugins() -> Finding {
    match cni::plugin_dir() {
        Some(dir) => fine("cni", dir.display().to_string()),
        None => {
            let why =
                format!("no directory of {} has the CNI plugins {}", cni::DIRS.join(", "), cni::PLUGINS.join(", "));
            bad("cni", &Failure::new(103, why).fix("apt-get install containernetworking-plugins"))
        }
    }
}

fn socket_path(dir: &Path) -> Finding {
    match dir.as_os_str().len() {
        length if length <= DIR_BYTES_MAX => fine("socket-path", format!("{length} bytes")),
        length => bad("socket-path", &Failure::new(107, format!("{length} bytes, at most {DIR_BYTES_MAX} fit"))),
    }
}

fn processor() -> Finding {
    match std::env::consts::ARCH {
        "x86_64" => fine("processor", "x86_64"),
        other => bad("processor", &Failure::new(108, other)),
    }
}

fn cgroups() -> Finding {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v2: Vec<&str> = unified.split_whitespace().collect();
    if CONTROLLERS.iter().all(|name| v2.contains(name)) {
        return fine("cgroups", "version 2");
    }
    let v1 = v1_controllers(&mounts);
    match CONTROLLERS.iter().find(|name| !v1.contains(name)) {
        None => fine("cgroups", "version 1"),
        Some(missing) => bad("cgroups", &Failure::new(112, format!("the controller {missing} is mounted nowhere"))),
    }
}

/// Options of every mount of a version 1 hierarchy; the controllers are among them.
fn v1_controllers(mounts: &str) -> Vec<&str> {
    let tails = mounts.lines().filter_map(|line| line.split_once(" - ")?.1.strip_prefix("cgroup "));
    tails.flat_map(|tail| tail.rsplit(' ').next().unwrap_or_default().split(',')).collect()
}

fn inotify() -> Finding {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
    match text.trim().parse::<u64>() {
        Ok(limit) if limit < INOTIFY_INSTANCES_MIN => {
            let failure = Failure::new(141, format!("fs.inotify.max_user_instances is {limit}"));
            Finding { note: true, ..bad("inotify", &failure) }
        }
        _ => fine("inotify", text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_version_1() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                    33 31 0:30 / /sys/fs/cgroup/x rw - cgroup cgroup rw,memory,pids\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let found = v1_controllers(text);
        assert!(CONTROLLERS.iter().all(|name| found.contains(name)), "{found:?}");
        assert!(!found.contains(&"ext4"));
    }

    #[test]
    fn a_directory_that_cannot_be_is_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(data_dir(&file.path().join("below")).code, Some(101));
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(data_dir(&dir.path().join("a/b")).code, None);
    }

    #[test]
    fn a_port_that_somebody_has_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        assert_eq!(free("port", address, String::new()).code, Some(104));
        drop(listener);
        assert_eq!(free("port", address, String::new()).code, None);
    }
}
