//! What a cluster could leave behind on the machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Whether real nodes can run here. In CI ($KEELSON_REAL_NODES is set) they must.
///
/// # Errors
/// They must, and cannot.
pub fn has_real_nodes() -> Result<bool> {
    let containerd = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join("containerd").exists())
    });
    let root = output("id", &["-u"])?.trim() == "0";
    let can = root && containerd && Path::new("/bin/busybox").exists();
    ensure!(can || std::env::var_os("KEELSON_REAL_NODES").is_none(), "real nodes need root, containerd and busybox");
    if !can {
        println!("not run: needs root, containerd and busybox-static");
    }
    Ok(can)
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_string())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Rules, links, namespaces, processes, mounts, cgroups and files where a node works, one a line.
#[derive(Debug)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    pub fn take() -> Result<Self> {
        let mut lines = BTreeSet::new();
        let mut add = |what: &str, text: &str| lines.extend(text.lines().map(|line| format!("{what}: {line}")));
        add("nft", &output("nft", &["--stateless", "list", "ruleset"])?);
        let rules = output("iptables-save", &[])?;
        add("iptables", &rules.lines().filter(|line| !line.starts_with(['#', ':'])).collect::<Vec<_>>().join("\n"));
        add("link", &names_of_links()?);
        add("netns", &output("ip", &["netns", "list"])?);
        add("process", &processes()?.join("\n"));
        add("mount", &mounts()?);
        for dir in ["/run/containerd", "/run/netns", "/var/lib/cni", "/opt", "/etc/cni", "/sys/fs/cgroup"] {
            add(dir, &below(Path::new(dir), 2).join("\n"));
        }
        Ok(Footprint(lines))
    }

    /// What is in one and not in the other.
    pub fn differences(&self, later: &Footprint) -> Vec<String> {
        let gone = self.0.difference(&later.0).map(|line| format!("- {line}"));
        gone.chain(later.0.difference(&self.0).map(|line| format!("+ {line}"))).collect()
    }
}

fn names_of_links() -> Result<String> {
    Ok(output("ip", &["-oneline", "link"])?
        .lines()
        .filter_map(|line| line.split(": ").nth(1))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Processes in namespaces of their own, as those of containers are, and those that look after containers.
fn processes() -> Result<Vec<String>> {
    let namespaces = |process: &Path| ["mnt", "net", "pid"].map(|kind| process.join("ns").join(kind).read_link().ok());
    let own = namespaces(Path::new("/proc/self"));
    let mut all = vec![];
    for process in std::fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path())) {
        // A process that has ended, and that nobody has asked after, has no command line any more; nor has the kernel's.
        if std::fs::read(process.join("cmdline")).map_or(true, |line| line.is_empty()) {
            continue;
        }
        let Ok(name) = std::fs::read_to_string(process.join("comm")) else { continue };
        let theirs = namespaces(&process);
        // A process that just ends has none any more.
        let apart = theirs.iter().zip(&own).any(|(theirs, own)| theirs.is_some() && theirs != own);
        if apart || name.starts_with("containerd") {
            all.push(format!("{} {}", process.display(), name.trim()));
        }
    }
    Ok(all)
}

/// Mount points with what is mounted there; their numbers change.
fn mounts() -> Result<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    Ok(text.lines().filter_map(point).collect::<Vec<_>>().join("\n"))
}

/// Directories and files some levels down.
fn below(dir: &Path, levels: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return vec![] };
    let mut all = vec![];
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        all.push(path.display().to_string());
        if levels > 1 && path.is_dir() && !path.is_symlink() {
            all.extend(below(&path, levels - 1));
        }
    }
    all
}
