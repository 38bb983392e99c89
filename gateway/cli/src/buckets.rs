//! `sceau buckets`: the buckets of the keyring and their policies.
//!
//! What lives here: listing them, changing what may be changed. What must not: objects, key bytes.
//! Invariant: a policy changes only through the keyring's one write path, as a new generation.

use clap::{Args, Subcommand, ValueEnum};
use sceau_envelope::keyring::{
    BucketEntry, BucketState, EncryptionMode, FreshnessLevel, MetadataExposure, NameMode, Pinning,
};
use sceau_server::keyring::TagsSetting;
use serde_json::json;

use crate::exit::Failure;
use crate::output::Output;
use crate::parts::{self, ConfigArg, Foundations, Provider};

/// Looks after the policies of buckets.
#[derive(Debug, Args)]
pub struct BucketsArgs {
    #[command(subcommand)]
    command: BucketsCommand,
}

#[derive(Debug, Subcommand)]
enum BucketsCommand {
    /// Lists the buckets of the keyring and their policies
    #[command(
        after_help = "Examples:\n  sceau buckets list --config sceau.toml\n  sceau buckets list --config sceau.toml --output json"
    )]
    List {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Changes the policy of a bucket; running gateways follow within `keys.refresh`
    #[command(
        after_help = "Examples:\n  sceau buckets set photos --tags clear --config sceau.toml\n  sceau buckets set photos --tags sealed --config sceau.toml"
    )]
    Set {
        #[command(flatten)]
        config: ConfigArg,
        /// Name of the bucket
        #[arg(value_name = "BUCKET")]
        bucket: String,
        /// How tags of objects are stored from now on
        #[arg(long, value_enum)]
        tags: Tags,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Tags {
    /// Sealed; tags that were stored in clear before are still read
    Sealed,
    /// Sealed; tags in clear are refused, also ones that were stored so before
    SealedOnly,
    /// In clear: the store reads them, and can change them unnoticed
    Clear,
}

impl From<Tags> for TagsSetting {
    fn from(tags: Tags) -> Self {
        match tags {
            Tags::Sealed => Self::Sealed,
            Tags::SealedOnly => Self::SealedOnly,
            Tags::Clear => Self::Clear,
        }
    }
}

/// Runs one of the commands.
pub async fn run(args: BucketsArgs, output: Output) -> Result<(), Failure> {
    parts::quiet_logs();
    match args.command {
        BucketsCommand::List { config } => {
            let foundations = Foundations::load(&config.config)?;
            let provider = Provider::start(&foundations.config.keys).await?;
            let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
            let keyring = service.keyring();
            let buckets = &keyring.content().buckets;
            let text: Vec<_> = buckets.iter().map(entry_text).collect();
            let json: Vec<_> = buckets.iter().map(entry_json).collect();
            let generation = keyring.content().generation;
            output.print(
                &text.join("\n"),
                &json!({"generation": generation, "buckets": json}),
            )
        }
        BucketsCommand::Set { config, bucket, tags } => {
            let foundations = Foundations::load(&config.config)?;
            let provider = Provider::start(&foundations.config.keys).await?;
            let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
            let entry = service
                .set_tags(&bucket, tags.into())
                .await
                .map_err(Failure::keyring)?;
            output.print(&entry_text(&entry), &entry_json(&entry))
        }
    }
}

fn entry_text(entry: &BucketEntry) -> String {
    let policy = &entry.policy;
    format!(
        "{}  {}  {}  tags {}  mode {}  pinning {}  padding {}",
        entry.name,
        entry.bucket,
        state(entry.state),
        exposure(policy.exposure),
        mode(policy.mode),
        pinning(policy.pinning),
        policy.metadata_padding,
    )
}

fn entry_json(entry: &BucketEntry) -> serde_json::Value {
    let policy = &entry.policy;
    json!({
        "name": entry.name,
        "id": entry.bucket.to_string(),
        "state": state(entry.state),
        "tags": exposure(policy.exposure),
        "mode": mode(policy.mode),
        "pinning": pinning(policy.pinning),
        "names": names(policy.names),
        "freshness": freshness(policy.freshness),
        "metadata_padding": policy.metadata_padding,
    })
}

fn state(state: BucketState) -> &'static str {
    match state {
        BucketState::Active => "active",
        BucketState::Removed => "removed",
    }
}

fn exposure(exposure: MetadataExposure) -> &'static str {
    match exposure {
        MetadataExposure::Sealed => "sealed",
        MetadataExposure::TagsClear => "clear",
        MetadataExposure::TagsOnceClear => "once-clear",
    }
}

fn mode(mode: EncryptionMode) -> &'static str {
    match mode {
        EncryptionMode::EncryptedOnly => "encrypted-only",
        EncryptionMode::Migration => "migration",
    }
}

fn pinning(pinning: Pinning) -> &'static str {
    match pinning {
        Pinning::Strict => "strict",
        Pinning::Tolerant => "tolerant",
    }
}

fn names(names: NameMode) -> &'static str {
    match names {
        NameMode::Clear => "clear",
        NameMode::Hidden => "hidden",
    }
}

fn freshness(level: FreshnessLevel) -> &'static str {
    match level {
        FreshnessLevel::R0 => "r0",
        FreshnessLevel::R1 => "r1",
        FreshnessLevel::R2 => "r2",
        FreshnessLevel::R3 => "r3",
        FreshnessLevel::R4 => "r4",
    }
}
