//! What a container said when it ended: its termination-log file, or the end of its log
//! (pkg/kubelet/kuberuntime/kuberuntime_container.go@v1.37.2, getTerminationMessage).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use cri::v1::ContainerStatus;

pub(crate) const PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const POLICY_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Bytes of a termination message (MaxContainerTerminationMessageLength).
const MESSAGE_BYTES_MAX: u64 = 4096;
/// Bytes and lines of a message taken from the log.
const LOG_BYTES_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;
/// Bytes of a log file that are looked at for its last lines: CRI framing and long lines included.
const LOG_TAIL_BYTES: u64 = 64 << 10;

/// The runtime's own message and the container's, joined as upstream joins them.
pub(crate) fn message(status: &ContainerStatus) -> String {
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or("");
    let fallback = annotation(POLICY_ANNOTATION) == "FallbackToLogsOnError"
        && status.exit_code != 0
        && status.reason != "ContainerCannotRun";
    let said = from_file(status, annotation(PATH_ANNOTATION));
    let said = match said.is_empty() && fallback {
        true => tail(&status.log_path, LOG_TAIL_BYTES).map(|text| last_lines(&text)).unwrap_or_default(),
        false => said,
    };
    match (status.message.is_empty(), said.is_empty()) {
        (_, true) => status.message.clone(),
        (true, false) => said,
        (false, false) => format!("{}: {said}", status.message),
    }
}

fn from_file(status: &ContainerStatus, path: &str) -> String {
    let Some(mount) = status.mounts.iter().find(|mount| !path.is_empty() && mount.container_path == path) else {
        return String::new();
    };
    match tail(&mount.host_path, MESSAGE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => format!("Error on reading termination log {}: {error}", mount.host_path),
    }
}

fn tail(path: &str, bytes: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(bytes)))?;
    let mut data = Vec::new();
    file.take(bytes).read_to_end(&mut data)?;
    Ok(String::from_utf8_lossy(&data).into_owned())
}

/// The last lines of a CRI log without its framing.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let recent = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    let mut text = String::new();
    for line in recent {
        let mut parts = line.splitn(4, ' ').skip(2);
        let (Some(tag), Some(content)) = (parts.next(), parts.next()) else { continue };
        text.push_str(content);
        if tag.starts_with('F') {
            text.push('\n');
        }
    }
    let from = (text.len().saturating_sub(LOG_BYTES_MAX)..=text.len()).find(|at| text.is_char_boundary(*at));
    text.split_off(from.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri::v1::Mount;

    #[test]
    fn file_then_log() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("log"), "t stdout P he\nt stdout F llo\nt stderr F bye\n").expect("log");
        let mut status = ContainerStatus {
            exit_code: 1,
            log_path: path("log"),
            mounts: vec![Mount {
                container_path: "/dev/termination-log".into(),
                host_path: path("term"),
                ..Mount::default()
            }],
            annotations: [
                (PATH_ANNOTATION.to_owned(), "/dev/termination-log".to_owned()),
                (POLICY_ANNOTATION.to_owned(), "FallbackToLogsOnError".to_owned()),
            ]
            .into(),
            ..ContainerStatus::default()
        };
        assert_eq!(message(&status), "hello\nbye\n");
        std::fs::write(path("term"), "x".repeat(5000)).expect("message");
        assert_eq!(message(&status).len(), 4096);
        std::fs::write(path("term"), "done").expect("message");
        status.message = "oom".into();
        assert_eq!(message(&status), "oom: done");
        status.exit_code = 0;
        std::fs::remove_file(path("term")).expect("removed");
        assert_eq!(message(&status), "oom", "a success does not fall back to the log");
    }
}
