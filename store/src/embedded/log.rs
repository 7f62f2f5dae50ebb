//! The log: segments of frames, one frame a group commit, and the index read back from the newest snapshot and them.
//!
//! Invariants: [`Log::append`] returns only when the batch is durable; after a failed sync it never writes again, as the
//! kernel may have dropped what it could not write; a batch that found no room is taken back whole. Reading back refuses
//! whatever is not exactly what was written; only a torn last write, which nobody was told of, is dropped, with a warning.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message;

use super::files::{self, Draft, Media, Wrap, damaged};
use super::frame::{self, Next};
use super::record::{Batch, Change, Clock, Entries, SegmentHead, SnapshotHead};
use crate::index::Index;
use crate::{Error, KeyValue, Result, Revision};

/// What a segment and a snapshot begin with; the last byte is the version of the format.
const SEGMENT_MAGIC: &[u8; 8] = b"KEELLOG\x01";
const SNAPSHOT_MAGIC: &[u8; 8] = b"KEELSNP\x01";

/// Sizes, and the seam for faults.
#[derive(Clone)]
pub(crate) struct Options {
    /// A longer segment is ended, in bytes.
    pub(crate) segment: u64,
    /// A compaction ends a segment longer than this, in bytes.
    pub(crate) compacted_segment: u64,
    /// A snapshot is written when it frees this much, or as much as it takes, in bytes.
    pub(crate) gain: u64,
    pub(crate) media: Wrap,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment: 64 << 20, compacted_segment: 4 << 20, gain: 16 << 20, media: |file, _| Box::new(file) }
    }
}

/// A segment that is ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) sequence: u64,
    /// The store's revision at its end.
    pub(crate) revision: Revision,
    pub(crate) bytes: u64,
}

/// The files beside the segment being written.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) ended: Vec<Ended>,
    /// What the snapshot is compacted to, and its bytes.
    pub(crate) snapshot: Option<(Revision, u64)>,
}

/// The segment being written.
pub(crate) struct Log {
    dir: PathBuf,
    options: Options,
    media: Box<dyn Media>,
    sequence: u64,
    length: u64,
    revision: Revision,
    pub(crate) files: Arc<Mutex<Files>>,
    buffer: Vec<u8>,
}

/// Keys and values in one frame of a snapshot, in bytes, before the next is begun.
const SNAPSHOT_FRAME_BYTES: usize = 1 << 20;
/// A buffer that a large batch grew beyond this is not kept, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

impl Log {
    fn path(&self) -> PathBuf {
        self.dir.join(files::segment(self.sequence))
    }

    /// Makes a batch durable. `revision` is the store's after it.
    ///
    /// # Errors
    /// [`Error::Full`] when there was no room, and the log is as before; after any other error the log is over.
    pub(crate) fn append(&mut self, batch: &Batch, revision: Revision) -> Result<()> {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        frame::write(&mut self.buffer, self.length, |out| batch.encode(out).expect("a vector grows"));
        if let Err(error) = self.media.write_all_at(&self.buffer, self.length) {
            let path = self.path();
            if !files::is_full(&error) {
                return Err(Error::io(&path, &error));
            }
            self.media.truncate(self.length).map_err(|error| Error::io(&path, &error))?;
            return Err(Error::Full);
        }
        self.media.sync().map_err(|error| Error::io(&self.path(), &error))?;
        self.length += self.buffer.len() as u64;
        self.revision = revision;
        Ok(())
    }

    /// Ends the segment if it is long. Without room for the next one it just grows on.
    pub(crate) fn rotate(&mut self, compacted: bool) -> Result<()> {
        if self.length < if compacted { self.options.compacted_segment } else { self.options.segment } {
            return Ok(());
        }
        let ended = Ended { sequence: self.sequence, revision: self.revision, bytes: self.length };
        let path = self.dir.join(files::segment(self.sequence + 1));
        match create(&path, self.sequence + 1, self.revision) {
            Ok((file, length)) => {
                self.media = (self.options.media)(file, &self.dir);
                (self.sequence, self.length) = (self.sequence + 1, length);
                self.files.lock().ended.push(ended);
                Ok(())
            }
            Err(error) if files::is_full(&error) => Ok(()),
            Err(error) => Err(Error::io(&path, &error)),
        }
    }
}

/// Makes an empty segment, durably.
fn create(path: &Path, sequence: u64, revision: Revision) -> io::Result<(fs::File, u64)> {
    let mut bytes = SEGMENT_MAGIC.to_vec();
    frame::write(&mut bytes, 0, |out| SegmentHead { sequence, revision }.encode(out).expect("a vector grows"));
    let draft = Draft::new(path.to_owned())?;
    match draft.file.write_all_at(&bytes, 0) {
        Ok(()) => Ok((draft.publish()?, bytes.len() as u64)),
        Err(error) => {
            draft.discard();
            Err(error)
        }
    }
}

/// Reads a directory that is locked, or begins an empty one.
pub(crate) fn open(dir: &Path, options: Options, clock: Clock) -> Result<(Index, Log)> {
    let snapshots = files::numbers(dir, "snapshot-")?;
    let mut opened = match snapshots.last() {
        Some(compacted) => Opened::snapshot(dir, *compacted, clock)?,
        None => Opened { index: Index::new(), compacted: 0, next: 1, files: Files::default(), clock },
    };
    let first = opened.next;
    let segments = files::numbers(dir, "log-")?;
    let (superseded, segments) = segments.split_at(segments.partition_point(|sequence| *sequence < first));
    let mut last = None;
    for sequence in segments {
        last = Some(opened.segment(dir, *sequence, segments.last() == Some(sequence))?);
    }
    let old = snapshots.iter().rev().skip(1).map(|compacted| files::snapshot(*compacted));
    for name in superseded.iter().map(|sequence| files::segment(*sequence)).chain(old) {
        let path = dir.join(name);
        fs::remove_file(&path).map_err(|error| Error::io(&path, &error))?;
    }
    let (file, length) = match last {
        Some(last) => last,
        None if opened.files.snapshot.is_none() => {
            let path = dir.join(files::segment(1));
            opened.next = 2;
            create(&path, 1, opened.index.revision()).map_err(|error| Error::io(&path, &error))?
        }
        None => return Err(damaged(&dir.join(files::segment(first)), 0, "the segment is missing")),
    };
    if opened.compacted > opened.index.revision() {
        let path = dir.join(files::segment(opened.next - 1));
        return Err(damaged(&path, length as usize, format!("revision {} is missing", opened.compacted)));
    }
    Ok(opened.finish(dir, options, file, length))
}

/// A directory being read.
struct Opened {
    index: Index,
    compacted: Revision,
    /// The segment that must come next.
    next: u64,
    files: Files,
    clock: Clock,
}

impl Opened {
    fn snapshot(dir: &Path, compacted: Revision, clock: Clock) -> Result<Opened> {
        let path = dir.join(files::snapshot(compacted));
        let bytes = fs::read(&path).map_err(|error| Error::io(&path, &error))?;
        let mut at = magic(&path, &bytes, SNAPSHOT_MAGIC)?;
        let head: SnapshotHead = strict(&path, &bytes, &mut at)?;
        if head.compacted != compacted || compacted == 0 {
            return Err(damaged(&path, 0, "the name is not that of the snapshot"));
        }
        let mut kvs = Vec::new();
        loop {
            let entries: Entries = strict(&path, &bytes, &mut at)?;
            if entries.entries.is_empty() {
                let whole = entries.count == kvs.len() as u64 && at == bytes.len();
                whole.then_some(()).ok_or_else(|| damaged(&path, at, "the number of entries is wrong"))?;
                break;
            }
            kvs.extend(entries.entries.into_iter().map(KeyValue::from));
        }
        let index = Index::restore(head.compacted - 1, kvs);
        let files = Files { ended: Vec::new(), snapshot: Some((compacted, bytes.len() as u64)) };
        let mut opened = Opened { index, compacted, next: head.segment, files, clock };
        let changes = Batch { granted: head.leases, changes: head.changes, ..Batch::default() };
        opened.replay(changes).map_err(|what| damaged(&path, 0, what))?;
        match opened.index.revision() == compacted {
            true => Ok(opened),
            false => Err(damaged(&path, 0, "it is not of its revision")),
        }
    }

    /// Reads a segment; gives the file and its good length.
    fn segment(&mut self, dir: &Path, sequence: u64, last: bool) -> Result<(fs::File, u64)> {
        let path = dir.join(files::segment(sequence));
        if sequence != self.next {
            return Err(damaged(&dir.join(files::segment(self.next)), 0, "the segment is missing"));
        }
        self.next += 1;
        let bytes = fs::read(&path).map_err(|error| Error::io(&path, &error))?;
        let mut at = magic(&path, &bytes, SEGMENT_MAGIC)?;
        let head: SegmentHead = strict(&path, &bytes, &mut at)?;
        if head.sequence != sequence || head.revision > self.index.revision() {
            return Err(damaged(&path, 0, "the segment does not follow the one before"));
        }
        let file = fs::OpenOptions::new().write(true).open(&path).map_err(|error| Error::io(&path, &error))?;
        loop {
            match frame::next(&bytes, at) {
                Next::Frame(payload, next) => {
                    let batch = Batch::decode(payload).map_err(|error| damaged(&path, at, error.to_string()))?;
                    self.replay(batch).map_err(|what| damaged(&path, at, what))?;
                    at = next;
                }
                Next::End => break,
                Next::Torn if last => {
                    drop_tail(&path, &file, at, bytes.len()).map_err(|error| Error::io(&path, &error))?;
                    break;
                }
                Next::Torn => return Err(damaged(&path, at, "the segment is cut short and another follows")),
                Next::Damaged(what) => return Err(damaged(&path, at, what)),
            }
        }
        if !last {
            self.files.ended.push(Ended { sequence, revision: self.index.revision(), bytes: at as u64 });
        }
        Ok((file, at as u64))
    }

    /// Does again what was committed, but what the snapshot has.
    fn replay(&mut self, batch: Batch) -> std::result::Result<(), String> {
        batch.granted.iter().for_each(|grant| self.index.grant(grant.lease(self.clock)));
        let snapshot = self.files.snapshot.map_or(0, |(compacted, _)| compacted);
        let before = self.index.revision();
        for Change { revision, key, value, lease } in batch.changes {
            let last = self.index.revision();
            // Several changes have one revision only in one commit.
            let next = revision == last + 1 || (revision == last && last > before);
            match revision {
                revision if next => self.index.replay(revision, key, value, lease),
                revision if revision <= snapshot && last == snapshot => (),
                revision => return Err(format!("revision {revision} comes after {last}")),
            }
        }
        batch.revoked.iter().for_each(|id| self.index.revoke(*id));
        self.compacted = self.compacted.max(batch.compacted);
        Ok(())
    }

    fn finish(mut self, dir: &Path, options: Options, file: fs::File, length: u64) -> (Index, Log) {
        self.index.attach();
        self.index.compact(self.compacted);
        self.index.scrub_history(self.compacted, usize::MAX);
        self.index.scrub_keys(self.compacted, None, usize::MAX);
        let log = Log {
            dir: dir.to_owned(),
            media: (options.media)(file, dir),
            options,
            sequence: self.next - 1,
            length,
            revision: self.index.revision(),
            files: Arc::new(Mutex::new(self.files)),
            buffer: Vec::new(),
        };
        (self.index, log)
    }
}

fn drop_tail(path: &Path, file: &fs::File, good: usize, length: usize) -> io::Result<()> {
    tracing::warn!(
        path = %path.display(), offset = good, bytes = length - good,
        "dropping a half-written commit that was never acknowledged"
    );
    file.set_len(good as u64)?;
    file.sync_all()
}

fn magic(path: &Path, bytes: &[u8], magic: &[u8; 8]) -> Result<usize> {
    match bytes.get(..8) {
        Some(found) if found == magic => Ok(8),
        Some(found) if found[..7] == magic[..7] => {
            Err(damaged(path, 7, format!("unknown format version {}", found[7])))
        }
        _ => Err(damaged(path, 0, "not a file of the store")),
    }
}

/// A frame of a file that was durable before it had its name, so nothing in it may be torn.
fn strict<M: Message + Default>(path: &Path, bytes: &[u8], at: &mut usize) -> Result<M> {
    let (payload, next) = match frame::next(bytes, *at) {
        Next::Frame(payload, next) => (payload, next),
        Next::Damaged(what) => return Err(damaged(path, *at, what)),
        Next::Torn | Next::End => return Err(damaged(path, *at, "the file is cut short")),
    };
    let message = M::decode(payload).map_err(|error| damaged(path, *at, error.to_string()))?;
    *at = next;
    Ok(message)
}

/// Writes a snapshot and gives its size in bytes. `chunks` yields the keys in order.
pub(crate) fn snapshot(
    dir: &Path,
    head: &SnapshotHead,
    chunks: impl Iterator<Item = Vec<KeyValue>>,
) -> io::Result<u64> {
    let draft = Draft::new(dir.join(files::snapshot(head.compacted)))?;
    match fill(&draft.file, head, chunks) {
        Ok(bytes) => draft.publish().map(|_| bytes),
        Err(error) => {
            draft.discard();
            Err(error)
        }
    }
}

fn fill(file: &fs::File, head: &SnapshotHead, chunks: impl Iterator<Item = Vec<KeyValue>>) -> io::Result<u64> {
    let mut out = Appender { file, buffer: SNAPSHOT_MAGIC.to_vec(), offset: 0 };
    out.frame(head)?;
    let mut count = 0;
    for kvs in chunks {
        let mut entries = Entries::default();
        let mut bytes = 0;
        for kv in kvs {
            count += 1;
            bytes += kv.key.len() + kv.value.len();
            entries.entries.push(kv.into());
            if bytes >= SNAPSHOT_FRAME_BYTES {
                out.frame(&std::mem::take(&mut entries))?;
                bytes = 0;
            }
        }
        if !entries.entries.is_empty() {
            out.frame(&entries)?;
        }
    }
    out.frame(&Entries { entries: Vec::new(), count })?;
    Ok(out.offset)
}

struct Appender<'a> {
    file: &'a fs::File,
    buffer: Vec<u8>,
    offset: u64,
}

impl Appender<'_> {
    fn frame(&mut self, message: &impl Message) -> io::Result<()> {
        frame::write(&mut self.buffer, self.offset, |out| message.encode(out).expect("a vector grows"));
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
