//! Events as lines of a file or of standard output (k8s.io/apiserver/plugin/pkg/audit/log/backend.go,
//! pkg/server/options/audit.go@v0.37.2).
//!
//! Invariant: a line is written whole, by one writer at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::event::Event;
use super::options::{AuditLogOptions, LEGACY};
use super::rotate::{Keep, Rotated};
use super::sink::Backend;
use crate::configuration::go_error;

/// The path that is no file.
const STDOUT: &str = "-";
const MEGABYTE: u64 = 1024 * 1024;

enum Out {
    Stdout,
    Appended(Mutex<File>),
    Rotated(Mutex<Rotated>),
}

pub(super) struct Log {
    out: Out,
    is_legacy: bool,
    zone: TimeZone,
}

impl Log {
    /// Opens the log, and makes its file and directories when they are not there.
    ///
    /// # Errors
    /// Go's texts.
    pub(super) fn open(options: &AuditLogOptions) -> Result<Self, String> {
        let out = match options.path.as_str() {
            STDOUT => Out::Stdout,
            path => file(Path::new(path), options)?,
        };
        Ok(Log { out, is_legacy: options.format == LEGACY, zone: TimeZone::system() })
    }

    fn write(&self, line: &[u8]) -> Result<(), String> {
        match &self.out {
            Out::Stdout => io::stdout().lock().write_all(line).map_err(|error| go_error(&error)),
            Out::Appended(file) => file.lock().write_all(line).map_err(|error| go_error(&error)),
            Out::Rotated(rotated) => rotated.lock().write(line),
        }
    }

    fn line(&self, event: &Event) -> Vec<u8> {
        match self.is_legacy {
            true => (event.line(&self.zone) + "\n").into_bytes(),
            false => event.json(),
        }
    }
}

fn file(path: &Path, options: &AuditLogOptions) -> Result<Out, String> {
    ensure(path).map_err(|why| format!("ensureLogFile: {why}"))?;
    let Some(megabytes) = u64::try_from(options.max_size).ok().filter(|size| *size > 0) else {
        let opened = OpenOptions::new().append(true).open(path);
        return Ok(Out::Appended(Mutex::new(opened.map_err(|error| failed("open", path, &error))?)));
    };
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let keep = Keep { files: count(options.max_backups), days: count(options.max_age), compress: options.compress };
    Ok(Out::Rotated(Mutex::new(Rotated::new(PathBuf::from(path), megabytes * MEGABYTE, keep))))
}

fn ensure(path: &Path) -> Result<(), String> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| failed("mkdir", dir, &error))?;
    }
    let opened = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path);
    opened.map(drop).map_err(|error| failed("open", path, &error))
}

/// Go's os.PathError.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} {}: {}", path.display(), go_error(error))
}

impl Backend for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), String>> {
        let told: Result<(), String> = events.iter().try_for_each(|event| self.write(&self.line(event)));
        Box::pin(std::future::ready(told))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::audit::event::tests::event;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keelson-audit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn log(path: &Path, change: impl FnOnce(&mut AuditLogOptions)) -> Result<Log, String> {
        let mut options = AuditLogOptions { path: path.display().to_string(), ..AuditLogOptions::default() };
        change(&mut options);
        Log::open(&options)
    }

    #[tokio::test]
    async fn lines_of_both_formats() {
        let folder = folder("formats");
        let path = folder.join("deep").join("audit.log");
        let json = log(&path, |_| {}).expect("a log");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(path.parent().expect("a folder")), mode(&path)), (0o700, 0o600));
        json.tell(&[event(), event()]).await.expect("told");
        let legacy = log(&path, |options| (options.format, options.max_size) = (LEGACY.into(), 0)).expect("a log");
        legacy.tell(&[event()]).await.expect("told");
        let text = fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let own = String::from_utf8(event().json()).expect("text");
        assert_eq!((lines.len(), lines[0], lines[1]), (3, own.trim_end(), own.trim_end()));
        assert!(lines[2].contains(" AUDIT: id=\"id-1\" stage=\"ResponseComplete\""), "{}", lines[2]);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_log_that_cannot_be_opened() {
        let folder = folder("closed");
        fs::create_dir_all(&folder).expect("made");
        let told = log(&folder, |_| {}).map(drop).expect_err("a folder is no log");
        assert_eq!(told, format!("ensureLogFile: open {}: is a directory", folder.display()));
        fs::remove_dir_all(folder).expect("removed");
    }
}
