//! A response in parts, for clients that ask for it (sendFragments in `server/etcdserver/api/v3rpc/watch.go@v3.7.3`).

use prost::Message;
use store::etcdserverpb as pb;

/// Cuts a response of more than `most` bytes between events; all parts but the last are marked.
pub(super) fn fragments(response: pb::WatchResponse, most: usize) -> Vec<pb::WatchResponse> {
    if response.encoded_len() < most || response.events.len() < 2 {
        return vec![response];
    }
    let part = pb::WatchResponse { events: Vec::new(), fragment: true, ..response.clone() };
    let empty = part.encoded_len();
    let mut parts: Vec<pb::WatchResponse> = Vec::new();
    let mut size = usize::MAX;
    for event in response.events {
        let bytes = framed(event.encoded_len());
        size = size.saturating_add(bytes);
        if size >= most {
            parts.push(part.clone());
            size = empty + bytes;
        }
        if let Some(last) = parts.last_mut() {
            last.events.push(event);
        }
    }
    if let Some(last) = parts.last_mut() {
        last.fragment = false;
    }
    parts
}

/// A message of so many bytes as a field: with its tag and length.
fn framed(bytes: usize) -> usize {
    1 + prost::length_delimiter_len(bytes) + bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(sizes: &[usize]) -> pb::WatchResponse {
        let event = |size: &usize| {
            let kv = pb::KeyValue { value: vec![1; *size].into(), ..Default::default() };
            pb::Event { kv: Some(kv), ..Default::default() }
        };
        pb::WatchResponse { watch_id: 3, events: sizes.iter().map(event).collect(), ..Default::default() }
    }

    #[test]
    fn parts_are_cut_between_events() {
        let check = |sizes: &[usize], expect: &[usize]| {
            let parts = fragments(response(sizes), 1000);
            let counts: Vec<_> = parts.iter().map(|part| part.events.len()).collect();
            assert_eq!(counts, expect, "{sizes:?}");
            let last = parts.len() - 1;
            assert!(parts.iter().enumerate().all(|(n, part)| part.fragment == (n < last) && part.watch_id == 3));
            let whole = |part: &pb::WatchResponse| part.encoded_len() < 1000 || part.events.len() == 1;
            assert!(parts.iter().all(whole), "{sizes:?}");
        };
        check(&[100, 100], &[2]);
        check(&[5000], &[1]);
        check(&[400, 400, 400], &[2, 1]);
        check(&[5000, 10, 10, 5000], &[1, 2, 1]);
        check(&[0; 400], &[248, 152]);
    }
}
