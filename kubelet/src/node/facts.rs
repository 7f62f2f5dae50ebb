//! What the machine is and has, read once at start (what upstream gets from cadvisor).

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use rustix::fs::StatVfs;

use crate::config::Config;

/// The machine, or what a fake node claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) cpu: String,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bytes of the filesystem that holds the root folder.
    pub(crate) storage: u64,
    pub(crate) hugepages: Vec<(String, u64)>,
    pub(crate) swap: u64,
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Facts {
    pub(crate) fn measure(config: &Config) -> Self {
        let meminfo = read("/proc/meminfo");
        let machine_id = Some(read("/etc/machine-id")).filter(|id| !id.is_empty());
        let machine_id = machine_id.unwrap_or_else(|| read("/var/lib/dbus/machine-id"));
        let uuid = read("/sys/class/dmi/id/product_uuid");
        Facts {
            cpu: cpus().to_string(),
            memory: kilobytes(&meminfo, "MemTotal:"),
            storage: rustix::fs::statvfs(&config.root_dir)
                .map(|stat: StatVfs| stat.f_blocks * stat.f_frsize)
                .unwrap_or(0),
            hugepages: hugepages(Path::new("/sys/kernel/mm/hugepages")),
            swap: kilobytes(&meminfo, "SwapTotal:"),
            // A virtual machine without DMI has no UUID of its own.
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
        }
    }

    /// What a fake node claims: no host is looked at.
    pub(crate) fn claim(config: &Config) -> Self {
        let value = |text: &str| {
            let quantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.to_owned());
            u64::try_from(crate::resources::value(&quantity)).unwrap_or(0)
        };
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, config.node_name.as_bytes());
        Facts {
            cpu: config.capacity.cpu.clone(),
            memory: value(&config.capacity.memory),
            storage: value(&config.capacity.ephemeral_storage),
            machine_id: id.simple().to_string(),
            system_uuid: id.to_string(),
            boot_id: uuid::Uuid::new_v4().to_string(),
            kernel: "fake".into(),
            os_image: "fake".into(),
            ..Facts::default()
        }
    }
}

fn cpus() -> usize {
    let count = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = count.lines().filter(|line| line.starts_with("processor")).count();
    if count > 0 { count } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// The value of one line of /proc/meminfo, in bytes.
pub(crate) fn kilobytes(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Resource name and bytes of each huge page size that the kernel has.
fn hugepages(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(String, u64)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let pages = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse::<u64>().ok()?;
            let size = crate::resources::bytes(kilobytes * 1024).0;
            Some((format!("hugepages-{size}"), pages * kilobytes * 1024))
        })
        .collect();
    found.sort();
    found
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Unknown".into())
}

/// The address from which this host reaches others; nothing is sent
/// (k8s.io/apimachinery/pkg/util/net/interface.go@v0.37.2 looks at the routes instead).
pub(crate) fn default_address() -> Option<IpAddr> {
    let of = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    of("0.0.0.0:0", "198.51.100.1:9").or_else(|| of("[::]:0", "[2001:db8::1]:9"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_a_claim() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config { root_dir: dir.path().into(), ..Config::new("n") };
        let facts = Facts::measure(&config);
        assert!(facts.memory > 1 << 20 && facts.storage > 1 << 20 && facts.cpu != "0", "{facts:?}");
        assert!(!facts.boot_id.is_empty() && !facts.kernel.is_empty());
        let claim = Facts::claim(&config);
        assert_eq!((claim.cpu.as_str(), claim.memory), ("32", 256 << 30));
        assert_eq!(claim.machine_id, Facts::claim(&config).machine_id, "it is the same after a restart");
    }

    #[test]
    fn files_are_understood() {
        assert_eq!(kilobytes("MemTotal:  10 kB\nMemFree: 3 kB\n", "MemFree:"), 3072);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }
}
