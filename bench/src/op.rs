//! The kinds of operation.
//!
//! What lives here: their names and the mix that a load is made of. What must not: how they are sent.
//! Invariant: the order of [`Verb`] is the order of every report.

use serde::{Deserialize, Serialize};

/// Kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// PutObject.
    Put,
    /// GetObject of a whole object.
    Get,
    /// GetObject with a `Range`.
    Range,
    /// HeadObject.
    Head,
    /// ListObjectsV2, one page.
    List,
    /// DeleteObject.
    Delete,
    /// CopyObject.
    Copy,
    /// An upload in parts: its creation, its parts one after the other, its completion.
    Multipart,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Put,
        Self::Get,
        Self::Range,
        Self::Head,
        Self::List,
        Self::Delete,
        Self::Copy,
        Self::Multipart,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Range => "range",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Copy => "copy",
            Self::Multipart => "multipart",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// Whether it needs objects that are there already.
    pub fn needs_objects(self) -> bool {
        !matches!(self, Self::Put | Self::Multipart)
    }
}

/// Which operations, in which proportion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    weights: Vec<(Verb, u32)>,
    sum: u64,
}

impl Mix {
    /// One kind only.
    pub fn only(verb: Verb) -> Self {
        Self {
            weights: vec![(verb, 1)],
            sum: 1,
        }
    }

    /// Reads `get=70,put=25,delete=5`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(Verb, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part
                .split_once('=')
                .ok_or("a mix is written get=70,put=25,delete=5")?;
            let verb = Verb::from_name(name).ok_or_else(|| format!("{name} is no operation"))?;
            let weight: u32 = weight
                .parse()
                .map_err(|_| format!("the weight of {name} is not a whole number"))?;
            if weights.iter().any(|(known, _)| *known == verb) {
                return Err(format!("{name} stands twice in the mix"));
            }
            weights.push((verb, weight));
        }
        let sum = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let weight_of = |verb: Verb| {
            weights
                .iter()
                .find(|(of, _)| *of == verb)
                .map_or(0, |(_, it)| *it)
        };
        if weights.len() > 1 && weight_of(Verb::Delete) > weight_of(Verb::Put) {
            return Err("a mix that deletes more than it puts runs out of objects".to_owned());
        }
        match sum {
            0 => Err("all weights of the mix are zero".to_owned()),
            _ => Ok(Self { weights, sum }),
        }
    }

    /// The operation that belongs to a drawn number.
    pub fn choose(&self, drawn: u64) -> Verb {
        let mut left = drawn.checked_rem(self.sum).unwrap_or(0);
        for (verb, weight) in &self.weights {
            match left.checked_sub(u64::from(*weight)) {
                None => return *verb,
                Some(rest) => left = rest,
            }
        }
        Verb::Get
    }

    /// Whether it has this operation.
    pub fn has(&self, verb: Verb) -> bool {
        self.weights.iter().any(|(of, weight)| *of == verb && *weight > 0)
    }

    /// The operations it has.
    pub fn verbs(&self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(|verb| self.has(*verb))
    }
}

/// The only operation, or a mix as it is written on the command line.
impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [(verb, _)] = self.weights.as_slice() {
            return f.write_str(verb.name());
        }
        for (number, (verb, weight)) in self.weights.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}={weight}", verb.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::scatter;

    #[test]
    fn a_mix_is_drawn_in_its_proportion() {
        let mix = Mix::parse("get=70,put=20,head=10,list=0").unwrap();
        let mut counts = [0_u32; 8];
        for drawn in 0..100_000 {
            counts[mix.choose(scatter(drawn)) as usize] += 1;
        }
        assert_eq!(counts[Verb::List as usize], 0);
        for (verb, want) in [(Verb::Get, 70_000), (Verb::Put, 20_000), (Verb::Head, 10_000)] {
            let got = counts[verb as usize];
            assert!(got.abs_diff(want) < 1000, "{verb:?}: {got}");
        }
    }

    #[test]
    fn mixes_that_cannot_be_run_are_refused() {
        for bad in [
            "",
            "get",
            "get=x",
            "jump=1",
            "get=0",
            "get=1,get=2",
            "get=5,delete=5",
            "put=1,delete=2",
        ] {
            assert!(Mix::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Mix::only(Verb::Get).to_string(), "get");
        assert_eq!(
            Mix::parse("put=2,delete=1").unwrap().to_string(),
            "put=2,delete=1"
        );
    }
}
