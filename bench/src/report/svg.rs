//! Pictures in the report.
//!
//! What lives here: scales, axes and the plots, as SVG text. What must not: pages around them, numbers that
//! are not in the report. Invariant: colours and fonts come from the page's style, so that a picture can be
//! read on light and dark screens; text in it is escaped.

use std::fmt::Write;

/// Width of a plot, in units of its own.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Colours of series that the page's style knows.
pub const COLOURS: usize = 8;

/// A line with a name.
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Its points in order.
    pub points: Vec<(f64, f64)>,
}

/// How values become places.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// From zero to a bit above the largest.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let high = values.fold(0.0, f64::max);
        Self {
            low: 0.0,
            high: if high > 0.0 { high * 1.05 } else { 1.0 },
            is_log: false,
        }
    }

    /// Just these bounds.
    pub fn between(low: f64, high: f64) -> Self {
        Self {
            low,
            high: if high > low { high } else { low + 1.0 },
            is_log: false,
        }
    }

    /// Decades that hold all values above zero.
    pub fn decades(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let low = positive.clone().fold(f64::INFINITY, f64::min);
        let high = positive.fold(0.0, f64::max);
        if !low.is_finite() {
            return Self {
                low: 0.1,
                high: 10.0,
                is_log: true,
            };
        }
        // Halves of a decade, so that the picture is not mostly empty.
        let low = ((low.log10() * 2.0).floor() / 2.0).min(high.log10() - 0.5);
        let high = (high.log10() * 2.0).ceil() / 2.0;
        Self {
            low: 10_f64.powf(low),
            high: 10_f64.powf(high.max(low + 0.5)),
            is_log: true,
        }
    }

    fn share(self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
            false => (value - self.low) / (self.high - self.low),
        };
        share.clamp(0.0, 1.0)
    }

    fn x(self, value: f64) -> f64 {
        LEFT + self.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn ticks(self) -> Vec<f64> {
        if self.is_log {
            let first = self.low.log10().floor() as i32;
            let last = self.high.log10().ceil() as i32;
            let steps =
                (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)));
            // Floating point must not lose the ends.
            let inside = |tick: &f64| *tick >= self.low * 0.999 && *tick <= self.high * 1.001;
            return steps.filter(inside).collect();
        }
        let raw = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = step.into_iter().find(|step| *step >= raw).unwrap_or(raw);
        let first = (self.low / step).ceil() * step;
        let ticks = (0..12_i32).map(|number| first + f64::from(number) * step);
        ticks.take_while(|tick| *tick <= self.high * 1.0001).collect()
    }
}

/// A number as short as can be read.
pub fn short(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 1e9 => format!("{:.1}G", value / 1e9),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        size if size > 0.0 => format!("{value:.4}"),
        _ => "0".to_owned(),
    };
    match text.split_once('.') {
        Some((whole, rest)) => {
            let unit: String = rest.chars().filter(|c| !c.is_ascii_digit()).collect();
            let digits = rest
                .trim_end_matches(|c: char| !c.is_ascii_digit())
                .trim_end_matches('0');
            match digits {
                "" => format!("{whole}{unit}"),
                _ => format!("{whole}.{digits}{unit}"),
            }
        }
        None => text,
    }
}

/// Text that can stand in a document.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn open(label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    )
}

fn y_axis(out: &mut String, scale: Scale, label: &str) {
    for tick in scale.ticks() {
        let y = scale.y(tick);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            short(tick)
        );
    }
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let _ = write!(
        out,
        "<text class=\"label\" x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" \
         transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
        escape(label)
    );
}

fn x_axis(out: &mut String, scale: Scale, ticks: &[(f64, String)], label: &str) {
    let bottom = HEIGHT - BOTTOM;
    let _ = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{bottom}\" y2=\"{bottom}\"/>",
        WIDTH - RIGHT
    );
    for (value, text) in ticks {
        let x = scale.x(*value);
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 4.0,
            bottom + 17.0,
            escape(text)
        );
    }
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0,
        escape(label)
    );
}

fn plain_ticks(scale: Scale) -> Vec<(f64, String)> {
    scale
        .ticks()
        .into_iter()
        .map(|tick| (tick, short(tick)))
        .collect()
}

fn lines(out: &mut String, series: &[Series], x: Scale, y: Scale) {
    for (number, line) in series.iter().enumerate() {
        let mut path = String::new();
        for (place, (at, value)) in line.points.iter().enumerate() {
            let step = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x.x(*at), y.y(*value));
        }
        let _ = write!(
            out,
            "<path class=\"line c{}\" d=\"{path}\"><title>{}</title></path>",
            number % COLOURS,
            escape(&line.name)
        );
    }
}

/// Values over time.
pub fn over_time(series: &[Series], label: &str, seconds: f64) -> String {
    let x = Scale::between(0.0, seconds);
    let y = Scale::from_zero(
        series
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.1)),
    );
    let mut out = open(label);
    y_axis(&mut out, y, label);
    x_axis(&mut out, x, &plain_ticks(x), "measured time, seconds");
    lines(&mut out, series, x, y);
    out + "</svg>"
}

/// Latencies (milliseconds) by percentile; points have the share of slower ones as powers of ten.
pub fn percentiles(series: &[Series]) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let x = Scale::between(0.0, last);
    let y = Scale::decades(points().map(|point| point.1));
    let names = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999"];
    let ticks = names
        .iter()
        .zip(0_u32..)
        .map(|(name, nines)| (f64::from(nines), format!("{name} %")));
    let ticks: Vec<(f64, String)> = ticks.filter(|(at, _)| *at <= last).collect();
    let mut out = open("latency by percentile");
    y_axis(&mut out, y, "latency, ms");
    x_axis(&mut out, x, &ticks, "share of requests that were not slower");
    lines(&mut out, series, x, y);
    out + "</svg>"
}

/// One cell of a heat map.
pub struct Heat {
    /// Begin and end, seconds.
    pub time: (f64, f64),
    /// Begin and end, milliseconds.
    pub latency: (f64, f64),
    /// How many requests.
    pub count: u64,
}

/// How many requests had which latency when; darker is more. Rounds end at the marks.
pub fn heat_map(cells: &[Heat], seconds: f64, colour: usize, marks: &[f64]) -> String {
    let x = Scale::between(0.0, seconds);
    let y = Scale::decades(cells.iter().flat_map(|cell| [cell.latency.0, cell.latency.1]));
    let top = cells.iter().map(|cell| cell.count).max().unwrap_or(1).max(1) as f64;
    let mut out = open("latencies over time");
    y_axis(&mut out, y, "latency, ms");
    x_axis(&mut out, x, &plain_ticks(x), "measured time, seconds");
    for mark in marks.iter().filter(|mark| **mark < seconds * 0.999) {
        let at = x.x(*mark);
        let _ = write!(
            out,
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
    }
    for cell in cells {
        let (left, right) = (x.x(cell.time.0), x.x(cell.time.1));
        let (high, low) = (y.y(cell.latency.1), y.y(cell.latency.0));
        // The root shows the few slow ones, which are what one looks for.
        let opacity = 0.12 + 0.88 * (cell.count as f64 / top).sqrt();
        let _ = write!(
            out,
            "<rect class=\"f{}\" x=\"{left:.1}\" y=\"{high:.1}\" width=\"{:.2}\" height=\"{:.2}\" opacity=\"{opacity:.2}\">\
             <title>{} requests, {} to {} ms, at {} s</title></rect>",
            colour % COLOURS,
            (right - left).max(0.5),
            (low - high).max(0.5),
            cell.count,
            short(cell.latency.0),
            short(cell.latency.1),
            short(cell.time.0)
        );
    }
    out + "</svg>"
}

/// A bar with a name and a text.
pub struct Bar {
    /// Name on the left.
    pub name: String,
    /// Length.
    pub value: f64,
    /// Text behind it.
    pub text: String,
    /// Number of its colour.
    pub colour: usize,
}

/// Bars below each other.
pub fn bars(all: &[Bar], label: &str) -> String {
    const ROW: f64 = 24.0;
    const NAME: f64 = 190.0;
    const TEXT: f64 = 190.0;
    let top = all
        .iter()
        .map(|bar| bar.value)
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let height = ROW * all.len() as f64 + 4.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    );
    for (number, bar) in all.iter().enumerate() {
        let y = ROW * number as f64 + 4.0;
        let width = (bar.value / top * (WIDTH - NAME - TEXT)).max(1.0);
        let _ = write!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"f{}\" x=\"{NAME}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAME - 8.0,
            y + 12.5,
            escape(&bar.name),
            bar.colour % COLOURS,
            NAME + width + 6.0,
            y + 12.5,
            escape(&bar.text)
        );
    }
    out + "</svg>"
}

/// A ratio and its interval, on a line whose middle is 1.
pub fn interval(ratio: f64, low: f64, high: f64, widest: f64) -> String {
    let reach = widest.max(1.05).ln();
    let x = |value: f64| 110.0 + (value.max(1e-6).ln() / reach).clamp(-1.0, 1.0) * 100.0;
    format!(
        "<svg class=\"interval\" viewBox=\"0 0 220 16\" role=\"img\" aria-label=\"{} to {}\">\
         <line class=\"axis\" x1=\"110\" x2=\"110\" y1=\"0\" y2=\"16\"/>\
         <line class=\"line c0\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"8\" y2=\"8\"/>\
         <circle class=\"f0\" cx=\"{:.1}\" cy=\"8\" r=\"4\"/></svg>",
        short(low),
        short(high),
        x(low),
        x(high),
        x(ratio)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.0012, "0.0012"),
            (0.05, "0.05"),
            (1.5, "1.5"),
            (20.0, "20"),
            (2000.0, "2000"),
            (50_000.0, "50k"),
            (1.5e6, "1.5M"),
            (3e9, "3G"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn scales_have_ticks_inside_their_bounds() {
        for scale in [
            Scale::from_zero([3.0, 17.0].into_iter()),
            Scale::from_zero(std::iter::empty()),
            Scale::decades([0.3, 40.0].into_iter()),
            Scale::decades([5.0].into_iter()),
            Scale::decades(std::iter::empty()),
            Scale::between(2.0, 2.0),
        ] {
            let ticks = scale.ticks();
            assert!((2..=12).contains(&ticks.len()), "{scale:?}: {ticks:?}");
            assert!(ticks.is_sorted());
        }
    }

    #[test]
    fn names_cannot_leave_their_text() {
        let bar = Bar {
            name: "<script>\"&".to_owned(),
            value: 1.0,
            text: String::new(),
            colour: 0,
        };
        assert!(bars(&[bar], "x").contains("&lt;script&gt;&quot;&amp;"));
    }
}
