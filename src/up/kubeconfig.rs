//! Kubeconfig files: the cluster's own, and the entries in the user's.
//!
//! Invariant: of a user's file only the entries of our name change, and its current-context only when it
//! had none; it is written as client-go does (tools/clientcmd/config.go@v0.37.2): under FILE.lock,
//! made exclusively, mode 0600. Non-goal: files that are no kubeconfig; they are refused.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::files;
use super::pki::Identity;
use crate::failure::Failure;

/// How often and how long somebody else's lock is waited for: client-go leaves no event but the file's end.
const LOCK_PERIOD: Duration = Duration::from_millis(25);
const LOCK_TRIES: u32 = 80;

/// Whose file, when root acts for somebody.
pub(crate) type Owner = Option<(u32, u32)>;

/// Where to reach the cluster and as whom.
pub(crate) struct Access<'a> {
    pub(crate) name: &'a str,
    pub(crate) server: &'a str,
    pub(crate) ca: &'a str,
    pub(crate) identity: &'a Identity,
}

impl Access<'_> {
    fn entries(&self) -> [(&'static str, Value); 3] {
        let data = |pem: &str| BASE64_STANDARD.encode(pem);
        let cluster = json!({ "certificate-authority-data": data(self.ca), "server": self.server });
        let user = json!({
            "client-certificate-data": data(&self.identity.cert),
            "client-key-data": data(&self.identity.key),
        });
        [
            ("clusters", json!({ "name": self.name, "cluster": cluster })),
            ("contexts", json!({ "name": self.name, "context": { "cluster": self.name, "user": self.name } })),
            ("users", json!({ "name": self.name, "user": user })),
        ]
    }

    /// A whole file of its own.
    pub(crate) fn file(&self) -> Result<String> {
        text(&merged(empty(), self))
    }
}

fn empty() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [], "contexts": [], "users": [], "current-context": "",
    })
}

fn text(config: &Value) -> Result<String> {
    serde_saphyr::to_string(config).context("kubeconfig")
}

/// A file with our entries in place of older ones of the name.
fn merged(config: Value, access: &Access) -> Value {
    let mut config = without(config, access.name);
    for (list, entry) in access.entries() {
        match config[list].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => config[list] = json!([entry]),
        }
    }
    if config["current-context"].as_str().unwrap_or_default().is_empty() {
        config["current-context"] = access.name.into();
    }
    config
}

/// A file without the entries of a name.
fn without(mut config: Value, name: &str) -> Value {
    for list in ["clusters", "contexts", "users"] {
        if let Some(entries) = config[list].as_array_mut() {
            entries.retain(|entry| entry["name"] != name);
        }
    }
    config
}

fn parse(path: &Path, content: &str) -> Result<Value> {
    let refused = |why: String| anyhow!(Failure::new(131, format!("{}: {why}", path.display())));
    if content.trim().is_empty() {
        return Ok(empty());
    }
    let config: Value = serde_saphyr::from_str(content).map_err(|error| refused(error.to_string()))?;
    let lists = ["clusters", "contexts", "users"];
    let fine = config.is_object() && lists.iter().all(|list| config[list].is_array() || config[list].is_null());
    if fine { Ok(config) } else { Err(refused("it is no kubeconfig".into())) }
}

/// Merges a cluster into a file.
pub(crate) async fn merge(path: &Path, owner: Owner, access: &Access<'_>) -> Result<()> {
    change(path, owner, |config| Ok(Some(merged(config, access)))).await
}

/// Takes a cluster out of a file; a file that we made and that is empty now goes.
pub(crate) async fn remove(path: &Path, owner: Owner, name: &str, existed: bool) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    change(path, owner, |config| {
        let mut config = without(config, name);
        if config["current-context"] == name {
            config["current-context"] = "".into();
        }
        let none =
            ["clusters", "contexts", "users"].iter().all(|list| config[*list].as_array().is_none_or(Vec::is_empty));
        Ok((existed || !none).then_some(config))
    })
    .await
}

/// Rewrites a file under its lock; `None` removes it.
async fn change(path: &Path, owner: Owner, how: impl FnOnce(Value) -> Result<Option<Value>>) -> Result<()> {
    let failed = |error: std::io::Error| Failure::new(131, format!("{}: {error}", path.display()));
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(failed)?;
        give(dir, owner).map_err(failed)?;
    }
    // A link stays a link: what it points at is rewritten.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let _lock = ConfigLock::take(path).await?;
    let before = files::read(path).map_err(failed)?;
    match how(parse(path, before.as_deref().unwrap_or_default())?)? {
        None => Ok(std::fs::remove_file(path).map_err(failed)?),
        Some(config) => {
            let content = text(&config)?;
            if before.as_deref() == Some(&content) {
                return Ok(());
            }
            let owner = owner.or_else(|| owner_of(path));
            files::write(path, content.as_bytes(), 0o600, false).map_err(failed)?;
            Ok(give(path, owner).map_err(failed)?)
        }
    }
}

fn owner_of(path: &Path) -> Owner {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|meta| (meta.uid(), meta.gid())).filter(|_| super::place::is_root())
}

fn give(path: &Path, owner: Owner) -> std::io::Result<()> {
    owner.map_or(Ok(()), |(user, group)| std::os::unix::fs::chown(path, Some(user), Some(group)))
}

/// client-go's lock: a file that only one can make.
struct ConfigLock(PathBuf);

impl ConfigLock {
    async fn take(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_os_string();
        name.push(".lock");
        let lock = PathBuf::from(name);
        for _ in 0..LOCK_TRIES {
            match File::options().write(true).create_new(true).mode(0o600).open(&lock) {
                Ok(_) => return Ok(ConfigLock(lock)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::new(131, format!("{}: {error}", lock.display())).into()),
            }
            tokio::time::sleep(LOCK_PERIOD).await;
        }
        let why = format!("{} has been there for {:?}", lock.display(), LOCK_PERIOD * LOCK_TRIES);
        Err(Failure::new(130, why).fix(format!("rm {}", lock.display())).into())
    }
}

impl Drop for ConfigLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The file of the user who typed the command: the first of $KUBECONFIG, or ~/.kube/config; with sudo
/// that of the user who called it.
pub(crate) fn of_user() -> Option<(PathBuf, Owner)> {
    let set = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let sudo = id("SUDO_UID").zip(id("SUDO_GID")).filter(|ids| super::place::is_root() && ids.0 != 0);
    if let Some(path) = set {
        return Some((std::path::absolute(path).ok()?, sudo));
    }
    let home = match sudo {
        Some((user, _)) => nix::unistd::User::from_uid(user.into()).ok()??.dir,
        None => std::env::var_os("HOME").filter(|home| !home.is_empty())?.into(),
    };
    Some((home.join(".kube/config"), sudo))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity() -> Identity {
        Identity { cert: "CERT".into(), key: "KEY".into() }
    }

    fn access<'a>(identity: &'a Identity, server: &'a str) -> Access<'a> {
        Access { name: "keelson-t", server, ca: "CA", identity }
    }

    fn read(path: &Path) -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(path).expect("there")).expect("yaml")
    }

    const OTHERS: &str = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: 'https://work', extensions: [{name: x, extension: {a: '01'}}]}\ncontexts:\n- {name: work, context: {cluster: work, user: me, namespace: 'on'}}\nusers:\n- name: me\n  user: {exec: {command: c, args: ['1', 'null', '~'], env: null}}\n";

    #[tokio::test]
    async fn others_entries_and_context_stay_and_ours_come_and_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kube/config");
        std::fs::create_dir(dir.path().join("kube")).expect("made");
        std::fs::write(&path, OTHERS).expect("written");
        let before = read(&path);
        let identity = identity();
        merge(&path, None, &access(&identity, "https://a")).await.expect("merged");
        merge(&path, None, &access(&identity, "https://b")).await.expect("merged again");
        let both = read(&path);
        assert_eq!(both["current-context"], "work");
        assert_eq!(both["clusters"][1]["cluster"]["server"], "https://b");
        assert_eq!(
            (both["clusters"].as_array().map(Vec::len), &both["clusters"][0]),
            (Some(2), &before["clusters"][0])
        );
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert!(!dir.path().join("kube/config.lock").exists());
        remove(&path, None, "keelson-t", true).await.expect("removed");
        assert_eq!(read(&path), before);
    }

    #[tokio::test]
    async fn a_file_of_our_own_gets_the_context_and_goes_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(".kube/config");
        let identity = identity();
        merge(&path, None, &access(&identity, "https://a")).await.expect("merged");
        assert_eq!(read(&path)["current-context"], "keelson-t");
        assert_eq!(read(&path)["users"][0]["user"]["client-key-data"], "S0VZ");
        remove(&path, None, "keelson-t", false).await.expect("removed");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config");
        std::fs::write(&path, "clusters: 7\n").expect("written");
        let identity = identity();
        let error = merge(&path, None, &access(&identity, "https://a")).await.expect_err("refused");
        assert_eq!(Failure::of(error).entry.number, 131);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "clusters: 7\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_of_another_is_respected() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config");
        std::fs::write(dir.path().join("config.lock"), "").expect("locked");
        let identity = identity();
        let error = merge(&path, None, &access(&identity, "https://a")).await.expect_err("locked");
        assert_eq!(Failure::of(error).entry.number, 130);
        assert!(dir.path().join("config.lock").exists() && !path.exists());
    }
}
