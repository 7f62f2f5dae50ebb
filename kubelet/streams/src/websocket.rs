//! The server's side of a WebSocket handshake (RFC 6455, section 4.2).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::{Error, upgrade};

/// Prefix of the subprotocols that carry SPDY in binary messages.
pub const TUNNEL_PREFIX: &str = "SPDY/3.1+";

pub type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// True when the client asks for a WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let asks = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    asks.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) && upgrade::is_wanted(headers)
}

/// The subprotocols that the client offers, in its order.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// True when the client can tell the end of one channel (v5).
pub fn closes_channels(headers: &HeaderMap) -> bool {
    is_wanted(headers) && protocols(headers).any(|name| name == crate::channel::V5.name)
}

/// The SPDY protocols that the client wants to tunnel.
pub fn tunnelled(headers: &HeaderMap) -> Vec<&str> {
    if !is_wanted(headers) {
        return Vec::new();
    }
    protocols(headers)
        .filter_map(|name| name.strip_prefix(TUNNEL_PREFIX))
        .filter(|name| name.ends_with(".k8s.io"))
        .collect()
}

/// The answer that makes the connection a WebSocket; a handshake that is wrong is answered with 400.
pub fn accept(headers: &HeaderMap, protocol: &str) -> Result<Response<Bytes>, Response<Bytes>> {
    let wrong = |why: &'static str| {
        let mut response = Response::new(Bytes::from_static(why.as_bytes()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    };
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong("missing or bad WebSocket Version"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| wrong("mismatch challenge/response"))?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let to = response.headers_mut();
    to.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    to.insert(header::SEC_WEBSOCKET_ACCEPT, accept.map_err(|_| wrong("mismatch challenge/response"))?);
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_str(protocol).map_err(|_| wrong("bad protocol"))?;
        to.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

/// The socket, once the answer is on its way.
pub async fn socket(upgrade: OnUpgrade) -> Result<Socket, Error> {
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await?), Role::Server, None).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs =
            list.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn what_is_asked_for() {
        let base = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let with = |protocols| headers(&[base[0], base[1], ("sec-websocket-protocol", protocols)]);
        assert!(closes_channels(&with("v5.channel.k8s.io")));
        assert!(closes_channels(&with("v4.channel.k8s.io, v5.channel.k8s.io")));
        assert!(!closes_channels(&with("v4.channel.k8s.io")));
        assert!(!closes_channels(&headers(&[("sec-websocket-protocol", "v5.channel.k8s.io")])));
        assert_eq!(tunnelled(&with("SPDY/3.1+portforward.k8s.io, x")), ["portforward.k8s.io"]);
        assert!(tunnelled(&with("SPDY/3.1+portforward, portforward.k8s.io")).is_empty());
    }

    /// The key and the answer of RFC 6455, section 1.3.
    #[test]
    fn a_handshake() {
        let asked = headers(&[("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
        let response = accept(&asked, "v5.channel.k8s.io").expect("accepted");
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
        let refused = accept(&headers(&[("sec-websocket-version", "8")]), "").expect_err("another version");
        assert_eq!(refused.status(), 400);
    }
}
