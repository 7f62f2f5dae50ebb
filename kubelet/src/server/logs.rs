//! GET /containerLogs: the log of one run of a container, to its end or for as long as it runs
//! (pkg/kubelet/server/server.go@v1.37.2: getContainerLogs; k8s.io/cri-client/pkg/logs/logs.go@v0.37.2).
//!
//! Invariant: following waits for events of the file and of the container, and ends when the container has
//! ended and its last line was read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Server;
use super::options::{LogOptions, Query, Wrong};
use super::respond::{self, Body};
use super::route::Place;
use super::tail::{Shown, start_of_last};
use crate::access::{Access, Log};
use crate::pod::shape;
use files::Watch;

/// Bytes read from a file at a time, and shown bytes gathered before they are sent.
const CHUNK_BYTES: usize = 32 << 10;
/// Chunks waiting for a slow caller.
const QUEUE: usize = 4;

type Out = mpsc::Sender<Bytes>;

pub(super) async fn serve(server: &Arc<Server>, place: &Place<'_>, query: &Query) -> Response<Body> {
    let options = match LogOptions::of(query, Timestamp::now()) {
        Ok(options) => options,
        Err(Wrong::Query) => return respond::text(400, r#"{"message": "Unable to decode query."}"#),
        Err(Wrong::Options) => return respond::text(422, r#"{"message": "Invalid request."}"#),
    };
    let access = &server.access;
    let Some(pod) = access.pod(place.namespace, place.pod, "") else {
        return respond::text(404, format!("pod {:?} does not exist", place.pod));
    };
    if shape::container(&pod, place.container).is_none() {
        return respond::text(404, format!("container {:?} not found in pod {:?}", place.container, place.pod));
    }
    let log = match access.log(&pod, place.container, options.previous).await {
        Ok(log) => log,
        Err(why) => return respond::text(400, why),
    };
    let (out, queue) = mpsc::channel(QUEUE);
    let (follower, access) = (out.clone(), access.clone());
    server.tasks.run("container log", async move {
        let gone = follower.clone();
        tokio::select! {
            () = gone.closed() => {}
            read = read(&access, &pod, &log, &options, &out) => {
                if let Err(error) = read {
                    // The answer has begun: all that is left to tell with is its text.
                    let _ = out.send(error.into()).await;
                }
            }
        }
    });
    let stream = ReceiverStream::new(queue).map(|data| Ok(Frame::data(data)));
    let mut response = respond::text(200, Bytes::new());
    *response.body_mut() = StreamBody::new(stream).boxed_unsync();
    response
}

async fn read(access: &Access, pod: &Arc<Pod>, log: &Log, options: &LogOptions, out: &Out) -> Result<(), String> {
    if access.runtime().is_fake() {
        // Nothing is written by a container that is no process.
        if options.follow {
            access.ended(pod, &log.id).await;
        }
        return Ok(());
    }
    let path = tokio::fs::canonicalize(&log.path).await;
    let path = path.map_err(|error| format!("failed to try resolving symlinks in path {:?}: {error}", log.path))?;
    let failed = |error: io::Error| format!("failed to read log file {path:?}: {error}");
    let mut reader = open(&path, options.tail_lines).await.map_err(failed)?;
    let mut shown = Shown::new(options);
    if !options.follow {
        drain(&mut reader, &mut shown, &mut Vec::new(), true, out).await.map_err(failed)?;
        return Ok(());
    }
    follow(access, pod, log, &path, &mut reader, &mut shown, out).await.map_err(failed)
}

async fn open(path: &Path, tail: Option<u64>) -> io::Result<BufReader<File>> {
    let mut file = std::fs::File::open(path)?;
    let start = match tail {
        Some(lines) => {
            let (found, same) = tokio::task::spawn_blocking(move || (start_of_last(&mut file, lines), file)).await?;
            file = same;
            found?
        }
        None => 0,
    };
    let mut file = File::from_std(file);
    file.seek(io::SeekFrom::Start(start)).await?;
    Ok(BufReader::with_capacity(CHUNK_BYTES, file))
}

async fn follow(
    access: &Access,
    pod: &Arc<Pod>,
    log: &Log,
    path: &Path,
    reader: &mut BufReader<File>,
    shown: &mut Shown,
    out: &Out,
) -> io::Result<()> {
    // Watching begins before the first read, so nothing is missed between the two.
    let mut watch = Watch::new(path)?;
    let ended = access.ended(pod, &log.id);
    tokio::pin!(ended);
    let (mut partial, mut over) = (Vec::new(), false);
    loop {
        drain(reader, shown, &mut partial, over, out).await?;
        if over || shown.is_done() {
            return Ok(());
        }
        tokio::select! {
            happened = watch.next() => {
                if happened?.recreated {
                    // What the old file was given last comes first.
                    drain(reader, shown, &mut partial, false, out).await?;
                    match open(path, None).await {
                        Ok(new) => {
                            *reader = new;
                            partial.clear();
                        }
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            () = &mut ended => over = true,
        }
    }
}

/// Shows whole lines until the end of the file; the last one is kept unless it is `last`.
async fn drain(
    reader: &mut BufReader<File>,
    shown: &mut Shown,
    partial: &mut Vec<u8>,
    last: bool,
    out: &Out,
) -> io::Result<()> {
    let mut chunk = Vec::new();
    while !shown.is_done() {
        let read = reader.read_until(b'\n', partial).await?;
        let whole = partial.last() == Some(&b'\n');
        if whole || (last && !partial.is_empty()) {
            shown.add(partial, &mut chunk);
            partial.clear();
        }
        if chunk.len() >= CHUNK_BYTES {
            send(&mut chunk, out).await?;
        }
        if read == 0 || !whole {
            break;
        }
    }
    if !chunk.is_empty() {
        send(&mut chunk, out).await?;
    }
    Ok(())
}

async fn send(chunk: &mut Vec<u8>, out: &Out) -> io::Result<()> {
    let data = std::mem::take(chunk);
    out.send(data.into()).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn lines_come_whole_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        let mut file = std::fs::File::create(&path).expect("a file");
        write!(file, "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout F tw").expect("written");
        let (out, mut queue) = mpsc::channel(QUEUE);
        let mut reader = open(&path, None).await.expect("opened");
        let (mut shown, mut partial) = (Shown::new(&LogOptions { follow: true, ..LogOptions::default() }), Vec::new());
        drain(&mut reader, &mut shown, &mut partial, false, &out).await.expect("read");
        assert_eq!(queue.try_recv().expect("a chunk"), "one\n");
        writeln!(file, "o").expect("written");
        drain(&mut reader, &mut shown, &mut partial, false, &out).await.expect("read");
        assert_eq!(queue.try_recv().expect("a chunk"), "two\n");
        let mut tail = open(&path, Some(1)).await.expect("opened");
        drain(&mut tail, &mut shown, &mut partial, true, &out).await.expect("read");
        assert_eq!(queue.try_recv().expect("a chunk"), "two\n");
    }
}
