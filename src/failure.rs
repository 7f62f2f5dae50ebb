//! What can go wrong with the `keelson` command, each under a stable number: what, why, and a fix.
//!
//! Invariant: a number never changes its meaning; the exit code follows from the number alone. Non-goal:
//! components under their upstream names, which keep upstream's texts and exit codes.

use std::fmt;

/// Exit codes of the `keelson` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Preflight = 3,
    NotRunning = 4,
    Timeout = 5,
    Conflict = 6,
    Permission = 7,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u16,
    pub(crate) exit: Exit,
    /// What it means, in one line.
    pub(crate) what: &'static str,
    /// A fix that works when pasted, or as near as that comes without knowing the machine.
    pub(crate) fix: &'static str,
    /// What `keelson explain` says beyond that.
    pub(crate) more: &'static str,
}

const fn entry(number: u16, exit: Exit, what: &'static str, fix: &'static str, more: &'static str) -> Entry {
    Entry { number, exit, what, fix, more }
}

/// Every number.
pub(crate) const TABLE: &[Entry] = &[
    entry(
        100,
        Exit::Failed,
        "the cluster could not be started",
        "keelson doctor",
        "The reason is printed with it; the log is logs/keelson.log below the data directory. What the failed start had made has been taken down again.",
    ),
    entry(
        101,
        Exit::Permission,
        "the data directory cannot be used",
        "keelson up --data-dir \"$HOME/keelson\"",
        "Keelson keeps the store, certificates and logs in one directory, made with mode 0700. It must be on a local file system and writable by the user who runs `keelson up`.",
    ),
    entry(
        102,
        Exit::Permission,
        "this needs root",
        "sudo keelson up, or keelson up --fake-nodes 1",
        "Real nodes make network interfaces, mounts, cgroups and nftables rules. Without root use fake nodes: the same kubelet on a runtime that only pretends.",
    ),
    entry(
        103,
        Exit::Preflight,
        "a program that a real node needs is missing",
        "apt-get install containerd runc containernetworking-plugins nftables iptables conntrack",
        "A real node runs containers with containerd and runc, connects them with the CNI plugins bridge, host-local, portmap and loopback, and programs Services with nft.",
    ),
    entry(
        104,
        Exit::Conflict,
        "a port is in use; nothing was changed on this machine",
        "keelson up --api-port 6444",
        "The API server listens on --api-port (default 6443). Another cluster may have it: `keelson status`, or `ss -ltnp` shows who.",
    ),
    entry(
        105,
        Exit::Timeout,
        "the cluster was not ready in time",
        "keelson status",
        "The step that is not done yet was named. Its log is logs/keelson.log below the data directory, and logs/containerd.log for the runtime.",
    ),
    entry(
        106,
        Exit::Conflict,
        "another keelson is at work on this data directory",
        "keelson status",
        "One process at a time may own a data directory; a lock on its file `lock` says so. `keelson down` ends the one that runs.",
    ),
    entry(
        107,
        Exit::Preflight,
        "the path of the data directory is too long",
        "keelson up --data-dir /var/lib/keelson/k",
        "Unix sockets live below the data directory, and the kernel allows their paths 107 bytes.",
    ),
    entry(
        108,
        Exit::Preflight,
        "this processor is not supported for real nodes",
        "keelson up --fake-nodes 1",
        "The pause program inside the binary exists for x86-64 only so far.",
    ),
    entry(109, Exit::Usage, "a flag cannot be used", "keelson up --help", ""),
    entry(
        110,
        Exit::Failed,
        "the cluster's process ended",
        "keelson up",
        "It writes its reasons to logs/keelson.log below the data directory. `keelson up` continues on the data that is there.",
    ),
    entry(111, Exit::NotRunning, "the cluster is not running", "keelson up", ""),
    entry(
        112,
        Exit::Preflight,
        "no cgroup controllers that a node needs",
        "keelson up --fake-nodes 1",
        "Pods are limited by the cgroup controllers cpu, memory and pids, of version 1 or 2.",
    ),
    entry(
        113,
        Exit::Conflict,
        "the pods' addresses are somebody else's on this machine",
        "keelson up --name other --cluster-cidr 10.200.0.0/16",
        "A range of addresses can lead to one network only. A new cluster takes the first free one of 10.244.0.0/16, 10.245.0.0/16 and so on up to 10.254.0.0/16; a cluster keeps the range it was made with. `ip route` shows what leads where; `keelson reset --name NAME` removes the network of a cluster that is no longer wanted.",
    ),
    entry(
        120,
        Exit::Failed,
        "the store is damaged",
        "restore the directory `store` from a backup, or start anew with `keelson reset --yes`",
        "The store refuses to open a file that is not what it wrote, and never shortens it silently.",
    ),
    entry(
        121,
        Exit::Failed,
        "a certificate authority cannot be used",
        "restore the directory `pki` from a backup, or start anew with `keelson reset --yes`",
        "pki/ca.crt and pki/ca.key sign every identity of the cluster. They are made once; a lost or foreign one is never replaced silently.",
    ),
    entry(
        130,
        Exit::Conflict,
        "the kubeconfig is locked",
        "rm ~/.kube/config.lock",
        "kubectl and Keelson make FILE.lock while they write FILE. A client that was killed leaves it behind; remove it when none is running.",
    ),
    entry(
        131,
        Exit::Failed,
        "the kubeconfig cannot be changed",
        "kubectl --kubeconfig=DATA-DIR/admin.kubeconfig get nodes",
        "The cluster runs and admin.kubeconfig below the data directory works; only the merge into the user's own file failed.",
    ),
    entry(
        140,
        Exit::Failed,
        "containerd does not start",
        "tail DATA-DIR/logs/containerd.log",
        "Each cluster has a containerd of its own, with root, state and socket below the data directory.",
    ),
    entry(
        141,
        Exit::Preflight,
        "too few inotify instances",
        "sysctl -w fs.inotify.max_user_instances=1024",
        "Pods that watch files fail with \"too many open files\" when none is left.",
    ),
    entry(
        142,
        Exit::Failed,
        "an image cannot be imported",
        "ctr images import FILE",
        "--images DIR imports every *.tar there; each must be an OCI or docker archive.",
    ),
    entry(
        150,
        Exit::Failed,
        "not everything could be removed",
        "keelson reset --yes",
        "The journal (state/journal below the data directory) keeps what is left; reset may be repeated.",
    ),
    entry(
        151,
        Exit::Usage,
        "reset needs a yes",
        "keelson reset --yes",
        "reset removes the cluster with all its data. Without --yes it asks on a terminal.",
    ),
];

/// A failure with its number.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) entry: &'static Entry,
    /// The observed fact.
    pub(crate) why: String,
    /// Replaces the table's fix when the place of failure knows better.
    pub(crate) fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(number: u16, why: impl fmt::Display) -> Self {
        Failure { entry: find(number).expect("numbers in the code are in the table"), why: why.to_string(), fix: None }
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub(crate) fn fix_text(&self) -> &str {
        self.fix.as_deref().unwrap_or(self.entry.fix)
    }

    /// The failure in an error, or a general one around it.
    pub(crate) fn of(error: anyhow::Error) -> Self {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::new(100, format!("{error:#}")),
        }
    }

    /// Three lines at most, for people.
    pub(crate) fn print(&self) {
        eprintln!("error: {}   KEEL-{}", self.entry.what, self.entry.number);
        eprintln!("  {}", self.why);
        eprintln!("help: {}", self.fix_text());
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.entry.what, self.why)
    }
}

impl std::error::Error for Failure {}

pub(crate) fn find(number: u16) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_sorted() {
        let numbers: Vec<u16> = TABLE.iter().map(|entry| entry.number).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(numbers, sorted);
    }

    #[test]
    fn a_failure_keeps_its_number_through_anyhow() {
        let error = anyhow::Error::new(Failure::new(104, "port 6443 is in use")).context("up");
        // Context hides the type from downcast only when it is not the outermost cause; anyhow finds it.
        assert_eq!(Failure::of(error).entry.number, 104);
        assert_eq!(Failure::of(anyhow::anyhow!("other")).entry.number, 100);
    }
}
