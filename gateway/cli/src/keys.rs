//! `sceau keys`: enrolment, listing, new epochs, and the life of keys after that.
//!
//! What lives here: what an operator does with the keyring. What must not: key bytes. Invariant:
//! nothing is generated in an HSM before it is certain that no keyring exists yet.

mod accept;
mod domains;
mod epochs;
mod kmip;
mod rotate;
mod transfer;

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use http::Method;
use sceau_envelope::keyring::BucketState;
use sceau_envelope::{KeyRecord, KeyringContent, RecordState};
use sceau_keys::Purpose;
use sceau_kms::Severity;
use sceau_kms_insecure_local::InsecureLocalProvider;
use sceau_kms_pkcs11::{Enrolment, Profile, Trial};
use sceau_s3wire::xml::ListPage;
use sceau_server::config::{Pkcs11Config, ProviderConfig};
use sceau_server::keyring::{
    ControlCopy, KeyringFault, KeyringService, LocalCopy, Place, StateChange, call_drop, enrolled_key,
};
use sceau_server::upstream::{Store, StoreRequest};
use serde_json::json;

use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::{self, ConfigArg, Foundations, Provider};

/// Label of software keys.
const INSECURE_LABEL: &str = "insecure-local";

/// Largest answer to a listing of one key, in bytes.
const LISTING_BYTES_MAX: usize = 64 * 1024;

/// Looks after keys.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Tests the key-encryption key of the configuration and makes the keyring under it
    #[command(
        after_help = "Examples:\n  sceau keys enrol --config sceau.toml\n  sceau keys enrol --config sceau.toml --generate"
    )]
    Enrol {
        #[command(flatten)]
        config: ConfigArg,
        /// First generate the key-encryption key in the token
        #[arg(long)]
        generate: bool,
    },
    /// Accepts token, key attributes and module as they are now, after a refusal named what changed
    #[command(
        after_help = "Examples:\n  sceau keys accept --config sceau.toml --dry-run\n  sceau keys accept --config sceau.toml"
    )]
    Accept(accept::AcceptArgs),
    /// Makes every gateway of this control bucket drop the keys it holds unwrapped
    #[command(
        after_help = "Gateways follow within keys.refresh. Disable the key in the HSM first: gateways unwrap again what clients ask for.\n\nExample:\n  sceau keys drop-all --config sceau.toml"
    )]
    DropAll {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Lists key-encryption keys, buckets and epoch keys
    #[command(
        after_help = "Examples:\n  sceau keys list --config sceau.toml\n  sceau keys list --config sceau.toml --output json"
    )]
    List {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Begins a new epoch of a bucket, or enrols a bucket that exists in the store
    #[command(
        after_help = "Examples:\n  sceau keys new-epoch --config sceau.toml --bucket photos\n  sceau keys new-epoch --config sceau.toml --bucket photos --prefix customers/42/ --begin\n  sceau keys new-epoch --config sceau.toml --bucket archive --allow-nonempty"
    )]
    NewEpoch {
        #[command(flatten)]
        config: ConfigArg,
        /// Name of the bucket
        #[arg(long, value_name = "BUCKET")]
        bucket: String,
        /// Enrol the bucket although it holds objects; those that are not sealed cannot be read
        #[arg(long)]
        allow_nonempty: bool,
        /// Of the names that begin so, which ends with a slash: a shred domain, whose epochs are its own
        #[arg(long, value_name = "PREFIX", conflicts_with = "allow_nonempty")]
        prefix: Option<String>,
        /// Begin the shred domain: its first epoch
        #[arg(long, requires = "prefix")]
        begin: bool,
    },
    /// Shows the epochs of a bucket: states, dates, wraps
    #[command(after_help = "Examples:\n  sceau keys show --config sceau.toml --bucket photos")]
    Show(epochs::ShowArgs),
    /// Wraps every key of the keyring under another key-encryption key; no object is touched
    #[command(
        after_help = "Examples:\n  sceau keys rotate-kek --config sceau.toml --to new.toml --generate\n  sceau keys rotate-kek --config sceau.toml --to new.toml --finish"
    )]
    RotateKek(rotate::RotateArgs),
    /// Lets a further key-encryption key open the keyring too: a second site, a recovery token
    #[command(after_help = "Examples:\n  sceau keys add-recipient --config sceau.toml --to recovery.toml")]
    AddRecipient(rotate::RecipientArgs),
    /// Removes the wraps of one key-encryption key
    #[command(after_help = "Examples:\n  sceau keys drop-recipient --config sceau.toml --label recovery-kek")]
    DropRecipient(rotate::DropArgs),
    /// Refuses reads and writes under epochs of a bucket, until they are enabled again
    #[command(
        after_help = "Examples:\n  sceau keys disable --config sceau.toml --bucket photos --epoch 1\n  sceau keys disable --config sceau.toml --bucket photos --all"
    )]
    Disable(epochs::EpochsArgs),
    /// Allows disabled epochs again
    #[command(after_help = "Examples:\n  sceau keys enable --config sceau.toml --bucket photos --all")]
    Enable(epochs::EpochsArgs),
    /// Destroys disabled epochs for ever, after a plan and a phrase, and states it
    #[command(
        after_help = "Examples:\n  sceau keys destroy --config sceau.toml --bucket photos --epoch 1 --by 'A. Officer' --statement destroyed.txt"
    )]
    Destroy(epochs::DestroyArgs),
    /// Verifies a statement of destruction with the key of the keyring
    #[command(after_help = "Examples:\n  sceau keys verify-statement --config sceau.toml destroyed.txt")]
    VerifyStatement(epochs::StatementArgs),
    /// Tries the enrolled key-encryption keys with their canaries
    #[command(after_help = "Examples:\n  sceau keys canary --config sceau.toml")]
    Canary {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Writes the verified keyring to a new file
    #[command(after_help = "Examples:\n  sceau keys export --config sceau.toml keyring.backup")]
    Export(transfer::ExportArgs),
    /// Verifies a keyring file and puts it where the keyring is missing or older
    #[command(
        after_help = "Examples:\n  sceau keys import --config sceau.toml --generation-min 41 keyring.backup"
    )]
    Import(transfer::ImportArgs),
}

/// Runs one of the commands.
pub async fn run(args: KeysArgs, output: Output) -> Result<(), Failure> {
    parts::quiet_logs();
    match args.command {
        KeysCommand::Enrol { config, generate } => enrol(&config.config, generate, output).await,
        KeysCommand::Accept(args) => accept::run(args, output).await,
        KeysCommand::DropAll { config } => drop_all(&config.config, output).await,
        KeysCommand::List { config } => list(&config.config, output).await,
        KeysCommand::NewEpoch {
            config,
            bucket,
            allow_nonempty,
            prefix: None,
            ..
        } => new_epoch(&config.config, &bucket, allow_nonempty, output).await,
        KeysCommand::NewEpoch {
            config,
            bucket,
            prefix: Some(prefix),
            begin,
            ..
        } => epochs::new_domain_epoch(&config, &bucket, &prefix, begin, output).await,
        KeysCommand::Show(args) => epochs::show(args, output).await,
        KeysCommand::RotateKek(args) => rotate::rotate(args, output).await,
        KeysCommand::AddRecipient(args) => rotate::add_recipient(args, output).await,
        KeysCommand::DropRecipient(args) => rotate::drop_recipient(args, output).await,
        KeysCommand::Disable(args) => epochs::set_state(args, StateChange::Disable, output).await,
        KeysCommand::Enable(args) => epochs::set_state(args, StateChange::Enable, output).await,
        KeysCommand::Destroy(args) => epochs::destroy(args, output).await,
        KeysCommand::VerifyStatement(args) => epochs::verify_statement(args, output).await,
        KeysCommand::Canary { config } => rotate::canary(&config, output).await,
        KeysCommand::Export(args) => transfer::export(args, output).await,
        KeysCommand::Import(args) => transfer::import(args, output).await,
    }
}

async fn enrol(config: &Path, generate: bool, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(config)?;
    foundations
        .control
        .ensure_bucket()
        .await
        .map_err(Failure::store)?;
    refuse_existing(&foundations).await?;
    let keys = &foundations.config.keys;
    make_folder(&keys.keyring)?;
    let (scheme, token) = match &keys.provider {
        ProviderConfig::InsecureLocal { key_file } => {
            if !key_file.exists() {
                InsecureLocalProvider::create(key_file, INSECURE_LABEL).map_err(Failure::keys)?;
            }
            (None, None)
        }
        ProviderConfig::Pkcs11(config) => {
            let enrolment = enrol_token(config, &keys.keyring, generate).await?;
            (Some(enrolment.scheme), Some(token_json(&enrolment)))
        }
        ProviderConfig::Kmip(config) => {
            let enrolment = kmip::enrol(config, generate).await?;
            (Some(enrolment.scheme), Some(kmip::json(&enrolment)))
        }
        ProviderConfig::Transit(_) | ProviderConfig::AwsKms(_) => {
            refuse_generation(generate)?;
            (None, None)
        }
    };
    let provider = Provider::start_with(keys, scheme).await?;
    let shared = provider.shared(&foundations.metrics);
    let kek = enrolled_key(shared.as_ref(), provider.module_sha256())
        .await
        .map_err(Failure::keyring)?;
    let (label, version, scheme) = (kek.label.clone(), kek.version, kek.scheme.name());
    let service = KeyringService::create(foundations.keyring_parts(shared), kek)
        .await
        .map_err(Failure::keyring)?;
    crate::enrolment::accept(&foundations, &service, &provider, true).await?;
    let json = json!({
        "tenant": service.tenant().to_string(),
        "keyring": keys.keyring,
        "key_provider": keys.provider.name(),
        "key_label": label,
        "key_version": version,
        "scheme": scheme,
        "token": token,
    });
    let text = format!(
        "enrolled {} version {version} ({scheme}) for tenant {}\n\
         keyring written to the control bucket and to {}: back the file up, losing both loses the data",
        label,
        service.tenant(),
        keys.keyring.display(),
    );
    output.print(&text, &json)
}

/// Enrolment is for once; nothing may be generated before that is certain.
async fn refuse_existing(foundations: &Foundations) -> Result<(), Failure> {
    let local = LocalCopy::new(foundations.config.keys.keyring.clone());
    if local.read().map_err(Failure::keyring)?.is_some() {
        return Err(Failure::keyring(KeyringFault::Exists { place: Place::Local }));
    }
    if foundations
        .control
        .read()
        .await
        .map_err(Failure::keyring)?
        .is_some()
    {
        return Err(Failure::keyring(KeyringFault::Exists {
            place: Place::Control,
        }));
    }
    Ok(())
}

/// The gateway's rights at a key service must not suffice to make keys: where a key is found by its name, a deleted one
/// would come back as another.
fn refuse_generation(generate: bool) -> Result<(), Failure> {
    if !generate {
        return Ok(());
    }
    Err(Failure::usage("--generate makes no key in a key service")
        .with_hint("make it there with an operator's rights, and leave --generate out"))
}

/// Generates the key if asked to, tests it, and refuses one whose attributes break its promise.
async fn enrol_token(config: &Pkcs11Config, keyring: &Path, generate: bool) -> Result<Enrolment, Failure> {
    let config = parts::pkcs11(config, keyring, config.scheme)?;
    if generate {
        let made = sceau_kms_pkcs11::generate_kek(&config)
            .await
            .map_err(Failure::keys)?;
        message(&ladder_text("what this token carries", &made.trials));
        message(&format!(
            "generated {} for {} with CKA_ID {}",
            config.key_label,
            made.scheme.name(),
            made.key_id
        ));
    }
    let enrolment = sceau_kms_pkcs11::probe(&config).await.map_err(Failure::keys)?;
    message(&ladder_text("what this key carries", &enrolment.trials));
    if let Some(profile) = Profile::of_model(&enrolment.token_model) {
        for quirk in profile.quirks {
            message(&format!(
                "profile {} ({}): {quirk}",
                profile.name,
                profile.basis.words()
            ));
        }
    }
    for finding in &enrolment.findings {
        message(&format!("audit of the key: {}", finding.what));
    }
    if enrolment
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
    {
        return Err(Failure::new(
            Part::Keys,
            "the key's attributes break what it promises; it is not enrolled",
        )
        .with_id("E-KEYS-015")
        .with_hint("generate a key in the token with `sceau keys enrol --generate` under another label"));
    }
    Ok(enrolment)
}

/// The rungs of the ladder and what each said.
fn ladder_text(head: &str, trials: &[Trial]) -> String {
    if trials.is_empty() {
        return format!("{head}: the scheme is given by keys.pkcs11.scheme");
    }
    let mut lines = vec![format!("{head}:")];
    for trial in trials {
        let said = trial.refusal.as_deref().unwrap_or("passed");
        lines.push(format!("  {:18} {said}", trial.scheme.name()));
    }
    lines.join("\n")
}

fn token_json(enrolment: &Enrolment) -> serde_json::Value {
    json!({
        "serial": enrolment.token_serial,
        "label": enrolment.token_label,
        "model": enrolment.token_model,
        "firmware": enrolment.token_firmware,
        "key_id": enrolment.key_id,
        "check_value": enrolment.check_value,
        "ladder": enrolment.trials.iter().map(|trial| json!({"scheme": trial.scheme.name(), "refusal": trial.refusal})).collect::<Vec<_>>(),
        "attributes": enrolment.attributes.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
        "findings": enrolment.findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>(),
        "tamper_codes": enrolment.tamper_codes,
        "module_sha256": enrolment.module_sha256,
    })
}

fn make_folder(file: &Path) -> Result<(), Failure> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| Failure::file(folder, &error))
}

/// The call comes first and needs no key: the HSM may refuse already. The next generation puts it on
/// record where it can be had.
async fn drop_all(config: &Path, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(config)?;
    call_drop(&foundations.control).await.map_err(Failure::keyring)?;
    let generation = match next_generation(&foundations).await {
        Ok(generation) => Some(generation),
        Err(failure) => {
            message("the call is written; no new generation of the keyring, because:");
            failure.report();
            None
        }
    };
    let text = format!(
        "gateways drop their unwrapped keys within keys.refresh ({} s, if theirs is the same)",
        foundations.config.keys.refresh.as_secs()
    );
    output.print(&text, &json!({"called": true, "generation": generation}))
}

async fn next_generation(foundations: &Foundations) -> Result<u64, Failure> {
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    service.next_generation().await.map_err(Failure::keyring)?;
    Ok(service.keyring().content().generation)
}

async fn list(config: &Path, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let keyring = service.keyring();
    let content = keyring.content();
    output.print(&list_text(content), &list_json(content))
}

fn list_text(content: &KeyringContent) -> String {
    let mut lines = vec![format!(
        "tenant {}  generation {}",
        content.tenant, content.generation
    )];
    for kek in &content.keks {
        lines.push(format!(
            "key-encryption key  {} version {}  {}  token {}",
            kek.label,
            kek.version,
            kek.scheme.name(),
            kek.provider
        ));
    }
    for bucket in &content.buckets {
        lines.push(format!(
            "bucket  {}  {}  {}",
            bucket.name,
            bucket.bucket,
            bucket_state(bucket.state)
        ));
        let of_bucket = |record: &&KeyRecord| record.bucket == bucket.bucket;
        for record in content.records.iter().filter(of_bucket) {
            lines.push(format!(
                "  epoch {}  {}  {}  {}  domain {}",
                record.epoch,
                record.krid,
                purpose(record.purpose),
                record_state(record.state),
                record.domain
            ));
        }
    }
    lines.join("\n")
}

fn list_json(content: &KeyringContent) -> serde_json::Value {
    let keks = content.keks.iter().map(|kek| {
        json!({
            "provider": kek.provider, "label": kek.label, "version": kek.version,
            "scheme": kek.scheme.name(), "fingerprint": HEXLOWER.encode(&kek.fingerprint),
            "module_sha256": kek.module_sha256,
        })
    });
    let buckets = content.buckets.iter().map(|bucket| {
        json!({"name": bucket.name, "id": bucket.bucket.to_string(), "state": bucket_state(bucket.state)})
    });
    let records = content.records.iter().map(|record| {
        let wraps = record.wraps.iter().map(|wrap| {
            json!({"provider": wrap.provider, "key_label": wrap.key_label, "key_version": wrap.key_version, "scheme": wrap.scheme.name()})
        });
        json!({
            "id": record.krid.to_string(), "purpose": purpose(record.purpose),
            "bucket_id": record.bucket.to_string(), "domain": record.domain.to_string(), "epoch": record.epoch,
            "state": record_state(record.state), "wraps": wraps.collect::<Vec<_>>(),
        })
    });
    json!({
        "tenant": content.tenant.to_string(),
        "generation": content.generation,
        "key_encryption_keys": keks.collect::<Vec<_>>(),
        "buckets": buckets.collect::<Vec<_>>(),
        "records": records.collect::<Vec<_>>(),
    })
}

fn bucket_state(state: BucketState) -> &'static str {
    match state {
        BucketState::Active => "active",
        BucketState::Removed => "removed",
    }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Data => "data",
        Purpose::Names => "names",
        Purpose::KeyringMac => "keyring",
    }
}

fn record_state(state: RecordState) -> &'static str {
    match state {
        RecordState::EncryptDecrypt => "seals and opens",
        RecordState::DecryptOnly => "opens",
        RecordState::Disabled => "disabled",
        RecordState::Destroyed => "destroyed",
    }
}

async fn new_epoch(config: &Path, bucket: &str, allow_nonempty: bool, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let is_known = service.bucket(bucket).is_some();
    if !is_known {
        check_bucket(&foundations.store, bucket, allow_nonempty).await?;
        service.add_bucket(bucket).await.map_err(Failure::keyring)?;
    } else {
        service.new_epoch(bucket).await.map_err(Failure::keyring)?;
    }
    let entry = service
        .bucket(bucket)
        .ok_or_else(|| Failure::keyring(KeyringFault::BucketUnknown))?;
    let keyring = service.keyring();
    let record = service
        .active_epoch(entry.bucket)
        .ok()
        .and_then(|krid| keyring.content().record(krid));
    let record = record.ok_or_else(|| Failure::keyring(KeyringFault::BucketUnknown))?;
    let what = if is_known { "new epoch" } else { "enrolled" };
    let text = format!(
        "{bucket}: {what}, epoch {} seals from now on ({})",
        record.epoch, record.krid
    );
    let json = json!({"bucket": bucket, "enrolled": !is_known, "epoch": record.epoch, "id": record.krid.to_string()});
    output.print(&text, &json)
}

/// A bucket that is enrolled must exist, and be empty: what is in it already is not sealed.
async fn check_bucket(store: &Store, bucket: &str, allow_nonempty: bool) -> Result<(), Failure> {
    let request = StoreRequest::new(Method::GET)
        .bucket(bucket)
        .query("list-type", "2")
        .query("max-keys", "1");
    let (head, body) = store
        .send(request)
        .await
        .map_err(Failure::store)?
        .collect(LISTING_BYTES_MAX)
        .await
        .map_err(Failure::store)?;
    if !head.status.is_success() {
        let fault = sceau_server::upstream::classify_error(head.status, &body);
        return Err(Failure::new(
            Part::Store,
            format!("the store does not list {bucket}: {} ({fault})", head.status),
        )
        .with_id("E-STORE-002")
        .with_hint("the bucket must exist in the store; CreateBucket through the gateway does both"));
    }
    let page = ListPage::parse(&body).map_err(|_| {
        Failure::new(Part::Store, "the store's listing makes no sense").with_id("E-STORE-003")
    })?;
    if page.objects.is_empty() || allow_nonempty {
        return Ok(());
    }
    Err(Failure::new(Part::Finding, format!("{bucket} holds objects that are not sealed"))
        .with_id("E-KEYS-016")
        .with_hint("choose an empty bucket, or accept with --allow-nonempty that they cannot be read through the gateway"))
}

#[expect(clippy::print_stderr, reason = "a command's message to its user")]
fn message(text: &str) {
    eprintln!("{text}");
}
