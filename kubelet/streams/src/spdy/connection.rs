//! Streams over one connection.
//!
//! Invariant: stream ids grow in the order of the frames that open them. A stream that nobody reads
//! holds the whole connection up, so every stream that is opened has to be read or dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::frame::{Codec, Frame, Headers};
use crate::{Error, Io};

/// How long the peer may take to accept a stream (createStreamResponseTimeout).
const OPEN_MAX: Duration = Duration::from_secs(30);
/// Pause between pings, which keep idle connections alive (k8s.io/apiserver/pkg/util/proxy/streamtranslator.go).
const PING: Duration = Duration::from_secs(5);
/// Frames waiting to be written, and pieces waiting to be read of one stream.
const QUEUE: usize = 16;
/// Largest data frame written, in bytes.
const DATA_BYTES_MAX: usize = 1 << 20;
const CANCEL: u32 = 5;
const REFUSED: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

struct Slot {
    data: mpsc::Sender<Bytes>,
    accepted: Option<oneshot::Sender<()>>,
}

type Slots = Arc<Mutex<HashMap<u32, Slot>>>;

/// Opens streams and takes those that the peer opens.
pub struct Connection {
    frames: mpsc::Sender<Frame>,
    slots: Slots,
    next: AtomicU32,
    opening: tokio::sync::Mutex<()>,
    opened: tokio::sync::Mutex<mpsc::Receiver<Stream>>,
}

/// Moves the frames; nothing happens unless it runs.
pub struct Driver<I> {
    input: FramedRead<ReadHalf<I>, Codec>,
    output: FramedWrite<WriteHalf<I>, Codec>,
    queue: mpsc::Receiver<Frame>,
    frames: mpsc::Sender<Frame>,
    slots: Slots,
    opened: mpsc::Sender<Stream>,
    role: Role,
}

/// One stream, both ways.
pub struct Stream {
    pub id: u32,
    pub headers: Headers,
    pub writer: Writer,
    pub reader: Reader,
}

#[derive(Clone)]
pub struct Writer {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

pub struct Reader {
    data: mpsc::Receiver<Bytes>,
}

impl Connection {
    pub fn new<I: Io>(io: I, role: Role) -> (Self, Driver<I>) {
        let (read, write) = tokio::io::split(io);
        let (frames, queue) = mpsc::channel(QUEUE);
        let (opened, incoming) = mpsc::channel(QUEUE);
        let slots = Slots::default();
        let driver = Driver {
            input: FramedRead::new(read, Codec::default()),
            output: FramedWrite::new(write, Codec::default()),
            queue,
            frames: frames.clone(),
            slots: slots.clone(),
            opened,
            role,
        };
        let next = AtomicU32::new(if role == Role::Client { 1 } else { 2 });
        let opened = tokio::sync::Mutex::new(incoming);
        (Connection { frames, slots, next, opening: tokio::sync::Mutex::default(), opened }, driver)
    }

    /// Opens a stream and waits until the peer has accepted it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, Error> {
        let (accepted, acceptance) = oneshot::channel();
        let (id, data) = {
            let _order = self.opening.lock().await;
            let id = self.next.fetch_add(2, Ordering::Relaxed);
            let (sender, data) = mpsc::channel(QUEUE);
            self.slots.lock().insert(id, Slot { data: sender, accepted: Some(accepted) });
            let frame = Frame::SynStream { id, fin: false, headers: headers.clone() };
            self.frames.send(frame).await.map_err(|_| closed())?;
            (id, data)
        };
        match tokio::time::timeout(OPEN_MAX, acceptance).await {
            Ok(Ok(())) => {
                let writer = Writer { id, frames: self.frames.clone() };
                Ok(Stream { id, headers, writer, reader: Reader { data } })
            }
            Ok(Err(_)) => Err(Error::protocol("stream was refused")),
            Err(_) => Err(Error::protocol("timeout waiting for reply")),
        }
    }

    /// The next stream that the peer opens; `None` when the connection is over.
    pub async fn accept(&self) -> Option<Stream> {
        self.opened.lock().await.recv().await
    }
}

fn closed() -> Error {
    Error::protocol("connection closed")
}

impl Writer {
    pub async fn write(&self, mut data: Bytes) -> Result<(), Error> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(DATA_BYTES_MAX));
            self.send(Frame::Data { id: self.id, fin: false, data: piece }).await?;
        }
        Ok(())
    }

    /// Nothing more will be written.
    pub async fn close(&self) -> Result<(), Error> {
        self.send(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await
    }

    /// Neither side will write any more.
    pub async fn reset(&self) -> Result<(), Error> {
        self.send(Frame::Reset { id: self.id, status: CANCEL }).await
    }

    async fn send(&self, frame: Frame) -> Result<(), Error> {
        self.frames.send(frame).await.map_err(|_| closed())
    }
}

impl Reader {
    /// The next piece; `None` when the peer has closed the stream or the connection is gone.
    pub async fn read(&mut self) -> Option<Bytes> {
        self.data.recv().await
    }

    /// Everything until the end, of at most `limit` bytes.
    pub async fn read_to_end(&mut self, limit: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = self.read().await {
            let room = limit.saturating_sub(all.len());
            all.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        all
    }
}

impl<I: Io> Driver<I> {
    /// Moves frames until the connection ends.
    pub async fn run(self) -> Result<(), Error> {
        let Driver { input, output, queue, frames, slots, opened, role } = self;
        let ended = tokio::select! {
            ended = receive(input, frames, slots.clone(), opened, role) => ended,
            ended = transmit(output, queue, role) => ended,
        };
        // Whoever reads a stream learns that it is over.
        slots.lock().clear();
        ended
    }
}

async fn transmit<I: Io>(
    mut output: FramedWrite<WriteHalf<I>, Codec>,
    mut queue: mpsc::Receiver<Frame>,
    role: Role,
) -> Result<(), Error> {
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
    let mut ping = if role == Role::Client { 1 } else { 2 };
    loop {
        tokio::select! {
            frame = queue.recv() => match frame {
                Some(frame) => output.send(frame).await?,
                None => return Ok(()),
            },
            _ = pings.tick(), if role == Role::Client => {
                output.send(Frame::Ping { id: ping }).await?;
                ping += 2;
            }
        }
    }
}

async fn receive<I: Io>(
    mut input: FramedRead<ReadHalf<I>, Codec>,
    frames: mpsc::Sender<Frame>,
    slots: Slots,
    opened: mpsc::Sender<Stream>,
    role: Role,
) -> Result<(), Error> {
    while let Some(frame) = input.next().await {
        match frame? {
            Frame::SynStream { id, fin, headers } => {
                let answer = take(id, fin, headers, &frames, &slots, &opened).await;
                frames.send(answer).await.map_err(|_| closed())?;
            }
            Frame::SynReply { id, fin, .. } => {
                let accepted = slots.lock().get_mut(&id).and_then(|slot| slot.accepted.take());
                if let Some(accepted) = accepted {
                    let _ = accepted.send(());
                }
                end(&slots, id, fin);
            }
            Frame::Data { id, fin, data } => {
                let sender = slots.lock().get(&id).map(|slot| slot.data.clone());
                if let Some(sender) = sender.filter(|_| !data.is_empty()) {
                    // An error means that nobody wants to read it.
                    let _ = sender.send(data).await;
                }
                end(&slots, id, fin);
            }
            Frame::Reset { id, .. } => end(&slots, id, true),
            Frame::Headers { id, fin, .. } => end(&slots, id, fin),
            Frame::Ping { id } => {
                let ours = (id % 2 == 1) == (role == Role::Client);
                if !ours {
                    frames.send(Frame::Ping { id }).await.map_err(|_| closed())?;
                }
            }
            Frame::GoAway { .. } | Frame::Other(_) => {}
        }
    }
    Ok(())
}

fn end(slots: &Slots, id: u32, is_end: bool) {
    if is_end {
        slots.lock().remove(&id);
    }
}

async fn take(
    id: u32,
    fin: bool,
    headers: Headers,
    frames: &mpsc::Sender<Frame>,
    slots: &Slots,
    opened: &mpsc::Sender<Stream>,
) -> Frame {
    let (sender, data) = mpsc::channel(QUEUE);
    if !fin {
        slots.lock().insert(id, Slot { data: sender, accepted: None });
    }
    let writer = Writer { id, frames: frames.clone() };
    match opened.send(Stream { id, headers, writer, reader: Reader { data } }).await {
        Ok(()) => Frame::SynReply { id, fin: false, headers: vec![] },
        Err(_) => Frame::Reset { id, status: REFUSED },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back, on every stream, its header and what it is sent.
    async fn echo(io: tokio::io::DuplexStream) {
        let (connection, driver) = Connection::new(io, Role::Server);
        let serve = async {
            let mut all = futures::stream::FuturesUnordered::new();
            loop {
                tokio::select! {
                    stream = connection.accept() => match stream {
                        Some(mut stream) => all.push(async move {
                            let header = stream.headers[0].1.clone();
                            stream.writer.write(header.into()).await.expect("written");
                            while let Some(data) = stream.reader.read().await {
                                stream.writer.write(data).await.expect("written");
                            }
                            stream.writer.close().await.expect("closed");
                        }),
                        None => break,
                    },
                    _ = all.next(), if !all.is_empty() => {}
                }
            }
        };
        tokio::select! { _ = driver.run() => {}, () = serve => {} }
    }

    #[tokio::test]
    async fn streams_are_independent_and_half_closed() {
        let (here, there) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(echo(there));
        let (connection, driver) = Connection::new(here, Role::Client);
        let work = async {
            let mut first = connection.open(vec![("streamtype".into(), "a:".into())]).await.expect("opened");
            let mut second = connection.open(vec![("streamtype".into(), "b:".into())]).await.expect("opened");
            assert_eq!((first.id, second.id), (1, 3));
            second.writer.write("two".into()).await.expect("written");
            second.writer.close().await.expect("closed");
            assert_eq!(second.reader.read_to_end(100).await, b"b:two");
            first.writer.write("one".into()).await.expect("written");
            first.writer.close().await.expect("closed");
            assert_eq!(first.reader.read_to_end(3).await, b"a:o");
        };
        tokio::select! { ended = driver.run() => panic!("{ended:?}"), () = work => {} }
        drop(connection);
        server.await.expect("the server ends with the connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_answer_is_given_up() {
        let (here, _there) = tokio::io::duplex(1 << 16);
        let (connection, driver) = Connection::new(here, Role::Client);
        let opened = tokio::select! {
            ended = driver.run() => panic!("{ended:?}"),
            opened = connection.open(vec![]) => opened,
        };
        assert_eq!(opened.err().map(|error| error.to_string()).as_deref(), Some("timeout waiting for reply"));
    }
}
