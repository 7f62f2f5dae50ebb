//! How fast the embedded store is: `cargo run --release -p store --example bench [DIR]`.
//!
//! Prints writes a second, latency and CPU time a write for several numbers of writers, then the time to open and to read what
//! was written. DIR should be on the disk that matters; the default is a temporary directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{EmbeddedConfig, Range, Store, Watched, Write};

const VALUE_BYTES: usize = 1024;
const RUN: Duration = Duration::from_secs(4);
const OBJECTS: usize = 100_000;
const WATCHERS: usize = 200;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = std::env::args().nth(1).map_or(temporary.path().to_owned(), PathBuf::from);
    let store = open(dir.join("writers")).await;
    for writers in [1, 16, 64] {
        write(&store, writers).await;
    }
    fan_out(&store).await;
    store.close().await.expect("closed");
    opening(dir.join("objects")).await;
}

async fn open(dir: PathBuf) -> Store {
    Store::embedded(EmbeddedConfig { dir }).await.expect("the store opens")
}

async fn put(store: &Store, key: String, value: &Bytes) {
    let write = Write { key: key.into(), value: Some(value.clone()), ..Write::default() };
    store.write(write).await.expect("written");
}

fn value() -> Bytes {
    (0..VALUE_BYTES).map(|n| n as u8).collect::<Vec<_>>().into()
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    // USER_HZ is 100 on every Linux there is.
    Duration::from_millis(ticks * 10)
}

async fn write(store: &Store, writers: usize) {
    let (started, before) = (Instant::now(), cpu());
    let tasks = (0..writers).map(|writer| {
        let (store, value) = (store.clone(), value());
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < RUN {
                let asked = Instant::now();
                put(&store, format!("/registry/configmaps/ns{writer}/name{}", latencies.len() % 1000), &value).await;
                latencies.push(asked.elapsed());
            }
            latencies
        })
    });
    let mut latencies = futures::future::try_join_all(tasks).await.expect("no panic").concat();
    let (elapsed, cpu) = (started.elapsed(), cpu() - before);
    latencies.sort();
    let count = latencies.len();
    println!(
        "{writers:3} writers: {:7.0} writes/s, p50 {:?}, p99 {:?}, {:.1} us CPU a write",
        count as f64 / elapsed.as_secs_f64(),
        latencies[count / 2],
        latencies[count * 99 / 100],
        cpu.as_secs_f64() * 1e6 / count as f64
    );
}

async fn fan_out(store: &Store) {
    let writes = 5000;
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        let mut watch = store.watch("/fan/".into(), "/fan0".into(), 0).await.expect("a watch");
        watches.push(tokio::spawn(async move {
            let mut seen = 0;
            while seen < writes {
                if let Watched::Events(events) = watch.next().await.expect("events") {
                    seen += events.len();
                }
            }
        }));
    }
    let (started, before) = (Instant::now(), cpu());
    let tasks = (0..16).map(|writer| {
        let (store, value) = (store.clone(), value());
        tokio::spawn(async move {
            for n in (writer..writes).step_by(16) {
                put(&store, format!("/fan/{n}"), &value).await;
            }
        })
    });
    futures::future::try_join_all(tasks).await.expect("no panic");
    futures::future::try_join_all(watches).await.expect("no panic");
    let (elapsed, cpu) = (started.elapsed(), cpu() - before);
    let events = (writes * WATCHERS) as f64;
    println!(
        "{WATCHERS} watchers: {:.0} events/s, {:.2} us CPU an event",
        events / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / events
    );
}

async fn opening(dir: PathBuf) {
    let store = open(dir.clone()).await;
    let tasks = (0..64).map(|writer| {
        let (store, value) = (store.clone(), value());
        tokio::spawn(async move {
            for n in (writer..OBJECTS).step_by(64) {
                put(&store, format!("/registry/pods/ns/pod{n:06}"), &value).await;
            }
        })
    });
    futures::future::try_join_all(tasks).await.expect("no panic");
    store.close().await.expect("closed");
    let (started, before) = (Instant::now(), cpu());
    let store = open(dir.clone()).await;
    println!("opening {OBJECTS} objects from the log: {:?}, {:?} CPU", started.elapsed(), cpu() - before);
    store.compact(store.revision().await.expect("open")).await.expect("compacted");
    store.close().await.expect("closed");
    let (started, before) = (Instant::now(), cpu());
    let store = open(dir).await;
    println!("opening {OBJECTS} objects from a snapshot: {:?}, {:?} CPU", started.elapsed(), cpu() - before);
    let started = Instant::now();
    let range = Range { start: "/registry/".into(), end: "/registry0".into(), ..Range::default() };
    let ranged = store.range(range.clone()).await.expect("a range");
    println!("a range of {}: {:?}", ranged.items.len(), started.elapsed());
    let started = Instant::now();
    let page = store.range(Range { limit: 500, ..range }).await.expect("a range");
    println!("a page of {} with the count of all: {:?}", page.items.len(), started.elapsed());
}
