//! A containerd of the cluster's own: root, state, socket and shims below the data directory.
//!
//! Invariant: it and its pods outlive our process; the next one takes it over when it still runs. When it
//! ends while we run, it is started again. Non-goal: containerd's of the distribution, which is not touched.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use client::task::Tasks;
use cri::v1::{Image, ImageSpec, ImageStatusRequest, VersionRequest};
use tokio::net::UnixDatagram;
use tokio::process::Command;

use super::place::Place;
use super::plan::program;
use super::{cni, files, pause, processes};
use crate::failure::Failure;

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Before it is started again after it ended.
const RESTART_PERIOD: Duration = Duration::from_secs(1);
/// Between two looks at a plugin that is still starting.
const PLUGIN_PERIOD: Duration = Duration::from_millis(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Where containerd keeps what CRI makes.
const NAMESPACE: &str = "k8s.io";

/// A running containerd.
#[derive(Clone)]
pub(crate) struct Containerd {
    place: Place,
}

pub(crate) fn config_path(place: &Place) -> PathBuf {
    place.at("run/containerd.toml")
}

pub(crate) fn pid_file(place: &Place) -> PathBuf {
    place.at("run/containerd.pid")
}

impl Containerd {
    /// Takes over the one that runs, or starts it; returns when it answers.
    pub(crate) async fn start(place: &Place) -> Result<Self> {
        let containerd = Containerd { place: place.clone() };
        let config = config(place, program("runc").as_deref(), cni::plugin_dir().as_deref());
        files::write(&config_path(place), config.as_bytes(), 0o600, false)?;
        if processes::of_file(&pid_file(place), &config_path(place).display().to_string()).is_some()
            && containerd.runtime()?.version(VersionRequest::default()).await.is_ok()
        {
            return Ok(containerd);
        }
        containerd.launch().await?;
        Ok(containerd)
    }

    /// Its CRI.
    pub(crate) fn runtime(&self) -> Result<cri::RuntimeHandle> {
        let socket = self.place.containerd_socket().display().to_string();
        Ok(Arc::new(cri::grpc::Grpc::new(&socket, REQUEST_TIMEOUT)?))
    }

    /// Starts the process and waits until it says that it serves, as it would say to systemd.
    async fn launch(&self) -> Result<()> {
        let place = &self.place;
        let failed = |why: String| Failure::new(140, why).fix(format!("tail {}", self.log().display()));
        let notify = place.at("run/notify.sock");
        let _ = std::fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).with_context(|| notify.display().to_string())?;
        let log = File::options().append(true).create(true).mode(0o600).open(self.log())?;
        let binary = program("containerd").ok_or_else(|| Failure::new(103, "there is no containerd"))?;
        let mut command = Command::new(binary);
        command.arg("--config").arg(config_path(place)).env("NOTIFY_SOCKET", &notify).current_dir("/");
        command.env("PATH", search_path()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let pid = child.id().context("it has just started")?;
        files::write(&pid_file(place), pid.to_string().as_bytes(), 0o600, false)?;
        let ready = async {
            let mut message = [0; 256];
            loop {
                let length = socket.recv(&mut message).await?;
                if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                    return std::io::Result::Ok(());
                }
            }
        };
        tokio::select! {
            said = tokio::time::timeout(START_LIMIT, ready) => match said {
                Ok(said) => said?,
                Err(_) => return Err(failed(format!("it did not serve within {} s", START_LIMIT.as_secs())).into()),
            },
            status = child.wait() => return Err(failed(format!("it ended: {}", status?)).into()),
        }
        let _ = std::fs::remove_file(&notify);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.place.logs().join("containerd.log")
    }

    /// Starts it again whenever it ends.
    pub(crate) fn keep(&self, tasks: &Tasks) {
        let containerd = self.clone();
        tasks.run("containerd", async move {
            loop {
                let ended = containerd.ended().await;
                tracing::error!(?ended, "containerd ended, starting it again");
                tokio::time::sleep(RESTART_PERIOD).await;
                if let Err(error) = containerd.launch().await {
                    tracing::error!(%error, "containerd does not start");
                }
            }
        });
    }

    async fn ended(&self) -> std::io::Result<()> {
        let marker = config_path(&self.place).display().to_string();
        let Some(pid) = processes::of_file(&pid_file(&self.place), &marker) else { return Ok(()) };
        processes::ended(pid).await
    }

    /// Imports the pause image, and every archive of a directory, unless that was done.
    pub(crate) async fn import(&self, images: Option<&Path>) -> Result<usize> {
        let known = self.pause_image().await?;
        if known.is_none() {
            let file = self.place.at("run/pause.tar");
            files::write(&file, &pause::archive(), 0o600, false)?;
            self.import_file(&file).await?;
            let _ = std::fs::remove_file(&file);
        }
        let Some(dir) = images else { return Ok(0) };
        self.import_dir(dir).await
    }

    /// The pause image, if it is there. CRI is a plugin that may still start when containerd serves, and
    /// says so in words alone.
    async fn pause_image(&self) -> Result<Option<Image>> {
        let runtime = self.runtime()?;
        let begun = Instant::now();
        loop {
            let spec = Some(ImageSpec { image: pause::IMAGE.into(), ..ImageSpec::default() });
            match runtime.image_status(ImageStatusRequest { image: spec, verbose: false }).await {
                Ok(known) => return Ok(known.image),
                Err(error) if error.message.contains("not initialized") && begun.elapsed() < START_LIMIT => {}
                Err(error) => return Err(Failure::new(140, error).into()),
            }
            tokio::time::sleep(PLUGIN_PERIOD).await;
        }
    }

    async fn import_dir(&self, dir: &Path) -> Result<usize> {
        let listed =
            std::fs::read_dir(dir).map_err(|error| Failure::new(142, format!("{}: {error}", dir.display())))?;
        let mut archives: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        archives.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
        archives.sort();
        let done = self.place.at("state/imported.json");
        let before: Vec<Stamp> = serde_json::from_str(&files::read(&done)?.unwrap_or_default()).unwrap_or_default();
        let mut stamps = Vec::new();
        for path in archives {
            let stamp = stamp(&path)?;
            if !before.contains(&stamp) {
                self.import_file(&path).await?;
            }
            stamps.push(stamp);
        }
        files::write(&done, &serde_json::to_vec(&stamps)?, 0o600, false)?;
        Ok(stamps.len())
    }

    async fn import_file(&self, file: &Path) -> Result<()> {
        let ctr = program("ctr").ok_or_else(|| Failure::new(103, "there is no ctr"))?;
        let mut command = Command::new(ctr);
        command.arg("--address").arg(self.place.containerd_socket()).args([
            "--namespace",
            NAMESPACE,
            "images",
            "import",
        ]);
        let output = command.arg(file).output().await.context("ctr")?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(142, format!("{}: {}", file.display(), why.trim())).into())
    }
}

/// What tells one state of a file from another.
type Stamp = (PathBuf, u64, i64);

fn stamp(path: &Path) -> Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let meta = path.metadata().with_context(|| path.display().to_string())?;
    Ok((path.into(), meta.len(), meta.mtime()))
}

fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/local/sbin");
    path
}

/// Its configuration, version 2: what 1.6 knows and later ones migrate.
fn config(place: &Place, runc: Option<&Path>, plugins: Option<&Path>) -> String {
    let at = |path: &str| place.at(path).display().to_string();
    let or = |path: Option<&Path>, default: &str| path.map_or(default.into(), |path| path.display().to_string());
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins]
  [plugins."io.containerd.internal.v1.opt"]
    path = "{opt}"
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "{pause}"
    # Not every root may lower its score, and then no pod would start.
    restrict_oom_score_adj = {restrict}
    netns_mounts_under_state_dir = true
    stream_server_address = "127.0.0.1"
    stream_server_port = "0"
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "{certs}"
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "{plugins}"
      conf_dir = "{cni}"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = false
          BinaryName = "{runc}"
          Root = "{runc_root}"
"#,
        root = at("containerd/root"),
        state = at("run/containerd"),
        socket = at("run/containerd.sock"),
        opt = at("containerd/opt"),
        pause = pause::IMAGE,
        restrict = !may_lower_oom_score(),
        certs = at("containerd/certs.d"),
        plugins = or(plugins, "/opt/cni/bin"),
        cni = at("cni/net.d"),
        runc = or(runc, "runc"),
        runc_root = at("run/runc"),
    )
}

/// CAP_SYS_RESOURCE.
fn may_lower_oom_score() -> bool {
    const SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & (1 << SYS_RESOURCE) != 0)
}
