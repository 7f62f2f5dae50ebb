//! Answers that hold seats.
//!
//! Invariant: no answer holds seats for longer than a request may take, whatever its client does.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use flow::Nanos;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Flow, REQUEST_TIME_MAX, Seat, Watch};
use crate::respond::{Body, BoxError};

/// An answer that is there and not longer than this is as good as written.
const SMALL_BYTES: u64 = 64 * 1024;

/// When an answer may not hold its seats any longer, and a number that tells it from others.
type Deadline = (Nanos, u64);

/// The answers that hold seats.
#[derive(Default)]
pub(super) struct Answers {
    count: u64,
    held: BTreeMap<Deadline, Seat>,
}

struct Holding {
    inner: Body,
    flow: Arc<Flow>,
    deadline: Option<Deadline>,
    watch: Option<Watch>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.release();
    }
}

impl Holding {
    fn release(&mut self) {
        let Some(deadline) = self.deadline.take() else { return };
        let seat = self.flow.answers.lock().held.remove(&deadline);
        // Not under the lock: giving seats back wakes others.
        drop(seat);
    }
}

impl Flow {
    /// Takes the seats back from answers whose clients do not take them.
    pub(super) fn release_overdue(&self, now: Nanos) {
        let mut answers = self.answers.lock();
        let later = answers.held.split_off(&(now, 0));
        let overdue = std::mem::replace(&mut answers.held, later);
        drop(answers);
        drop(overdue);
    }
}

/// Holds the seat while the answer is being made, and the watch as long as it goes on.
pub(super) fn hold(
    flow: &Arc<Flow>,
    response: Response<Body>,
    seat: Option<Seat>,
    watch: Option<Watch>,
) -> Response<Body> {
    let small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BYTES);
    if small || (seat.is_none() && watch.is_none()) {
        return response;
    }
    let deadline = seat.map(|seat| {
        let mut answers = flow.answers.lock();
        answers.count += 1;
        let deadline = (flow.clock.now() + REQUEST_TIME_MAX.as_nanos() as Nanos, answers.count);
        answers.held.insert(deadline, seat);
        deadline
    });
    let flow = flow.clone();
    response.map(|inner| Holding { inner, flow, deadline, watch }.boxed_unsync())
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let own = self.get_mut();
        let frame = Pin::new(&mut own.inner).poll_frame(cx);
        match &frame {
            // A watch that has nothing to say has said what it began with.
            Poll::Pending if own.watch.is_some() => own.release(),
            Poll::Ready(None | Some(Err(_))) => {
                own.release();
                own.watch = None;
            }
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
