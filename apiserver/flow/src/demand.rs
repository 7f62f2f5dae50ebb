//! How many seats a level could use: the time-weighted average and deviation of a period, smoothed over
//! periods (k8s.io/apiserver/pkg/util/flowcontrol/{fairqueuing/integrator.go,apf_controller.go}@v0.37.2).

use crate::{Nanos, SECOND};

/// How much of the smoothed demand outlives a period: half of it is gone after 5 minutes.
const SMOOTHING: f64 = 0.977;

/// Integrals of a value over time, and its extremes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Integrator {
    seconds: f64,
    sum: f64,
    squares: f64,
    value: f64,
    max: f64,
}

/// What an [`Integrator`] saw. Average and deviation are NaN when no time passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    pub seconds: f64,
    pub average: f64,
    pub deviation: f64,
    pub max: f64,
}

impl Integrator {
    /// The value was held for so long.
    pub fn pass(&mut self, time: Nanos) {
        let seconds = time as f64 / SECOND as f64;
        self.seconds += seconds;
        self.sum += self.value * seconds;
        self.squares += self.value * self.value * seconds;
    }

    pub fn note(&mut self, value: f64) {
        self.value = value;
        self.max = self.max.max(value);
    }

    pub fn observed(&self) -> Observed {
        let (average, deviation) = match self.seconds > 0.0 {
            true => {
                let average = self.sum / self.seconds;
                (average, (self.squares / self.seconds - average * average).sqrt())
            }
            false => (f64::NAN, f64::NAN),
        };
        Observed { seconds: self.seconds, average, deviation, max: self.max }
    }

    /// What was seen; begins anew.
    pub fn take(&mut self) -> Observed {
        let observed = self.observed();
        *self = Integrator { value: self.value, max: self.value, ..Integrator::default() };
        observed
    }
}

/// Statistics of a level's demand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    pub average: f64,
    pub deviation: f64,
    pub high: u64,
    pub smoothed: f64,
}

impl Demand {
    pub fn update(&mut self, seen: Observed) {
        self.high = seen.max.round() as u64;
        if seen.seconds <= 0.0 {
            return;
        }
        self.average = seen.average;
        // Rounding may take the variance below zero.
        self.deviation = if seen.deviation.is_nan() { 0.0 } else { seen.deviation };
        let envelope = self.average + self.deviation;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_weighted_by_time() {
        let mut integrator = Integrator::default();
        assert!(integrator.observed().average.is_nan());
        integrator.note(3.0);
        integrator.pass(SECOND);
        integrator.note(7.0);
        integrator.note(1.0);
        integrator.pass(3 * SECOND);
        let seen = integrator.take();
        assert_eq!((seen.seconds, seen.average, seen.max), (4.0, 1.5, 7.0));
        assert!((seen.deviation - 0.75f64.sqrt()).abs() < 1e-12);
        assert_eq!(integrator.observed().max, 1.0);
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let seen = |average: f64| Observed { seconds: 10.0, average, deviation: 0.0, max: average };
        let mut demand = Demand::default();
        demand.update(seen(10.0));
        assert_eq!((demand.smoothed, demand.high), (10.0, 10));
        demand.update(seen(0.0));
        assert!((demand.smoothed - 9.77).abs() < 1e-9);
        demand.update(Observed { seconds: 0.0, average: f64::NAN, deviation: f64::NAN, max: 4.0 });
        assert_eq!((demand.average, demand.high), (0.0, 4));
    }
}
