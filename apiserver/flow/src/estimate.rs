//! How wide and how long a request is, guessed before it is executed
//! (k8s.io/apiserver/pkg/util/flowcontrol/request/{width,list_work_estimator,mutating_work_estimator}.go@v0.37.2).

use crate::Nanos;
use crate::seats::SeatSeconds;

/// Seats that any request takes.
const SEATS_MIN: u64 = 1;
/// Seats that a list may take.
pub const LIST_SEATS_MAX: u64 = 100;
/// Seats that a change may take.
const CHANGE_SEATS_MAX: u64 = 10;
/// Bytes in memory at once that a list takes one seat for.
const BYTES_PER_SEAT: f64 = 100_000.0;
/// Bytes that a list from the cache has in memory at once, at most.
const STREAMED_BYTES_MAX: u64 = 1_000_000;
/// The size of an object when none is known: what the store accepts.
const OBJECT_BYTES_MAX: u64 = 1_500_000;
/// Watches that a change takes one seat for, afterwards.
const WATCHES_PER_SEAT: f64 = 10.0;
/// How long the watches of a change keep their seats busy.
const EVENT_TIME: Nanos = 5_000_000;

/// What a request is guessed to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Seats while it is executed.
    pub initial_seats: u64,
    /// Seats afterwards, for `additional_latency`, which the client does not wait for.
    pub final_seats: u64,
    pub additional_latency: Nanos,
}

impl Work {
    pub fn seats(initial_seats: u64) -> Self {
        Work { initial_seats, ..Work::default() }
    }

    pub fn max_seats(&self) -> u64 {
        self.initial_seats.max(self.final_seats)
    }
}

/// A level's bound on the width of one request; `None` when it has none of its own.
fn bound(level_max: Option<u64>, max: u64) -> u64 {
    level_max.filter(|own| *own > 0).map_or(max, |own| own.min(max))
}

/// The objects of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub objects: u64,
    pub bytes: u64,
}

/// A list, or a watch that begins with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List<'a> {
    pub watch: bool,
    /// It names one object.
    pub single: bool,
    pub send_initial_events: bool,
    pub revision: &'a str,
    pub matching: &'a str,
    pub limit: u64,
    pub goes_on: bool,
    pub selects: bool,
}

impl List<'_> {
    /// Whether upstream reads it from its cache and not from the store.
    fn is_cached(&self) -> bool {
        match self.matching {
            _ if self.watch => true,
            "NotOlderThan" => true,
            "" if self.goes_on => false,
            "" => self.limit == 0 || matches!(self.revision, "" | "0"),
            _ => false,
        }
    }

    /// `stored` is `None` for a resource of another server.
    pub fn work(&self, stored: Option<Stored>, level_max: Option<u64>) -> Work {
        let wants_state = self.send_initial_events || matches!(self.revision, "" | "0");
        let Some(stored) = stored.filter(|_| !self.watch || wants_state) else { return Work::seats(SEATS_MIN) };
        let max = bound(level_max, LIST_SEATS_MAX);
        let seats = (self.bytes(stored) as f64 / BYTES_PER_SEAT).ceil() as u64;
        Work::seats(seats.max(SEATS_MIN).min(max))
    }

    /// Bytes in memory at once.
    fn bytes(&self, stored: Stored) -> u64 {
        let limited = if self.limit > 0 { self.limit.min(stored.objects) } else { stored.objects };
        let objects = match () {
            _ if self.single => 1,
            _ if !self.is_cached() && self.selects => limited.max(stored.objects / 2),
            _ => limited,
        };
        let size = match stored.bytes.checked_div(stored.objects) {
            Some(0) => OBJECT_BYTES_MAX,
            size => size.unwrap_or(0),
        };
        let bytes = objects * size;
        if self.is_cached() { bytes.min(STREAMED_BYTES_MAX) } else { bytes }
    }
}

/// The work of a change that so many watches are told of.
pub fn change(watches: u64, level_max: Option<u64>) -> Work {
    if (watches as f64) < WATCHES_PER_SEAT {
        return Work::seats(SEATS_MIN);
    }
    let seats = (watches as f64 / WATCHES_PER_SEAT).ceil();
    let work = SeatSeconds::of(seats, EVENT_TIME);
    // Narrower and longer instead of too wide: a wide request keeps seats empty until it fits.
    let final_seats = (seats as u64).min(bound(level_max, CHANGE_SEATS_MAX));
    Work { initial_seats: SEATS_MIN, final_seats, additional_latency: work.per_seat(final_seats as f64) }
}

/// The work of anything else.
pub fn other() -> Work {
    Work::seats(SEATS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: List<'_> = List {
        watch: false,
        single: false,
        send_initial_events: false,
        revision: "",
        matching: "",
        limit: 0,
        goes_on: false,
        selects: false,
    };
    const STORE: List<'_> = List { matching: "Exact", revision: "1", ..CACHE };

    /// Rows of upstream's TestListWorkEstimator: bytes, objects, list, seats.
    #[test]
    fn lists_are_as_wide_as_their_bytes() {
        let limited = |list, limit| List { limit, ..list };
        let selecting = |list, limit| List { limit, selects: true, ..list };
        let single = |list| List { single: true, ..list };
        for (bytes, objects, list, expect) in [
            (99_999, 99, STORE, 1),
            (99_999, 10, CACHE, 1),
            (999_999, 1000, STORE, 10),
            (999_999, 1000, limited(STORE, 100), 1),
            (999_999, 1000, selecting(STORE, 100), 5),
            (999_999, 1000, CACHE, 10),
            (999_999, 1000, limited(CACHE, 100), 1),
            (999_999, 99, limited(STORE, 10), 2),
            (999_999, 99, selecting(STORE, 10), 5),
            (9_999_999, 1000, STORE, 100),
            (9_999_999, 1000, selecting(STORE, 100), 50),
            (9_999_999, 1000, CACHE, 10),
            (9_999_999, 99, limited(STORE, 10), 11),
            (999_999_999, 1000, single(STORE), 10),
            (999_999_999, 1000, single(CACHE), 10),
            (0, 0, CACHE, 1),
            (0, 1, STORE, 15),
        ] {
            let work = list.work(Some(Stored { objects, bytes }), None);
            assert_eq!(work, Work::seats(expect), "{bytes} {objects} {list:?}");
        }
        let large = Some(Stored { objects: 5000, bytes: 50_000_000 });
        assert_eq!(STORE.work(large, Some(20)), Work::seats(20));
        assert_eq!(STORE.work(None, Some(20)), Work::seats(1));
    }

    #[test]
    fn only_watches_that_begin_with_the_state_are_wide() {
        let watch = List { watch: true, ..CACHE };
        let stored = Some(Stored { objects: 1000, bytes: 900_000 });
        for (watch, expect) in [
            (watch, 9),
            (List { revision: "0", ..watch }, 9),
            (List { revision: "7", ..watch }, 1),
            (List { revision: "7", send_initial_events: true, ..watch }, 9),
        ] {
            assert_eq!(watch.work(stored, None), Work::seats(expect), "{watch:?}");
        }
    }

    /// Rows of upstream's TestWorkEstimator: watches, seats afterwards, milliseconds.
    #[test]
    fn changes_are_as_wide_as_they_are_watched() {
        for (watches, level_max, seats, milliseconds) in [
            (0, None, 0, 0),
            (1, None, 0, 0),
            (9, None, 0, 0),
            (25, None, 3, 5),
            (100, None, 10, 5),
            (200, None, 10, 10),
            (2000, None, 10, 100),
            (40, Some(2), 2, 10),
            (40, Some(0), 4, 5),
        ] {
            let work = change(watches, level_max);
            let got = (work.initial_seats, work.final_seats, work.additional_latency / 1_000_000);
            assert_eq!(got, (1, seats, milliseconds), "{watches}");
        }
    }
}
