//! The UDP and TCP servers: bytes in, bytes out.
//!
//! Invariant: an answer from the caches is sent by the loop that read the question; only what needs
//! another server becomes a task of its own. No client can hold more than its own connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use client::task::Tasks;
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::{Answer, Reply, Zone, answer};
use crate::forward::{Failed, Forwarder};
use crate::objects::Objects;
use crate::packets::{Packets, Peer};
use crate::wire::{Request, Transport, read, refusal, relay, write};

/// A TCP client that says nothing for so long is cut off.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// TCP connections at a time.
const TCP_CONNECTIONS_MAX: usize = 1024;
/// The longest UDP question.
const UDP_REQUEST_MAX: usize = 4096;
/// After an error of a socket, which may be that of an earlier reply or a lack of descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Server {
    pub(crate) zone: Zone,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) forwarder: Forwarder,
}

/// How far a request got without waiting.
enum Step {
    Done(Option<Vec<u8>>),
    Forward(Request),
    /// The reply needs the records of a name of somebody else.
    LookUp(Request, Reply, Name),
}

impl Server {
    /// Answers one request.
    pub(crate) async fn handle(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let step = self.start(bytes, transport);
        self.finish(step, bytes, transport).await
    }

    fn start(&self, bytes: &[u8], transport: Transport) -> Step {
        let request = match read(bytes) {
            Ok(request) => request,
            Err(reply) => return Step::Done(reply),
        };
        let (name, kind) = (request.query.name(), request.query.query_type());
        match answer(&self.zone, &*self.objects, name, kind) {
            Answer::Forward => Step::Forward(request),
            Answer::Ours(reply) => match reply.target.clone() {
                Some(target) => Step::LookUp(request, *reply, target),
                None => Step::Done(write(&request.message, shuffled(*reply), transport)),
            },
        }
    }

    async fn finish(&self, step: Step, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match step {
            Step::Done(reply) => reply,
            Step::Forward(request) => match self.forwarder.ask(bytes, &request.query, transport).await {
                Ok(answer) => relay(&request.message, answer, transport),
                Err(Failed::Unreachable) => refusal(&request.message, ResponseCode::ServFail),
                Err(Failed::TooMany) => refusal(&request.message, ResponseCode::Refused),
            },
            Step::LookUp(request, reply, target) => {
                let reply = self.look_up(&request, reply, target).await;
                write(&request.message, reply, transport)
            }
        }
    }

    async fn look_up(&self, request: &Request, mut reply: Reply, target: Name) -> Reply {
        let query = Query::query(target, request.query.query_type());
        match self.forwarder.lookup(&query).await {
            Ok(found) => {
                reply.answers.extend(found.answers);
                reply
            }
            Err(_) => reply.without_target(&self.zone, request.query.name(), self.objects.modified()),
        }
    }
}

/// Spreads clients that take the first address.
fn shuffled(mut reply: Reply) -> Reply {
    let is_address = |kind| matches!(kind, RecordType::A | RecordType::AAAA);
    let first = reply.answers.iter().position(|record| is_address(record.record_type()));
    let first = first.unwrap_or(reply.answers.len());
    reply.answers[first..].shuffle(&mut rand::rng());
    reply
}

/// Serves UDP. Never ends.
pub(crate) async fn serve_udp(server: Arc<Server>, socket: Arc<Packets>, tasks: Tasks) {
    let mut buffer = [0; UDP_REQUEST_MAX];
    loop {
        let (length, peer) = match socket.receive(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "UDP receive failed");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        match server.start(&buffer[..length], Transport::Udp) {
            Step::Done(reply) => send(&socket, reply, peer).await,
            step => {
                let (server, socket, bytes) = (server.clone(), socket.clone(), buffer[..length].to_vec());
                tasks.run("dns question", async move {
                    let reply = server.finish(step, &bytes, Transport::Udp).await;
                    send(&socket, reply, peer).await;
                });
            }
        }
    }
}

async fn send(socket: &Packets, reply: Option<Vec<u8>>, peer: Peer) {
    if let Some(reply) = reply
        && let Err(error) = socket.send(&reply, &peer).await
    {
        tracing::debug!(peer = %peer.address, %error, "reply not sent");
    }
}

/// Serves TCP. Never ends.
pub(crate) async fn serve_tcp(server: Arc<Server>, listener: TcpListener, tasks: Tasks) {
    let permits = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tasks.run("dns connection", async move {
                    if let Err(error) = converse(&server, stream).await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn converse(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let request = match timeout(TCP_IDLE, receive(&mut stream)).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let Some(reply) = server.handle(&request, Transport::Tcp).await else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), &reply[..]].concat();
        timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut request).await?;
    Ok(request)
}
