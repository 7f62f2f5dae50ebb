//! A client that writes down what it is answered.

use std::fmt::{Debug, Write};
use std::time::Duration;

use etcd_server::{Config, Etcd, Place};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use prost::Message;
use store::Store;
use store::etcdserverpb as pb;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn anywhere() -> Place {
    Place::parse("http://127.0.0.1:0").unwrap()
}

/// Ours, on a port of its own.
pub(crate) async fn ours(store: Store) -> (Etcd, Channel) {
    ours_with(Config::default(), store).await
}

pub(crate) async fn ours_with(config: Config, store: Store) -> (Etcd, Channel) {
    let etcd = Etcd::start(Config { listen_client: vec![anywhere()], ..config }, store).await.unwrap();
    let channel = connect(&format!("http://{}", etcd.addresses()[0])).await;
    (etcd, channel)
}

pub(crate) async fn connect(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    for _ in 0..600 {
        if let Ok(channel) = endpoint.connect().await {
            return channel;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens at {url}");
}

fn grpc(channel: &Channel) -> Grpc<Channel> {
    Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX)
}

fn path(service: &str) -> PathAndQuery {
    format!("/etcdserverpb.{service}").parse().unwrap()
}

pub(crate) async fn call<Q, A>(channel: &Channel, method: &str, request: Q) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = grpc(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(Request::new(request), path(method), codec);
    Ok(tokio::time::timeout(PATIENCE, answer).await.expect("an answer")?.into_inner())
}

/// A stream both ways.
pub(crate) struct Both<Q, A> {
    requests: UnboundedSender<Q>,
    answers: Streaming<A>,
}

impl<Q: Message + 'static, A: Message + Default + 'static> Both<Q, A> {
    pub(crate) async fn open(channel: &Channel, method: &str, first: Q) -> Both<Q, A> {
        let (requests, queue) = unbounded();
        requests.unbounded_send(first).unwrap();
        let mut grpc = grpc(channel);
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<Q, A>::default();
        let answers = grpc.streaming(Request::new(queue), path(method), codec).await.unwrap().into_inner();
        Both { requests, answers }
    }

    pub(crate) fn send(&self, request: Q) {
        self.requests.unbounded_send(request).unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<A, Status> {
        tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("an answer").map(|answer| answer.unwrap())
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.answers.message()).await.is_err()
    }
}

pub(crate) type Watches = Both<pb::WatchRequest, pb::WatchResponse>;

/// Calls and their answers, as text that is the same for every server.
pub(crate) struct Transcript {
    pub(crate) channel: Channel,
    pub(crate) text: String,
}

impl Transcript {
    pub(crate) fn new(channel: Channel) -> Transcript {
        Transcript { channel, text: String::new() }
    }

    pub(crate) fn note(&mut self, label: &str, answer: Result<&dyn Debug, &Status>) {
        let answer = match answer {
            Ok(answer) => neutral(format!("{answer:?}")),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        writeln!(self.text, "{label}\n    {answer}").unwrap();
    }

    pub(crate) async fn call<Q, A>(&mut self, label: &str, method: &str, request: Q)
    where
        Q: Message + 'static,
        A: Message + Default + Debug + 'static,
    {
        let answer = call::<Q, A>(&self.channel, method, request).await;
        self.note(label, answer.as_ref().map(|answer| answer as &dyn Debug));
    }

    /// All parts of an answer that is streamed.
    pub(crate) async fn stream<Q, A>(&mut self, label: &str, method: &str, request: Q)
    where
        Q: Message + 'static,
        A: Message + Default + Debug + 'static,
    {
        let mut grpc = grpc(&self.channel);
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<Q, A>::default();
        match grpc.server_streaming(Request::new(request), path(method), codec).await {
            Err(status) => self.note(label, Err(&status)),
            Ok(answers) => {
                let mut answers = answers.into_inner();
                while let Some(answer) = answers.next().await {
                    self.note(label, answer.as_ref().map(|answer| answer as &dyn Debug));
                }
            }
        }
    }

    /// Notes so many responses of a stream.
    pub(crate) async fn watched(&mut self, label: &str, watches: &mut Watches, count: usize) {
        for _ in 0..count {
            let answer = watches.next().await;
            self.note(label, answer.as_ref().map(|answer| answer as &dyn Debug));
        }
    }
}

/// Without the numbers that differ from server to server.
fn neutral(text: String) -> String {
    let names = ["cluster_id", "member_id", "raft_term", "raft_index", "raft_applied_index", "leader", "Member { id"];
    let sizes = ["db_size", "db_size_in_use"];
    names.iter().chain(&sizes).fold(text, |text, name| {
        let mark = format!("{name}: ");
        let mut parts = text.split(&mark);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{text}{mark}_{rest}")
        })
    })
}
