//! API Priority and Fairness: which request is executed when, and which is refused
//! (k8s.io/apiserver/pkg/util/flowcontrol@v0.37.2).
//!
//! Invariant: deterministic. Time comes in as nanoseconds since the caller's start; nothing here
//! waits, sleeps or spawns. A request costs one lookup without a lock and one short lock at either end.
//! Non-goal: HTTP, tasks, metrics in any text form.

pub mod allocate;
pub mod bootstrap;
pub mod control;
pub mod dealer;
pub mod demand;
pub mod dropped;
pub mod dump;
pub mod estimate;
pub mod histogram;
mod level;
pub mod matching;
pub mod queueset;
pub mod schema;
pub mod seats;
pub mod watches;

/// Nanoseconds since the caller's start.
pub type Nanos = u64;

/// Nanoseconds of a second.
pub const SECOND: Nanos = 1_000_000_000;

/// What is wrong with a configuration object; it is left out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("deckSize {deck} or handSize {hand} is not positive")]
    NotPositive { deck: i64, hand: i64 },
    #[error("handSize {hand} is greater than deckSize {deck}")]
    HandTooLarge { deck: i64, hand: i64 },
    #[error("deckSize {deck} is impractically large")]
    DeckTooLarge { deck: i64 },
    #[error("required entropy bits of deckSize {deck} and handSize {hand} is greater than {max}")]
    TooManyBits { deck: i64, hand: i64, max: u32 },
    #[error("{0}")]
    Broken(&'static str),
}
