//! Histograms of values: how often each value came. Many threads record at once, and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each power of two is cut into this many buckets: no bucket is wider than an eighth of what it holds.
const PARTS: u64 = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 3;
/// The number of buckets: one for each value below [`PARTS`], and one for each part of the powers of two from there up
/// to 2^63. They take 4 KiB.
const BUCKETS: usize = ((u64::BITS - PARTS_BITS + 1) << PARTS_BITS) as usize;

/// Records values. Three relaxed additions at most, no lock, and no number is ever lost.
#[derive(Debug)]
pub(crate) struct Recorder {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        Self { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl Recorder {
    pub(crate) fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        // Read first: the maximum seldom rises, so it seldom needs a write.
        if self.max.load(Ordering::Relaxed) < value {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).enumerate();
        let buckets: Vec<_> = counts.filter(|(_, n)| *n > 0).map(|(bucket, n)| (highest_of(bucket), n)).collect();
        Histogram {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
            buckets,
        }
    }
}

/// How often each value came, as of the moment when the histogram was taken.
///
/// Count, sum and maximum are exact. The values themselves are kept by buckets: those below 8 have one each, and each
/// power of two from there on is cut into eight, so that [`Histogram::quantile`] is never too low and at most an eighth
/// (12.5 %) too high.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<(u64, u64)>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// How many values came.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value; 0 when none came.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean of the values; 0 when none came.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// A value that the given part of the values (0.5 for half, 0.99 for 99 of 100) does not exceed: the highest value
    /// of the bucket that the exact quantile is in, or the maximum if that is less. 0 when none came.
    ///
    /// # Examples
    /// ```
    /// # fn show(stats: &foldlog::Stats) {
    /// let p99 = stats.acknowledgement_micros.quantile(0.99);
    /// println!("99 of 100 appends were acknowledged within {p99} µs");
    /// # }
    /// ```
    #[must_use]
    pub fn quantile(&self, part: f64) -> u64 {
        // The cast saturates, so that any part has an answer.
        let rank = ((part * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for &(highest, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return highest.min(self.max);
            }
        }
        self.max
    }

    /// The buckets that are not empty, in ascending order: the highest value that each bucket can hold, and how many
    /// values came. For a monitoring system that draws its own histograms.
    #[must_use]
    pub fn buckets(&self) -> &[(u64, u64)] {
        &self.buckets
    }
}

impl std::fmt::Display for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|part| self.quantile(part));
        write!(f, "p50 {p50}, p99 {p99}, max {}", self.max)
    }
}

fn bucket_of(value: u64) -> usize {
    let bucket = match value.checked_ilog2() {
        Some(power) if power >= PARTS_BITS => {
            let part = (value >> (power - PARTS_BITS)) - PARTS;
            (u64::from(power - PARTS_BITS + 1) << PARTS_BITS) + part
        }
        _ => value,
    };
    bucket as usize
}

fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let shift = (bucket >> PARTS_BITS) - 1;
    let lowest = (PARTS + (bucket & (PARTS - 1))) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As many values of each length, and the ends of each.
    fn value() -> impl Strategy<Value = u64> {
        (0..u64::BITS, any::<u64>(), 0_u8..4).prop_map(|(bits, value, end)| {
            let power = 1_u64 << bits;
            match end {
                0 => power - 1,
                1 => power,
                _ => value >> bits,
            }
        })
    }

    #[test]
    fn every_value_has_one_bucket_and_the_last_ends_with_the_largest() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let highest = highest_of(bucket);
            assert_eq!((bucket_of(next), bucket_of(highest)), (bucket, bucket), "{next}..={highest}");
            next = highest.wrapping_add(1);
        }
        assert_eq!(next, 0, "one after the largest");
    }

    #[test]
    fn an_empty_histogram_says_nothing_but_zero() {
        let empty = Recorder::default().snapshot();
        assert_eq!(
            (empty.count(), empty.sum(), empty.max(), empty.quantile(0.5), empty.quantile(1.0)),
            (0, 0, 0, 0, 0)
        );
        assert_eq!((empty.mean(), empty), (0.0, Histogram::default()));
    }

    #[test]
    fn threads_that_record_at_once_lose_nothing() {
        const EACH: u64 = 200_000;
        let (recorder, start) = (Recorder::default(), std::sync::Barrier::new(4));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (recorder, start) = (&recorder, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..EACH).for_each(|value| recorder.record(value % 4 + thread));
                });
            }
        });
        let seen = recorder.snapshot();
        assert_eq!((seen.count(), seen.max(), seen.sum()), (4 * EACH, 6, 4 * EACH * 3));
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_an_eighth_too_high_and_never_too_low(value in value()) {
            let highest = highest_of(bucket_of(value));
            prop_assert!(value <= highest);
            prop_assert!(highest - value <= value / PARTS, "{value} is in the bucket up to {highest}");
        }

        #[test]
        fn a_larger_value_is_in_no_earlier_bucket(value in value(), other in value()) {
            prop_assert!(bucket_of(value.min(other)) <= bucket_of(value.max(other)));
        }

        #[test]
        fn counts_sums_and_quantiles_are_those_of_the_sorted_values(
            mut values in prop::collection::vec(value().prop_map(|value| value >> 10), 1..200),
            parts in prop::collection::vec(0.0_f64..=1.0, 1..8),
        ) {
            let recorder = Recorder::default();
            values.iter().for_each(|value| recorder.record(*value));
            let seen = recorder.snapshot();
            values.sort_unstable();
            let count = values.len() as u64;
            prop_assert_eq!((seen.count(), seen.sum()), (count, values.iter().sum()));
            prop_assert_eq!((Some(seen.max()), Some(seen.quantile(1.0))), (values.last().copied(), values.last().copied()));
            prop_assert_eq!(seen.buckets().iter().map(|(_, count)| count).sum::<u64>(), count);
            for part in parts {
                let rank = ((part * count as f64).ceil() as usize).max(1);
                let exact = values[rank - 1];
                let found = seen.quantile(part);
                prop_assert!(exact <= found && found - exact <= exact / PARTS, "{part}: {exact}, found {found}");
            }
        }
    }
}
