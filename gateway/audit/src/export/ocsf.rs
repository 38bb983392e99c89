//! Open Cybersecurity Schema Framework: Datastore Activity and API Activity.
//!
//! What lives here: [`ocsf`]. What must not: fields of other versions than [`OCSF_VERSION`]. Invariant: what a
//! bucket is named in is Datastore Activity, everything else API Activity; what has no field of its own is in
//! `unmapped`, under its name in the trail.

use serde_json::{Map, Value, json};

use super::{Gravity, action, client, gravity, milliseconds};
use crate::event::Class;
use crate::line::Line;

/// The released version that is written.
pub const OCSF_VERSION: &str = "1.5.0";

const DATASTORE_ACTIVITY: u64 = 6005;
const API_ACTIVITY: u64 = 6003;
const OTHER: u64 = 99;

/// The record as one JSON object. `version` is the program's.
pub fn ocsf(record: &Line<'_>, version: &str) -> Value {
    let is_datastore = record.class() == Some(Class::Request) && !record.bucket.is_empty();
    let (class, class_name) = match is_datastore {
        true => (DATASTORE_ACTIVITY, "Datastore Activity"),
        false => (API_ACTIVITY, "API Activity"),
    };
    let (activity, activity_name) = activity(record, is_datastore);
    let (severity, severity_name) = match gravity(record) {
        Gravity::Usual => (1, "Informational"),
        Gravity::Refused => (3, "Medium"),
        Gravity::Alarming => (5, "Critical"),
    };
    let is_success = matches!(&*record.outcome, "" | "ok");
    let mut event = json!({
        "category_uid": 6, "category_name": "Application Activity",
        "class_uid": class, "class_name": class_name,
        "activity_id": activity, "activity_name": activity_name,
        "type_uid": class.saturating_mul(100).saturating_add(activity),
        "type_name": format!("{class_name}: {activity_name}"),
        "severity_id": severity, "severity": severity_name,
        "status_id": if is_success { 1 } else { 2 },
        "status": if is_success { "Success" } else { "Failure" },
        "time": milliseconds(record),
        "metadata": {
            "version": OCSF_VERSION,
            "product": { "name": "Sceau", "vendor_name": "Sceau", "version": version },
            "log_name": "audit", "log_version": record.v.to_string(),
            "sequence": record.seq,
            "uid": format!("{}-{}", record.instance, record.seq),
        },
        "actor": actor(record),
        "src_endpoint": source(record),
        "unmapped": unmapped(record),
    });
    let Some(fields) = event.as_object_mut() else {
        return event;
    };
    if let Some(microseconds) = record.duration_us {
        fields.insert("duration".to_owned(), json!(microseconds.checked_div(1000)));
    }
    if !record.error.is_empty() {
        fields.insert("status_code".to_owned(), json!(record.error));
    }
    if !is_datastore {
        fields.insert("api".to_owned(), api(record));
    } else {
        fields.insert("type".to_owned(), json!("Databucket"));
        fields.insert("type_id".to_owned(), json!(2));
        fields.insert("databucket".to_owned(), databucket(record));
    }
    event
}

/// By the verb that the names of S3 operations begin with.
fn activity(record: &Line<'_>, is_datastore: bool) -> (u64, &'static str) {
    let operation = &*record.operation;
    let begins = |verbs: &[&str]| verbs.iter().any(|verb| operation.starts_with(verb));
    if record.class() != Some(Class::Request) {
        return (OTHER, "Other");
    }
    match is_datastore {
        _ if begins(&["Delete", "Abort"]) => {
            if is_datastore {
                (7, "Delete")
            } else {
                (4, "Delete")
            }
        }
        true if begins(&["List"]) => (8, "List"),
        true if begins(&["Get", "Head", "Select"]) => (1, "Read"),
        true if begins(&["Create"]) => (6, "Create"),
        true if begins(&["Put", "Post", "Copy", "Upload", "Complete"]) => (5, "Write"),
        false if begins(&["Get", "Head", "List"]) => (2, "Read"),
        false if begins(&["Create", "Assume"]) => (1, "Create"),
        _ => (OTHER, "Other"),
    }
}

fn actor(record: &Line<'_>) -> Value {
    if record.principal.is_empty() {
        return json!({ "app_name": "Sceau" });
    }
    let mut actor = json!({ "user": { "name": record.principal } });
    if let Some(fields) = actor.as_object_mut().filter(|_| !record.session.is_empty()) {
        fields.insert("session".to_owned(), json!({ "uid": record.session }));
    }
    actor
}

fn api(record: &Line<'_>) -> Value {
    let mut api = Map::new();
    api.insert("operation".to_owned(), json!(action(record)));
    if !record.request_id.is_empty() {
        api.insert("request".to_owned(), json!({ "uid": record.request_id }));
    }
    if let Some(status) = record.status {
        let mut response = json!({ "code": status });
        if let Some(fields) = response.as_object_mut().filter(|_| !record.error.is_empty()) {
            fields.insert("error".to_owned(), json!(record.error));
        }
        api.insert("response".to_owned(), response);
    }
    api.into()
}

fn source(record: &Line<'_>) -> Value {
    match client(record) {
        Some(address) => json!({ "ip": address.ip().to_string(), "port": address.port() }),
        None => json!({ "instance_uid": record.instance }),
    }
}

fn databucket(record: &Line<'_>) -> Value {
    let mut bucket = json!({ "name": record.bucket, "type_id": 1, "type": "S3" });
    if let Some(fields) = bucket.as_object_mut().filter(|_| !record.key.is_empty()) {
        // A regular file.
        fields.insert("file".to_owned(), json!({ "name": record.key, "type_id": 1 }));
    }
    bucket
}

fn unmapped(record: &Line<'_>) -> Value {
    let mut rest = Map::new();
    let texts = [
        ("event", &record.event),
        ("operation", &record.operation),
        ("request_id", &record.request_id),
        ("prev", &record.prev),
        ("auth", &record.auth),
        ("decision", &record.decision),
        ("outcome", &record.outcome),
        ("reason", &record.reason),
        ("side", &record.side),
        ("method", &record.method),
        ("key_hash", &record.key_hash),
        ("key_record", &record.key_record),
        ("detail", &record.detail),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            rest.insert(name.to_owned(), json!(text));
        }
    }
    let numbers = [
        ("bytes_in", record.bytes_in),
        ("bytes_out", record.bytes_out),
        ("status", record.status.map(u64::from)),
        ("epoch", record.epoch.map(u64::from)),
        ("count", record.count),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            rest.insert(name.to_owned(), json!(number));
        }
    }
    rest.into()
}
