//! The bodies of lists: items are written into pieces while the client takes them.
//!
//! Invariant: a list is never whole in memory; beyond the items, which are shared, it holds one item's
//! bytes and one piece. Non-goal: which items.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::proto::Head;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::cache::Item;
use crate::registry::Storage;
use crate::respond::{Body, BoxError};

/// Bytes of a piece: with the head of an HTTP/2 frame it fills one TLS record.
pub(crate) const PIECE_BYTES: usize = 16 * 1024 - 9;

/// How items are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Protobuf,
}

/// Bytes cut into pieces of one size.
struct Pieces {
    last: BytesMut,
    full: VecDeque<Bytes>,
}

impl Pieces {
    fn put(&mut self, mut bytes: &[u8]) {
        while let Some((now, later)) = bytes.split_at_checked(PIECE_BYTES - self.last.len()) {
            self.last.extend_from_slice(now);
            let full = std::mem::replace(&mut self.last, BytesMut::with_capacity(PIECE_BYTES));
            self.full.push_back(full.freeze());
            bytes = later;
        }
        self.last.extend_from_slice(bytes);
    }

    fn finish(&mut self) {
        let last = std::mem::take(&mut self.last).freeze();
        self.full.extend((!last.is_empty()).then_some(last));
    }
}

struct List {
    storage: Arc<Storage>,
    items: std::vec::IntoIter<Arc<Item>>,
    form: Form,
    tail: &'static [u8],
    pieces: Pieces,
    is_first: bool,
    ended: bool,
}

/// A body of `head`, the items and `tail`.
pub(crate) fn list(storage: Arc<Storage>, items: Vec<Arc<Item>>, form: Form, head: &[u8], tail: &'static [u8]) -> Body {
    let mut pieces = Pieces { last: BytesMut::with_capacity(PIECE_BYTES), full: VecDeque::new() };
    pieces.put(head);
    List { storage, items: items.into_iter(), form, tail, pieces, is_first: true, ended: false }.boxed_unsync()
}

impl List {
    fn next(&mut self) -> Option<Bytes> {
        while self.pieces.full.is_empty() && !self.ended {
            match self.items.next() {
                Some(item) => self.put(&item),
                None => {
                    self.pieces.put(self.tail);
                    self.pieces.finish();
                    self.ended = true;
                }
            }
        }
        self.pieces.full.pop_front()
    }

    fn put(&mut self, item: &Item) {
        let pieces = &mut self.pieces;
        match self.form {
            Form::Json => {
                if !std::mem::take(&mut self.is_first) {
                    pieces.put(b",");
                }
                pieces.put(item.json(&self.storage));
            }
            Form::Protobuf => {
                pieces.put(Head::new(super::list::ITEMS, item.message_len(&self.storage)).bytes());
                item.message_pieces(&self.storage, |piece| pieces.put(piece));
            }
        }
    }
}

impl http_body::Body for List {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.pieces.full.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_into_pieces_of_one_size() {
        let text: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|at| (at % 251) as u8).collect();
        for step in [1, 1000, PIECE_BYTES, text.len()] {
            let mut pieces = Pieces { last: BytesMut::new(), full: VecDeque::new() };
            text.chunks(step).for_each(|part| pieces.put(part));
            pieces.finish();
            let lengths: Vec<_> = pieces.full.iter().map(Bytes::len).collect();
            assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 5], "{step}");
            assert_eq!(pieces.full.iter().flatten().copied().collect::<Vec<_>>(), text, "{step}");
        }
    }
}
