//! gzip of large answers for clients that accept it
//! (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/writers.go@v0.37.2: level 1, from 128 KiB on).
//!
//! Invariant: at most the threshold is held back before bytes flow; watches are never compressed.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::respond::{Body, BoxError, full};

/// Smaller answers are sent as they are.
const THRESHOLD_BYTES: usize = 128 * 1024;
/// Compressed bytes sent at once, about.
const FRAME_BYTES: usize = 16 * 1024;

/// True when the client takes gzip.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .any(|part| part.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

/// Compresses the answer if it turns out to be large.
pub(crate) async fn gzip(response: Response<Body>) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let mut held = Vec::new();
    while held.len() < THRESHOLD_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    held.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "an answer could not be made");
                return Response::from_parts(parts, full(held));
            }
            None => return Response::from_parts(parts, full(held)),
        }
    }
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, compressed(held, body))
}

fn compressed(first: Vec<u8>, rest: Body) -> Body {
    let encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    let state = Some((encoder, Bytes::from(first), rest));
    let frames = stream::try_unfold(state, |state| async move {
        let Some((mut encoder, mut data, mut rest)) = state else { return Ok::<_, BoxError>(None) };
        loop {
            encoder.write_all(&data)?;
            if encoder.get_ref().len() >= FRAME_BYTES {
                let out = std::mem::take(encoder.get_mut());
                return Ok(Some((Frame::data(Bytes::from(out)), Some((encoder, Bytes::new(), rest)))));
            }
            match next_data(&mut rest).await? {
                Some(next) => data = next,
                None => return Ok(Some((Frame::data(Bytes::from(encoder.finish()?)), None))),
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

async fn next_data(body: &mut Body) -> Result<Option<Bytes>, BoxError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    async fn check(length: usize, compressed: bool) {
        let text: Vec<u8> = (0..length).map(|at| b'a' + (at % 7) as u8).collect();
        let response = gzip(Response::new(full(text.clone()))).await;
        assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), compressed, "{length}");
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        let mut back = Vec::new();
        if compressed {
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut back).expect("gzip");
        } else {
            back = bytes.to_vec();
        }
        assert_eq!(back, text);
    }

    #[tokio::test]
    async fn only_large_answers_are_compressed() {
        check(10, false).await;
        check(THRESHOLD_BYTES - 1, false).await;
        check(THRESHOLD_BYTES * 3, true).await;
    }
}
