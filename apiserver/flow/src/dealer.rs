//! Shuffle sharding: of a deck of queues each flow gets the same hand every time, few flows the same
//! (k8s.io/apiserver/pkg/util/shufflesharding/shufflesharding.go@v0.37.2).

use sha2::{Digest, Sha256};

use crate::Error;

/// Bits of a hash that are dealt from; with more the last cards would be uneven.
pub const HASH_BITS_MAX: u32 = 60;
/// The largest hand that so many bits allow.
const HAND_MAX: usize = 15;
/// Queues beyond which a deck is refused.
const DECK_MAX: i64 = 1 << 26;

/// Deals hands of one size from decks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dealer {
    deck: u64,
    hand: usize,
}

/// The cards of one flow, all different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hand {
    cards: [u32; HAND_MAX],
    len: usize,
}

impl Hand {
    pub fn cards(&self) -> &[u32] {
        &self.cards[..self.len]
    }
}

impl Dealer {
    /// # Errors
    /// A deck or hand that cannot be dealt from the bits of a hash.
    pub fn new(deck: i64, hand: i64) -> Result<Self, Error> {
        if deck <= 0 || hand <= 0 {
            return Err(Error::NotPositive { deck, hand });
        }
        if hand > deck {
            return Err(Error::HandTooLarge { deck, hand });
        }
        if deck > DECK_MAX {
            return Err(Error::DeckTooLarge { deck });
        }
        if ((deck as f64).log2() * hand as f64).ceil() as u32 > HASH_BITS_MAX {
            return Err(Error::TooManyBits { deck, hand, max: HASH_BITS_MAX });
        }
        Ok(Dealer { deck: deck as u64, hand: hand as usize })
    }

    pub fn deal(&self, mut hash: u64) -> Hand {
        let mut cards = [0; HAND_MAX];
        for (dealt, card) in cards.iter_mut().take(self.hand).enumerate() {
            let left = self.deck - dealt as u64;
            *card = (hash % left) as u32;
            hash /= left;
        }
        // Each number counts the cards that are still in the deck: it goes up past those dealt before it.
        let numbers = cards;
        for (at, card) in cards.iter_mut().take(self.hand).enumerate() {
            for before in numbers[..at].iter().rev() {
                *card += u32::from(*card >= *before);
            }
        }
        Hand { cards, len: self.hand }
    }
}

/// The hash of a flow: a FlowSchema and what it tells flows apart by.
pub fn flow_hash(schema: &str, distinguisher: &str) -> u64 {
    let sum = Sha256::new().chain_update(schema).chain_update([0]).chain_update(distinguisher).finalize();
    sum.iter().take(8).rev().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decks_and_hands_are_checked() {
        for (deck, hand, why) in [
            (-100, 8, "deckSize -100 or handSize 8 is not positive"),
            (100, 0, "deckSize 100 or handSize 0 is not positive"),
            (100, 101, "handSize 101 is greater than deckSize 100"),
            (1 << 27, 2, "deckSize 134217728 is impractically large"),
            (512, 8, "required entropy bits of deckSize 512 and handSize 8 is greater than 60"),
        ] {
            assert_eq!(Dealer::new(deck, hand).map_err(|error| error.to_string()), Err(why.to_string()));
        }
        assert!(Dealer::new(1024, 6).is_ok() && Dealer::new(16, 15).is_ok());
    }

    #[test]
    fn every_hand_is_dealt_equally_often() {
        let dealer = Dealer::new(5, 3).expect("valid");
        let mut counts = std::collections::BTreeMap::new();
        for hash in 0..60 * 7 {
            *counts.entry(dealer.deal(hash).cards().to_vec()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 5 * 4 * 3);
        assert!(counts.values().all(|count| *count == 7));
        for hand in counts.keys() {
            assert!(
                hand.iter().all(|card| *card < 5) && hand[0] != hand[1] && hand[1] != hand[2] && hand[0] != hand[2]
            );
        }
    }

    #[test]
    fn flows_hash_as_upstream_does() {
        // sha256sum of "global-default\0alice", first eight bytes, little endian.
        assert_eq!(flow_hash("global-default", "alice"), 0xf4de_3bd4_2ccd_f6b7);
        assert_ne!(flow_hash("a", "b"), flow_hash("ab", ""));
    }
}
