//! `sceau keys show|disable|enable|destroy|verify-statement`: the life of epochs.
//!
//! What lives here: the plan that an operator sees, the phrase to type, the statement. What must not: the
//! change itself, which is the keyring service's. Invariant: nothing is destroyed before its plan was shown,
//! its phrase given for the very generation of that plan, and the statement's file made.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use data_encoding::HEXLOWER;
use http::Method;
use sceau_envelope::keyring::BucketEntry;
use sceau_envelope::{KeyRecord, KeyringContent, RecordState};
use sceau_keys::{BucketId, DomainId, Epoch, Krid, Purpose};
use sceau_s3wire::amztime::format_iso8601;
use sceau_server::keyring::{KeyringFault, KeyringService, StateChange};
use sceau_server::upstream::StoreRequest;
use serde_json::json;

use super::{bucket_state, domains, message, record_state};
use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::{ConfigArg, Foundations, Provider};

/// Largest statement file in bytes.
const STATEMENT_BYTES_MAX: u64 = 1024 * 1024;

/// Largest answer of the store that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Begins the second line of a statement file.
const MAC_PREFIX: &str = "hmac-sha384 ";

/// Which epochs a command is about.
#[derive(Debug, Args)]
pub struct EpochsArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Name of the bucket, or its id where it was removed
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// Number of an epoch; may be repeated
    #[arg(long, value_name = "EPOCH", conflicts_with = "all")]
    epoch: Vec<Epoch>,
    /// Every epoch of the bucket, those of all its shred domains included; with --prefix of that one only
    #[arg(long, required_unless_present = "epoch")]
    all: bool,
    /// Of the shred domain with this prefix; without it --epoch is of the bucket's own epochs
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

/// Which epochs are destroyed, by whom, and where that is stated.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    #[command(flatten)]
    epochs: EpochsArgs,
    /// Who destroys: a name for the statement
    #[arg(long, value_name = "NAME")]
    by: String,
    /// New file for the authenticated statement of what was destroyed
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// The phrase that the plan shows, where no terminal can ask for it
    #[arg(long, value_name = "PHRASE")]
    confirm: Option<String>,
}

/// Which bucket to show.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Name of the bucket, or its id where it was removed
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
}

/// Which statement to verify.
#[derive(Debug, Args)]
pub struct StatementArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The statement
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Shows a bucket's epochs with their dates and wraps.
pub async fn show(args: ShowArgs, output: Output) -> Result<(), Failure> {
    let (foundations, service) = open(&args.config).await?;
    let keyring = service.keyring();
    let content = keyring.content();
    let entry = find_bucket(content, &args.bucket)?;
    let names = names(&foundations, content, entry.bucket).await;
    let records = records_of(content, entry.bucket);
    let mut lines = vec![format!(
        "bucket {}  {}  {}",
        entry.name,
        entry.bucket,
        bucket_state(entry.state)
    )];
    for record in &records {
        lines.push(epoch_line(record, &records, &names));
        for wrap in &record.wraps {
            lines.push(format!(
                "    wrapped by {} version {}  {}  token {}",
                wrap.key_label,
                wrap.key_version,
                wrap.scheme.name(),
                wrap.provider
            ));
        }
    }
    let epochs: Vec<_> = records
        .iter()
        .map(|record| epoch_json(record, &records, &names))
        .collect();
    let json = json!({
        "bucket": entry.name, "id": entry.bucket.to_string(), "domains": names.values().collect::<Vec<_>>(), "state": bucket_state(entry.state),
        "generation": content.generation, "epochs": epochs,
    });
    output.print(&lines.join("\n"), &json)
}

/// Disables or enables epochs.
pub async fn set_state(args: EpochsArgs, to: StateChange, output: Output) -> Result<(), Failure> {
    let (foundations, service) = open(&args.config).await?;
    let (entry, krids) = chosen(&service, &args)?;
    let generation = service
        .set_states(entry.bucket, krids.clone(), to)
        .await
        .map_err(Failure::keyring)?;
    let keyring = service.keyring();
    let names = names(&foundations, keyring.content(), entry.bucket).await;
    let records = records_of(keyring.content(), entry.bucket);
    let touched: Vec<_> = records
        .iter()
        .filter(|record| krids.contains(&record.krid))
        .collect();
    let lines: Vec<_> = touched
        .iter()
        .map(|record| format!("{}{}", entry.name, epoch_line(record, &records, &names)))
        .collect();
    let text = format!(
        "{}\ngeneration {generation}; running gateways follow within `keys.refresh`",
        lines.join("\n")
    );
    let epochs: Vec<_> = touched
        .iter()
        .map(|record| epoch_json(record, &records, &names))
        .collect();
    output.print(
        &text,
        &json!({"bucket": entry.name, "generation": generation, "epochs": epochs}),
    )
}

/// Shows what would become unreadable, asks for the phrase, destroys, and states it.
pub async fn destroy(args: DestroyArgs, output: Output) -> Result<(), Failure> {
    let (foundations, service) = open(&args.epochs.config).await?;
    let (entry, krids) = chosen(&service, &args.epochs)?;
    let keyring = service.keyring();
    let content = keyring.content();
    let names = names(&foundations, content, entry.bucket).await;
    let records = records_of(content, entry.bucket);
    let doomed: Vec<_> = records
        .iter()
        .copied()
        .filter(|record| krids.contains(&record.krid) && record.state != RecordState::Destroyed)
        .collect();
    if doomed.is_empty() {
        return Err(Failure::keyring(KeyringFault::EpochDestroyed));
    }
    if doomed.iter().any(|record| record.state != RecordState::Disabled) {
        return Err(Failure::keyring(KeyringFault::NotDisabled));
    }
    let numbers: Vec<_> = doomed.iter().map(|record| record.epoch.to_string()).collect();
    let place = match &args.epochs.prefix {
        Some(prefix) => format!("{}/{prefix}", entry.name),
        None => entry.name.clone(),
    };
    let phrase = format!(
        "destroy {place} epoch {} of generation {}",
        numbers.join(" "),
        content.generation
    );
    let remains = what_remains(&foundations).await;
    message(&plan_text(&entry, &doomed, &records, &remains, &names));
    confirm(&phrase, args.confirm.as_deref())?;
    let mut file = create_statement(&args.statement)?;
    let planned = content.generation;
    let krids = doomed.iter().map(|record| record.krid).collect();
    let generation = service
        .set_states(entry.bucket, krids, StateChange::Destroy { planned })
        .await
        .map_err(Failure::keyring)?;
    let epochs: Vec<_> = doomed
        .iter()
        .map(|record| epoch_json(record, &records, &names))
        .collect();
    let statement = json!({
        "statement": "sceau key destruction", "version": 1, "tenant": content.tenant.to_string(),
        "bucket": entry.name, "bucket_id": entry.bucket.to_string(), "epochs_destroyed": epochs,
        "generation": generation, "at": format_iso8601(now_seconds()), "by": args.by,
        "user_id": rustix::process::getuid().as_raw(), "not_reached": remains,
    })
    .to_string();
    let mac = service
        .authenticate(statement.as_bytes())
        .await
        .map_err(Failure::keyring)?;
    let document = format!("{statement}\n{MAC_PREFIX}{}\n", HEXLOWER.encode(&mac));
    let written = file.write_all(document.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        message(&document);
        return Err(Failure::file(&args.statement, &error)
            .with_hint("the keys are destroyed; keep the statement that was shown instead"));
    }
    let text = format!(
        "destroyed {} epochs of {}, generation {generation}; statement in {}",
        doomed.len(),
        entry.name,
        args.statement.display()
    );
    output.print(
        &text,
        &json!({"bucket": entry.name, "destroyed": doomed.len(), "generation": generation, "statement": args.statement}),
    )
}

/// Verifies that a statement was made with the key of this keyring, and shows it.
pub async fn verify_statement(args: StatementArgs, output: Output) -> Result<(), Failure> {
    let refused = || {
        Failure::new(
            Part::Finding,
            "the statement was not made with the key of this keyring",
        )
        .with_hint("it was altered, or belongs to another keyring")
    };
    let length = std::fs::metadata(&args.file).map_err(|error| Failure::file(&args.file, &error))?;
    if length.len() > STATEMENT_BYTES_MAX {
        return Err(refused());
    }
    let document = std::fs::read_to_string(&args.file).map_err(|error| Failure::file(&args.file, &error))?;
    let mut lines = document.lines();
    let (Some(statement), Some(mac), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(refused());
    };
    let mac = mac.strip_prefix(MAC_PREFIX).ok_or_else(refused)?;
    let mac = HEXLOWER.decode(mac.as_bytes()).map_err(|_| refused())?;
    let (_foundations, service) = open(&args.config).await?;
    let is_authentic = service.is_authentic(statement.as_bytes(), &mac).await;
    if !is_authentic.map_err(Failure::keyring)? {
        return Err(refused());
    }
    let json: serde_json::Value = serde_json::from_str(statement).map_err(|_| refused())?;
    output.print(&format!("authentic\n{json:#}"), &json)
}

async fn open(config: &ConfigArg) -> Result<(Foundations, Arc<KeyringService>), Failure> {
    let foundations = Foundations::load(&config.config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    Ok((foundations, service))
}

/// The bucket in use of this name, or any bucket of this id, or the only removed one of this name.
fn find_bucket(content: &KeyringContent, wanted: &str) -> Result<BucketEntry, Failure> {
    if let Some(entry) = content.active_bucket(wanted) {
        return Ok(entry.clone());
    }
    let id: Option<BucketId> = wanted.parse().ok();
    let is_meant = |entry: &&BucketEntry| Some(entry.bucket) == id || entry.name == wanted;
    let mut found = content.buckets.iter().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.clone()),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "several removed buckets were called {wanted}: name one by its id"
        ))
        .with_hint("`sceau buckets list` shows the ids")),
        (None, _) => Err(Failure::keyring(KeyringFault::BucketUnknown)),
    }
}

fn chosen(service: &KeyringService, args: &EpochsArgs) -> Result<(BucketEntry, Vec<Krid>), Failure> {
    let keyring = service.keyring();
    let content = keyring.content();
    let entry = find_bucket(content, &args.bucket)?;
    let domain = domains::named(content, entry.bucket, args.prefix.as_deref())?;
    let mut records = records_of(content, entry.bucket);
    if args.prefix.is_some() || !args.all {
        records.retain(|record| record.domain == domain);
    }
    if records.is_empty() {
        return Err(Failure::keyring(KeyringFault::DomainUnknown));
    }
    if args.all {
        let left = records
            .iter()
            .filter(|record| record.state != RecordState::Destroyed);
        return Ok((entry, left.map(|record| record.krid).collect()));
    }
    let krid = |epoch: &Epoch| {
        let found = records.iter().find(|record| record.epoch == *epoch);
        found.map(|record| record.krid)
    };
    match args.epoch.iter().map(krid).collect() {
        Some(krids) => Ok((entry, krids)),
        None => Err(Failure::keyring(KeyringFault::EpochUnknown)),
    }
}

/// What the domains of a bucket are called.
async fn names(
    foundations: &Foundations,
    content: &KeyringContent,
    bucket: BucketId,
) -> BTreeMap<DomainId, String> {
    let mut names = BTreeMap::new();
    for domain in content.domains(bucket) {
        names.insert(domain, domains::name(foundations, content, bucket, domain).await);
    }
    names
}

/// Begins the next epoch of a shred domain, or its first.
pub async fn new_domain_epoch(
    config: &ConfigArg,
    bucket: &str,
    prefix: &str,
    begins: bool,
    output: Output,
) -> Result<(), Failure> {
    let (foundations, service) = open(config).await?;
    let entry = service
        .bucket(bucket)
        .ok_or_else(|| Failure::keyring(KeyringFault::BucketUnknown))?;
    let domain = domains::named(service.keyring().content(), entry.bucket, Some(prefix))?;
    if begins {
        // Before the domain is in use: a number without its prefix can be used, but not be listed by name.
        domains::remember(&foundations, domain, prefix).await?;
    }
    let krid = service
        .new_epoch_of(bucket, domain, begins)
        .await
        .map_err(Failure::keyring)?;
    let keyring = service.keyring();
    let epoch = keyring.content().record(krid).map_or(0, |record| record.epoch);
    let text = format!(
        "{bucket}/{prefix}: epoch {epoch} seals from now on ({krid})\n\
         objects that exist keep their epochs; `sceau rewrap --bucket {bucket} --prefix {prefix}` moves them"
    );
    let json = json!({
        "bucket": bucket, "prefix": prefix, "domain": domain.to_string(), "begun": begins, "epoch": epoch,
        "id": krid.to_string(),
    });
    output.print(&text, &json)
}

fn records_of(content: &KeyringContent, bucket: BucketId) -> Vec<&KeyRecord> {
    let mut records: Vec<_> = content
        .records
        .iter()
        .filter(|record| record.purpose == Purpose::Data && record.bucket == bucket)
        .collect();
    let order = content.domains(bucket);
    let place = |record: &KeyRecord| order.iter().position(|domain| *domain == record.domain);
    records.sort_by_key(|record| (place(record), record.epoch));
    records
}

/// When an epoch began to seal, and when the next one took over.
fn dates(record: &KeyRecord, of_bucket: &[&KeyRecord]) -> (String, String) {
    let day = |ms: u64| format_iso8601(ms.checked_div(1000).unwrap_or(0));
    let next = of_bucket
        .iter()
        .filter(|other| other.domain == record.domain && other.epoch > record.epoch)
        .min_by_key(|other| other.epoch);
    let until = next.map_or_else(|| "now".to_owned(), |next| day(next.not_before_ms));
    (day(record.not_before_ms), until)
}

fn epoch_line(record: &KeyRecord, of_bucket: &[&KeyRecord], names: &BTreeMap<DomainId, String>) -> String {
    let (from, until) = dates(record, of_bucket);
    let name = names.get(&record.domain).map_or("?", String::as_str);
    format!(
        "  {name} epoch {}  {}  {}  sealed from {from} to {until}",
        record.epoch,
        record.krid,
        record_state(record.state)
    )
}

fn epoch_json(
    record: &KeyRecord,
    of_bucket: &[&KeyRecord],
    names: &BTreeMap<DomainId, String>,
) -> serde_json::Value {
    let (from, until) = dates(record, of_bucket);
    let wraps = record.wraps.iter().map(|wrap| {
        json!({
            "provider": wrap.provider, "key_label": wrap.key_label, "key_version": wrap.key_version,
            "scheme": wrap.scheme.name(),
        })
    });
    json!({
        "epoch": record.epoch, "id": record.krid.to_string(), "domain": names.get(&record.domain),
        "domain_id": record.domain.to_string(), "state": record_state(record.state),
        "sealed_from": from, "sealed_until": until, "wraps": wraps.collect::<Vec<_>>(),
    })
}

fn plan_text(
    entry: &BucketEntry,
    doomed: &[&KeyRecord],
    records: &[&KeyRecord],
    remains: &[String],
    names: &BTreeMap<DomainId, String>,
) -> String {
    let mut lines = vec![format!(
        "what becomes unreadable for ever, in bucket {} ({}, {}):",
        entry.name,
        entry.bucket,
        bucket_state(entry.state)
    )];
    lines.extend(doomed.iter().map(|record| epoch_line(record, records, names)));
    lines.push(
        "every object, version and unfinished upload whose header names one of these epochs is lost"
            .to_owned(),
    );
    if doomed
        .iter()
        .any(|record| names.get(&record.domain).is_some_and(|name| name != domains::OWN))
    {
        lines.push(
            "what stays readable although its name begins so: objects and versions still sealed under another epoch \
             (`sceau rewrap --prefix` names those that it moves and those that it cannot), and copies of these objects \
             under other names, which have the data key of the original"
                .to_owned(),
        );
    }
    lines.push("what this command does not reach, and you must destroy as well:".to_owned());
    lines.extend(remains.iter().map(|text| format!("  - {text}")));
    lines.join("\n")
}

/// Copies of the wraps that are out of this command's reach.
async fn what_remains(foundations: &Foundations) -> Vec<String> {
    let mut remains = vec![
        "backups and exports of the keyring, and the local copies of gateways that do not run now".to_owned(),
        "the key-encryption key itself: with an old copy of the keyring it unwraps; rotate it and destroy the old one where this must be beyond doubt".to_owned(),
    ];
    let mut request = StoreRequest::new(Method::GET).bucket(foundations.control.name());
    request.query.push(("versioning".to_owned(), None));
    let answer = match foundations.store.send(request).await {
        Ok(response) => response.collect(ANSWER_BYTES_MAX).await,
        Err(error) => Err(error),
    };
    let is_unversioned = answer.is_ok_and(|(head, body)| {
        let text = String::from_utf8_lossy(&body).into_owned();
        head.status.is_success() && text.contains("VersioningConfiguration") && !text.contains("Status>")
    });
    if !is_unversioned {
        remains.push(format!(
            "older versions of the object `keyring` in {}: that bucket keeps versions, or does not say whether it does",
            foundations.control.name()
        ));
    }
    remains
}

fn confirm(phrase: &str, given: Option<&str>) -> Result<(), Failure> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => {
            message(&format!("to go on, type: {phrase}"));
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(Failure::internal)?;
            line.trim().to_owned()
        }
        None => String::new(),
    };
    if typed == phrase {
        return Ok(());
    }
    Err(Failure::usage("nothing was destroyed: the phrase was not given")
        .with_hint(format!("the phrase for this plan is: {phrase}")))
}

fn create_statement(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::file(path, &error))
}

fn now_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
