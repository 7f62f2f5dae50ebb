//! Work in seat-seconds, in fixed point
//! (k8s.io/apiserver/pkg/util/flowcontrol/request/seat_seconds.go@v0.37.2).

use std::fmt;

use crate::{Nanos, SECOND};

/// Parts of a seat-second that are told apart.
const SCALE: f64 = 1e8;

/// An amount of work, or a reading of a progress meter that counts work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeatSeconds(pub u64);

impl SeatSeconds {
    pub const MAX: SeatSeconds = SeatSeconds(u64::MAX);

    /// So many seats for that long.
    pub fn of(seats: f64, time: Nanos) -> Self {
        SeatSeconds(Self::change(seats, i128::from(time)) as u64)
    }

    /// So many seats for a time that may be negative.
    pub(crate) fn change(seats: f64, time: i128) -> i64 {
        (seats * time as f64 / (SECOND as f64 / SCALE)).round() as i64
    }

    /// Later readings of a meter: wraps, as meters are compared only with readings near them.
    pub(crate) fn plus(self, change: i64) -> Self {
        SeatSeconds(self.0.wrapping_add_signed(change))
    }

    pub fn as_f64(self) -> f64 {
        self.0 as f64 / SCALE
    }

    /// How long so many seats take for this work.
    pub fn per_seat(self, seats: f64) -> Nanos {
        (self.0 as f64 / seats * (SECOND as f64 / SCALE)) as Nanos
    }
}

impl fmt::Display for SeatSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SCALE as u64;
        write!(f, "{}.{:08}ss", self.0 / unit, self.0 % unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_measured_as_upstream_does() {
        for (seats, time, text) in [
            (1.0, SECOND, "1.00000000ss"),
            (1.25, SECOND, "1.25000000ss"),
            (1.0, 10, "0.00000001ss"),
            (0.5, 10, "0.00000001ss"),
            (0.25, 1_000_000_004, "0.25000000ss"),
            (3.0, 3_000_000, "0.00900000ss"),
        ] {
            assert_eq!(SeatSeconds::of(seats, time).to_string(), text, "{seats} {time}");
        }
        assert_eq!(SeatSeconds::of(10.0, SECOND).per_seat(2.0), 5 * SECOND);
        assert_eq!(SeatSeconds(5).plus(SeatSeconds::change(1.0, -30)), SeatSeconds(2));
    }
}
