//! Dividing seats among levels that may lend and borrow
//! (k8s.io/apiserver/pkg/util/flowcontrol/conc_alloc.go@v0.37.2).

/// A level that is given seats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// What it should have, were there neither bounds nor a sum.
    pub target: f64,
    pub lower: f64,
    pub upper: f64,
}

/// What the levels get, and the proportion of its target that one gets which meets no bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    pub seats: Vec<f64>,
    pub proportion: f64,
}

/// A target below this is taken for this.
pub const TARGET_MIN: f64 = 0.001;
const EPSILON: f64 = 0.000_000_1;

/// Gives `sum` seats to the classes, each the same proportion of its target unless a bound stops it.
/// `None` when the bounds do not allow it.
pub fn allocate(sum: u64, classes: &[Class]) -> Option<Allocation> {
    let wanted = sum as f64;
    let sound = |class: &Class| class.lower >= 0.0 && class.target >= class.lower && class.upper >= class.lower;
    if !classes.iter().all(sound) {
        return None;
    }
    let low: f64 = classes.iter().map(|class| class.lower).sum();
    let high: f64 = classes.iter().map(|class| class.upper).sum();
    if low - wanted > EPSILON || wanted - high > EPSILON {
        return None;
    }
    if sum == 0 {
        return Some(Allocation { seats: vec![0.0; classes.len()], proportion: 0.0 });
    }
    let proportion = match () {
        _ if low - wanted > -EPSILON => extreme(classes, |class| class.lower, f64::min),
        _ if wanted - high > -EPSILON => extreme(classes, |class| class.upper, f64::max),
        _ => proportion(wanted, low, classes),
    };
    let seats = classes.iter().map(|class| (proportion * target(class)).min(class.upper).max(class.lower)).collect();
    Some(Allocation { seats, proportion })
}

fn target(class: &Class) -> f64 {
    class.target.max(TARGET_MIN)
}

/// The least or greatest of a bound, in proportion to the target.
fn extreme(classes: &[Class], bound: fn(&Class) -> f64, pick: fn(f64, f64) -> f64) -> f64 {
    classes.iter().map(|class| bound(class) / target(class)).reduce(pick).unwrap_or(0.0)
}

/// The proportion at which the seats sum up to what is wanted. The sum grows with the proportion, in
/// straight lines between the points where a class leaves its lower bound or meets its upper one.
fn proportion(wanted: f64, low: f64, classes: &[Class]) -> f64 {
    let bends = |class: &Class| {
        let target = target(class);
        [(class.lower / target, target), (class.upper / target, -target)]
    };
    let mut bends: Vec<(f64, f64)> = classes.iter().flat_map(bends).collect();
    bends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut at, mut total, mut slope) = (0.0, low, 0.0);
    for (bend, change) in bends {
        let next = total + (bend - at) * slope;
        if next >= wanted && slope > 0.0 {
            break;
        }
        (at, total, slope) = (bend, next, slope + change);
    }
    if slope > 0.0 { at + (wanted - total) / slope } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, the same in each run.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as f64 / f64::from(1u32 << 31)
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
    }

    fn check(sum: u64, classes: &[Class]) {
        let bounds = classes.iter().fold((0.0, 0.0), |(low, high), class| (low + class.lower, high + class.upper));
        let feasible = bounds.0 - sum as f64 <= EPSILON && sum as f64 - bounds.1 <= EPSILON;
        let Some(found) = allocate(sum, classes) else {
            assert!(!feasible, "{sum} {classes:?}");
            return;
        };
        assert!(feasible && close(found.seats.iter().sum(), sum as f64), "{sum} {classes:?} {found:?}");
        for (class, seats) in classes.iter().zip(&found.seats) {
            let fair = found.proportion * target(class);
            assert!(close(*seats, fair.min(class.upper).max(class.lower)), "{sum} {classes:?} {found:?}");
        }
    }

    /// The properties that upstream's TestConcAlloc checks, over as many made-up problems.
    #[test]
    fn seats_are_fair_within_the_bounds() {
        let mut numbers = Numbers(1_234_567_890);
        for round in 0..10_000u32 {
            let count = [0, 1, 2, 3, 4, 6, 9][round as usize % 7];
            let mut class = |_| {
                let lower = (numbers.next() * 5.0 - 1.0).max(0.0);
                let target = if numbers.next() < 0.2 { lower } else { lower + 2.0 * numbers.next() };
                Class { target, lower, upper: lower + 3.0 * numbers.next() }
            };
            let classes: Vec<Class> = (0..count).map(&mut class).collect();
            let high: f64 = classes.iter().map(|class| class.upper).sum();
            check((high * numbers.next() * 1.1).round() as u64, &classes);
        }
    }

    #[test]
    fn sums_at_the_bounds_give_the_bounds() {
        let class = |target, lower, upper| Class { target, lower, upper };
        let classes = [class(2.0, 1.0, 3.0), class(0.0, 0.0, 4.0)];
        assert_eq!(allocate(1, &classes).map(|found| found.seats), Some(vec![1.0, 0.0]));
        assert_eq!(allocate(7, &classes).map(|found| found.seats), Some(vec![3.0, 4.0]));
        assert_eq!(allocate(8, &classes), None);
        assert_eq!(allocate(0, &classes), None);
        assert_eq!(allocate(5, &[class(0.5, 1.0, 9.0)]), None);
    }
}
