//! A KMS plugin behind a socket that flips bits: enough of gRPC for three calls.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use encryption::kms::messages::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse};
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::UnixListener;

/// The key that it has now.
pub(super) type KeyId = Arc<Mutex<String>>;

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

fn answer(method: &str, message: &[u8], key_id: &KeyId) -> Vec<u8> {
    let key_id = key_id.lock().clone();
    match method {
        "/v2.KeyManagementService/Status" => {
            StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id }.encode_to_vec()
        }
        "/v2.KeyManagementService/Encrypt" => {
            let request = EncryptRequest::decode(message).expect("a request");
            let ciphertext = flipped(&request.plaintext);
            EncryptResponse { ciphertext, key_id, annotations: Default::default() }.encode_to_vec()
        }
        _ => {
            let request = DecryptRequest::decode(message).expect("a request");
            DecryptResponse { plaintext: flipped(&request.ciphertext) }.encode_to_vec()
        }
    }
}

type Frames = stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

async fn call(request: Request<Incoming>, key_id: KeyId) -> Result<Response<StreamBody<Frames>>, Infallible> {
    let method = request.uri().path().to_owned();
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    // A byte that says whether it is compressed, the length, the message.
    let message = answer(&method, &body[5..], &key_id);
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = vec![Ok(Frame::data(framed.freeze())), Ok(Frame::trailers(trailers))];
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(stream::iter(frames))).expect("a response"))
}

/// Serves at a socket until it is dropped.
pub(super) async fn serve(socket: &Path, key_id: KeyId) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let connections = tokio_util::task::TaskTracker::new();
    while let Ok((stream, _)) = listener.accept().await {
        let key_id = key_id.clone();
        let service = service_fn(move |request| call(request, key_id.clone()));
        connections.spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
    }
}
