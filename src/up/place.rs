//! Where things of a cluster are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli;

/// A cluster's name and directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

impl Place {
    pub(crate) fn of(place: &cli::Place) -> Result<Self> {
        let name = place.name.clone();
        let valid = !name.is_empty()
            && name.len() <= 40
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !valid {
            let why = format!("--name {name:?}: at most 40 lower-case letters, digits and dashes");
            return Err(crate::failure::Failure::new(109, why).into());
        }
        let dir = match &place.data_dir {
            Some(dir) => std::path::absolute(dir).context("--data-dir")?,
            None => default_root().join(&name),
        };
        Ok(Place { name, dir })
    }

    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.join(path)
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.at("pki")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.at("store")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.at("logs")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.at("run")
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.at("admin.kubeconfig")
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.at("run/containerd.sock")
    }

    /// Name of contexts, nftables tables and cgroups.
    pub(crate) fn label(&self) -> String {
        format!("keelson-{}", self.name)
    }

    /// Makes the directories, for nobody else to look into.
    pub(crate) fn make(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let below = ["state", "pki", "logs", "run"].map(|name| self.at(name));
        below.iter().try_for_each(|dir| builder.create(dir))
    }
}

/// Root of the machine; root of a user namespace is an ordinary user to it.
pub(crate) fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::geteuid().is_root() && maps_all(&map)
}

/// True for the map of the first user namespace.
fn maps_all(map: &str) -> bool {
    map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"]
}

fn default_root() -> PathBuf {
    if is_root() {
        return "/var/lib/keelson".into();
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("keelson")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_a_user_namespace_is_no_root() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(!maps_all("         0       1000          1\n"));
        assert!(!maps_all(""));
    }
}
