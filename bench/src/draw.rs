//! What is drawn: sizes, and which object comes next.
//!
//! What lives here: distributions. What must not: clocks, requests. Invariant: everything is a function of
//! the seed and a number, so the same seed makes the same load, and the size of an object is known without
//! having been remembered.

use std::fmt;

use crate::content::scatter;

/// Most sizes in a list.
const SIZES_MAX: usize = 8;
/// Largest object, bytes: the most that one PutObject takes.
pub const SIZE_MAX: u64 = 5 << 30;
/// Zipf's law needs a table of all objects.
pub const ZIPF_OBJECTS_MAX: u64 = 10_000_000;

/// Sizes of objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    /// These in turn.
    List(Vec<u64>),
    /// All between two bounds, both included, equally likely.
    Uniform(u64, u64),
    /// Many small ones and few large ones.
    Lognormal {
        /// Half of the objects are below.
        median: u64,
        /// Standard deviation of the size's natural logarithm.
        sigma: f64,
        /// Larger ones are cut to this.
        max: u64,
    },
}

impl Sizes {
    /// Reads `64KiB`, `1KiB,1MiB`, `uniform:1KiB-1MiB` or `lognormal:64KiB:1.5:16MiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(bounds) = text.strip_prefix("uniform:") {
            let (low, high) = bounds.split_once('-').ok_or("write uniform:LOW-HIGH")?;
            let (low, high) = (parse_size(low)?, parse_size(high)?);
            return match low <= high {
                true => Ok(Self::Uniform(low, high)),
                false => Err("the lower bound is above the upper one".to_owned()),
            };
        }
        if let Some(rest) = text.strip_prefix("lognormal:") {
            let mut parts = rest.split(':');
            let (median, sigma, max) = (parts.next(), parts.next(), parts.next());
            let (Some(median), Some(sigma), Some(max), None) = (median, sigma, max, parts.next()) else {
                return Err("write lognormal:MEDIAN:SIGMA:MAX".to_owned());
            };
            let sigma: f64 = sigma.parse().map_err(|_| "sigma is not a number")?;
            if !(0.0..=10.0).contains(&sigma) {
                return Err("sigma must be between 0 and 10".to_owned());
            }
            return Ok(Self::Lognormal {
                median: parse_size(median)?,
                sigma,
                max: parse_size(max)?,
            });
        }
        let sizes: Result<Vec<u64>, String> = text.split(',').map(parse_size).collect();
        let sizes = sizes?;
        match sizes.len() {
            0..=SIZES_MAX => Ok(Self::List(sizes)),
            _ => Err(format!("at most {SIZES_MAX} sizes")),
        }
    }

    /// Size of an object.
    pub fn of(&self, seed: u64, object: u64) -> u64 {
        let drawn = scatter(seed ^ scatter(object.wrapping_add(0x5151)));
        match self {
            Self::List(sizes) => {
                let at = object.checked_rem(sizes.len() as u64).unwrap_or(0);
                sizes.get(usize::try_from(at).unwrap_or(0)).copied().unwrap_or(0)
            }
            Self::Uniform(low, high) => {
                let width = high.saturating_sub(*low).saturating_add(1);
                low.saturating_add(drawn.checked_rem(width).unwrap_or(0))
            }
            Self::Lognormal { median, sigma, max } => {
                let size = *median as f64 * (sigma * normal(drawn)).exp();
                // Saturates at both ends.
                (size as u64).min(*max)
            }
        }
    }

    /// The largest that can be drawn.
    pub fn max(&self) -> u64 {
        match self {
            Self::List(sizes) => sizes.iter().copied().max().unwrap_or(0),
            Self::Uniform(_, high) => *high,
            Self::Lognormal { max, .. } => *max,
        }
    }

    /// How many objects there are if there are `each` of each size of a list.
    pub fn objects(&self, each: u64) -> u64 {
        match self {
            Self::List(sizes) => each.saturating_mul(sizes.len() as u64),
            Self::Uniform(..) | Self::Lognormal { .. } => each,
        }
    }

    /// The size by which an operation is counted: sizes of a list apart, all others together.
    pub fn class(&self, size: u64) -> Option<u64> {
        matches!(self, Self::List(_)).then_some(size)
    }
}

/// As it is written on the command line, in bytes.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(sizes) => {
                let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
                f.write_str(&sizes.join(","))
            }
            Self::Uniform(low, high) => write!(f, "uniform:{low}-{high}"),
            Self::Lognormal { median, sigma, max } => write!(f, "lognormal:{median}:{sigma}:{max}"),
        }
    }
}

/// Reads a number of bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or(("", text));
    let number: u64 = number
        .parse()
        .map_err(|_| "not a size, such as 4096, 64KiB or 1MiB".to_owned())?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err("unknown unit; use B, KiB, MiB, GiB, KB, MB or GB".to_owned()),
    };
    let size = number.checked_mul(factor).filter(|size| *size <= SIZE_MAX);
    size.ok_or_else(|| "above 5 GiB".to_owned())
}

/// A number between 0 and 1, below 1.
pub fn unit(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number from the standard normal distribution (Box and Muller).
fn normal(drawn: u64) -> f64 {
    let radius = (-2.0 * (1.0 - unit(drawn)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(scatter(drawn ^ 0xb0e5))).cos()
}

/// Which objects are asked for.
#[derive(Debug, Clone)]
pub enum Popularity {
    /// All equally.
    Uniform,
    /// The n-th most popular one in proportion to n to the minus this; sums of the shares.
    Zipf(f64, Vec<f64>),
}

impl Popularity {
    /// Reads `uniform` or `zipf:1.1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let exponent = text
            .strip_prefix("zipf:")
            .ok_or("write uniform or zipf:EXPONENT")?;
        let exponent: f64 = exponent.parse().map_err(|_| "the exponent is not a number")?;
        match (0.0..=10.0).contains(&exponent) {
            true => Ok(Self::Zipf(exponent, Vec::new())),
            false => Err("the exponent must be between 0 and 10".to_owned()),
        }
    }

    /// Makes the table for so many objects.
    #[must_use]
    pub fn over(self, objects: u64) -> Self {
        let Self::Zipf(exponent, _) = self else {
            return self;
        };
        let mut sum = 0.0;
        let sums = (1..=objects.min(ZIPF_OBJECTS_MAX)).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self::Zipf(exponent, sums.collect())
    }

    /// The object that belongs to a drawn number.
    pub fn pick(&self, drawn: u64, objects: u64) -> u64 {
        match self {
            Self::Uniform => drawn.checked_rem(objects).unwrap_or(0),
            Self::Zipf(_, sums) => {
                let point = unit(drawn) * sums.last().copied().unwrap_or(0.0);
                sums.partition_point(|sum| *sum <= point) as u64
            }
        }
    }
}

/// As it is written on the command line.
impl fmt::Display for Popularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent, _) => write!(f, "zipf:{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_a_limit() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("5GiB"), Ok(SIZE_MAX));
        assert_eq!(parse_size("2MB"), Ok(2_000_000));
        for bad in [
            "",
            "KiB",
            "1kib",
            "1.5MiB",
            "-1",
            "6GiB",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        for bad in [
            "uniform:2-1",
            "uniform:1",
            "lognormal:1KiB:1",
            "lognormal:1KiB:x:1MiB",
            "1,2,3,4,5,6,7,8,9",
        ] {
            assert!(Sizes::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn drawn_sizes_follow_their_distribution() {
        let drawn = |text: &str| -> Vec<u64> {
            let sizes = Sizes::parse(text).unwrap();
            let mut all: Vec<u64> = (0..20_000).map(|object| sizes.of(1, object)).collect();
            all.sort_unstable();
            all
        };
        let uniform = drawn("uniform:1000-2000");
        assert_eq!((uniform[0], uniform[19_999]), (1000, 2000));
        assert!(uniform[10_000].abs_diff(1500) < 20);
        let lognormal = drawn("lognormal:10000:1:1MB");
        assert!(lognormal[10_000].abs_diff(10_000) < 500, "{}", lognormal[10_000]);
        // One standard deviation above the median is a factor of e.
        assert!(lognormal[16_827].abs_diff(27_183) < 1500, "{}", lognormal[16_827]);
        assert!(lognormal[19_999] <= 1_000_000);
        assert_eq!(Sizes::parse("1,2").unwrap().of(9, 3), 2);
    }

    #[test]
    fn popularity_follows_zipfs_law() {
        let popularity = Popularity::parse("zipf:1").unwrap().over(1000);
        let mut counts = vec![0_u32; 1000];
        for n in 0..200_000 {
            counts[popularity.pick(scatter(n), 1000) as usize] += 1;
        }
        // The sum of 1/n up to 1000 is 7.485.
        for (rank, want) in [(0, 26_718), (1, 13_359), (9, 2672)] {
            assert!(counts[rank].abs_diff(want) < want / 8, "{rank}: {}", counts[rank]);
        }
    }
}
