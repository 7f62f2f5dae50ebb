//! Histograms as Prometheus has them, of events and of what holds over time.

use crate::Nanos;

/// Buckets that a histogram has at most, without the one for everything.
const BUCKETS_MAX: usize = 16;

/// Counts by upper bounds.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    pub bounds: &'static [f64],
    counts: [u64; BUCKETS_MAX],
    pub sum: f64,
    pub count: u64,
}

impl Histogram {
    pub const fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= BUCKETS_MAX);
        Histogram { bounds, counts: [0; BUCKETS_MAX], sum: 0.0, count: 0 }
    }

    pub fn observe(&mut self, value: f64) {
        self.observe_often(value, 1);
    }

    /// Observes the value at the end of each of so many nanoseconds, or events.
    pub fn observe_often(&mut self, value: f64, times: Nanos) {
        if let Some(at) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[at] += times;
        }
        self.sum += value * times as f64;
        self.count += times;
    }

    /// Upper bounds and how many were at most that.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        self.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            total += count;
            (*bound, total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut histogram = Histogram::new(&[0.0, 0.5, 1.0]);
        histogram.observe_often(0.5, 10);
        histogram.observe(0.0);
        histogram.observe(7.0);
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(0.0, 1), (0.5, 11), (1.0, 11)]);
        assert_eq!((histogram.count, histogram.sum), (12, 12.0));
    }
}
