//! One priority level: its configuration now, and the queue set that outlives configurations.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::Nanos;
use crate::dealer::Dealer;
use crate::demand::Demand;
use crate::queueset::{Discipline, QueueSet};
use crate::schema::{LevelConfig, LevelSpec};

/// The share of a level's seats that one request may take.
const MAX_SEATS_SHARE: f64 = 0.15;

/// Seats of a level, from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub nominal: u64,
    /// What is left when everything lendable is lent.
    pub min: u64,
    /// With everything that may be borrowed.
    pub max: u64,
}

impl Limits {
    pub(crate) fn of(spec: &LevelSpec, share_sum: f64, server: u64) -> Self {
        // Rounded up: the sum may exceed the server's limit a little.
        let nominal = (server as f64 * spec.shares as f64 / share_sum).ceil();
        let percent = |percent: i64| (nominal * percent as f64 / 100.0).round() as u64;
        let borrowing = spec.borrowing_percent.map_or(server, percent);
        let nominal = nominal as u64;
        let lendable = percent(spec.lendable_percent).min(nominal);
        Limits { nominal, min: nominal - lendable, max: nominal + borrowing }
    }
}

pub(crate) fn max_seats(spec: &LevelSpec, nominal: u64) -> Option<u64> {
    let hand = spec.queuing?.hand.max(1) as u64;
    let share = (nominal as f64 * MAX_SEATS_SHARE).ceil() as u64;
    Some(share.min(nominal / hand).max(1))
}

pub(crate) fn discipline(spec: &LevelSpec) -> Discipline {
    let queued = spec.queuing.filter(|queuing| queuing.queues > 0).and_then(|queuing| {
        let dealer = Dealer::new(queuing.queues, queuing.hand).ok()?;
        Some(Discipline::Queue { dealer, queues: queuing.queues as usize, length: queuing.length.max(0) as usize })
    });
    match queued {
        Some(queued) => queued,
        None if spec.exempt => Discipline::Exempt,
        None => Discipline::Reject,
    }
}

/// What changes with every request.
pub(crate) struct State<T, W> {
    pub(crate) set: QueueSet<T, W>,
    pub(crate) limits: Limits,
    pub(crate) current: u64,
    pub(crate) demand: Demand,
    pub(crate) target: f64,
    /// Nothing refers to the level any more; it goes when it is idle.
    pub(crate) quiescing: bool,
    /// It went: a request that was on its way to it has to look again.
    pub(crate) retired: bool,
    /// When somebody advances the set, if somebody does.
    pub(crate) alarm: Option<Nanos>,
}

/// A priority level under one configuration.
pub struct Level<T, W> {
    pub config: LevelConfig,
    /// Seats that one request may be given.
    pub max_seats: Option<u64>,
    pub(crate) state: Arc<Mutex<State<T, W>>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Queuing;

    fn spec(shares: i64, lendable: i64, borrowing: Option<i64>, hand: i64) -> LevelSpec {
        let queuing = Some(Queuing { queues: 64, hand, length: 50 });
        LevelSpec { exempt: false, shares, lendable_percent: lendable, borrowing_percent: borrowing, queuing }
    }

    /// Rows of upstream's Test_GetMaxSeats.
    #[test]
    fn one_request_gets_a_share_of_the_seats() {
        for (nominal, hand, expect) in [
            (5, 6, 1),
            (10, 6, 1),
            (15, 6, 2),
            (20, 6, 3),
            (35, 6, 5),
            (100, 6, 15),
            (200, 6, 30),
            (10, 1, 2),
            (100, 20, 5),
        ] {
            assert_eq!(max_seats(&spec(1, 0, None, hand), nominal), Some(expect), "{nominal} {hand}");
        }
    }

    #[test]
    fn limits_follow_shares() {
        let limits = |spec: LevelSpec| Limits::of(&spec, 245.0, 600);
        assert_eq!(limits(spec(30, 33, None, 6)), Limits { nominal: 74, min: 50, max: 674 });
        assert_eq!(limits(spec(100, 90, Some(50), 6)), Limits { nominal: 245, min: 24, max: 368 });
        assert_eq!(limits(spec(0, 0, None, 6)), Limits { nominal: 0, min: 0, max: 600 });
    }
}
