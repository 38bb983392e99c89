//! ArcSight Common Event Format, version 0.
//!
//! What lives here: [`cef`] and its escaping. What must not: choices of what is exported. Invariant: seven
//! header fields and one line whatever a client put into a name: in the header `|` and `\` are escaped, in
//! values `\`, `=` and ends of lines.
//!
//! The attack considered: a client names an object so that a record says something else, or becomes two.

use std::fmt::Write;
use std::net::IpAddr;

use super::{Gravity, action, client, gravity, milliseconds};
use crate::line::Line;

/// The record as one line, without its end. `version` is the program's.
pub fn cef(record: &Line<'_>, version: &str) -> String {
    let severity = match gravity(record) {
        Gravity::Usual => "3",
        Gravity::Refused => "5",
        Gravity::Alarming => "9",
    };
    let mut out = String::from("CEF:0|Sceau|Sceau|");
    for field in [
        version,
        &format!("{}:{}", record.event, action(record)),
        action(record),
    ] {
        header(&mut out, field);
        out.push('|');
    }
    out.push_str(severity);
    out.push('|');
    let mut fields = Fields { out, is_first: true };
    fields.number("rt", Some(milliseconds(record)));
    fields.number("externalId", Some(record.seq));
    fields.text("deviceExternalId", &record.instance);
    fields.text("cat", &record.event);
    fields.text("act", action(record));
    fields.text("outcome", &record.outcome);
    let why = if record.error.is_empty() {
        &record.reason
    } else {
        &record.error
    };
    fields.text("reason", why);
    if let Some(address) = client(record) {
        let text = address.ip().to_string();
        match address.ip() {
            IpAddr::V4(_) => fields.text("src", &text),
            IpAddr::V6(_) => fields.labelled("c6a2", "Source IPv6 Address", &text),
        }
        fields.number("spt", Some(u64::from(address.port())));
    }
    fields.text("suser", &record.principal);
    fields.text("requestMethod", &record.method);
    fields.text("filePath", &record.key);
    fields.text("fileHash", &record.key_hash);
    fields.labelled("cs1", "bucket", &record.bucket);
    fields.labelled("cs2", "requestId", &record.request_id);
    fields.labelled("cs3", "keyRecord", &record.key_record);
    fields.labelled("cs4", "decision", &record.decision);
    fields.labelled("cs5", "auth", &record.auth);
    fields.labelled("cs6", "detail", &record.detail);
    fields.number("in", record.bytes_in);
    fields.number("out", record.bytes_out);
    fields.numbered("cn1", "status", record.status.map(u64::from));
    fields.numbered("cn2", "durationUs", record.duration_us);
    fields.numbered("cn3", "count", record.count.or(record.epoch.map(u64::from)));
    fields.out
}

struct Fields {
    out: String,
    is_first: bool,
}

impl Fields {
    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(' ');
        }
        self.out.push_str(name);
        self.out.push('=');
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.name(name);
            value(&mut self.out, text);
        }
    }

    fn number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.name(name);
            // Writing to a string does not fail.
            let _ = write!(self.out, "{number}");
        }
    }

    fn labelled(&mut self, name: &str, label: &str, text: &str) {
        if !text.is_empty() {
            self.text(&format!("{name}Label"), label);
            self.text(name, text);
        }
    }

    fn numbered(&mut self, name: &str, label: &str, number: Option<u64>) {
        if number.is_some() {
            self.text(&format!("{name}Label"), label);
            self.number(name, number);
        }
    }
}

fn header(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '|' | '\\' => out.extend(['\\', letter]),
            '\n' | '\r' => out.push(' '),
            _ => out.push(letter),
        }
    }
}

fn value(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' | '=' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ => out.push(letter),
        }
    }
}
