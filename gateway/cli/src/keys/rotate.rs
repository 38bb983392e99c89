//! `sceau keys rotate-kek|add-recipient|drop-recipient|canary`: the key-encryption keys.
//!
//! What lives here: which two keys a rotation is between. What must not: the wrapping. Invariant: no wrap is
//! removed in the run that adds the new ones; between the two, gateways move over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use sceau_envelope::KeyringContent;
use sceau_envelope::keyring::EnrolledKek;
use sceau_keys::WrapScheme;
use sceau_kms::{KeyProvider, ProviderInfo};
use sceau_kms_insecure_local::InsecureLocalProvider;
use sceau_server::config::{KeysConfig, ProviderConfig};
use sceau_server::keyring::{Canary, KekName, enrolled_key, try_canary};
use serde_json::json;

use super::enrol_token;
use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::{self, ConfigArg, Foundations, Provider};

/// Between which keys, and which of the two steps.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Configuration whose table `keys` names the new key-encryption key; without it, the next version of a
    /// software key
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// First generate the new key-encryption key
    #[arg(long, conflicts_with = "finish")]
    generate: bool,
    /// Second step, after every gateway runs with the new key: removes the wraps of the old one
    #[arg(long)]
    finish: bool,
}

/// Which key is to open the keyring as well.
#[derive(Debug, Args)]
pub struct RecipientArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Configuration whose table `keys` names the further key-encryption key
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// First generate that key
    #[arg(long)]
    generate: bool,
}

/// Which key is to open the keyring no more.
#[derive(Debug, Args)]
pub struct DropArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Label of the key, as `sceau keys list` shows it
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// Its version
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    key_version: u32,
    /// Its token, where several have a key of this label and version
    #[arg(long, value_name = "SERIAL")]
    token: Option<String>,
}

/// Wraps every record also under a further key, which stays beside the one in use.
pub async fn add_recipient(args: RecipientArgs, output: Output) -> Result<(), Failure> {
    let args = RotateArgs {
        config: args.config,
        to: Some(args.to),
        generate: args.generate,
        finish: false,
    };
    rotate(args, output).await
}

/// Removes the wraps of one key; the one of this configuration must open every record.
pub async fn drop_recipient(args: DropArgs, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(&args.config.config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let is_meant = |name: &KekName| {
        name.label == args.label
            && name.version == args.key_version
            && args.token.as_ref().is_none_or(|token| *token == name.provider)
    };
    let keyring = service.keyring();
    let mut meant = keyring.content().keks.iter().map(KekName::of).filter(is_meant);
    let name = match (meant.next(), meant.next()) {
        (Some(name), None) => name,
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "several keys are called so: name the token with --token",
            ));
        }
        (None, _) => {
            return Err(Failure::usage("no such key is enrolled").with_hint("look at `sceau keys list`"));
        }
    };
    let shared: Arc<dyn KeyProvider> = provider.shared(&foundations.metrics);
    if name == name_of(shared.info()) {
        return Err(Failure::usage("this configuration itself uses that key")
            .with_hint("run the command with the configuration of a key that stays"));
    }
    let kept = service.drop_kek(&name, &shared).await.map_err(Failure::keyring)?;
    let generation = service.keyring().content().generation;
    let text = format!(
        "removed the wraps of {} version {}; {kept} records were opened without it, generation {generation}",
        name.label, name.version
    );
    let json = json!({
        "removed": name.label, "version": name.version, "records": kept, "generation": generation,
    });
    output.print(&text, &json)
}

/// Wraps every record of the keyring under another key-encryption key. No object is touched.
pub async fn rotate(args: RotateArgs, output: Output) -> Result<(), Failure> {
    let start = Instant::now();
    let foundations = Foundations::load(&args.config.config)?;
    let old = Provider::start(&foundations.config.keys).await?;
    // The new key is tested only after the old one opened the keyring.
    let service = foundations.keyring(old.shared(&foundations.metrics)).await?;
    let to = match &args.to {
        Some(path) => parts::load_config(path)?.keys,
        None => foundations.config.keys.clone(),
    };
    if args.to.is_none() && !matches!(to.provider, ProviderConfig::InsecureLocal { .. }) {
        return Err(Failure::usage("name the configuration of the new key with --to")
            .with_hint("a copy of the configuration in which [keys] names the new key's label or id"));
    }
    let new = new_provider(&foundations, &to, service.keyring().content(), args.generate).await?;
    let (old_info, new_info) = (
        old.shared(&foundations.metrics).info().clone(),
        new.shared(&foundations.metrics).info().clone(),
    );
    let retired = retired_keys(
        service.keyring().content(),
        &old_info,
        &new_info,
        args.to.is_none(),
    );
    if !args.finish
        && name_of(&old_info) == name_of(&new_info)
        && !is_pending(service.keyring().content(), &new_info)
    {
        return Err(Failure::usage("the new key is the one in use")
            .with_hint("name another key with --to, or make one with --generate"));
    }
    let shared: Arc<dyn KeyProvider> = new.shared(&foundations.metrics);
    let held = service.keyring().content().keks.clone();
    let kek = match held
        .into_iter()
        .find(|kek| KekName::of(kek) == name_of(&new_info))
    {
        Some(kek) => kek,
        None => enrolled_key(shared.as_ref(), new.module_sha256())
            .await
            .map_err(Failure::keyring)?,
    };
    let wrapped = service.add_kek(kek, &shared).await.map_err(Failure::keyring)?;
    let mut removed = Vec::new();
    let mut service = service;
    if args.finish {
        // From here on with the new key alone: what it cannot open is not taken from the old one.
        service = foundations.keyring(new.shared(&foundations.metrics)).await?;
        for name in &retired {
            service.drop_kek(name, &shared).await.map_err(Failure::keyring)?;
            removed.push(format!("{} version {}", name.label, name.version));
        }
    }
    let keyring = service.keyring();
    let (records, generation) = (keyring.content().records.len(), keyring.content().generation);
    let seconds = start.elapsed().as_secs_f64();
    let next = if args.finish {
        format!("removed the wraps of {}", removed.join(", "))
    } else {
        "both keys open the keyring now; to replace the old one, restart every gateway with the new one, then `sceau keys rotate-kek --finish`"
            .to_owned()
    };
    let text = format!(
        "{} version {}: {wrapped} of {records} records wrapped anew in {seconds:.1} s, generation {generation}, objects touched 0\n{next}",
        new_info.key_label, new_info.key_version
    );
    let json = json!({
        "key_label": new_info.key_label, "key_version": new_info.key_version, "wrapped": wrapped,
        "records": records, "generation": generation, "removed": removed, "seconds": seconds,
        "objects_touched": 0, "finished": args.finish,
    });
    output.print(&text, &json)
}

/// The key provider of the new key, generated if asked for, tested and audited.
async fn new_provider(
    foundations: &Foundations,
    to: &KeysConfig,
    content: &KeyringContent,
    generate: bool,
) -> Result<Provider, Failure> {
    match &to.provider {
        ProviderConfig::InsecureLocal { key_file } => {
            if generate && key_file.exists() {
                InsecureLocalProvider::add_version(key_file).map_err(Failure::keys)?;
            } else if generate {
                InsecureLocalProvider::create(key_file, super::INSECURE_LABEL).map_err(Failure::keys)?;
            }
            Provider::start_with(to, None).await
        }
        ProviderConfig::Transit(_) | ProviderConfig::AwsKms(_) => {
            super::refuse_generation(generate)?;
            Provider::start_with(to, None).await
        }
        ProviderConfig::Kmip(config) => {
            super::refuse_generation(generate)?;
            let scheme = match held_scheme(content, &config.key, config.key_version) {
                Some(scheme) => scheme,
                None => super::kmip::enrol(config, generate).await?.scheme,
            };
            Provider::start_with(to, Some(scheme)).await
        }
        ProviderConfig::Pkcs11(config) => {
            let scheme = match held_scheme(content, &config.key_label, config.key_version) {
                Some(scheme) => scheme,
                None => {
                    let keyring = &foundations.config.keys.keyring;
                    enrol_token(config, keyring, generate).await?.scheme
                }
            };
            Provider::start_with(to, Some(scheme)).await
        }
    }
}

/// The scheme of a key that is in the keyring already.
fn held_scheme(content: &KeyringContent, label: &str, version: u32) -> Option<WrapScheme> {
    let is_held = |kek: &&EnrolledKek| kek.label == label && kek.version == version;
    content.keks.iter().find(is_held).map(|kek| kek.scheme)
}

fn name_of(info: &ProviderInfo) -> KekName {
    KekName {
        provider: info.instance.clone(),
        label: info.key_label.clone(),
        version: info.key_version,
    }
}

/// Whether some record has no wrap by the key of `info` yet.
fn is_pending(content: &KeyringContent, info: &ProviderInfo) -> bool {
    let name = name_of(info);
    let is_left = |state| state != sceau_envelope::RecordState::Destroyed;
    content
        .records
        .iter()
        .any(|record| is_left(record.state) && !record.wraps.iter().any(|wrap| name.made(wrap)))
}

/// The keys whose wraps the second step removes: the old configuration's, or the older versions.
fn retired_keys(
    content: &KeyringContent,
    old: &ProviderInfo,
    new: &ProviderInfo,
    in_place: bool,
) -> Vec<KekName> {
    let new = name_of(new);
    let names = content.keks.iter().map(KekName::of);
    if in_place {
        return names
            .filter(|name| {
                name.provider == new.provider && name.label == new.label && name.version < new.version
            })
            .collect();
    }
    names
        .filter(|name| *name == name_of(old) && *name != new)
        .collect()
}

/// Unwraps the canary of every enrolled key that the configured key provider holds.
pub async fn canary(config: &ConfigArg, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(&config.config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let keyring = service.keyring();
    let shared: Arc<dyn KeyProvider> = provider.shared(&foundations.metrics);
    let (mut lines, mut all, mut is_good, mut is_tried) = (Vec::new(), Vec::new(), true, false);
    for kek in &keyring.content().keks {
        let start = Instant::now();
        let result = match try_canary(shared.as_ref(), kek).await {
            Ok(Canary::Recognised) => {
                is_tried = true;
                "recognised".to_owned()
            }
            Ok(Canary::NotHeld) => "not a key of this configuration".to_owned(),
            Ok(Canary::Stranger) => {
                is_good = false;
                "ANOTHER KEY under this name".to_owned()
            }
            Err(error) => {
                is_good = false;
                error.to_string()
            }
        };
        let ms = start.elapsed().as_secs_f64() * 1000.0;
        lines.push(format!(
            "{} version {}  token {}  {ms:.1} ms  {result}",
            kek.label, kek.version, kek.provider
        ));
        all.push(json!({
            "key_label": kek.label, "key_version": kek.version, "provider": kek.provider,
            "milliseconds": ms, "result": result,
        }));
    }
    output.print(&lines.join("\n"), &json!({ "canaries": all }))?;
    if is_good && is_tried {
        return Ok(());
    }
    Err(
        Failure::new(Part::Keys, "the enrolled key-encryption key was not recognised")
            .with_id("E-KEYS-022")
            .with_hint(
                "the token holds another key under this name, or none: do not go on before you know why",
            ),
    )
}
