//! Statistics over rounds and intervals.
//!
//! What lives here: medians, confidence intervals, and whether a series has settled. What must not: units,
//! clocks. Invariant: the same numbers give the same result; resampling has a seed of its own.

use crate::content::scatter;

/// How often rounds are drawn anew for a confidence interval.
const RESAMPLES: u64 = 4000;
/// Share of the resampled medians that lies outside the interval, at each end.
const TAIL: f64 = 0.025;
/// Intervals that are looked at to tell whether a series has settled.
const SETTLED_INTERVALS: usize = 10;

/// Median; of an even number the mean of the two in the middle. `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((low + high) / 2.0)
}

/// A ratio with the interval that holds it in 95 of 100 repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Median of the rounds' ratios.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The ratio of `after` to `before` in rounds that belong together, by bootstrap: rounds are drawn with
/// replacement, and the median of their ratios taken, many times. Rounds whose `before` is zero do not count.
pub fn ratio(before: &[f64], after: &[f64]) -> Option<Estimate> {
    let pairs = before.iter().zip(after).filter(|(before, _)| **before > 0.0);
    let ratios: Vec<f64> = pairs.map(|(before, after)| after / before).collect();
    let value = median(&ratios)?;
    let drawn = (0..RESAMPLES).filter_map(|sample| resampled(&ratios, scatter(sample)));
    estimate(value, drawn.collect())
}

/// The ratio of the medians of two runs that did not run side by side: each one's rounds are drawn by
/// themselves.
pub fn ratio_of_medians(before: &[f64], after: &[f64]) -> Option<Estimate> {
    let of = |before: f64, after: f64| (before > 0.0).then(|| after / before);
    let value = of(median(before)?, median(after)?)?;
    let ratios = (0..RESAMPLES).filter_map(|sample| {
        let old = resampled(before, scatter(sample))?;
        of(old, resampled(after, scatter(sample ^ 0xaf7e4))?)
    });
    estimate(value, ratios.collect())
}

/// Median of as many values drawn with replacement.
fn resampled(values: &[f64], seed: u64) -> Option<f64> {
    let count = values.len() as u64;
    let draw = |place: u64| {
        let at = scatter(seed ^ place.wrapping_add(1)).checked_rem(count)?;
        values.get(usize::try_from(at).ok()?).copied()
    };
    median(&(0..count).filter_map(draw).collect::<Vec<f64>>())
}

fn estimate(value: f64, mut drawn: Vec<f64>) -> Option<Estimate> {
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (drawn.len() as f64 * share).floor().max(0.0) as usize;
        drawn.get(place.min(drawn.len().saturating_sub(1))).copied()
    };
    Some(Estimate {
        value,
        low: at(TAIL)?,
        high: at(1.0 - TAIL)?,
    })
}

/// Whether the last intervals of a series differ from their mean by less than `limit` (standard deviation
/// over mean). The interval under way and the first one do not count.
pub fn is_settled(rates: &[f64], limit: f64) -> bool {
    let complete = rates.get(1..rates.len().saturating_sub(1)).unwrap_or_default();
    let Some(last) = complete
        .len()
        .checked_sub(SETTLED_INTERVALS)
        .and_then(|from| complete.get(from..))
    else {
        return false;
    };
    let count = last.len() as f64;
    let mean = last.iter().sum::<f64>() / count;
    let variance = last.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    mean > 0.0 && variance.sqrt() / mean < limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_without_noise_has_no_width() {
        let estimate = ratio(&[1.0, 2.0, 4.0], &[1.5, 3.0, 6.0]).unwrap();
        assert_eq!((estimate.value, estimate.low, estimate.high), (1.5, 1.5, 1.5));
        assert_eq!(ratio(&[0.0], &[1.0]), None);
    }

    #[test]
    fn runs_that_were_not_side_by_side_are_compared_by_their_medians() {
        let estimate = ratio_of_medians(&[1.0, 2.0, 3.0], &[4.0, 4.0]).unwrap();
        assert_eq!(estimate.value, 2.0);
        assert!(estimate.low < 2.0 && estimate.high > 2.0);
        assert_eq!(ratio_of_medians(&[], &[1.0]), None);
        assert_eq!(ratio_of_medians(&[0.0], &[1.0]), None);
    }

    #[test]
    fn the_interval_holds_the_true_ratio_about_as_often_as_it_says() {
        // Noise of one tenth around a true ratio of 2, in 400 runs of 11 rounds.
        let noise = |seed: u64| 0.9 + 0.2 * crate::draw::unit(scatter(seed));
        let held = (0..400_u64)
            .filter(|run| {
                let series = |side: u64, factor: f64| -> Vec<f64> {
                    (0..11)
                        .map(|round| factor * noise(run * 1000 + side * 100 + round))
                        .collect()
                };
                let estimate = ratio(&series(0, 1.0), &series(1, 2.0)).unwrap();
                estimate.low <= 2.0 && 2.0 <= estimate.high
            })
            .count();
        assert!((360..=400).contains(&held), "{held} of 400");
    }

    #[test]
    fn a_series_settles_when_it_varies_little() {
        let steady = |first: f64| -> Vec<f64> { std::iter::once(first).chain(vec![100.0; 11]).collect() };
        assert!(is_settled(&steady(1.0), 0.01));
        assert!(!is_settled(&steady(1.0)[..11], 0.01));
        let swinging: Vec<f64> = (0..20).map(|n| 100.0 + f64::from(n % 2) * 20.0).collect();
        assert!(!is_settled(&swinging, 0.05));
        assert!(is_settled(&swinging, 0.15));
    }
}
