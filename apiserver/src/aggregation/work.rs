//! Work by name: one run of a name at a time, again when it was touched meanwhile, later when a run says so
//! (k8s.io/client-go/util/workqueue@v0.37.2).
//!
//! Invariant: a name that was touched is run after that; runs end with the queue.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a run wants for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until it is touched.
    Done,
    After(Duration),
    /// Sooner at first, later the more often it failed.
    Retry,
}

/// How long a name waits that failed: doubled each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    fn after(self, failures: u32) -> Duration {
        let doubled = 2u32.checked_pow(failures).and_then(|times| self.first.checked_mul(times));
        doubled.unwrap_or(self.max).min(self.max)
    }
}

/// Touches names.
pub(super) type Touch = mpsc::UnboundedSender<String>;
pub(super) type Touched = mpsc::UnboundedReceiver<String>;

struct Queue {
    backoff: Backoff,
    /// Names that run, and whether they were touched since.
    running: HashMap<String, bool>,
    failures: HashMap<String, u32>,
    later: BTreeSet<(Instant, String)>,
}

/// Runs `work` of each touched name until nobody touches any more.
pub(super) async fn run<F>(mut touched: Touched, backoff: Backoff, work: impl Fn(String) -> F)
where
    F: Future<Output = Next> + Send + 'static,
{
    let mut queue = Queue { backoff, running: HashMap::new(), failures: HashMap::new(), later: BTreeSet::new() };
    let (mut tasks, mut names) = (JoinSet::new(), HashMap::new());
    loop {
        let due = queue.later.first().map(|first| first.0);
        let name = tokio::select! {
            name = touched.recv() => match name {
                Some(name) => Some(name),
                None => return,
            },
            Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                let (id, next) = ended.unwrap_or_else(|error| (error.id(), Next::Retry));
                names.remove(&id).and_then(|name| queue.ended(name, next))
            }
            () = sleep_until(due) => queue.later.pop_first().map(|first| first.1),
        };
        if let Some(name) = name.filter(|name| queue.begins(name)) {
            names.insert(tasks.spawn(work(name.clone())).id(), name);
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Queue {
    /// Whether a run of the name begins now; one that runs is told.
    fn begins(&mut self, name: &str) -> bool {
        if let Some(again) = self.running.get_mut(name) {
            *again = true;
            return false;
        }
        self.running.insert(name.to_owned(), false);
        true
    }

    /// The name, if it is to run again at once.
    fn ended(&mut self, name: String, next: Next) -> Option<String> {
        let again = self.running.remove(&name).unwrap_or(false);
        let delay = match next {
            Next::Retry => {
                let failures = self.failures.entry(name.clone()).or_insert(0);
                let delay = self.backoff.after(*failures);
                *failures += 1;
                Some(delay)
            }
            Next::After(delay) => {
                self.failures.remove(&name);
                Some(delay)
            }
            Next::Done => {
                self.failures.remove(&name);
                None
            }
        };
        if let Some(delay) = delay {
            self.put_off(&name, Instant::now() + delay);
        }
        again.then_some(name)
    }

    /// A name waits once, for the sooner of two times.
    fn put_off(&mut self, name: &str, at: Instant) {
        let known = self.later.iter().find(|waiting| waiting.1 == name).cloned();
        match known {
            Some(known) if known.0 <= at => {}
            known => {
                known.map(|known| self.later.remove(&known));
                self.later.insert((at, name.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// How long a run takes.
    const MOMENT: Duration = Duration::from_millis(80);

    #[test]
    fn failures_wait_longer_each_time() {
        let backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(60) };
        let waits: Vec<_> = [0, 1, 2, 6, 7, 40].into_iter().map(|n| backoff.after(n).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 32_000, 60_000, 60_000]);
    }

    #[tokio::test]
    async fn one_run_at_a_time_and_again_when_touched() {
        let (touch, touched) = mpsc::unbounded_channel();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let work = |name: String| {
            let log = log.clone();
            async move {
                log.lock().push(format!("{name} begins"));
                tokio::time::sleep(MOMENT).await;
                log.lock().push(format!("{name} ends"));
                let runs = log.lock().iter().filter(|line| **line == format!("{name} ends")).count();
                if name == "b" && runs < 3 { Next::Retry } else { Next::Done }
            }
        };
        let script = async {
            touch.send("a".into()).expect("it listens");
            tokio::time::sleep(MOMENT / 4).await;
            // Twice while it runs is once more.
            touch.send("a".into()).expect("it listens");
            touch.send("a".into()).expect("it listens");
            touch.send("b".into()).expect("it listens");
            while log.lock().len() < 10 {
                tokio::time::sleep(MOMENT / 4).await;
            }
            drop(touch);
        };
        let backoff = Backoff { first: MOMENT / 4, max: MOMENT };
        tokio::join!(run(touched, backoff, work), script);
        let (a, b): (Vec<_>, Vec<_>) = log.lock().clone().into_iter().partition(|line| line.starts_with('a'));
        assert_eq!(a, ["a begins", "a ends", "a begins", "a ends"]);
        assert_eq!(b.len(), 6, "two failures are tried again: {b:?}");
    }
}
