//! Latencies in bounded memory.
//!
//! What lives here: counting durations, percentiles, the coded form for files. What must not: clocks,
//! printing. Invariant: a percentile is off by less than one part in a thousand (or 64 ns), the maximum by no
//! more than that.

use std::time::Duration;

use data_encoding::BASE64;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Shortest duration told apart from others, nanoseconds.
const SHORTEST_NANOS: u64 = 100;
/// Longest duration, nanoseconds (one hour); longer ones count as this.
const LONGEST_NANOS: u64 = 3_600_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram(Option<hdrhistogram::Histogram<u64>>);

/// One without a duration.
impl Default for Histogram {
    fn default() -> Self {
        Self(hdrhistogram::Histogram::new_with_bounds(SHORTEST_NANOS, LONGEST_NANOS, DIGITS).ok())
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(inner) = &mut self.0 {
            inner.saturating_record(nanos.clamp(1, LONGEST_NANOS));
        }
    }

    /// Adds all durations of another one.
    pub fn add(&mut self, other: &Self) {
        if let (Some(inner), Some(other)) = (&mut self.0, &other.0) {
            // Both have the same bounds, or smaller ones when read from a file: nothing is lost.
            let _ = inner.add(other);
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, hdrhistogram::Histogram::len)
    }

    /// Longest duration, microseconds.
    pub fn max_micros(&self) -> f64 {
        micros(self.0.as_ref().map_or(0, hdrhistogram::Histogram::max))
    }

    /// Shortest duration, microseconds; 0 without any.
    pub fn min_micros(&self) -> f64 {
        let inner = self.0.as_ref().filter(|inner| !inner.is_empty());
        micros(inner.map_or(0, hdrhistogram::Histogram::min))
    }

    /// Mean, microseconds; 0 without any.
    pub fn mean_micros(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |inner| inner.mean() / 1e3)
    }

    /// The duration that this share of all (0 to 1) are not longer than, microseconds; 0 without any.
    pub fn quantile_micros(&self, quantile: f64) -> f64 {
        micros(
            self.0
                .as_ref()
                .map_or(0, |inner| inner.value_at_quantile(quantile)),
        )
    }

    /// The coded form (HdrHistogram V2, deflated, base64) that other tools read. Values are nanoseconds.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        if let Some(inner) = &self.0 {
            // Writing to memory fails for no histogram of these bounds.
            let _ = V2DeflateSerializer::new().serialize(inner, &mut bytes);
        }
        BASE64.encode(&bytes)
    }

    /// Reads the coded form; `None` when it is none.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        let read: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
        let mut own = Self::default();
        own.0.as_mut()?.add(&read).ok()?;
        Some(own)
    }

    /// Upper ends, microseconds, and counts of the steps that hold any.
    #[cfg(test)]
    pub fn steps(&self) -> Vec<(f64, u64)> {
        let inner = self.0.iter();
        inner
            .flat_map(|inner| inner.iter_recorded())
            .map(|step| {
                (
                    micros(step.value_iterated_to()),
                    step.count_since_last_iteration(),
                )
            })
            .collect()
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::scatter;

    #[test]
    fn percentiles_are_within_a_thousandth_of_the_exact_ones() {
        let mut histogram = Histogram::default();
        let mut exact: Vec<u64> = (0..10_000_u64)
            .map(|n| 1000 + (scatter(n) >> (24 + n % 34)) % LONGEST_NANOS)
            .collect();
        for nanos in &exact {
            histogram.record(Duration::from_nanos(*nanos));
        }
        exact.sort_unstable();
        for (quantile, rank) in [(0.01, 100), (0.5, 5000), (0.9, 9000), (0.99, 9900), (1.0, 10_000)] {
            let want = exact[rank - 1] as f64 / 1e3;
            let got = histogram.quantile_micros(quantile);
            assert!(
                (got - want).abs() <= want / 1000.0 + 0.064,
                "{quantile}: {got} for {want}"
            );
        }
    }

    #[test]
    fn extremes_and_nothing() {
        let mut histogram = Histogram::default();
        assert_eq!(
            (histogram.quantile_micros(0.99), histogram.max_micros()),
            (0.0, 0.0)
        );
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.count(), 2);
        assert!(histogram.max_micros() >= 3.6e9);
    }

    #[test]
    fn the_coded_form_comes_back_and_adds_up() {
        let mut histogram = Histogram::default();
        for n in 0..1000 {
            histogram.record(Duration::from_nanos(scatter(n) % 1_000_000_000));
        }
        let mut back = Histogram::from_text(&histogram.to_text()).unwrap();
        assert_eq!(back.steps(), histogram.steps());
        back.add(&histogram);
        assert_eq!(back.count(), 2000);
        assert_eq!(back.quantile_micros(0.5), histogram.quantile_micros(0.5));
        assert!(Histogram::from_text("AAAA").is_none());
    }
}
