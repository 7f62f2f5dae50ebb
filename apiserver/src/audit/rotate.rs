//! A file that is moved aside when it is full, and the old ones that are kept
//! (gopkg.in/natefinch/lumberjack.v2@v2.2.1).
//!
//! Invariant: names of old files are lumberjack's, so that either program goes on with the other's.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};

use super::log::failed;

const COMPRESSED: &str = ".gz";
const HOURS_OF_DAY: i64 = 24;
/// Length of `2006-01-02T15-04-05.000`.
const TIME_LENGTH: usize = 23;

/// Which old files are kept; 0 is all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) files: usize,
    pub(super) days: usize,
    pub(super) compress: bool,
}

pub(super) struct Rotated {
    path: PathBuf,
    bytes_max: u64,
    keep: Keep,
    file: Option<File>,
    bytes: u64,
    /// Wakes the thread that looks after old files.
    wakes: Option<SyncSender<()>>,
}

impl Rotated {
    pub(super) fn new(path: PathBuf, bytes_max: u64, keep: Keep) -> Self {
        Rotated { path, bytes_max, keep, file: None, bytes: 0, wakes: None }
    }

    /// Writes a line, into a new file when it does not fit.
    pub(super) fn write(&mut self, line: &[u8]) -> Result<(), String> {
        let length = line.len() as u64;
        if length > self.bytes_max {
            return Err(format!("write length {length} exceeds maximum file size {}", self.bytes_max));
        }
        if self.file.is_none() {
            self.open(length)?;
        }
        if self.bytes + length > self.bytes_max {
            self.rotate()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(line).map_err(|error| failed("write", &self.path, &error))?;
            self.bytes += length;
        }
        Ok(())
    }

    /// The file of an earlier run, when there is one with room.
    fn open(&mut self, length: u64) -> Result<(), String> {
        self.wake();
        let bytes = match fs::metadata(&self.path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.begin(),
            Err(error) => return Err(format!("error getting log file info: {}", failed("stat", &self.path, &error))),
        };
        if bytes + length >= self.bytes_max {
            return self.rotate();
        }
        match OpenOptions::new().append(true).open(&self.path) {
            Ok(file) => (self.file, self.bytes) = (Some(file), bytes),
            Err(_) => return self.begin(),
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), String> {
        self.file = None;
        self.begin()?;
        self.wake();
        Ok(())
    }

    /// Moves the file aside, if there is one, and begins another of the same owner and mode.
    fn begin(&mut self) -> Result<(), String> {
        let mut mode = 0o600;
        if let Ok(found) = fs::metadata(&self.path) {
            mode = found.permissions().mode() & 0o7777;
            let aside = aside(&self.path, Timestamp::now());
            let moved = fs::rename(&self.path, aside);
            moved.map_err(|error| format!("can't rename log file: {}", failed("rename", &self.path, &error)))?;
            let made = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&self.path);
            let owned = made.and_then(|_| chown(&self.path, Some(found.uid()), Some(found.gid())));
            owned.map_err(|error| failed("chown", &self.path, &error))?;
        }
        let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&self.path);
        let opened =
            opened.map_err(|error| format!("can't open new logfile: {}", failed("open", &self.path, &error)))?;
        (self.file, self.bytes) = (Some(opened), 0);
        Ok(())
    }

    /// Has old files looked after, by a thread of their own: the writer does not wait for it.
    fn wake(&mut self) {
        let (path, keep) = (self.path.clone(), self.keep);
        let wakes = self.wakes.get_or_insert_with(|| {
            let (wakes, woken) = sync_channel(1);
            std::thread::spawn(move || woken.iter().for_each(|()| tidy(&path, keep, Timestamp::now())));
            wakes
        });
        // One that is waiting already will do.
        let _ = wakes.try_send(());
    }
}

/// The name without its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = name.rfind('.').unwrap_or(name.len());
    (name[..at].to_owned(), name[at..].to_owned())
}

/// Where a file goes that is full.
fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let (stem, extension) = parts(path);
    let millis = now.subsec_millisecond();
    let time = now.strftime("%Y-%m-%dT%H-%M-%S");
    path.with_file_name(format!("{stem}-{time}.{millis:03}{extension}"))
}

/// When a file was moved aside, by its name; `None` for files that were not.
fn moved_at(name: &str, stem: &str, extension: &str) -> Option<Timestamp> {
    let time = name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(extension)?;
    if time.len() != TIME_LENGTH || !time.is_ascii() {
        return None;
    }
    let (date, clock) = time.split_once('T')?;
    let text = format!("{date}T{}Z", clock.replace('-', ":"));
    text.parse().ok()
}

/// Old files, the newest first.
fn old(path: &Path) -> Vec<(Timestamp, String)> {
    let (stem, extension) = parts(path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let mut old: Vec<(Timestamp, String)> = files
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let compressed = || moved_at(&name, &stem, &format!("{extension}{COMPRESSED}"));
            Some((moved_at(&name, &stem, &extension).or_else(compressed)?, name))
        })
        .collect();
    old.sort_by(|one, other| other.cmp(one));
    old
}

/// Removes old files that are too many or too old, and compresses those that stay.
fn tidy(path: &Path, keep: Keep, now: Timestamp) {
    let mut stays = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    let days = i64::try_from(keep.days).unwrap_or(i64::MAX / HOURS_OF_DAY / 3600);
    let oldest = now.checked_sub(SignedDuration::from_hours(days * HOURS_OF_DAY)).unwrap_or(Timestamp::MIN);
    for (moved, name) in old(path) {
        // A file and its compressed form count as one.
        let plain = name.strip_suffix(COMPRESSED).unwrap_or(&name).to_owned();
        if !kept.contains(&plain) {
            kept.push(plain);
        }
        let is_one_too_many = keep.files > 0 && kept.len() > keep.files;
        if is_one_too_many || (keep.days > 0 && moved < oldest) {
            // Upstream does not tell of what fails here either.
            let _ = fs::remove_file(path.with_file_name(&name));
        } else {
            stays.push(name);
        }
    }
    if keep.compress {
        for name in stays.iter().filter(|name| !name.ends_with(COMPRESSED)) {
            let _ = compress(&path.with_file_name(name), &path.with_file_name(format!("{name}{COMPRESSED}")));
        }
    }
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let found = source.metadata()?;
    let mode = found.permissions().mode() & 0o7777;
    let target = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(to)?;
    chown(to, Some(found.uid()), Some(found.gid()))?;
    target.set_permissions(Permissions::from_mode(mode))?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    let written = io::copy(&mut source, &mut encoder).and_then(|_| encoder.finish());
    match written {
        Ok(_) => fs::remove_file(from),
        Err(error) => {
            fs::remove_file(to)?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keelson-rotate-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("made");
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn names_are_lumberjack_s() {
        let at: Timestamp = "2016-11-04T18:30:00.007Z".parse().expect("a time");
        for (path, expect) in [
            ("/var/log/foo/server.log", "/var/log/foo/server-2016-11-04T18-30-00.007.log"),
            ("audit", "audit-2016-11-04T18-30-00.007"),
            ("a/b.c.d", "a/b.c-2016-11-04T18-30-00.007.d"),
        ] {
            let moved = aside(Path::new(path), at);
            assert_eq!(moved, Path::new(expect));
            let ((stem, extension), name) = (parts(Path::new(path)), parts(&moved));
            assert_eq!(moved_at(&format!("{}{}", name.0, name.1), &stem, &extension), Some(at), "{path}");
        }
        for other in
            ["server.log", "server-x.log", "server-2016-11-04T18-30-00.log", "other-2016-11-04T18-30-00.007.log"]
        {
            assert_eq!(moved_at(other, "server", ".log"), None, "{other}");
        }
    }

    #[test]
    fn a_full_file_is_moved_aside() {
        let folder = folder("full");
        let path = folder.join("audit.log");
        let keep = Keep { files: 0, days: 0, compress: false };
        let mut rotated = Rotated::new(path.clone(), 10, keep);
        rotated.write(b"12345\n").expect("written");
        rotated.write(b"123\n").expect("it fits");
        assert_eq!(names(&folder), ["audit.log"]);
        rotated.write(b"next\n").expect("written");
        let told = rotated.write(b"much too long\n").expect_err("it is longer than a file");
        assert_eq!(told, "write length 14 exceeds maximum file size 10");
        let all = names(&folder);
        assert_eq!((all.len(), all[1].as_str()), (2, "audit.log"), "{all:?}");
        assert_eq!(fs::read_to_string(folder.join(&all[0])).expect("text"), "12345\n123\n");
        // A later run goes on with the file as long as there is room.
        let mut later = Rotated::new(path.clone(), 10, keep);
        later.write(b"abc\n").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("text"), "next\nabc\n");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn old_files_are_few_young_and_compressed() {
        let folder = folder("old");
        let path = folder.join("audit.log");
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().expect("a time");
        let all = ["05", "06", "07", "08", "09"].map(|day| format!("audit-2026-01-{day}T00-00-00.000.log"));
        all.iter().for_each(|name| fs::write(folder.join(name), name).expect("written"));
        fs::write(folder.join("audit-other.log"), "").expect("written");
        tidy(&path, Keep { files: 4, days: 0, compress: false }, now);
        assert_eq!(names(&folder), [&all[1..], &["audit-other.log".to_owned()][..]].concat());
        tidy(&path, Keep { files: 0, days: 3, compress: true }, now);
        let packed = |name: &String| format!("{name}.gz");
        let left: Vec<String> = all[2..].iter().map(packed).chain(["audit-other.log".to_owned()]).collect();
        assert_eq!(names(&folder), left);
        let mut text = String::new();
        let file = File::open(folder.join(&left[0])).expect("there");
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, all[2]);
        fs::remove_dir_all(folder).expect("removed");
    }
}
