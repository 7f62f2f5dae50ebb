//! Answers that hold seats.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Seat, Watch};
use crate::respond::{Body, BoxError};

/// An answer that is there and not longer than this is as good as written.
const SMALL_BYTES: u64 = 64 * 1024;

struct Held {
    inner: Body,
    seat: Option<Seat>,
    watch: Option<Watch>,
}

/// Holds the seat while the answer is being made, and the watch as long as it goes on.
pub(super) fn hold(response: Response<Body>, seat: Option<Seat>, watch: Option<Watch>) -> Response<Body> {
    let small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BYTES);
    if small || (seat.is_none() && watch.is_none()) {
        return response;
    }
    response.map(|inner| Held { inner, seat, watch }.boxed_unsync())
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let held = self.get_mut();
        let frame = Pin::new(&mut held.inner).poll_frame(cx);
        match &frame {
            // A watch that has nothing to say has said what it began with.
            Poll::Pending if held.watch.is_some() => held.seat = None,
            Poll::Ready(None | Some(Err(_))) => (held.seat, held.watch) = (None, None),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
