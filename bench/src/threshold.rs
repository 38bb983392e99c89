//! What a run must achieve.
//!
//! What lives here: the form of thresholds and their trial on a report. What must not: exit codes. Invariant:
//! a threshold on a number that is not there has failed: a gate that cannot see must not let anything pass.

use crate::report::model::{Arm, Comparison, Report, Verdict};

/// What a run must achieve, such as `p99<50ms`, `sceau:errors<0.1%` or `sceau/haproxy:cpu<115%`.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    subject: Subject,
    metric: Metric,
    is_below: bool,
    limit: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// Every endpoint.
    Each,
    /// The endpoint of this name.
    One(String),
    /// The ratio of the first to the second.
    Pair(String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    P50,
    P90,
    P99,
    P999,
    Max,
    Mean,
    Errors,
    Throughput,
    Rate,
    Cpu,
    CpuRequest,
    Memory,
}

impl Metric {
    const ALL: [(&'static str, Self); 12] = [
        ("p50", Self::P50),
        ("p90", Self::P90),
        ("p99", Self::P99),
        ("p99.9", Self::P999),
        ("max", Self::Max),
        ("mean", Self::Mean),
        ("errors", Self::Errors),
        ("throughput", Self::Throughput),
        ("rate", Self::Rate),
        ("cpu", Self::Cpu),
        ("cpu-request", Self::CpuRequest),
        ("memory", Self::Memory),
    ];

    /// Units and their factors to the unit of the report.
    fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max | Self::Mean | Self::CpuRequest => {
                &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)]
            }
            Self::Errors => &[("%", 0.01)],
            Self::Throughput => &[("MB/s", 1.0), ("MiB/s", 1.048_576), ("GB/s", 1e3)],
            Self::Rate => &[("/s", 1.0)],
            Self::Cpu => &[("s/GB", 1.0)],
            Self::Memory => &[
                ("MB", 1e6),
                ("MiB", 1_048_576.0),
                ("GB", 1e9),
                ("GiB", 1_073_741_824.0),
            ],
        }
    }

    /// Unit of the report.
    fn unit(self) -> &'static str {
        match self {
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max | Self::Mean | Self::CpuRequest => {
                "µs"
            }
            Self::Errors => "",
            Self::Throughput => "MB/s",
            Self::Rate => "/s",
            Self::Cpu => "s/GB",
            Self::Memory => "bytes",
        }
    }

    /// Its name among the numbers of rounds, if it is one of those that are compared.
    fn compared(self) -> Option<&'static str> {
        match self {
            Self::P50 => Some("p50_micros"),
            Self::P90 => Some("p90_micros"),
            Self::P99 => Some("p99_micros"),
            Self::Throughput => Some("megabytes_per_second"),
            Self::Rate => Some("requests_per_second"),
            Self::Cpu => Some("cpu_seconds_per_gigabyte"),
            Self::CpuRequest => Some("cpu_micros_per_request"),
            Self::Memory => Some("resident_bytes_max"),
            Self::P999 | Self::Max | Self::Mean | Self::Errors => None,
        }
    }

    fn of(self, arm: &Arm) -> Option<f64> {
        let latency = arm.latency_micros.as_ref();
        let own = arm.processes.iter().find(|process| process.name == arm.name);
        match self {
            Self::P50 => latency.map(|it| it.p50),
            Self::P90 => latency.map(|it| it.p90),
            Self::P99 => latency.map(|it| it.p99),
            Self::P999 => latency.map(|it| it.p999),
            Self::Max => latency.map(|it| it.max),
            Self::Mean => latency.map(|it| it.mean),
            Self::Errors => {
                let all = arm.requests.saturating_add(arm.failed);
                (all > 0).then(|| arm.failed as f64 / all as f64)
            }
            Self::Throughput => (arm.bytes > 0).then_some(arm.megabytes_per_second),
            Self::Rate => (arm.requests > 0).then_some(arm.requests_per_second),
            Self::Cpu => own.and_then(|it| it.cpu_seconds_per_gigabyte),
            Self::CpuRequest => own.and_then(|it| it.cpu_micros_per_request),
            Self::Memory => own.map(|it| it.resident_bytes_max as f64),
        }
    }
}

impl Threshold {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "write [NAME:]METRIC<LIMIT or AFTER/BEFORE:METRIC<RATIO, with < or >";
        let place = text.find(['<', '>']).ok_or(form)?;
        let (left, right) = text.split_at_checked(place).ok_or(form)?;
        let (subject, name) = match left.trim().rsplit_once(':') {
            None => (Subject::Each, left.trim()),
            Some((subject, name)) => (Subject::parse(subject), name),
        };
        let metric = Metric::ALL.iter().find(|(known, _)| *known == name);
        let (_, metric) = metric.ok_or_else(|| {
            let names: Vec<&str> = Metric::ALL.iter().map(|(name, _)| *name).collect();
            format!("{name} is none of {}", names.join(", "))
        })?;
        let limit = right.trim_start_matches(['<', '>', '=']).trim();
        let units = match subject {
            Subject::Pair(..) if metric.compared().is_none() => {
                return Err(format!("{name} is not compared between endpoints"));
            }
            // 115 % of the other one.
            Subject::Pair(..) => &[("", 1.0), ("%", 0.01)],
            Subject::Each | Subject::One(_) => metric.units(),
        };
        Ok(Self {
            text: text.to_owned(),
            subject,
            metric: *metric,
            is_below: right.starts_with('<'),
            limit: quantity(limit, units)?,
        })
    }

    /// Tries it.
    pub fn judge(&self, report: &Report) -> Vec<Verdict> {
        match &self.subject {
            Subject::Each => {
                let arms = report.endpoints.iter();
                arms.map(|arm| self.verdict(&arm.name, self.metric.of(arm)))
                    .collect()
            }
            Subject::One(name) => {
                let arm = report.endpoints.iter().find(|arm| arm.name == *name);
                vec![self.verdict(name, arm.and_then(|arm| self.metric.of(arm)))]
            }
            Subject::Pair(after, before) => {
                let ratio = self.ratio(&report.comparisons, after, before);
                vec![self.verdict(&format!("{after}/{before}"), ratio)]
            }
        }
    }

    /// Tries it on comparisons alone, whatever endpoints they are of: its limit is a ratio.
    pub fn judge_change(&self, comparisons: &[Comparison]) -> Vec<Verdict> {
        let name = self.metric.compared().unwrap_or_default();
        let own = comparisons.iter().filter(|of| of.metric == name);
        let verdicts: Vec<Verdict> = own.map(|of| self.verdict(&of.after, Some(of.ratio))).collect();
        match verdicts.is_empty() {
            true => vec![self.verdict("", None)],
            false => verdicts,
        }
    }

    fn ratio(&self, comparisons: &[Comparison], after: &str, before: &str) -> Option<f64> {
        let name = self.metric.compared()?;
        let found = |after: &str, before: &str| {
            let mut all = comparisons.iter();
            all.find(|of| of.metric == name && of.after == after && of.before == before)
                .map(|of| of.ratio)
        };
        // The table has each pair once.
        found(after, before).or_else(|| found(before, after).filter(|ratio| *ratio > 0.0).map(f64::recip))
    }

    fn verdict(&self, on: &str, found: Option<f64>) -> Verdict {
        let holds = |found: f64| match self.is_below {
            true => found < self.limit,
            false => found > self.limit,
        };
        Verdict {
            threshold: self.text.clone(),
            on: on.to_owned(),
            found,
            limit: self.limit,
            unit: match self.subject {
                Subject::Pair(..) => String::new(),
                Subject::Each | Subject::One(_) => self.metric.unit().to_owned(),
            },
            passed: found.is_some_and(holds),
        }
    }
}

impl Subject {
    fn parse(text: &str) -> Self {
        match text.split_once('/') {
            None => Self::One(text.to_owned()),
            Some((after, before)) => Self::Pair(after.to_owned(), before.to_owned()),
        }
    }
}

/// Reads a threshold of a change: every limit is a ratio.
pub fn parse_change(text: &str) -> Result<Threshold, String> {
    Threshold::parse(&format!("after/before:{text}"))
}

fn quantity(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text} does not begin with a number"))?;
    let found = units.iter().find(|(known, _)| *known == unit.trim());
    let found = found.or_else(|| {
        units
            .first()
            .filter(|(first, _)| first.is_empty() && unit.is_empty())
    });
    match found {
        Some((_, factor)) => Ok(number * factor),
        // Without a unit it is that of the report; a wrong one is no unit.
        None => {
            let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
            Err(format!("{text} needs one of the units {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_units() {
        // Hundredths are not exact in binary.
        let limit = |text: &str| Threshold::parse(text).map(|it| (it.limit * 1e9).round() / 1e9);
        assert_eq!(limit("p99<50ms"), Ok(50_000.0));
        assert_eq!(limit("sceau:errors<0.1%"), Ok(0.001));
        assert_eq!(limit("sceau/haproxy:cpu<115%"), Ok(1.15));
        assert_eq!(limit("sceau/haproxy:cpu < 1.15"), Ok(1.15));
        assert_eq!(limit("memory<64MiB"), Ok(67_108_864.0));
        assert!(!Threshold::parse("throughput>100MB/s").unwrap().is_below);
        for bad in [
            "p99",
            "p99<",
            "p99<50",
            "p99<50MB",
            "speed<1",
            "a/b:errors<2",
            "p99<ms",
            "errors<1",
        ] {
            assert!(Threshold::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_that_is_missing_fails() {
        let threshold = Threshold::parse("cpu<1s/GB").unwrap();
        assert!(!threshold.verdict("x", None).passed);
        assert!(threshold.verdict("x", Some(0.9)).passed);
        assert!(!threshold.verdict("x", Some(1.0)).passed);
    }

    #[test]
    fn a_pair_is_found_either_way_round() {
        let of = Comparison {
            metric: "cpu_seconds_per_gigabyte".to_owned(),
            before: "a".to_owned(),
            after: "b".to_owned(),
            before_median: 1.0,
            after_median: 2.0,
            ratio: 2.0,
            low: 2.0,
            high: 2.0,
        };
        let ratio = |text: &str| {
            let threshold = Threshold::parse(text).unwrap();
            let Subject::Pair(after, before) = &threshold.subject else {
                panic!()
            };
            threshold.ratio(std::slice::from_ref(&of), after, before)
        };
        assert_eq!(ratio("b/a:cpu<3"), Some(2.0));
        assert_eq!(ratio("a/b:cpu<3"), Some(0.5));
        assert_eq!(ratio("a/c:cpu<3"), None);
    }
}
