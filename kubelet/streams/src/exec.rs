//! A WebSocket of channels turned into SPDY streams, for exec and attach
//! (k8s.io/apiserver/pkg/util/proxy/{streamtranslator,websocket}.go@v0.37.2).
//!
//! Invariant: the client always gets a Status on the error channel, whatever went wrong behind.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Empty;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::channel::{self, Protocol, Said};
use crate::spdy::{self, Connection, Reader, Role, Writer};
use crate::upgrade::{Answer, STREAM_PROTOCOL, ask};
use crate::{AnyIo, Error, Io};

/// SPDY protocols offered to a backend, best first.
const PROTOCOLS: [&str; 3] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];
/// Messages waiting for the client.
const QUEUE: usize = 16;
/// Largest Status a backend may send, in bytes.
const STATUS_BYTES_MAX: usize = 1 << 20;
/// How long the client may take to answer the end.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The streams that the caller asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// A backend that has agreed.
pub struct Backend {
    io: AnyIo,
    /// Failures come as a Status (v4) and not as text.
    structured: bool,
}

/// Connects to the SPDY end at `target`; the error is the Status that the client is told.
pub async fn connect<D, F, I>(target: Uri, dial: D) -> Result<Backend, Value>
where
    D: FnOnce() -> F,
    F: Future<Output = std::io::Result<I>>,
    I: Io,
{
    let io = dial().await.map_err(|error| internal(&format!("error dialing backend: {error}")))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::POST;
    let host = target.authority().map_or("localhost", |authority| authority.as_str());
    let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost"));
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(spdy::UPGRADE));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    for protocol in PROTOCOLS {
        headers.append(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    }
    *request.uri_mut() = target;
    match ask(io, request).await {
        Ok(Answer::Switched(headers, io)) => {
            let chosen = headers.get(STREAM_PROTOCOL).and_then(|value| value.to_str().ok());
            Ok(Backend { io: Box::new(io), structured: chosen == Some(PROTOCOLS[0]) })
        }
        Ok(Answer::Refused(refusal)) => Err(refusal_status(refusal.body())),
        Err(error) => Err(internal(&error.to_string())),
    }
}

/// A Status is handed on, text is wrapped
/// (k8s.io/streaming/pkg/httpstream/spdy/roundtripper.go@v0.37.2, NewConnection).
fn refusal_status(body: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(body) {
        Ok(status) if status["kind"] == "Status" => status,
        _ => internal(&format!("unable to upgrade connection: {}", String::from_utf8_lossy(body))),
    }
}

fn internal(why: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {why}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": why}]},
        "code": 500,
    })
}

/// What the client is told about the end, given what the backend said on its error stream
/// (k8s.io/client-go/tools/remotecommand/v4.go@v0.37.2, errorDecoderV4).
fn end_status(said: &[u8], structured: bool) -> Value {
    let success = json!({"metadata": {}, "status": "Success"});
    if said.is_empty() {
        return success;
    }
    let text = String::from_utf8_lossy(said);
    if !structured {
        return internal(&format!("error executing remote command: {text}"));
    }
    let status: Value = match serde_json::from_slice(said) {
        Ok(status) => status,
        Err(error) => return internal(&format!("error stream protocol error: {error} in {text:?}")),
    };
    if status["status"] == "Success" {
        return success;
    }
    if status["status"] != "Failure" {
        return internal("error stream protocol error: unknown error");
    }
    if status["reason"] != "NonZeroExitCode" {
        return internal(status["message"].as_str().unwrap_or_default());
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    match causes.into_iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str()) {
        Some(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code}]},
        }),
        None => internal("error stream protocol error: no ExitCode cause given"),
    }
}

type Out = mpsc::Sender<(u8, Bytes)>;

/// Serves a client that speaks `protocol`; `backend` connects to the SPDY end.
pub async fn translate<S>(
    client: WebSocketStream<S>,
    protocol: Protocol,
    options: Options,
    backend: impl Future<Output = Result<Backend, Value>>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, mut source) = client.split();
    let (out, queue) = mpsc::channel(QUEUE);
    // An empty message on the lowest channel that is written tells that the connection stands.
    let first = match options {
        Options { stdout: true, .. } => channel::STDOUT,
        Options { stderr: true, .. } => channel::STDERR,
        _ => channel::ERROR,
    };
    let work = async {
        let _ = out.send((first, Bytes::new())).await;
        let status = match backend.await {
            Ok(backend) => session(backend, protocol, options, &mut source, &out).await,
            Err(status) => Some(status),
        };
        if let Some(status) = status {
            let _ = out.send((channel::ERROR, status.to_string().into())).await;
        }
        drop(out);
    };
    let (written, ()) = tokio::join!(write(sink, queue, protocol), work);
    written?;
    let _ = tokio::time::timeout(CLOSE_MAX, async { while let Some(Ok(_)) = source.next().await {} }).await;
    Ok(())
}

async fn write<W>(mut sink: W, mut queue: mpsc::Receiver<(u8, Bytes)>, protocol: Protocol) -> Result<(), Error>
where
    W: Sink<Message, Error = tokio_tungstenite::tungstenite::Error> + Unpin,
{
    while let Some((channel, data)) = queue.recv().await {
        let message = protocol.encode(channel, &data);
        let message = match protocol.is_text() {
            true => Message::Text(message.try_into().map_err(|_| Error::protocol("base64 is text"))?),
            false => Message::Binary(message),
        };
        sink.send(message).await?;
    }
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    Ok(sink.send(Message::Close(Some(frame))).await?)
}

/// The Status of the end; `None` when the client has gone.
async fn session<R>(backend: Backend, protocol: Protocol, options: Options, source: &mut R, out: &Out) -> Option<Value>
where
    R: Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let structured = backend.structured;
    let (connection, driver) = Connection::new(backend.io, Role::Client);
    let talk = async {
        let Streams { mut error, stdin, stdout, stderr, resize } = match open(&connection, options).await {
            Ok(streams) => streams,
            Err(error) => return Some(internal(&error.to_string())),
        };
        let (stdin, unread) = stdin.unzip();
        let ended = async {
            let (said, (), ()) = tokio::join!(
                error.read_to_end(STATUS_BYTES_MAX),
                copy(stdout, channel::STDOUT, out),
                copy(stderr, channel::STDERR, out),
            );
            said
        };
        let quiet = async {
            // When the other side closes its stdin ours is closed, too.
            if let (Some(mut unread), Some(stdin)) = (unread, &stdin) {
                while unread.read().await.is_some() {}
                let _ = stdin.close().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            said = ended => Some(end_status(&said, structured)),
            () = listen(source, protocol, stdin.as_ref(), resize.as_ref()) => None,
            () = quiet => None,
        }
    };
    tokio::select! {
        biased;
        status = talk => status,
        // The streams end with the connection, and then the talk does; this is the case that it cannot.
        ended = async {
            let ended = driver.run().await;
            tokio::time::sleep(CLOSE_MAX).await;
            ended
        } => Some(internal(&ended.err().map_or_else(|| "connection closed".to_owned(), |error| error.to_string()))),
    }
}

struct Streams {
    error: Reader,
    stdin: Option<(Writer, Reader)>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    resize: Option<Writer>,
}

async fn open(connection: &Connection, options: Options) -> Result<Streams, Error> {
    let one = async |name: &str, wanted: bool| match wanted {
        true => connection.open(vec![("streamtype".to_owned(), name.to_owned())]).await.map(Some),
        false => Ok(None),
    };
    let error = one("error", true).await?.ok_or_else(|| Error::protocol("no error stream"))?.reader;
    let stdin = one("stdin", options.stdin).await?.map(|stream| (stream.writer, stream.reader));
    let stdout = one("stdout", options.stdout).await?.map(|stream| stream.reader);
    let stderr = one("stderr", options.stderr && !options.tty).await?.map(|stream| stream.reader);
    let resize = one("resize", options.tty).await?.map(|stream| stream.writer);
    Ok(Streams { error, stdin, stdout, stderr, resize })
}

async fn copy(from: Option<Reader>, channel: u8, out: &Out) {
    let Some(mut from) = from else { return };
    while let Some(data) = from.read().await {
        // A client that is gone is noticed where it is read.
        let _ = out.send((channel, data)).await;
    }
}

/// Hands on what the client says until it is gone.
async fn listen<R>(source: &mut R, protocol: Protocol, stdin: Option<&Writer>, resize: Option<&Writer>)
where
    R: Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        let payload = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        let to = |channel| match channel {
            channel::STDIN => stdin,
            channel::RESIZE => resize,
            _ => None,
        };
        match protocol.decode(payload) {
            // The other end may have closed its side already, which is no reason to stop reading.
            Said::Data(channel, data) => {
                if let Some(writer) = to(channel) {
                    let _ = writer.write(data).await;
                }
            }
            Said::Close(channel) => {
                if let Some(writer) = to(channel) {
                    let _ = writer.close().await;
                }
            }
            Said::Nothing => {}
            Said::Wrong(why) => {
                tracing::debug!(why, "WebSocket protocol error");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol;

    #[test]
    fn what_the_client_is_told() {
        let check = |said: &str, structured: bool, expect: &str| {
            let status = end_status(said.as_bytes(), structured);
            let found =
                format!("{} {}", status["status"].as_str().unwrap_or(""), status["message"].as_str().unwrap_or(""));
            assert_eq!(found.trim(), expect, "{said}");
        };
        check("", true, "Success");
        check(r#"{"metadata":{},"status":"Success"}"#, true, "Success");
        check("boom", false, "Failure Internal error occurred: error executing remote command: boom");
        check(r#"{"status":"Failure","message":"no"}"#, true, "Failure Internal error occurred: no");
        check("{}", true, "Failure Internal error occurred: error stream protocol error: unknown error");
        let code = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        check(code, true, "Failure command terminated with non-zero exit code: command terminated with exit code 3");
        assert_eq!(refusal_status(br#"{"kind":"Status","code":404}"#)["code"], 404);
        assert_eq!(
            refusal_status(b"no such container")["message"],
            "Internal error occurred: unable to upgrade connection: no such container"
        );
    }

    /// A runtime whose command upper-cases its input and ends with code 3 when that ends.
    async fn runtime(io: tokio::io::DuplexStream) {
        let (connection, driver) = Connection::new(io, Role::Server);
        let work = async {
            let mut named = std::collections::HashMap::new();
            for _ in 0..4 {
                let stream = connection.accept().await.expect("a stream");
                named.insert(stream.headers[0].1.clone(), stream);
            }
            let mut take = |name: &str| named.remove(name).expect("asked for");
            let (error, mut stdin, stdout, stderr) = (take("error"), take("stdin"), take("stdout"), take("stderr"));
            stderr.writer.write("ready".into()).await.expect("written");
            while let Some(data) = stdin.reader.read().await {
                stdout.writer.write(data.to_ascii_uppercase().into()).await.expect("written");
            }
            let status = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
            error.writer.write(status.into()).await.expect("written");
            for writer in [stdout.writer, stderr.writer, error.writer] {
                writer.close().await.expect("closed");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { _ = driver.run() => {}, () = work => {} }
    }

    async fn next(client: &mut WebSocketStream<tokio::io::DuplexStream>) -> (u8, String) {
        let message = client.next().await.expect("a message").expect("whole");
        let data = message.into_data();
        (data[0], String::from_utf8_lossy(&data[1..]).into_owned())
    }

    #[tokio::test]
    async fn stdin_ends_alone_and_the_exit_code_comes_through() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(runtime(far));
        let server = WebSocketStream::from_raw_socket(server, protocol::Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(client, protocol::Role::Client, None).await;
        let options = Options { stdin: true, stdout: true, stderr: true, tty: false };
        let backend = async { Ok(Backend { io: Box::new(near), structured: true }) };
        let served = tokio::spawn(translate(server, channel::V5, options, backend));
        assert_eq!(next(&mut client).await, (channel::STDOUT, String::new()));
        assert_eq!(next(&mut client).await, (channel::STDERR, "ready".into()));
        client.send(Message::Binary("\0hello".into())).await.expect("sent");
        assert_eq!(next(&mut client).await, (channel::STDOUT, "HELLO".into()));
        client.send(Message::Binary(Bytes::from_static(&[255, 0]))).await.expect("sent");
        let (channel, status) = next(&mut client).await;
        assert_eq!(channel, channel::ERROR);
        assert!(status.contains("exit code 3"), "{status}");
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
        drop(client);
        served.await.expect("joined").expect("ended well");
    }

    #[tokio::test]
    async fn a_backend_that_fails_is_told_on_the_error_channel() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let server = WebSocketStream::from_raw_socket(server, protocol::Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(client, protocol::Role::Client, None).await;
        let dial = || async { Err::<tokio::io::DuplexStream, _>(std::io::Error::other("nobody")) };
        let backend = connect(Uri::from_static("/exec/x"), dial);
        let served = tokio::spawn(translate(server, channel::V5, Options::default(), backend));
        assert_eq!(next(&mut client).await, (channel::ERROR, String::new()));
        let (_, status) = next(&mut client).await;
        assert!(status.contains("error dialing backend: nobody"), "{status}");
        drop(client);
        let _ = served.await.expect("joined");
    }
}
