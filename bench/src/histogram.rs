//! Latency percentiles in constant memory.
//!
//! What lives here: counting durations and asking for percentiles. What must not: clocks, printing.
//! Invariant: a percentile is never below the exact one, and above it by less than one part in 128 (or one
//! microsecond); the maximum is exact.

use std::time::Duration;

/// Buckets per doubling of the value.
const STEPS: usize = 128;
const STEP_BITS: u32 = 7;
/// Longest duration told apart, as a power of two in microseconds (19 hours); longer ones count as this.
const LONGEST_BITS: u32 = 36;
const BUCKETS: usize = (LONGEST_BITS as usize - STEP_BITS as usize + 1) * STEPS;
const LONGEST_MICROS: u64 = (1 << LONGEST_BITS) - 1;

/// Counts of durations, in buckets that grow with the duration.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

/// One without a duration.
impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration, rounded up to whole microseconds.
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let micros = micros.min(LONGEST_MICROS);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.max = self.max.max(micros);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Longest duration, microseconds.
    pub fn max_micros(&self) -> u64 {
        self.max
    }

    /// The duration that `percent` of all are not longer than (nearest rank), microseconds; 0 without any.
    pub fn percentile_micros(&self, percent: u64) -> u64 {
        let rank = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        for (number, count) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return last_of(number).min(self.max);
            }
        }
        self.max
    }
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "micros is below 2^36, so every term is small"
)]
fn bucket_of(micros: u64) -> usize {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let mantissa = usize::try_from(micros >> shift).unwrap_or(0);
    shift as usize * STEPS + mantissa
}

/// Longest duration of a bucket. Each bucket of the first two doublings is one microsecond.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the shift is below 29 and the mantissa below 256"
)]
fn last_of(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let mantissa = bucket - shift * STEPS;
    ((mantissa as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::scatter;

    #[test]
    fn percentiles_are_the_exact_ones_or_less_than_one_128th_above() {
        let mut histogram = Histogram::default();
        let mut exact: Vec<u64> = (0..10_000_u64)
            .map(|n| 1 + (scatter(n) >> (30 + n % 34)) % LONGEST_MICROS)
            .collect();
        for micros in &exact {
            histogram.record(Duration::from_micros(*micros));
        }
        exact.sort_unstable();
        for percent in [1_u64, 50, 90, 99, 100] {
            let want = exact[usize::try_from(percent).unwrap() * exact.len() / 100 - 1];
            let got = histogram.percentile_micros(percent);
            assert!(
                got >= want && got - want <= want / 128,
                "p{percent}: {got} for {want}"
            );
        }
        assert_eq!(histogram.max_micros(), *exact.last().unwrap());
    }

    #[test]
    fn buckets_neither_overlap_nor_leave_gaps() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(last_of(bucket)), bucket);
        }
        assert_eq!(last_of(BUCKETS - 1), LONGEST_MICROS);
    }

    #[test]
    fn few_durations_are_exact_and_none_is_zero() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile_micros(99), histogram.max_micros()), (0, 0));
        histogram.record(Duration::from_nanos(1));
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.percentile_micros(50), 1);
        assert_eq!(histogram.percentile_micros(99), LONGEST_MICROS);
    }
}
