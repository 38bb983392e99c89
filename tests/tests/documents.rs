//! The documents speak of what is there: links, named tests, configuration keys, metrics, error ids.
//!
//! How: documents and sources are read as text and compared. Nothing is run.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are made and not written.
const MADE: &[&str] = &["target", "node_modules", "artifacts", "work", "corpus"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file with one of these endings, hidden folders apart.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with('.') || MADE.contains(&name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found
}

/// What stands between each `open` and the next `close`, on one line.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.lines()
        .flat_map(|line| line.split(open).skip(1))
        .filter_map(|rest| rest.split_once(close).map(|(inner, _)| inner))
        .collect()
}

/// What stands in code spans, on one line each.
fn spans(text: &str) -> Vec<&str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// The text outside fenced code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let kept = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Anchors of the headings, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = Vec::new();
    for file in files(&[".md"]) {
        let text = prose(&fs::read_to_string(&file).unwrap());
        for link in between(&text, "](", ')') {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap().join(path)
            };
            let has_anchor = || {
                anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap_or_default()).contains(anchor)
            };
            if !target.exists() || !has_anchor() {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
}

#[test]
fn every_file_and_test_that_the_documents_name_exists() {
    let paths: Vec<String> = files(&[".rs", ".py", ".toml", ".json", ".txt", ".service", ".md"])
        .iter()
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    let sources: String = files(&[".rs", ".py"])
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = prose(&read(document));
        let mut is_test_column = false;
        for line in text.lines() {
            is_test_column = line.starts_with("| P") || (is_test_column && line.starts_with('|'));
            for span in spans(line) {
                let is_path = [".rs", ".py"].iter().any(|ending| span.ends_with(ending));
                let is_test = span.starts_with("test_") || is_test_column && span.matches('_').count() > 2;
                let exists = if is_path {
                    paths.iter().any(|path| path.ends_with(&format!("/{span}")))
                } else {
                    sources.contains(&format!("fn {span}(")) || sources.contains(&format!("def {span}("))
                };
                if (is_path || is_test) && !exists {
                    missing.push(format!("{document}: {span}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}

#[test]
fn the_sample_configuration_shows_every_key() {
    let sample = read("deploy/sceau.toml");
    let mut missing = Vec::new();
    for file in ["file.rs", "audit.rs", "sts.rs"] {
        let text = read(&format!("gateway/server/src/config/{file}"));
        let mut is_table = false;
        for line in text.lines() {
            if line.contains("struct ") {
                is_table = line.contains("struct File");
            }
            let field = line.trim().trim_start_matches("pub(super) ");
            let Some((key, _)) = field.split_once(": ") else {
                continue;
            };
            let is_key = is_table && line.starts_with("    ") && !line.starts_with("     ");
            let is_key = is_key
                && key
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
            let is_shown = [
                format!("{key} = "),
                format!("{key}]"),
                format!("{key}."),
                format!("{key} "),
            ]
            .iter()
            .any(|form| sample.contains(form.as_str()));
            if is_key && key != "_version" && !is_shown {
                missing.push(key.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "not in deploy/sceau.toml: {missing:?}");
}

#[test]
fn the_metrics_reference_is_complete() {
    let named = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("sceau_") && word.len() > "sceau_".len())
            .map(str::to_owned)
            .collect()
    };
    let code = read("gateway/server/src/telemetry/metrics.rs");
    let quoted: String = code
        .lines()
        .filter(|line| line.contains("\"sceau_"))
        .collect::<Vec<_>>()
        .join("\n");
    let document = read("docs/operations.md");
    let (_, table) = document.split_once("\n## Metrics").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    assert_eq!(named(&quoted), named(table));
}

#[test]
fn the_table_of_error_ids_is_complete() {
    let ids = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .filter(|word| word.starts_with("E-") && word.ends_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    let sources = files(&[".rs"]);
    let sources = sources
        .iter()
        .filter(|path| !path.ends_with("tests/tests/documents.rs"));
    let code: BTreeSet<String> = sources
        .flat_map(|path| ids(&fs::read_to_string(path).unwrap()))
        .collect();
    let document = read("docs/operations.md");
    let (_, table) = document.split_once("\n### Error ids").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    assert_eq!(code, ids(table));
}

#[test]
fn the_code_map_has_every_room_and_crate() {
    let map = read("ARCHITECTURE.md");
    let rooms = read("gateway/server/src/lib.rs");
    let rooms = rooms.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let rooms = rooms.map(|line| format!("| `{}` |", line.trim_end_matches(';')));
    let workspace = read("Cargo.toml");
    let (_, members) = workspace.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let crates = members
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|member| format!("**`{member}`**"));
    let missing: Vec<_> = rooms
        .chain(crates)
        .filter(|entry| !map.contains(entry.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the code map: {missing:?}");
}

#[test]
fn every_operation_is_spoken_of() {
    let clients = read("docs/clients.md");
    let table = read("gateway/s3wire/src/op/table.rs");
    let documents = read("gateway/s3wire/src/op/document.rs");
    let named = between(&table, " name: \"", '"');
    let passed = documents
        .lines()
        .filter_map(|line| line.trim().split_once(" = \""))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()));
    let names: Vec<_> = named.into_iter().chain(passed).collect();
    assert!(names.len() > 60, "the sources are not read any more: {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !clients.contains(**name)).collect();
    assert!(missing.is_empty(), "not in docs/clients.md: {missing:?}");
}
