//! "Did you mean": the nearest known name beside an unknown one.
//!
//! What lives here: texts for syntax errors. What must not: rules. Invariant: the report of the TOML reader is
//! kept whole; a suggestion only follows it.

/// Adds "did you mean" to an unknown-key or unknown-value report when one expected name is near.
pub(super) fn with_suggestion(error: &toml::de::Error) -> String {
    let report = error.to_string();
    let report = report.trim_end();
    let mut names = error.message().split('`').skip(1).step_by(2);
    let Some(found) = names.next().filter(|_| error.message().starts_with("unknown ")) else {
        return report.to_owned();
    };
    match names.map(|name| (edit_distance(found, name), name)).min() {
        Some((distance, name)) if distance <= 3 && distance < name.len() => {
            format!("{report}\nhelp: did you mean `{name}`?")
        }
        _ => report.to_owned(),
    }
}

/// Levenshtein distance; names here are short, so the quadratic cost is nothing.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        for (cell, to) in row
            .iter_mut()
            .zip(std::iter::once(None).chain(b.bytes().map(Some)))
        {
            let Some(to) = to else {
                *cell = left;
                continue;
            };
            let substitution = diagonal.saturating_add(usize::from(from != to));
            diagonal = *cell;
            left = substitution
                .min(left.saturating_add(1))
                .min(cell.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
