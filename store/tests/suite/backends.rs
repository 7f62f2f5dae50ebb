//! Stores to test: an embedded one in a directory of its own, a real etcd of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use store::{EmbeddedConfig, EtcdConfig, Store};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) async fn embedded() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { dir: dir.path().join("store") };
    (Store::embedded(config).await.unwrap(), dir)
}

/// How many etcds run at a time.
static SERVERS: Semaphore = Semaphore::const_new(2);

/// An etcd of its own, gone when dropped.
pub(crate) struct EtcdServer {
    process: Child,
    dir: TempDir,
    client: String,
    peer: String,
    _permit: SemaphorePermit<'static>,
}

impl EtcdServer {
    pub(crate) async fn start() -> EtcdServer {
        let permit = SERVERS.acquire().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (client, peer) = (free(), free());
        let process = spawn(&dir, &client, &peer);
        EtcdServer { process, dir, client, peer, _permit: permit }
    }

    /// Kills it and starts it again on the same data and ports.
    pub(crate) async fn restart(&mut self) {
        self.process.kill().await.unwrap();
        self.process = spawn(&self.dir, &self.client, &self.peer);
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.client
    }

    pub(crate) async fn store(&self) -> Store {
        ready(EtcdConfig { endpoints: vec![self.client.clone()], ..EtcdConfig::default() }).await
    }
}

/// A store on etcd, when that answers.
pub(crate) async fn ready(config: EtcdConfig) -> Store {
    let store = Store::etcd(config).await.unwrap();
    for _ in 0..600 {
        if store.health().await.is_ok() {
            return store;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("etcd did not become ready: {:?}", store.health().await);
}

pub(crate) fn free() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn spawn(dir: &TempDir, client: &str, peer: &str) -> Child {
    let cluster = format!("test={peer}");
    spawn_with(
        dir,
        client,
        &["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", &cluster],
    )
}

/// An etcd with its data in `dir`; killed with its handle.
pub(crate) fn spawn_with(dir: &TempDir, client: &str, flags: &[&str]) -> Child {
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut command = Command::new(binary());
    command.args(["--name", "test", "--unsafe-no-fsync", "--data-dir"]).arg(dir.path().join("data"));
    command.args(["--listen-client-urls", client, "--advertise-client-urls", client]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().expect("etcd starts")
}

fn binary() -> PathBuf {
    let given = std::env::var_os("KEELSON_ETCD").map(PathBuf::from);
    let built = std::env::home_dir().map(|home| home.join(".cache/keelson-upstream/bin/etcd"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    let mut places = given.into_iter().chain(built).chain(installed);
    places.find(|place| place.is_file()).expect(
        "this test needs a real etcd and found none: build it with `cargo xtask ci` (or `go build go.etcd.io/etcd/server/v3`), \
         or install Debian's etcd-server, and name the binary in KEELSON_ETCD if it is not on PATH",
    )
}
