//! Rotates the logs of running containers (pkg/kubelet/logs/container_log_manager.go@v1.37.2).
//!
//! Invariant: the newest rotated file stays uncompressed, so that a reader that follows can finish.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::v1::{
    ContainerFilter, ContainerState, ContainerStateValue, ContainerStatusRequest, ListContainersRequest,
    ReopenContainerLogRequest,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::jiff::Timestamp;

use crate::kubelet::Kubelet;

/// Pause between looks at the sizes (containerLogMonitorInterval).
const PERIOD: Duration = Duration::from_secs(10);

pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    if kubelet.runtime.is_fake() || kubelet.config.container_log_max_size == 0 {
        return;
    }
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = look(&kubelet).await {
            tracing::debug!(%error, "container logs not looked at, will retry");
        }
    }
}

async fn look(kubelet: &Kubelet) -> cri::Result<()> {
    let running = ContainerStateValue { state: ContainerState::ContainerRunning as i32 };
    let filter = ContainerFilter { state: Some(running), ..ContainerFilter::default() };
    let containers = kubelet.runtime.list_containers(ListContainersRequest { filter: Some(filter) }).await?.containers;
    for container in containers {
        let request = ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
        let Ok(answer) = kubelet.runtime.container_status(request).await else { continue };
        let path = PathBuf::from(answer.status.unwrap_or_default().log_path);
        let size = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
        if size < kubelet.config.container_log_max_size {
            continue;
        }
        if let Err(error) = rotate(kubelet, &container.id, &path).await {
            tracing::warn!(path = %path.display(), %error, "log not rotated, will retry");
        }
    }
    Ok(())
}

async fn rotate(kubelet: &Kubelet, id: &str, path: &Path) -> io::Result<()> {
    tidy(path, usize::try_from(kubelet.config.container_log_max_files).unwrap_or(0))?;
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let rotated = PathBuf::from(format!("{}.{stamp}", path.display()));
    fs::rename(path, &rotated)?;
    let request = ReopenContainerLogRequest { container_id: id.to_owned() };
    if let Err(error) = kubelet.runtime.reopen_container_log(request).await {
        // The container still writes to the old file: give it its name back.
        fs::rename(&rotated, path)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Compresses what was rotated before, and removes what is too old; the current log and the one about
/// to be rotated count.
fn tidy(path: &Path, keep: usize) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let prefix = format!("{name}.");
    let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut rotated: Vec<PathBuf> = entries
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix)))
        .collect();
    rotated.sort();
    let surplus = rotated.len().saturating_sub(keep.saturating_sub(2));
    for old in rotated.drain(..surplus) {
        fs::remove_file(old)?;
    }
    rotated
        .iter()
        .filter(|path| path.extension().is_none_or(|extension| extension != "gz"))
        .try_for_each(|path| compress(path))
}

fn compress(path: &Path) -> io::Result<()> {
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let unfinished = PathBuf::from(format!("{}.tmp", path.display()));
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&unfinished, &packed)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_are_packed_and_the_oldest_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("0.log");
        fs::write(&log, "now").expect("log");
        for day in 1..=4 {
            fs::write(dir.path().join(format!("0.log.2026010{day}-000000")), "old").expect("log");
        }
        tidy(&log, 4).expect("tidied");
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .expect("listed")
            .flatten()
            .map(|e| e.file_name().into_string().expect("name"))
            .collect();
        names.sort();
        assert_eq!(names, ["0.log", "0.log.20260103-000000.gz", "0.log.20260104-000000.gz"]);
    }
}
