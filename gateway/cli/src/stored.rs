//! `sceau inspect` and `sceau verify`: what the store holds, and whether it is whole.
//!
//! What lives here: arguments, and findings as text or JSON. What must not: opening objects, which is
//! `sceau_server::examine`. Invariant: no plaintext is printed, and one damaged object does not keep the
//! others from being looked at.

use std::sync::Arc;

use clap::Args;
use sceau_policy::{Credentials, CredentialsFile, Policy, PolicyFile};
use sceau_server::access::{AccessFiles, AccessSnapshot, read_key_rules};
use sceau_server::app::{AppParts, Gateway, Settings};
use sceau_server::audit::Trail;
use sceau_server::error::{GatewayError, Kind};
use sceau_server::examine::{self, Inspection};
use sceau_server::keyring::Caller;
use sceau_server::patience::Patience;
use serde_json::json;

use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::{ConfigArg, Foundations, Provider, load_config, quiet_logs};

/// Shows what the header of a stored object says; never its content
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sceau inspect s3://bucket/key\n  sceau inspect --output json s3://bucket/dir/key"
)]
pub struct InspectArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The object
    #[arg(value_name = "s3://BUCKET/KEY")]
    object: String,
}

/// Authenticates stored objects from end to end
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sceau verify s3://bucket/\n  sceau verify --output json s3://bucket/reports/2026-"
)]
pub struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// All objects whose keys begin so
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    prefix: String,
}

/// Splits `s3://bucket/rest`.
pub fn split(address: &str) -> Result<(&str, &str), Failure> {
    let rest = address
        .strip_prefix("s3://")
        .ok_or_else(|| Failure::usage("an address is s3://bucket/key"))?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Failure::usage("an address is s3://bucket/key"));
    }
    Ok((bucket, key))
}

/// What whoever uses these commands is called in rules about keys, and in records.
pub const OPERATOR: &str = "operator";

const SCAN_HINT: &str = "reading stored objects for an operator is denied until the policy file has [[key_use]] with allow = [\"scan\"]";

/// A gateway that serves nobody: only its readers are used.
pub async fn reader(config: &ConfigArg) -> Result<Arc<Gateway>, Failure> {
    quiet_logs();
    let foundations = Foundations::new(load_config(&config.config)?)?;
    let key_rules =
        read_key_rules(&foundations.config.access.policy).map_err(|error| Failure::access(&error))?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let keyring = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let credentials = Credentials::from_file(CredentialsFile::default()).map_err(Failure::internal)?;
    let policy = Policy::from_file(&PolicyFile::default()).map_err(Failure::internal)?;
    Gateway::new(AppParts {
        settings: Settings {
            domains: Vec::new(),
            regions: Vec::new(),
            patience: Patience::default(),
            in_flight_max: 1,
        },
        store: foundations.store.clone(),
        control: foundations.control.clone(),
        keyring,
        access: AccessFiles::fixed(AccessSnapshot::new(credentials, policy).with_key_rules(key_rules)),
        sts: None,
        trail: Trail::off(),
        metrics: Arc::clone(&foundations.metrics),
    })
    .map_err(Failure::internal)
}

/// Who the records of this command name.
fn operator(operation: &'static str, bucket: &str) -> Caller {
    Caller {
        principal: OPERATOR.to_owned(),
        operation,
        bucket: bucket.to_owned(),
        request_id: String::new(),
    }
}

/// Whether keys or store are out of reach, which says nothing about an object.
pub fn is_outage(error: &GatewayError) -> bool {
    match error.kind {
        Kind::KeysUnavailable | Kind::StoreUnavailable | Kind::StoreRefusesUs | Kind::Overloaded => true,
        Kind::Client(_)
        | Kind::Answer(_)
        | Kind::Integrity(_)
        | Kind::UploadState
        | Kind::NotSealed
        | Kind::KeysRefused
        | Kind::StoreProtocol
        | Kind::ClientGone
        | Kind::Unrecorded
        | Kind::Internal => false,
    }
}

/// How a command ends that met this error.
pub fn failed(error: &GatewayError) -> Failure {
    let part = match error.kind {
        Kind::Client(_) | Kind::Answer(_) | Kind::Integrity(_) | Kind::UploadState | Kind::NotSealed => {
            Part::Finding
        }
        Kind::KeysUnavailable | Kind::KeysRefused => Part::Keys,
        Kind::StoreUnavailable | Kind::StoreRefusesUs | Kind::StoreProtocol => Part::Store,
        Kind::ClientGone | Kind::Overloaded | Kind::Unrecorded | Kind::Internal => Part::Internal,
    };
    let failure = Failure::new(part, error.to_string());
    if error.kind == Kind::KeysRefused {
        return failure.with_hint(SCAN_HINT);
    }
    failure
}

/// Runs `sceau inspect`.
pub async fn inspect(args: InspectArgs, output: Output) -> Result<(), Failure> {
    let (bucket, key) = split(&args.object)?;
    if key.is_empty() {
        return Err(Failure::usage("name one object: s3://bucket/key"));
    }
    let gateway = reader(&args.config).await?;
    let found = operator("inspect", bucket)
        .scope(examine::inspect(&gateway, bucket, key))
        .await
        .map_err(|error| failed(&error))?;
    output.print(&as_text(&found), &as_json(&found))
}

fn as_text(found: &Inspection) -> String {
    let layout = if found.is_multi { "multipart" } else { "single" };
    let written = sceau_s3wire::amztime::format_iso8601(found.write_time_ms.checked_div(1000).unwrap_or(0));
    let wraps = found.wraps.join("\n              ");
    format!(
        "format        SOF1, suite {:#04x}, {layout} layout, segments of 65536 bytes\n\
         plaintext     {} bytes (authenticated)\n\
         stored        {} bytes\n\
         sealed        {written} by gateway {} (number {})\n\
         key record    {}, epoch {}\n\
         wrapped by    {wraps}\n\
         header        {} characters, {} user metadata entries inside\n\
         store holds   {}…",
        found.suite,
        found.plain_len,
        found.stored_len,
        found.writer,
        found.writer_seq,
        found.krid,
        found.epoch,
        found.header_chars,
        found.user_metadata,
        found.stored_start,
    )
}

fn as_json(found: &Inspection) -> serde_json::Value {
    json!({
        "format": "SOF1",
        "suite": found.suite,
        "layout": if found.is_multi { "multipart" } else { "single" },
        "plain_bytes": found.plain_len,
        "stored_bytes": found.stored_len,
        "sealed_at_ms": found.write_time_ms,
        "writer": found.writer,
        "writer_sequence": found.writer_seq,
        "key_record": found.krid,
        "epoch": found.epoch,
        "wrapped_by": found.wraps,
        "header_characters": found.header_chars,
        "user_metadata_entries": found.user_metadata,
        "stored_start": found.stored_start,
    })
}

/// Counts of one verification.
#[derive(Default)]
struct Tally {
    whole: u64,
    plain_bytes: u64,
    damaged: u64,
}

/// Runs `sceau verify`.
pub async fn verify(args: VerifyArgs, output: Output) -> Result<(), Failure> {
    let (bucket, prefix) = split(&args.prefix)?;
    let gateway = reader(&args.config).await?;
    let mut tally = Tally::default();
    let mut token = None;
    loop {
        let (objects, next) = examine::page(&gateway, bucket, prefix, token)
            .await
            .map_err(|error| failed(&error))?;
        for object in objects {
            verify_one(&gateway, bucket, &object.key, output, &mut tally).await?;
        }
        token = next;
        if token.is_none() {
            break;
        }
    }
    let text = format!(
        "{} objects verified, {} bytes of plaintext; {} refused",
        tally.whole, tally.plain_bytes, tally.damaged
    );
    output.print(
        &text,
        &json!({ "verified": tally.whole, "plain_bytes": tally.plain_bytes, "refused": tally.damaged }),
    )?;
    if tally.damaged == 0 {
        return Ok(());
    }
    Err(
        Failure::new(Part::Finding, format!("{} objects were refused", tally.damaged))
            .with_hint("the store holds something else than the gateway wrote there: see SECURITY.md"),
    )
}

async fn verify_one(
    gateway: &Gateway,
    bucket: &str,
    key: &str,
    output: Output,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let caller = operator("verify", bucket);
    match caller.scope(examine::verify(gateway, bucket, key)).await {
        Ok(plain) => {
            tally.whole = tally.whole.saturating_add(1);
            tally.plain_bytes = tally.plain_bytes.saturating_add(plain);
            Ok(())
        }
        Err(error) if matches!(error.kind, Kind::Integrity(_) | Kind::NotSealed) => {
            tally.damaged = tally.damaged.saturating_add(1);
            output.print(
                &format!("{key}: {error}"),
                &json!({ "key": key, "refused": error.to_string() }),
            )
        }
        // Keys or store out of reach say nothing about the object: the count would lie.
        Err(error) => Err(failed(&error)),
    }
}
