//! The health protocol of gRPC over plain HTTP/2, without stubs: one call, two fields
//! (pkg/probe/grpc/grpc.go@v1.37.2).

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::check::Verdict;
use super::http::dial_text;
use crate::pod::backoff::go_duration;

/// Status codes of gRPC that are told apart.
const OK: &str = "0";
const DEADLINE_EXCEEDED: &str = "4";
const UNIMPLEMENTED: &str = "12";
/// `HealthCheckResponse.ServingStatus`.
const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u8 = 1;
/// Length prefix of a gRPC message.
const PREFIX: usize = 5;

pub(super) async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Verdict {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let late = || {
        let text = go_duration(limit);
        Verdict::Failure(format!(
            "timeout: failed to connect service {address:?} within {text}: context deadline exceeded"
        ))
    };
    tokio::time::timeout(limit, ask(host, port, &address, service, limit)).await.unwrap_or_else(|_| late())
}

async fn ask(host: &str, port: u16, address: &str, service: &str, limit: Duration) -> Verdict {
    match call(host, port, address, service).await {
        Err(text) => Verdict::Failure(format!("error: health rpc probe failed: {text}")),
        Ok((trailers, body)) => {
            let of = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
            let message = of("grpc-message");
            match of("grpc-status").as_str() {
                OK => serving(&body),
                UNIMPLEMENTED => Verdict::Failure(format!(
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
                )),
                DEADLINE_EXCEEDED => {
                    Verdict::Failure(format!("timeout: health rpc did not complete within {}", go_duration(limit)))
                }
                code => Verdict::Failure(format!(
                    "error: health rpc probe failed: rpc error: code = {code} desc = {message}"
                )),
            }
        }
    }
}

/// The status is field 1, a varint below 128.
fn serving(body: &[u8]) -> Verdict {
    let status = match body.get(PREFIX..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    };
    if status == SERVING {
        return Verdict::Success;
    }
    let name = NAMES.get(usize::from(status)).copied().unwrap_or(NAMES[0]);
    Verdict::Failure(format!("service unhealthy (responded with {name:?})"))
}

fn message(service: &str) -> Bytes {
    let mut inner = BytesMut::new();
    // A name longer than this is no service's.
    if let Some(length) = u8::try_from(service.len()).ok().filter(|length| (1..128).contains(length)) {
        inner.put_slice(&[0x0a, length]);
        inner.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(inner.len()).unwrap_or(0));
    framed.put_slice(&inner);
    framed.freeze()
}

async fn call(host: &str, port: u16, address: &str, service: &str) -> Result<(HeaderMap, Bytes), String> {
    let stream =
        TcpStream::connect((host, port)).await.map_err(|e| format!("dial tcp {address}: {}", dial_text(&e)))?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(|e| e.to_string())?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("user-agent", "kube-probe/1.37")
        .header("te", "trailers")
        .body(Full::new(message(service)))
        .map_err(|e| e.to_string())?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let mut trailers = response.headers().clone();
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?;
        trailers.extend(body.trailers().cloned().unwrap_or_default());
        Ok((trailers, body.to_bytes()))
    };
    // A connection that ends well has delivered everything; only an error ends the wait.
    let broken = async {
        match connection.await {
            Ok(()) => std::future::pending().await,
            Err(error) => error.to_string(),
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        error = broken => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(message("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Verdict::Success);
        assert_eq!(
            serving(&[0, 0, 0, 0, 2, 8, 2]),
            Verdict::Failure("service unhealthy (responded with \"NOT_SERVING\")".into())
        );
        assert_eq!(
            serving(&[0, 0, 0, 0, 0]),
            Verdict::Failure("service unhealthy (responded with \"UNKNOWN\")".into())
        );
    }
}
