//! What commands print on standard output.
//!
//! What lives here: the choice between text and JSON. What must not: messages, which go to standard
//! error. Invariant: a closed pipe is a success, because the reader got what it wanted.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

use crate::exit::Failure;

/// Form of the data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON value a line
    Json,
}

impl Output {
    /// Prints `text` or `json`, one line or more.
    pub fn print(self, text: &str, json: &Value) -> Result<(), Failure> {
        let line = match self {
            Self::Text => text.to_owned(),
            Self::Json => json.to_string(),
        };
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map_err(Failure::internal),
        }
    }
}
