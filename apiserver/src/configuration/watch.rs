//! Tells when a file may have changed (k8s.io/apiserver/pkg/util/filesystem/watcher.go@v0.37.2: WatchUntil).
//!
//! Invariant: every change is told at the latest after a minute, also where the kernel tells of none (another mount in
//! its place, a file that comes later). Non-goal: what has changed; whoever is told reads the file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a change is supposed without a notice.
const PERIOD: Duration = Duration::from_secs(60);
/// Bytes of notices that are read at once.
const NOTICES: usize = 4096;

/// Notices of one file.
pub(crate) struct Watch {
    path: PathBuf,
    notices: Option<AsyncFd<OwnedFd>>,
    ticks: Interval,
}

impl Watch {
    /// Watches from now on; must run within a runtime.
    pub(crate) fn new(path: &Path) -> Self {
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let notices = open().inspect_err(|error| {
            tracing::error!(%error, "error creating file watcher, falling back to poll at interval 1m0s");
        });
        let watch = Watch { path: path.into(), notices: notices.ok(), ticks };
        watch.add();
        watch
    }

    /// What is at the path now; the same file as before is watched once.
    fn add(&self) {
        use inotify::WatchFlags as Flags;
        let Some(notices) = &self.notices else { return };
        let flags = Flags::MODIFY | Flags::ATTRIB | Flags::CLOSE_WRITE | Flags::MOVE_SELF | Flags::DELETE_SELF;
        if let Err(error) = inotify::add_watch(notices.get_ref(), &self.path, flags) {
            tracing::error!(path = %self.path.display(), %error, "watching a configuration file");
        }
    }

    /// Returns when the file may have changed. Cancelling loses nothing but notices already read.
    pub(crate) async fn changed(&mut self) {
        let notices = &self.notices;
        let noticed = async {
            match notices {
                Some(notices) => drain(notices).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = noticed => {}
        }
        // Another file may be at the path; it is watched before anybody reads it.
        self.add();
    }
}

#[allow(deprecated, reason = "nobody else can close an owned descriptor while it is registered")]
fn open() -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?)
}

/// Waits for notices and reads all there are.
async fn drain(notices: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = notices.readable().await else { return std::future::pending().await };
        let mut buffer = [std::mem::MaybeUninit::uninit(); NOTICES];
        let mut reader = inotify::Reader::new(notices.get_ref(), &mut buffer);
        let mut told = false;
        while reader.next().is_ok() {
            told = true;
        }
        ready.clear_ready();
        if told {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn writes_and_replacements_are_told() {
        let dir = std::env::temp_dir().join(format!("watch-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).expect("a folder");
        let (path, other) = (dir.join("file"), dir.join("other"));
        std::fs::write(&path, "1").expect("written");
        let mut watch = Watch::new(&path);
        std::fs::write(&path, "2").expect("written");
        assert!(told(&mut watch).await);
        for text in ["3", "4"] {
            std::fs::write(&other, text).expect("written");
            std::fs::rename(&other, &path).expect("renamed");
            assert!(told(&mut watch).await, "{text}");
            // What was there before tells of its end too.
            while tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_ok() {}
        }
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
