//! Names with an optional trailing star.
//!
//! What lives here: one pattern type. What must not: any other wildcard. Invariant: a star anywhere
//! but at the end is refused when the pattern is made.

/// A literal name, or a prefix written with a trailing `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    is_prefix: bool,
}

impl Pattern {
    /// `None` when the text is empty or has a star that is not its last character.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let (text, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let bad = text.contains('*') || (text.is_empty() && !is_prefix);
        (!bad).then(|| Self {
            text: text.to_owned(),
            is_prefix,
        })
    }

    /// Whether it matches one name only.
    pub(crate) fn is_literal(&self) -> bool {
        !self.is_prefix
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        if self.is_prefix {
            name.starts_with(&self.text)
        } else {
            name == self.text
        }
    }
}
