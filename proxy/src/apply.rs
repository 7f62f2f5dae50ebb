//! The kernel's side: runs transactions with the `nft` program and reads back what is there.
//!
//! Invariant: a transaction is one `nft -f -`, so it happens whole or not at all. The syntax stays
//! within what nft 1.0.6 takes (no `destroy`). Every nft process's id is noted in [`OwnPorts`],
//! since the kernel reports a change together with its author.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Error;
use crate::family::Family;
use crate::ruleset::Kind;
use crate::transaction::Existing;

/// How many of our nft processes are remembered; each is of interest only until its changes have
/// been reported, which is before it ends.
const OWN_PORTS_MAX: usize = 32;

/// The netlink ports (process ids) that our own changes come from.
#[derive(Clone, Default)]
pub(crate) struct OwnPorts(Arc<Mutex<VecDeque<u32>>>);

impl OwnPorts {
    fn add(&self, port: u32) {
        let mut ports = self.0.lock();
        ports.push_back(port);
        if ports.len() > OWN_PORTS_MAX {
            ports.pop_front();
        }
    }

    pub(crate) fn contains(&self, port: u32) -> bool {
        self.0.lock().contains(&port)
    }
}

/// Runs nft in one network namespace.
#[derive(Clone, Default)]
pub(crate) struct Nft {
    pub(crate) netns: Option<PathBuf>,
    pub(crate) own: OwnPorts,
}

impl Nft {
    /// Applies one transaction.
    pub(crate) async fn run(&self, script: &str) -> Result<(), Error> {
        let output = self.execute(&["-f", "-"], script).await?;
        if output.status.success() { Ok(()) } else { Err(failure(&output)) }
    }

    /// What the table holds; `None` if there is no such table.
    pub(crate) async fn existing(&self, family: Family, table: &str) -> Result<Option<Existing>, Error> {
        let output = self.execute(&["-j", "-t", "list", "table", family.nft(), table], "").await?;
        if output.status.success() {
            return parse_listing(&output.stdout).map(Some);
        }
        let missing = String::from_utf8_lossy(&output.stderr).contains("No such file or directory");
        if missing { Ok(None) } else { Err(failure(&output)) }
    }

    /// Removes a table that may not be there.
    pub(crate) async fn delete_table(&self, family: Family, table: &str) -> Result<(), Error> {
        let family = family.nft();
        self.run(&format!("add table {family} {table}\ndelete table {family} {table}\n")).await
    }

    async fn execute(&self, arguments: &[&str], input: &str) -> Result<Output, Error> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(Error::NftMissing)?;
        child.id().into_iter().for_each(|pid| self.own.add(pid));
        let mut stdin = child.stdin.take();
        let feed = async {
            if let Some(stdin) = &mut stdin {
                // nft that stops reading says why on stderr; that is the error to report.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            stdin = None;
        };
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        output.map_err(Error::NftMissing)
    }

    /// nsenter becomes nft in the same process, so the id stays.
    fn command(&self) -> Command {
        let Some(netns) = &self.netns else { return Command::new("nft") };
        let mut command = Command::new("nsenter");
        let mut option = std::ffi::OsString::from("--net=");
        option.push(netns);
        command.arg(option).arg("nft");
        command
    }
}

fn failure(output: &Output) -> Error {
    let text = String::from_utf8_lossy(&output.stderr);
    let first: Vec<&str> = text.lines().take(2).collect();
    Error::Nft(first.join(" "))
}

fn parse_listing(json: &[u8]) -> Result<Existing, Error> {
    let listing: Value = serde_json::from_slice(json).map_err(|e| Error::Nft(format!("listing unreadable: {e}")))?;
    let mut existing = Existing::default();
    let name = |object: &Value| object["name"].as_str().map(str::to_owned);
    for object in listing["nftables"].as_array().into_iter().flatten() {
        existing.chains.extend(object.get("chain").and_then(name));
        for kind in [Kind::Set, Kind::Map] {
            let Some(container) = object.get(kind.nft()) else { continue };
            let timeout = container["timeout"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
            existing.containers.extend(name(container).map(|name| (name, (kind, timeout))));
        }
    }
    Ok(existing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let json = br#"{"nftables": [{"metainfo": {}}, {"table": {"name": "t"}},
            {"chain": {"family": "ip", "name": "services"}}, {"set": {"name": "affinity-a", "timeout": 10}},
            {"map": {"name": "service-ips"}}, {"rule": {"chain": "services"}}]}"#;
        let found = parse_listing(json).expect("a listing");
        assert_eq!(found.chains.into_iter().collect::<Vec<_>>(), ["services"]);
        let containers: Vec<_> = found.containers.into_iter().collect();
        assert_eq!(
            containers,
            [("affinity-a".to_owned(), (Kind::Set, Some(10))), ("service-ips".to_owned(), (Kind::Map, None))]
        );
        assert!(parse_listing(b"nonsense").is_err());
    }
}
