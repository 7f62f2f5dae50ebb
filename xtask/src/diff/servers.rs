//! The two servers of a run: upstream's kube-apiserver on etcd and ours on its own store, with equal flags and the
//! same certificates, both from nothing. No controllers run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::sequence::Step;
use super::wire::{Connection, Endpoint};
use crate::plane::{self, Side};
use crate::process::{self, Server};

const READY_LIMIT: Duration = Duration::from_secs(300);
const READY_POLL: Duration = Duration::from_millis(100);
/// With this, every version is served, not only those that are on by default.
const EVERY_VERSION: &str = "--runtime-config=api/all=true";

/// Both, upstream's first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Both<T> {
    pub(super) upstream: T,
    pub(super) keelson: T,
}

pub(super) struct Servers {
    pub(super) endpoints: Both<Endpoint>,
    // Dropped in this order: etcd ends last.
    running: Vec<Server>,
    dir: tempfile::TempDir,
}

impl Servers {
    /// Returns when both are ready. `flags` are given to both.
    pub(super) async fn start(every_version: bool, flags: &[String]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keelson-diff-").tempdir()?;
        let [theirs, ours, client, peer] = process::free_ports()?;
        let path = dir.path();
        plane::certificates(path)?;
        let etcd = plane::etcd(path, client, peer)?;
        let mut upstream = Side::Upstream.program("kube-apiserver");
        upstream.arg(format!("--etcd-servers={}", plane::url(client))).args(plane::apiserver_flags(path, theirs));
        let mut keelson = Side::Keelson.program("kube-apiserver");
        keelson.arg("--data-dir").arg(path.join("store")).args(plane::apiserver_flags(path, ours));
        for command in [&mut upstream, &mut keelson] {
            command.args(every_version.then_some(EVERY_VERSION)).args(flags);
        }
        let mut running = vec![
            Server::start("kube-apiserver", &mut upstream, path)?,
            Server::start("keelson", &mut keelson, path)?,
            etcd,
        ];
        let endpoints = Both { upstream: Endpoint::new(path, theirs)?, keelson: Endpoint::new(path, ours)? };
        for endpoint in [&endpoints.upstream, &endpoints.keelson] {
            ready(endpoint, &mut running).await?;
        }
        Ok(Servers { endpoints, running, dir })
    }

    /// The directory with the logs.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An error when one has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.running.iter_mut().try_for_each(Server::check)
    }
}

async fn ready(endpoint: &Endpoint, running: &mut [Server]) -> Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        running.iter_mut().try_for_each(Server::check)?;
        let asked = Connection::new(endpoint).send(&Step::new("GET", "/readyz", "")).await;
        if asked.as_ref().is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not ready in time: {asked:?}");
        process::sleep(READY_POLL);
    }
}
