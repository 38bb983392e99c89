//! What the gateway itself measured.
//!
//! What lives here: reading durations from its metrics. What must not: the gateway's names beyond the form of
//! Prometheus histograms of durations. Invariant: only differences of two readings are used.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::endpoint::Endpoint;
use crate::report::model::Phase;

/// Largest page of metrics, bytes.
const PAGE_MAX: usize = 4 << 20;
/// Longest time for a page.
const TIMEOUT: Duration = Duration::from_secs(10);
/// End of the names of histograms of durations, and of their sums and counts.
const SUM: &str = "_duration_seconds_sum";
const COUNT: &str = "_duration_seconds_count";

/// Sums and counts at one moment, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading(BTreeMap<String, (f64, f64)>);

/// Where metrics are read.
pub struct Source {
    endpoint: Endpoint,
    path: String,
}

impl Source {
    /// Reads `http://host:port/path`; without a path `/metrics`.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (base, path) = match url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
            Some((host, path)) if !path.is_empty() => (format!("http://{host}"), format!("/{path}")),
            _ => (url.to_owned(), "/metrics".to_owned()),
        };
        let endpoint = Endpoint::parse(&base, || Err("metrics are read over http:// only".to_owned()))?;
        Ok(Self { endpoint, path })
    }

    /// Reads now; `None` when nothing can be read.
    pub async fn read(&self) -> Option<Reading> {
        let page = tokio::time::timeout(TIMEOUT, self.page()).await.ok()??;
        Some(Reading::parse(&page))
    }

    async fn page(&self) -> Option<String> {
        let stream = self.endpoint.connect().await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let mut request = Request::new(Empty::<bytes::Bytes>::new());
        *request.uri_mut() = self.path.parse().ok()?;
        let host: HeaderValue = self.endpoint.host.clone();
        request.headers_mut().insert(HOST, host);
        let answer = sender.send_request(request).await.ok()?;
        let body = Limited::new(answer.into_body(), PAGE_MAX).collect().await.ok()?;
        String::from_utf8(body.to_bytes().to_vec()).ok()
    }
}

impl Reading {
    fn parse(page: &str) -> Self {
        let mut reading = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (family, labels) = series.split_once('{').unwrap_or((series, ""));
            let (base, is_sum) = match (family.strip_suffix(SUM), family.strip_suffix(COUNT)) {
                (Some(base), _) => (base, true),
                (_, Some(base)) => (base, false),
                (None, None) => continue,
            };
            let (sum, count): &mut (f64, f64) = reading.entry(name(base, labels)).or_default();
            *(if is_sum { sum } else { count }) = value;
        }
        Self(reading)
    }

    /// What was added between two readings.
    pub fn until(&self, later: &Self) -> Vec<Phase> {
        let none = (0.0, 0.0);
        let grown = later.0.iter().map(|(name, (sum, count))| {
            let (old_sum, old_count) = self.0.get(name).unwrap_or(&none);
            Phase {
                name: name.clone(),
                count: (count - old_count).max(0.0) as u64,
                seconds: (sum - old_sum).max(0.0),
            }
        });
        grown.filter(|phase| phase.count > 0).collect()
    }
}

/// `sceau_request_phase` and `phase="seal"` make `request_phase seal`.
fn name(base: &str, labels: &str) -> String {
    let base = base.split_once('_').map_or(base, |(_, rest)| rest);
    let values = labels.split('"').skip(1).step_by(2);
    std::iter::once(base)
        .chain(values)
        .collect::<Vec<&str>>()
        .join(" ")
}

/// Adds phases of another round.
pub fn add(sum: &mut Vec<Phase>, more: Vec<Phase>) {
    for phase in more {
        match sum.iter_mut().find(|known| known.name == phase.name) {
            None => sum.push(phase),
            Some(known) => {
                known.count = known.count.saturating_add(phase.count);
                known.seconds += phase.seconds;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_subtracted() {
        let page = |sum: f64, count: u64| {
            format!(
                "# TYPE sceau_request_phase_duration_seconds histogram\n\
                 sceau_request_phase_duration_seconds_bucket{{phase=\"seal\",le=\"1\"}} 5\n\
                 sceau_request_phase_duration_seconds_sum{{phase=\"seal\"}} {sum}\n\
                 sceau_request_phase_duration_seconds_count{{phase=\"seal\"}} {count}\n\
                 sceau_upstream_request_duration_seconds_sum 2\nsceau_upstream_request_duration_seconds_count 7\n"
            )
        };
        let (before, after) = (Reading::parse(&page(1.0, 4)), Reading::parse(&page(1.5, 9)));
        let seal = Phase {
            name: "request_phase seal".to_owned(),
            count: 5,
            seconds: 0.5,
        };
        assert_eq!(before.until(&after), std::slice::from_ref(&seal));
        assert_eq!(Reading::default().until(&before).len(), 2);
        let mut sum = vec![seal.clone()];
        add(&mut sum, vec![seal]);
        assert_eq!((sum[0].count, sum[0].seconds), (10, 1.0));
    }

    #[test]
    fn metrics_have_a_path() {
        assert_eq!(Source::parse("http://h:1").unwrap().path, "/metrics");
        assert_eq!(Source::parse("http://h:1/").unwrap().path, "/metrics");
        assert_eq!(Source::parse("http://h:1/a/b").unwrap().path, "/a/b");
        assert!(Source::parse("https://h").is_err());
    }
}
