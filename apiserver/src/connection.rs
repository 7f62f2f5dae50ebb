//! One connection and the requests on it as one task. Handing each answer from a task of its own to the
//! connection's task costs more than most answers do: two wake-ups, and the bytes move to another core.
//! So the requests of a connection share its task; connections run side by side.
//!
//! Invariant: whatever is woken is polled again; a busy connection lets other tasks run.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::{BoxFuture, poll_fn};
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use futures::{FutureExt, StreamExt};
use hyper::rt::Executor;
use tokio::sync::mpsc;
use tokio::task::coop;

/// Turns of a connection without a pause for others.
const TURNS_MAX: usize = 64;

type Request = BoxFuture<'static, ()>;

/// Takes the requests of one connection, to be run by [`run`].
#[derive(Clone)]
pub(crate) struct Requests(mpsc::UnboundedSender<Request>);

/// The requests of a connection, not begun yet; no more than the streams that it may have.
pub(crate) struct Begun(mpsc::UnboundedReceiver<Request>);

pub(crate) fn requests() -> (Requests, Begun) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Requests(sender), Begun(receiver))
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        // The receiver is gone only when the connection is.
        let _ = self.0.send(Box::pin(request));
    }
}

/// Notes that something is to be done; wakes the task unless it is at it anyway.
#[derive(Default)]
struct Again {
    wanted: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

/// Runs a connection with its requests until the connection ends.
pub(crate) async fn run(mut connection: BoxFuture<'static, ()>, mut begun: Begun) {
    let mut running = FuturesUnordered::new();
    let again = Arc::new(Again::default());
    let waker = Waker::from(again.clone());
    poll_fn(move |cx| {
        // What is woken during a turn is done in the next turn, without waking the task.
        again.task.take();
        for _ in 0..TURNS_MAX {
            if !coop::has_budget_remaining() {
                break;
            }
            again.wanted.store(false, Ordering::Release);
            if turn(&mut connection, &mut begun, &mut running, &waker).is_ready() {
                return Poll::Ready(());
            }
            again.task.register(cx.waker());
            if !again.wanted.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            again.task.take();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn turn(
    connection: &mut BoxFuture<'static, ()>,
    begun: &mut Begun,
    running: &mut FuturesUnordered<Request>,
    waker: &Waker,
) -> Poll<()> {
    let mut cx = Context::from_waker(waker);
    let ended = connection.poll_unpin(&mut cx);
    while let Ok(request) = begun.0.try_recv() {
        running.push(request);
    }
    while let Poll::Ready(Some(())) = running.poll_next_unpin(&mut cx) {}
    ended
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    async fn ends(connection: impl Future<Output = ()> + Send + 'static, begun: Begun) {
        tokio::time::timeout(Duration::from_secs(10), run(connection.boxed(), begun)).await.expect("it ends");
    }

    #[tokio::test]
    async fn requests_run_beside_their_connection() {
        let (requests, begun) = requests();
        let connection = async move {
            let (answers, mut answered) = mpsc::unbounded_channel();
            for number in 0..300 {
                let answers = answers.clone();
                requests.execute(async move {
                    tokio::task::yield_now().await;
                    answers.send(number).expect("the connection listens");
                });
            }
            drop(answers);
            let mut all = Vec::new();
            while let Some(number) = answered.recv().await {
                all.push(number);
            }
            all.sort_unstable();
            assert_eq!(all, (0..300).collect::<Vec<_>>());
        };
        ends(connection, begun).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_another_task_wakes_is_polled_again() {
        for _ in 0..1000 {
            let (requests, begun) = requests();
            let (tell, told) = oneshot::channel();
            let connection = async move {
                let (done, finished) = oneshot::channel();
                requests.execute(async move { done.send(told.await).expect("the connection waits") });
                finished.await.expect("answered").expect("told");
            };
            let telling = tokio::spawn(async move { tell.send(()).expect("the request waits") });
            ends(connection, begun).await;
            telling.await.expect("no panic");
        }
    }

    #[tokio::test]
    async fn a_busy_connection_lets_others_run() {
        let (_requests, begun) = requests();
        let busy = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        tokio::select! {
            () = run(busy.boxed(), begun) => unreachable!("it never ends"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}
