//! Choices that a seed makes. Each depends on the seed and the names it is for, not on the choices before it, so
//! that a new template or mutation leaves the others as they were.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A number that the seed gives to `what`.
pub(super) fn number(seed: u64, what: impl Hash) -> u64 {
    let mut hash = DefaultHasher::new();
    (seed, what).hash(&mut hash);
    hash.finish()
}

/// A number below `limit`, which is not 0.
pub(super) fn below(seed: u64, what: impl Hash, limit: usize) -> usize {
    (number(seed, what) % limit as u64) as usize
}

pub(super) fn pick<T>(seed: u64, what: impl Hash, of: &[T]) -> &T {
    &of[below(seed, what, of.len())]
}

/// The same order for the same seed.
pub(super) fn shuffle<T>(seed: u64, items: &mut [T], name: impl Fn(&T) -> String) {
    items.sort_by_cached_key(|item| number(seed, name(item)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_alone() {
        assert_eq!(number(1, "x"), number(1, "x"));
        assert_ne!(number(1, "x"), number(2, "x"));
        let (mut a, mut b) = (vec!["p", "q", "r"], vec!["r", "q", "p"]);
        shuffle(7, &mut a, |item| (*item).to_owned());
        shuffle(7, &mut b, |item| (*item).to_owned());
        assert_eq!(a, b);
        assert!(below(3, "y", 5) < 5);
    }
}
