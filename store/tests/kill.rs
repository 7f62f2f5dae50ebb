//! kill -9: this program starts itself as a child that writes with 50 tasks and prints each acknowledged key, kills it at a
//! random moment, and looks after every kill whether all that was acknowledged is there.
//!
//! A test without the usual harness, as it must be its own child.

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use store::{EmbeddedConfig, Outcome, Range, Revision, Store, Write};

/// Set for the child: the directory to write to.
const CHILD: &str = "KEELSON_STORE_KILL_CHILD";
const ROUNDS: u32 = 20;
const TASKS: u32 = 50;
const VALUE_BYTES: usize = 2000;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match env::var_os(CHILD) {
        Some(dir) => runtime.block_on(child(PathBuf::from(dir))),
        None => runtime.block_on(rounds()),
    }
}

async fn open(dir: &Path) -> Store {
    Store::embedded(EmbeddedConfig { dir: dir.to_owned() }).await.expect("the store opens")
}

/// Writes until it is killed.
async fn child(dir: PathBuf) {
    let store = open(&dir).await;
    let run = std::process::id();
    for task in 0..TASKS {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let key = format!("{run}/{task}/{n}");
                let value = key.repeat(VALUE_BYTES / key.len());
                let write = Write { key: key.clone().into(), value: Some(value.into()), expect: Some(0), lease: 0 };
                match store.write(write).await {
                    Ok(Outcome::Done { revision, .. }) => {
                        writeln!(std::io::stdout().lock(), "{key} {revision}").expect("the parent reads")
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    loop {
        tokio::time::sleep(Duration::from_millis(30)).await;
        store.compact(store.revision().await.expect("open")).await.ok();
    }
}

/// Runs a child for a while and kills it; gives what it said was done.
fn run_and_kill(dir: &Path, life: Duration) -> HashMap<String, Revision> {
    let mut command = Command::new(env::current_exe().expect("a path"));
    let mut child = command.env(CHILD, dir).stdout(Stdio::piped()).spawn().expect("a child");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    // The clock runs from the first write on, so that each round has some.
    output.read_line(&mut text).expect("a line");
    let reader = std::thread::spawn(move || {
        output.read_to_string(&mut text).expect("text");
        text
    });
    std::thread::sleep(life);
    child.kill().expect("kill -9");
    child.wait().expect("dead");
    let text = reader.join().expect("read");
    // Of the last line maybe not all was printed.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line =
        |line: &str| line.split_once(' ').map(|(key, revision)| (key.to_owned(), revision.parse().expect("a number")));
    whole.lines().map(|text| line(text).expect("key and revision")).collect()
}

async fn rounds() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged: HashMap<String, Revision> = HashMap::new();
    let mut slowest = Duration::ZERO;
    let mut before = 1;
    for round in 0..ROUNDS {
        let life = Duration::from_micros(rand::rng().random_range(0..300_000));
        let new = run_and_kill(dir.path(), life);
        assert!(!new.is_empty(), "the child wrote something");
        acknowledged.extend(new);
        let opening = Instant::now();
        let store = open(dir.path()).await;
        slowest = slowest.max(opening.elapsed());
        let ranged =
            store.range(Range { start: "\0".into(), end: "\0".into(), ..Range::default() }).await.expect("a range");
        let found: HashMap<_, _> = ranged.items.iter().map(|kv| (&kv.key[..], kv)).collect();
        for (key, revision) in &acknowledged {
            let kv = found.get(key.as_bytes()).unwrap_or_else(|| panic!("round {round}: {key} of {revision} is lost"));
            assert_eq!(kv.mod_revision, *revision, "{key}");
            assert_eq!(kv.value, key.repeat(VALUE_BYTES / key.len()), "{key}");
        }
        let last = acknowledged.values().max().copied().unwrap_or(0);
        assert!(
            ranged.revision >= last.max(before),
            "the revision went back to {} from {}",
            ranged.revision,
            last.max(before)
        );
        before = ranged.revision;
        store.close().await.expect("closed");
    }
    println!("{ROUNDS} kills: {} acknowledged writes, all there; slowest opening {slowest:?}", acknowledged.len());
}
