//! What holds of what comes around a body: request lines, headers, credentials, frames.

use api::json;
use api::value::Map;
use apiserver::fuzzing::{self, Authentication, Resource};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use streams::channel::{self, Said};
use streams::spdy::{Codec, Frame};
use tokio_util::codec::{Decoder, Encoder};

use crate::parts;

const ANONYMOUS: &str = "system:anonymous";

/// `GET /path?query`: parts of the path are names and nothing else, a query is read as the client's libraries read it, and
/// tokens say the same when they are written again.
pub fn queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (method, target) = text.split_once(' ').unwrap_or(("GET", text));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    for name in fuzzing::request(&method, path, query).into_iter().flatten().filter(|name| !name.is_empty()) {
        assert_eq!(api::names::is_path_segment_name(&name), Vec::<String>::new());
    }
    if let Ok(url) = api::gourl::parse_request_uri(target) {
        assert_eq!(fuzzing::parameters(&url.query), url.parameters());
    }
    if let Some(token) = fuzzing::query_options(query) {
        let sent = fuzzing::parameters(query).into_iter().find(|parameter| parameter.0 == "continue");
        let read = sent.and_then(|sent| fuzzing::continue_token(&sent.1)).expect("it was read");
        // A key that was nothing but a slash is the first of all, which no token can say.
        assert!(read.1.is_empty() || fuzzing::continue_token(&token) == Some(read), "{token}");
    }
    if let Some(read) = fuzzing::continue_token(text) {
        let parts = read.1.split('/');
        assert!(read.1.is_empty() || parts.into_iter().all(|part| !matches!(part, "" | "." | "..")));
    }
}

/// An Accept and a Content-Type header: nothing but the formats that the server has.
pub fn negotiation(data: &[u8]) {
    let (accept, content_type) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let [accepted, format] = fuzzing::negotiated(accept, content_type.get(1..).unwrap_or_default());
    for media_type in accepted.iter().chain(&format) {
        assert_eq!(fuzzing::negotiated(media_type.as_bytes(), media_type.as_bytes()), [Some(*media_type); 2]);
    }
}

fn authentication() -> Authentication {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&key).expect("a certificate");
    Authentication::new(authority.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("good ones")
}

thread_local! {
    static AUTHENTICATION: Authentication = authentication();
}

/// A name for what is authenticated.
fn identified(headers: &HeaderMap, certificates: Vec<Vec<u8>>) -> Option<String> {
    AUTHENTICATION.with(|authentication| authentication.identify(headers, certificates))
}

/// Header lines, and claims. Headers alone authenticate nobody; a token that is signed authenticates the one account that
/// there is, and headers of impersonation are gone once they are read.
pub fn tokens(data: &[u8]) {
    let [lines, claims] = parts(data).unwrap_or([std::str::from_utf8(data).unwrap_or_default(), ""]);
    let mut headers = HeaderMap::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let name = identified(&headers, Vec::new());
    assert!(name.as_deref().is_none_or(|name| name == ANONYMOUS), "{name:?}");
    if fuzzing::impersonated(&mut headers).is_some() {
        let left = |name: &HeaderName| {
            let name = name.as_str();
            matches!(name, "impersonate-user" | "impersonate-uid" | "impersonate-group")
                || name.starts_with("impersonate-extra-")
        };
        assert!(!headers.keys().any(left));
    }
    let Ok(claims) = serde_json::from_str(claims) else { return };
    let token = AUTHENTICATION.with(|authentication| authentication.sign(&claims)).expect("a token");
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
    if let Some(name) = identified(&HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer)]), Vec::new()) {
        assert!(name.starts_with("system:serviceaccount:") && name.ends_with(":known"), "{name}");
    }
}

fn errors(kind: &str, version: &str, spec: Map) {
    let group = "certificates.k8s.io";
    let mut object = api::map! { "metadata" => api::map! { "name" => "a", "namespace" => "b" }, "spec" => spec };
    api::object::set_kind(&mut object, &format!("{group}/{version}"), kind);
    let resource = Resource::of(group, version, kind).expect("a kind");
    let Some(mut object) = resource.decode(&json::encode(&object)) else { return };
    resource.default(&mut object);
    resource.create(&object);
}

/// A certificate, request, key or bundle, as PEM and as DER, wherever a client may bring one. Nobody signed it, so it
/// authenticates nobody.
pub fn certificates(data: &[u8]) {
    let encoded = BASE64_STANDARD.encode(data);
    let _ = fuzzing::certificates(data, &encoded);
    let blocks: Vec<Vec<u8>> =
        x509_parser::pem::Pem::iter_from_buffer(data).map_while(Result::ok).map(|block| block.contents).collect();
    for der in blocks.iter().map(Vec::as_slice).chain([data]) {
        let encoded = BASE64_STANDARD.encode(der);
        let name = identified(&HeaderMap::new(), vec![der.to_vec(), data.to_vec()]);
        assert_eq!(name, None);
        errors("PodCertificateRequest", "v1beta1", api::map! { "stubPKCS10Request" => encoded.as_str() });
        errors(
            "PodCertificateRequest",
            "v1beta1",
            api::map! {
                "pkixPublicKey" => encoded.as_str(), "proofOfPossession" => encoded.as_str(),
            },
        );
    }
    errors("CertificateSigningRequest", "v1", api::map! { "request" => encoded.as_str() });
    if let Ok(text) = std::str::from_utf8(data) {
        errors("ClusterTrustBundle", "v1beta1", api::map! { "trustBundle" => text });
    }
}

/// Frames of a SPDY connection come back as they are written, and so do messages on channels.
pub fn streams(data: &[u8]) {
    let (mut reader, mut bytes) = (Codec::default(), BytesMut::from(data));
    let (mut writer, mut echo, mut wire) = (Codec::default(), Codec::default(), BytesMut::new());
    while let Ok(Some(frame)) = reader.decode(&mut bytes) {
        if matches!(frame, Frame::Other(_)) || writer.encode(frame.clone(), &mut wire).is_err() {
            continue;
        }
        assert_eq!(echo.decode(&mut wire).expect("our own frame"), Some(frame));
    }
    for protocol in channel::ALL {
        if let Said::Data(number, said) = protocol.decode(Bytes::copy_from_slice(data))
            && (!protocol.is_text() || number <= u8::MAX - b'0')
        {
            assert_eq!(protocol.decode(protocol.encode(number, &said)), Said::Data(number, said));
        }
    }
}
