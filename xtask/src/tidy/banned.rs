//! Calls that have a better replacement here, and words that must not be in a committed file.

use super::files::Files;

/// A call, what to write instead, and where it may stand.
struct Ban {
    call: &'static str,
    instead: &'static str,
    /// Files that are the replacement, or have no other way.
    allowed: &'static [&'static str],
    in_tests: bool,
}

const BANS: &[Ban] = &[
    Ban {
        call: "tokio::spawn(",
        instead: "client::task::Tasks::spawn, or a TaskTracker below client",
        // The store keeps the handle of its one task and ends it with itself.
        allowed: &["client/src/task.rs", "store/src/embedded/mod.rs", "store/src/memory.rs"],
        in_tests: true,
    },
    Ban {
        call: "task::spawn(",
        instead: "client::task::Tasks::spawn, or a TaskTracker below client",
        allowed: &["client/src/task.rs"],
        in_tests: true,
    },
    Ban {
        call: "thread::sleep(",
        instead: "an event, or tokio::time::sleep",
        allowed: &["xtask/src/process.rs"],
        in_tests: true,
    },
    Ban {
        call: "SystemTime::now(",
        instead: "a jiff::Timestamp that comes in as an argument",
        // Each the clock of its crate, or of one run.
        allowed: &["xtask/src/bench.rs", "store/src/local.rs", "kubelet/cri/src/fake/mod.rs"],
        in_tests: true,
    },
    Ban { call: ".unwrap()", instead: "`?`, or expect(\"why it cannot fail\")", allowed: &[], in_tests: true },
    Ban { call: "todo!(", instead: "the code", allowed: &[], in_tests: false },
    Ban { call: "unimplemented!(", instead: "the code", allowed: &[], in_tests: false },
    Ban { call: "dbg!(", instead: "tracing", allowed: &[], in_tests: false },
    Ban { call: "#[ignore", instead: "a test that runs", allowed: &[], in_tests: false },
];

pub(super) fn calls(files: &Files) -> Vec<String> {
    let mut problems = Vec::new();
    for source in &files.sources {
        for (number, line, test) in source.code_lines() {
            let stands = |ban: &&Ban| {
                calls_it(line, ban.call) && !(test && ban.in_tests) && !ban.allowed.contains(&source.path.as_str())
            };
            for ban in BANS.iter().filter(stands) {
                problems.push(format!("{}:{number}: `{}`; use {}", source.path, ban.call, ban.instead));
            }
        }
    }
    problems
}

/// True when the call stands there and is not the end of a longer name.
fn calls_it(line: &str, call: &str) -> bool {
    let word = call.starts_with(|c: char| c.is_alphanumeric());
    line.match_indices(call).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !(word && before.is_some_and(|c| c.is_alphanumeric() || c == '_'))
            // `tokio::task::spawn` is found as `task::spawn`, `tokio::spawn` by its own rule.
            && !(call == "task::spawn(" && line[..at].ends_with("client::"))
    })
}

/// Host names of image and package registries, in parts so that this file does not hold them.
/// Kubernetes' own image names are its data and stay.
const HOSTS: &[&[&str]] = &[
    &["docker", "io"],
    &["quay", "io"],
    &["ghcr", "io"],
    &["gcr", "io"],
    &["mcr", "microsoft", "com"],
    &["public", "ecr", "aws"],
    &["crates", "io"],
    &["proxy", "golang", "org"],
    &["sum", "golang", "org"],
    &["registry", "npmjs", "org"],
    &["pypi", "org"],
];

/// Written by cargo and go, which put their registry's name into it.
const LOCKS: &[&str] = &["Cargo.lock", "go.sum"];

pub(super) fn words(files: &Files) -> Vec<String> {
    let sources = files.sources.iter().map(|source| (&source.path, &source.text));
    let texts = files.texts.iter().map(|(path, text)| (path, text));
    let read = sources.chain(texts).filter(|(path, _)| !LOCKS.iter().any(|lock| path.ends_with(lock)));
    read.flat_map(|(path, text)| words_of(path, text)).collect()
}

fn words_of(path: &str, text: &str) -> Vec<String> {
    let hosts: Vec<String> = HOSTS.iter().map(|parts| parts.join(".")).collect();
    let outside = ["", "work", ""].join("/");
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for host in hosts.iter().filter(|host| stands_alone(line, host)) {
            problems.push(format!("{path}:{}: names the registry {host}", index + 1));
        }
        if stands_alone(line, &outside) {
            problems.push(format!("{path}:{}: a path outside the clone ({outside}...)", index + 1));
        }
    }
    problems
}

/// True when the word is not the end of a longer name or path.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '}')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_banned_call_is_found_with_its_replacement() {
        for ban in BANS {
            let text = format!("//! x\nfn f() {{\n    x{}\n}}\n", ban.call);
            let text = if ban.call.starts_with('.') || ban.call.starts_with('#') {
                text
            } else {
                text.replace("    x", "    x = ")
            };
            let found = calls(&Files::of(&[("a/src/b.rs", &text)]));
            assert!(found.contains(&format!("a/src/b.rs:3: `{}`; use {}", ban.call, ban.instead)), "{found:?}");
        }
    }

    #[test]
    fn tests_comments_and_allowed_files_may() {
        let test = "//! x\n#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap() }\n}\n";
        let comment = "//! x.unwrap()\nfn f() { g(\".unwrap()\") }\n";
        let allowed = "//! x\nfn f() { tokio::spawn(x) }\n";
        let files = Files::of(&[
            ("a/src/b.rs", test),
            ("a/src/c.rs", comment),
            ("client/src/task.rs", allowed),
            ("a/src/lib.rs", "#[cfg(test)]\nmod testing;\n"),
            ("a/src/testing.rs", "fn f() { x.unwrap() }\n"),
        ]);
        assert_eq!(calls(&files), Vec::<String>::new());
    }

    #[test]
    fn no_test_may_be_ignored() {
        let text = "//! x\n#[cfg(test)]\nmod tests {\n    #[ignore]\n    fn f() {}\n}\n";
        assert_eq!(calls(&Files::of(&[("a/src/b.rs", text)])).len(), 1);
    }

    #[test]
    fn registries_and_paths_outside_are_found() {
        let host = HOSTS[0].join(".");
        let outside = ["", "work", "main"].join("/");
        let text = format!("image: {host}/library/web\nsee {outside}\n");
        let files = Files::of(&[("a.yaml", &text), ("Cargo.lock", &text)]);
        assert_eq!(words(&files).len(), 2);
        let fine = format!("k8s.{}/x target{outside}\n", HOSTS[3].join("."));
        assert_eq!(words(&Files::of(&[("a.yaml", &fine)])), Vec::<String>::new());
    }
}
