//! Tells when something happens to a file: its folder is watched by inotify, because a log that is
//! rotated is another file of the same name.
//!
//! Must not know: what is in a file, any other crate.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Buf;
use rustix::fs::inotify::{CreateFlags, ReadFlags, WatchFlags, add_watch, init};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Space for the events of one read, in bytes.
const BUFFER_BYTES: usize = 4096;
/// Bytes of an event before its name: watch, mask, cookie, length of the name (inotify(7)).
const EVENT_BYTES: usize = 16;

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// The name stands for another file now.
    pub recreated: bool,
}

/// A watch of one file and its folder.
pub struct Watch {
    events: Receiver,
    name: Vec<u8>,
    buffer: [u8; BUFFER_BYTES],
}

impl Watch {
    /// # Errors
    /// The folder is not there, or the process may not watch more.
    pub fn new(path: &Path) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::InvalidInput);
        let (folder, name) = (path.parent().ok_or_else(missing)?, path.file_name().ok_or_else(missing)?);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB;
        add_watch(&fd, folder, wanted)?;
        // It is no pipe, but it is read like one.
        let events = Receiver::from_file_unchecked(File::from(fd))?;
        Ok(Watch { events, name: name.as_encoded_bytes().to_vec(), buffer: [0; BUFFER_BYTES] })
    }

    /// Waits for any event in the folder. A volume of the kubelet is changed behind the file's name, by another link.
    /// Cancel safe.
    ///
    /// # Errors
    /// The events cannot be read.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.events.read(&mut self.buffer).await.map(drop)
    }

    /// Waits for the next event of the file. Cancel safe: an event is read and told at once.
    ///
    /// # Errors
    /// The events cannot be read.
    pub async fn next(&mut self) -> io::Result<Happened> {
        loop {
            let read = self.events.read(&mut self.buffer).await?;
            if let Some(happened) = happened(&self.buffer[..read], &self.name) {
                return Ok(happened);
            }
        }
    }
}

/// What some events say about one name.
fn happened(mut events: &[u8], name: &[u8]) -> Option<Happened> {
    let mut happened = None;
    while events.len() >= EVENT_BYTES {
        let (_, mask, _) = (events.get_i32_ne(), events.get_u32_ne(), events.get_u32_ne());
        let length = (events.get_u32_ne() as usize).min(events.len());
        let (padded, rest) = events.split_at(length);
        events = rest;
        if padded.split(|byte| *byte == 0).next() == Some(name) {
            let new = ReadFlags::from_bits_retain(mask).intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            happened.get_or_insert(Happened::default()).recreated |= new;
        }
    }
    happened
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn writes_and_rotation_are_noticed_and_neighbours_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        fs::write(&path, "a").expect("written");
        let mut watch = Watch::new(&path).expect("a watch");
        fs::write(folder.path().join("other"), "x").expect("written");
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, b"b"))
            .expect("written");
        assert_eq!(watch.next().await.expect("an event"), Happened { recreated: false });
        fs::rename(&path, folder.path().join("0.log.old")).expect("renamed");
        fs::write(&path, "c").expect("written");
        while !watch.next().await.expect("an event").recreated {}
    }
}
