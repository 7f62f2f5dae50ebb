//! The watch cache of one resource: its objects now, its recent events, and who follows them.
//!
//! Invariant: one writer (the feed) applies the store's events in order; a watcher that registers
//! sees history and live events under one sequence point; objects are immutable and shared, their
//! wire bytes are made at most once. Non-goal: knowing kinds, selectors or HTTP.

mod item;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

pub(crate) use item::{Change, Event, Item, Seen, json_frame, proto_frame, put_field, put_object, put_varint};

/// Events kept for watches that start in the past.
const HISTORY_EVENTS_MAX: usize = 4096;
/// Events that a watcher may lag behind before it is ended (it resumes from its last resourceVersion).
const LAG_EVENTS_MAX: usize = 2048;

pub(crate) struct Cache {
    state: RwLock<State>,
    live: Mutex<Live>,
    /// Counts the watchers: each holds one.
    crowd: Arc<()>,
    /// How many objects nobody here can read; while there are any, neither lists nor watches are served.
    spoiled: AtomicUsize,
}

/// What the store has under a key, and why it cannot be decrypted.
pub(crate) struct Unreadable {
    /// Relative to the resource.
    pub(crate) key: Arc<str>,
    pub(crate) revision: u64,
    pub(crate) value: Bytes,
    pub(crate) why: String,
}

/// Who is told of events.
enum Live {
    /// The slots of a channel are allocated up front, and most resources are never watched.
    Unasked,
    Open(broadcast::Sender<Arc<Event>>),
    /// The resource is not served any more, or in another way.
    Closed,
}

struct State {
    objects: BTreeMap<Arc<str>, Arc<Item>>,
    unreadable: BTreeMap<Arc<str>, Arc<Unreadable>>,
    history: VecDeque<Arc<Event>>,
    /// Of all objects, as stored.
    bytes: usize,
    /// Watches may start at this revision or later.
    oldest: u64,
    /// The revision of the last change.
    newest: u64,
}

/// What a watcher gets when it registers.
pub(crate) struct Registration {
    pub(crate) past: Vec<Arc<Event>>,
    pub(crate) live: broadcast::Receiver<Arc<Event>>,
    crowd: Arc<()>,
}

impl Registration {
    /// How many watch this resource.
    pub(crate) fn crowd(&self) -> usize {
        Arc::strong_count(&self.crowd) - 1
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            history: VecDeque::new(),
            bytes: 0,
            oldest: 0,
            newest: 0,
        };
        Cache {
            state: RwLock::new(state),
            live: Mutex::new(Live::Unasked),
            crowd: Arc::default(),
            spoiled: AtomicUsize::new(0),
        }
    }

    /// Fills the cache from a list, read at `revision`; returns the keys that were there before and are not any more.
    /// What happened in between no watcher was told, so those that there are end and come again.
    pub(crate) fn fill(&self, items: Vec<Arc<Item>>, unreadable: Vec<Unreadable>, revision: u64) -> Vec<Arc<str>> {
        let mut state = self.state.write();
        state.bytes = items.iter().map(|item| item.value.len()).sum();
        let objects = items.into_iter().map(|item| (item.key.clone(), item)).collect();
        let mut gone: Vec<_> = std::mem::replace(&mut state.objects, objects).into_keys().collect();
        state.unreadable = unreadable.into_iter().map(|one| (one.key.clone(), Arc::new(one))).collect();
        gone.retain(|key| !state.objects.contains_key(key) && !state.unreadable.contains_key(key));
        state.restart(revision);
        self.count_spoiled(&state);
        self.end_watchers();
        gone
    }

    /// Those to come are not ended.
    fn end_watchers(&self) {
        let mut live = self.live.lock();
        if let Live::Open(_) = &*live {
            *live = Live::Unasked;
        }
    }

    fn count_spoiled(&self, state: &State) {
        self.spoiled.store(state.unreadable.len(), Ordering::Release);
    }

    /// A write that cannot be read here: who watches is ended, as nobody can say what has changed
    /// (k8s.io/apiserver/pkg/storage/cacher/cacher.go@v0.37.2: the cache is not ready until a list succeeds). The last state
    /// that could be read stays for the server's own use.
    pub(crate) fn spoil(&self, unreadable: Unreadable) {
        let mut state = self.state.write();
        state.newest = unreadable.revision;
        state.unreadable.insert(unreadable.key.clone(), Arc::new(unreadable));
        self.count_spoiled(&state);
        self.end_watchers();
    }

    /// What was unreadable can be read now; the feed is complete at `revision`.
    pub(crate) fn restore(&self, items: Vec<Arc<Item>>, revision: u64) {
        let mut state = self.state.write();
        for item in items {
            state.unreadable.remove(&item.key);
            state.bytes += item.value.len();
            let old = state.objects.insert(item.key.clone(), item);
            state.bytes -= old.map_or(0, |old| old.value.len());
        }
        self.settle(&mut state, revision);
    }

    /// Once everything can be read again, history begins anew: it lacks what could not be read.
    fn settle(&self, state: &mut State, revision: u64) {
        if state.unreadable.is_empty() {
            state.restart(revision);
        }
        self.count_spoiled(state);
    }

    /// False while there are objects that nobody here can read.
    pub(crate) fn is_readable(&self) -> bool {
        self.spoiled.load(Ordering::Acquire) == 0
    }

    /// The objects that cannot be read, in key order.
    pub(crate) fn unreadable(&self) -> Vec<Arc<Unreadable>> {
        match self.is_readable() {
            true => Vec::new(),
            false => self.state.read().unreadable.values().cloned().collect(),
        }
    }

    /// Applies one event of the store; `item` is `None` for a delete.
    pub(crate) fn apply(&self, key: &str, revision: u64, item: Option<Arc<Item>>) {
        let mut state = self.state.write();
        if !state.unreadable.is_empty() && state.unreadable.remove(key).is_some() {
            self.settle(&mut state, revision);
        }
        let (old, event) = match item {
            Some(item) => {
                let old = state.objects.insert(item.key.clone(), item.clone());
                (old.clone(), Event::new(Change::Put, revision, item, old))
            }
            None => match state.objects.remove(key) {
                Some(old) => {
                    let last = Arc::new(old.at_revision(revision));
                    (Some(old.clone()), Event::new(Change::Delete, revision, last, Some(old)))
                }
                None => return,
            },
        };
        state.bytes -= old.map_or(0, |old| old.value.len());
        state.bytes += if event.change == Change::Put { event.item.value.len() } else { 0 };
        let event = Arc::new(event);
        if state.history.len() >= HISTORY_EVENTS_MAX
            && let Some(dropped) = state.history.pop_front()
        {
            state.oldest = dropped.revision;
        }
        state.history.push_back(event.clone());
        state.newest = revision;
        // Sent under the lock, so that a registering watcher sees each event once: in the past or live.
        if let Live::Open(live) = &*self.live.lock() {
            let _ = live.send(event);
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Item>> {
        self.state.read().objects.get(key).cloned()
    }

    /// How many objects there are, and their bytes as stored.
    pub(crate) fn stats(&self) -> (u64, u64) {
        let state = self.state.read();
        (state.objects.len() as u64, state.bytes as u64)
    }

    /// The objects whose keys start with `prefix`, in key order, and the revision of the last change among all.
    pub(crate) fn list(&self, prefix: &str) -> (Vec<Arc<Item>>, u64) {
        let state = self.state.read();
        (state.under(prefix), state.newest)
    }

    /// Registers a watcher of everything after `revision`. `Err` has the oldest revision still known.
    pub(crate) fn register(&self, revision: u64) -> Result<Registration, u64> {
        let state = self.state.read();
        if revision < state.oldest {
            return Err(state.oldest);
        }
        let from = state.history.partition_point(|event| event.revision <= revision);
        let past = state.history.range(from..).cloned().collect();
        Ok(Registration { past, live: self.subscribe(), crowd: self.crowd.clone() })
    }

    /// Called with the state locked, so that no event slips between history and the subscription.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        let mut live = self.live.lock();
        if let Live::Unasked = &*live {
            *live = Live::Open(broadcast::channel(LAG_EVENTS_MAX).0);
        }
        match &*live {
            Live::Open(sender) => sender.subscribe(),
            // A channel without a sender: the watcher ends at once.
            _ => broadcast::channel(1).1,
        }
    }

    /// Ends every watcher, once it has had what was sent, and those to come.
    pub(crate) fn close(&self) {
        *self.live.lock() = Live::Closed;
    }

    /// The objects now and a registration for everything after them.
    pub(crate) fn snapshot(&self, prefix: &str) -> (Vec<Arc<Item>>, Registration) {
        let state = self.state.read();
        let registration = Registration { past: Vec::new(), live: self.subscribe(), crowd: self.crowd.clone() };
        (state.under(prefix), registration)
    }
}

impl State {
    /// Nothing is known of what was before.
    fn restart(&mut self, revision: u64) {
        self.history.clear();
        self.oldest = revision;
        self.newest = revision;
    }

    fn under(&self, prefix: &str) -> Vec<Arc<Item>> {
        if prefix.is_empty() {
            return self.objects.values().cloned().collect();
        }
        let range = self.objects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        range.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, item)| item.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, key: &str, revision: u64) {
        cache.apply(key, revision, Some(Arc::new(Item::new(key, revision, Bytes::new(), None))));
    }

    #[test]
    fn a_watcher_sees_each_event_once_in_order() {
        let cache = Cache::new();
        cache.fill(Vec::new(), Vec::new(), 10);
        put(&cache, "a/x", 11);
        put(&cache, "a/y", 12);
        let mut watcher = cache.register(11).unwrap_or_else(|_| panic!("11 is known"));
        put(&cache, "a/x", 13);
        cache.apply("a/y", 14, None);
        cache.apply("never/there", 15, None);
        let mut seen: Vec<_> = watcher.past.iter().map(|event| event.revision).collect();
        while let Ok(event) = watcher.live.try_recv() {
            seen.push(event.revision);
        }
        assert_eq!(seen, [12, 13, 14]);
        assert_eq!(watcher.crowd(), 1);
        let (_, other) = cache.snapshot("");
        assert_eq!(watcher.crowd(), 2);
        drop(other);
        assert_eq!(watcher.crowd(), 1);
        assert_eq!(cache.register(9).err(), Some(10));
        assert_eq!(cache.list("a/").0.len(), 1);
        assert_eq!(cache.list("b/").1, 14);
        assert_eq!(cache.stats(), (1, 0));
    }

    fn spoil(cache: &Cache, key: &str, revision: u64) {
        cache.spoil(Unreadable { key: key.into(), revision, value: Bytes::new(), why: "no".into() });
    }

    #[test]
    fn what_cannot_be_read_ends_watchers_and_begins_history_anew() {
        let cache = Cache::new();
        cache.fill(Vec::new(), Vec::new(), 10);
        put(&cache, "a", 11);
        let mut watcher = cache.register(11).unwrap_or_else(|_| panic!("11 is known"));
        spoil(&cache, "a", 12);
        spoil(&cache, "b", 13);
        assert!(matches!(watcher.live.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert_eq!(cache.unreadable().iter().map(|one| &*one.key).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cache.list("").0[0].revision, 11);
        // One is written so that it can be read, the other is read with a new key.
        put(&cache, "a", 14);
        assert_eq!(cache.unreadable().len(), 1);
        cache.restore(vec![Arc::new(Item::new("b", 13, Bytes::new(), None))], 15);
        assert_eq!((cache.unreadable().len(), cache.list("").0.len()), (0, 2));
        assert_eq!(cache.register(14).err(), Some(15));
        let mut watcher = cache.register(15).unwrap_or_else(|_| panic!("15 is known"));
        spoil(&cache, "c", 16);
        assert!(watcher.live.try_recv().is_err());
        // One that is deleted troubles nobody.
        cache.apply("c", 17, None);
        assert_eq!((cache.unreadable().len(), cache.register(16).err()), (0, Some(17)));
    }

    #[test]
    fn a_watcher_does_not_outlive_a_gap() {
        let cache = Cache::new();
        cache.fill(Vec::new(), Vec::new(), 10);
        put(&cache, "a/x", 11);
        put(&cache, "a/y", 12);
        let mut watcher = cache.register(11).unwrap_or_else(|_| panic!("11 is known"));
        let item = |key, revision| Arc::new(Item::new(key, revision, Bytes::new(), None));
        let gone = cache.fill(vec![item("a/y", 15), item("a/z", 17)], Vec::new(), 20);
        assert_eq!(gone, [Arc::<str>::from("a/x")]);
        assert!(matches!(watcher.live.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert_eq!(cache.register(19).err(), Some(20));
        let mut next = cache.register(20).unwrap_or_else(|_| panic!("20 is known"));
        put(&cache, "a/x", 21);
        assert_eq!(next.live.try_recv().map(|event| event.revision), Ok(21));
    }

    #[test]
    fn history_is_bounded_and_says_from_where() {
        let cache = Cache::new();
        for revision in 1..=(HISTORY_EVENTS_MAX as u64 + 5) {
            put(&cache, "a", revision);
        }
        assert_eq!(cache.register(4).err(), Some(5));
        assert_eq!(cache.register(5).ok().map(|r| r.past.len()), Some(HISTORY_EVENTS_MAX));
    }
}
