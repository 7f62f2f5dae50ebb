//! Takes away what the journal says was made, newest first.
//!
//! Invariant: each undo may be repeated and touches only what the entry names; what cannot be taken away
//! stays in the journal and is told, and the rest goes on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cri::v1::{ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use futures::{StreamExt, stream};
use rustix::process::Signal;

use super::containerd::Containerd;
use super::journal::{self, Entry};
use super::place::Place;
use super::{kubeconfig, net, processes};
use crate::failure::Failure;

/// Pods that are stopped at once.
const PODS_AT_ONCE: usize = 8;
/// Tries to remove a cgroup whose last process is just ending, and the pause between.
const CGROUP_TRIES: u32 = 50;
const CGROUP_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// What was taken away.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    pub(crate) pods: usize,
    pub(crate) entries: usize,
}

/// Takes away what `down` does, or everything.
pub(crate) async fn replay(place: &Place, everything: bool) -> Result<Undone> {
    let path = place.at("state/journal");
    let entries = journal::read(&path)?;
    let mut undone = Undone::default();
    let mut left = Vec::new();
    let mut reasons = Vec::new();
    for entry in entries.into_iter().rev() {
        if !everything && !entry.ends_with_down() {
            left.push(entry);
            continue;
        }
        match undo(place, &entry).await {
            Ok(pods) => {
                undone.entries += 1;
                undone.pods += pods;
            }
            Err(error) => {
                reasons.push(format!("{error:#}"));
                left.push(entry);
            }
        }
    }
    left.reverse();
    if path.exists() {
        journal::rewrite(&path, &left)?;
    }
    if reasons.is_empty() { Ok(undone) } else { Err(Failure::new(150, reasons.join("; ")).into()) }
}

/// The number of pods it stopped.
async fn undo(place: &Place, entry: &Entry) -> Result<usize> {
    match entry {
        Entry::Pods { .. } => return pods(place).await,
        Entry::Process { pid_file, marker } => process(pid_file, marker).await?,
        Entry::Mount { path } => unmount(|point| point == path)?,
        Entry::MountsBelow { path } => unmount(|point| point != path && point.starts_with(path))?,
        Entry::Cgroup { path } => cgroup(path).await?,
        Entry::NftTable { family, name } => {
            net::nft(&format!("add table {family} {name}\ndelete table {family} {name}\n")).await?;
        }
        Entry::CniChains { tables_before, chains_before } => cni_chains(tables_before, *chains_before).await?,
        Entry::Link { name } => net::delete_link(name).await?,
        Entry::Sysctl { path, before, after } => sysctl(path, before, after)?,
        Entry::Path { path } => remove_path(path)?,
        Entry::Tree { path } => gone(std::fs::remove_dir_all(path)).with_context(|| path.display().to_string())?,
        Entry::Kubeconfig { path, name, existed } => {
            let owner = kubeconfig::of_user().filter(|found| found.0 == *path).and_then(|found| found.1);
            kubeconfig::remove(path, owner, name, *existed).await?;
        }
    }
    Ok(0)
}

/// Stops and removes every pod of our containerd, which is started for that when its pods outlived it.
async fn pods(place: &Place) -> Result<usize> {
    let socket = place.containerd_socket().display().to_string();
    if processes::with_marker(&socket).is_empty()
        && processes::with_marker(&super::containerd::config_path(place).display().to_string()).is_empty()
    {
        return Ok(0);
    }
    let runtime = Containerd::start(place).await?.runtime()?;
    let listed = runtime.list_pod_sandbox(ListPodSandboxRequest { filter: None }).await?;
    let count = listed.items.len();
    let removed = stream::iter(listed.items).map(|pod| {
        let runtime = runtime.clone();
        async move {
            // A sandbox that does not stop well can often be removed all the same.
            let stopped = runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await;
            let removed = runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await;
            removed.map(drop).or_else(|error| stopped.map(drop).and(Err(error)))
        }
    });
    let removed: Vec<_> = removed.buffer_unordered(PODS_AT_ONCE).collect().await;
    if let Some(Err(error)) = removed.into_iter().find(Result::is_err) {
        bail!("a pod does not stop: {error}");
    }
    Ok(count)
}

async fn process(pid_file: &Path, marker: &str) -> Result<()> {
    if let Some(pid) = processes::of_file(pid_file, marker)
        && !processes::end(pid, Signal::TERM).await?
    {
        bail!("process {} does not end", pid.as_raw_nonzero());
    }
    gone(std::fs::remove_file(pid_file)).context("pid file")
}

fn unmount(which: impl Fn(&PathBuf) -> bool) -> Result<()> {
    let mut before = usize::MAX;
    loop {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let points =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|text| PathBuf::from(unescaped(text)));
        let mut points: Vec<PathBuf> = points.filter(&which).collect();
        if points.is_empty() {
            return Ok(());
        }
        let again = points.len() < before;
        before = points.len();
        // The last mounted lies on top.
        points.reverse();
        for point in points {
            match rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH) {
                // With one of a group that shares its mounts the others are gone, too: what is left is looked up again.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) if again => {}
                unmounted => unmounted.with_context(|| point.display().to_string())?,
            }
        }
    }
}

/// mountinfo writes blanks and backslashes as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.into(), |text, (from, to)| text.replace(from, to))
}

/// Ends what is left in a cgroup and removes it, in every hierarchy.
async fn cgroup(path: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let of_cgroups = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        tail.starts_with("cgroup").then(|| head.split(' ').nth(4).map(PathBuf::from))?
    };
    for mount in mounts.lines().filter_map(of_cgroups) {
        let dir = mount.join(path.trim_start_matches('/'));
        let mut tries = 0;
        while dir.is_dir() {
            let removed = remove_cgroup(&dir);
            tries += 1;
            match removed {
                Ok(()) => break,
                Err(error) if tries == CGROUP_TRIES => return Err(error).with_context(|| dir.display().to_string()),
                // The kernel has no event for a version 1 group that became empty.
                Err(_) => tokio::time::sleep(CGROUP_PAUSE).await,
            }
        }
    }
    Ok(())
}

fn remove_cgroup(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    for pid in std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    std::fs::remove_dir(dir)
}

/// The chains that portmap shares among all its users go when nobody uses them, and iptables' tables when
/// they were not there before and hold nothing.
async fn cni_chains(tables_before: &[String], chains_before: bool) -> Result<()> {
    let rules = net::run("nft", &["list", "ruleset"], "").await?;
    if !chains_before && rules.contains("CNI-HOSTPORT-DNAT") {
        for (family, program) in [("ip", "iptables"), ("ip6", "ip6tables")] {
            if rules.contains(&format!("table {family} nat")) {
                hostport_chains(program).await?;
            }
        }
    }
    for table in ["ip nat", "ip6 nat", "ip filter", "ip6 filter", "ip mangle", "ip6 mangle", "ip raw", "ip6 raw"] {
        if tables_before.iter().any(|before| before == table) {
            continue;
        }
        let listed =
            net::run("nft", &[&["list", "table"], table.split(' ').collect::<Vec<_>>().as_slice()].concat(), "").await;
        if listed.is_ok_and(|text| is_empty_table(&text)) {
            net::nft(&format!("delete table {table}\n")).await?;
        }
    }
    Ok(())
}

/// True when a table of nft's listing has chains without rules only.
fn is_empty_table(text: &str) -> bool {
    let structure = |line: &str| {
        line.is_empty() || line == "}" || line.ends_with('{') || line.starts_with("type ") || line.starts_with('#')
    };
    text.lines().map(str::trim).all(structure)
}

async fn hostport_chains(program: &str) -> Result<()> {
    let listed = net::run(program, &["-t", "nat", "-S"], "").await?;
    let used = listed.lines().any(|line| line.starts_with("-A CNI-HOSTPORT-DNAT ") || line.starts_with("-A CNI-DN-"));
    if used {
        return Ok(());
    }
    let jumps = listed.lines().filter(|line| line.contains("-j CNI-HOSTPORT-") && line.starts_with("-A "));
    let jumps: String = jumps.map(|line| format!("-D {}\n", &line[3..])).collect();
    let chains =
        listed.lines().filter_map(|line| line.strip_prefix("-N ").filter(|name| name.starts_with("CNI-HOSTPORT-")));
    let chains: String = chains.map(|name| format!("-F {name}\n-X {name}\n")).collect();
    net::run(&format!("{program}-restore"), &["--noflush"], &format!("*nat\n{jumps}{chains}COMMIT\n")).await.map(drop)
}

/// Puts a value back, unless somebody has changed it since.
fn sysctl(path: &Path, before: &str, after: &str) -> Result<()> {
    match super::files::read(path)? {
        Some(now) if now.trim() == after => std::fs::write(path, before).with_context(|| path.display().to_string()),
        _ => Ok(()),
    }
}

/// Removes a file, or a directory and its directories when there is nothing in them.
fn remove_path(path: &Path) -> Result<()> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    if !meta.is_dir() {
        return gone(std::fs::remove_file(path)).with_context(|| path.display().to_string());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_path(&entry.path())?;
        }
    }
    match std::fs::remove_dir(path) {
        // Somebody else uses it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => gone(other).with_context(|| path.display().to_string()),
    }
}

fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What `up` makes in the data directory; nothing else there is ever removed.
const OWN: [&str; 12] = [
    "admin.kubeconfig",
    "controller-manager.conf",
    "scheduler.conf",
    "kube-proxy.conf",
    "dns.conf",
    "pki",
    "store",
    "kubelet",
    "containerd",
    "cni",
    "run",
    "logs",
];

/// Removes the cluster's files, the journal last.
pub(crate) fn remove_data(place: &Place) -> Result<()> {
    let kubelets = std::fs::read_dir(&place.dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let kubelets: Vec<String> =
        kubelets.filter(|name| name.starts_with("kubelet-") && name.ends_with(".conf")).collect();
    for name in OWN.iter().map(|name| (*name).to_string()).chain(kubelets).chain(["state".into()]) {
        let path = place.at(&name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone(removed).map_err(|error| Failure::new(150, format!("{}: {error}", path.display())))?;
    }
    // What is not empty is somebody else's.
    let _ = std::fs::remove_dir(&place.dir);
    if let Some(parent) = place.dir.parent().filter(|parent| parent.ends_with("keelson")) {
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        let place = Place { name: "t".into(), dir: dir.into() };
        place.make().expect("made");
        place
    }

    #[tokio::test]
    async fn down_keeps_what_reset_takes() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(&dir.path().join("data"));
        let made = dir.path().join("made");
        std::fs::create_dir_all(made.join("below")).expect("made");
        let value = dir.path().join("value");
        std::fs::write(&value, "1\n").expect("set");
        let entries = [
            Entry::Path { path: made.clone() },
            Entry::Sysctl { path: value.clone(), before: "0".into(), after: "1".into() },
            Entry::Process { pid_file: place.at("run/x.pid"), marker: "x".into() },
        ];
        journal::rewrite(&place.at("state/journal"), &entries).expect("written");
        assert_eq!(replay(&place, false).await.expect("down").entries, 1);
        assert!(made.exists());
        assert_eq!(journal::read(&place.at("state/journal")).expect("left"), entries[..2]);
        assert_eq!(replay(&place, true).await.expect("reset").entries, 2);
        assert!(!made.exists());
        assert_eq!(std::fs::read_to_string(&value).expect("value"), "0");
    }

    #[test]
    fn reset_leaves_what_is_not_ours() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = place(dir.path());
        std::fs::write(place.at("mine"), "").expect("written");
        std::fs::write(place.at("kubelet-n.conf"), "").expect("written");
        remove_data(&place).expect("removed");
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).expect("there").map(|entry| entry.expect("entry").file_name()).collect();
        assert_eq!(left, ["mine"]);
    }

    #[test]
    fn a_value_that_somebody_changed_since_stays() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "2").expect("written");
        sysctl(file.path(), "0", "1").expect("left");
        assert_eq!(std::fs::read_to_string(file.path()).expect("value"), "2");
    }

    #[test]
    fn tables_with_rules_are_not_empty() {
        let empty = "table ip nat {\n\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t}\n}\n";
        assert!(is_empty_table(empty));
        assert!(!is_empty_table(&empty.replace("accept;\n", "accept;\n\t\tcounter packets 0 bytes 0 return\n")));
    }
}
