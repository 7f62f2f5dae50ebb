//! What upstream's packages answered, recorded by `testdata/record`.

mod toy;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use encryption::transform::{Plain, unencrypted};
use toy::{Recorded, Transformed, load, split};

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../testdata/recorded.json")).expect("recorded outcomes")
}

#[test]
fn configurations_are_refused_in_upstreams_words() {
    let mut wrong = Vec::new();
    for case in recorded().configurations {
        let found = load(&case.text, case.reload).err().unwrap_or_default();
        if found != case.error {
            wrong.push(format!("{}\n  found  {found}\n  expect {}", case.text, case.error));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn read(case: &Transformed, stored: Vec<u8>) -> Result<Plain, encryption::Error> {
    let transformers = load(&case.reader, false).expect("a reader");
    let key = if case.read_key.is_empty() { &case.key } else { &case.read_key };
    let (resource, group) = split(&case.resource);
    let stored = Bytes::from(stored);
    match transformers.of(group, resource) {
        Some(transformer) => futures::executor::block_on(transformer.read(&case.resource, key.as_bytes(), &stored)),
        None => unencrypted(stored),
    }
}

fn check(case: &Transformed, stored: Vec<u8>, whose: &str) {
    let what = STANDARD.decode(&case.plain).expect("base64");
    let words = String::from_utf8_lossy(&what);
    match read(case, stored) {
        Ok(plain) => {
            assert_eq!(case.error, "", "{whose} {words:?} was read");
            assert_eq!((&plain.bytes[..], plain.stale), (&what[..], case.stale), "{whose} {words:?}");
        }
        Err(error) => assert_eq!(error.to_string(), case.error, "{whose} {words:?} read by {}", case.reader),
    }
}

#[test]
fn what_upstream_stored_is_read_and_what_is_stored_here_looks_like_it() {
    for case in recorded().values {
        let theirs = STANDARD.decode(&case.stored).expect("base64");
        let transformers = load(&case.writer, false).expect("a writer");
        let (resource, group) = split(&case.resource);
        let plain = STANDARD.decode(&case.plain).expect("base64");
        let ours = match transformers.of(group, resource) {
            Some(transformer) => transformer.write(&case.resource, case.key.as_bytes(), plain).expect("written"),
            None => plain,
        };
        let head = |bytes: &[u8]| bytes.splitn(6, |byte| *byte == b':').take(5).collect::<Vec<_>>().concat();
        if ours.starts_with(b"k8s:enc:") {
            assert_eq!(head(&ours), head(&theirs));
        }
        assert_eq!(ours.len(), theirs.len());
        check(&case, theirs, "theirs");
        if !case.is_random() {
            check(&case, ours, "ours");
        }
    }
}
