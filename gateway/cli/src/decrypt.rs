//! `sceau decrypt`: one object, without gateway and without store.
//!
//! What lives here: the way out. A downloaded object, the keyring and the key provider are enough. What
//! must not: the store client. Invariant: the output file appears under its name only after the whole
//! object verified, trailer included.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use clap::Args;
use sceau_envelope::trailer::Suffix;
use sceau_envelope::{Context, Engine, Extent, Layout, Need, ObjectHeader, Opener, SealedHeader};
use sceau_kms::Reason;
use sceau_policy::KeyReason;
use sceau_server::access::read_key_rules;
use sceau_server::admin::Readiness;
use sceau_server::keyring::{
    Caller, EpochLimits, KeyringOptions, KeyringParts, KeyringService, OfflineCopy, Usage,
};
use sceau_server::telemetry::Metrics;

use crate::exit::{Failure, Part};
use crate::parts::{ConfigArg, Provider, load_config, quiet_logs};
use crate::stored::OPERATOR;

/// How much of the end of the object is read first, in bytes.
const TAIL_BYTES: u64 = 16 * 1024;

/// Longest file with the object's metadata, in bytes.
const METADATA_BYTES_MAX: u64 = 1024 * 1024;

/// Opens one downloaded object with the local keyring and the key provider; needs no store
#[derive(Debug, Args)]
#[command(
    after_help = "The sealed header is the object's metadata entry `sceauh1`. Save it with the object:\n  \
    aws s3api get-object --bucket B --key K object.bin > object.json\n  \
    sceau decrypt --bucket B --key K --metadata object.json object.bin plain.bin"
)]
pub struct DecryptArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Bucket the object was stored in
    #[arg(long)]
    bucket: String,
    /// Key the object was stored under; the seal is bound to it
    #[arg(long)]
    key: String,
    /// The sealed header: the value of the metadata entry `sceauh1`
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "metadata",
        required_unless_present = "metadata"
    )]
    header: Option<String>,
    /// JSON answer of get-object or head-object that has the sealed header in it
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// The object as the store holds it
    input: PathBuf,
    /// Where the plaintext goes; must not exist
    plain: PathBuf,
}

/// Runs the command.
pub async fn run(args: DecryptArgs) -> Result<(), Failure> {
    quiet_logs();
    let value = header_value(&args)?;
    let sealed = SealedHeader::parse(&value).map_err(refused)?;
    let config = load_config(&args.config.config)?;
    let rules = read_key_rules(&config.access.policy).map_err(|error| Failure::access(&error))?;
    if !rules.permits(KeyReason::BreakGlass, OPERATOR, &args.bucket) {
        return Err(
            Failure::new(Part::Keys, "the policy denies keys for this reason: break-glass").with_hint(
                "it is denied until the policy file has [[key_use]] with allow = [\"break-glass\"]",
            ),
        );
    }
    let provider = Provider::start_with(&config.keys, None).await?;
    let metrics = Arc::new(Metrics::new().map_err(Failure::internal)?);
    let keys = &config.keys;
    let keyring = KeyringService::open(KeyringParts {
        provider: provider.shared(&metrics),
        control: Arc::new(OfflineCopy::new(keys.keyring.clone())),
        options: KeyringOptions {
            local: keys.keyring.clone(),
            cache_ttl: keys.cache_ttl,
            cache_entries: keys.cache_entries,
            refresh: keys.refresh,
            epochs: EpochLimits::default(),
        },
        metrics,
        readiness: Arc::new(Readiness::new(std::time::Duration::ZERO)),
    })
    .await
    .map_err(Failure::keyring)?;
    let engine = Engine::fastest();
    let caller = Caller {
        principal: OPERATOR.to_owned(),
        operation: "decrypt",
        bucket: args.bucket.clone(),
        request_id: String::new(),
    };
    let header = caller
        .scope(open_header(&keyring, &engine, &sealed, &args))
        .await?;
    decrypt(&engine, &header, &args.input, &args.plain)
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::new(Part::Finding, error.to_string())
}

fn header_value(args: &DecryptArgs) -> Result<String, Failure> {
    if let Some(header) = &args.header {
        return Ok(header.trim().to_owned());
    }
    let path = args
        .metadata
        .as_deref()
        .ok_or_else(|| Failure::usage("name --header or --metadata"))?;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    file.take(METADATA_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::file(path, &error))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| Failure::file(path, &error))?;
    let value = json
        .get("Metadata")
        .and_then(|metadata| metadata.get("sceauh1"))
        .and_then(|value| value.as_str());
    value
        .map(str::to_owned)
        .ok_or_else(|| Failure::file(path, &"no sealed header under Metadata.sceauh1"))
}

/// A bucket's name may have been used again: each identity that had it is tried.
async fn open_header(
    keyring: &KeyringService,
    engine: &Engine,
    sealed: &SealedHeader,
    args: &DecryptArgs,
) -> Result<ObjectHeader, Failure> {
    let document = keyring.keyring();
    let mut last = Failure::new(Part::Keys, format!("the keyring has no bucket {}", args.bucket));
    for entry in document
        .content()
        .buckets
        .iter()
        .filter(|entry| entry.name == args.bucket)
    {
        let keys = keyring
            .epoch_keys(sealed.krid(), entry.bucket, Usage::Open, Reason::BreakGlass)
            .await;
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                last = Failure::new(Part::Keys, error.to_string());
                continue;
            }
        };
        let context = Context::new(&keyring.tenant(), &entry.bucket, args.key.as_bytes());
        match sealed.open(engine, &keys, &context) {
            Ok(header) => return Ok(header),
            Err(error) => last = refused(error),
        }
    }
    Err(last)
}

fn decrypt(engine: &Engine, header: &ObjectHeader, input: &Path, output: &Path) -> Result<(), Failure> {
    let in_file = |error: io::Error| Failure::file(input, &error);
    let mut file = File::open(input).map_err(in_file)?;
    let stored_len = file.metadata().map_err(in_file)?.len();
    header.check_stored_len(stored_len).map_err(refused)?;
    let layout = match Layout::single(header) {
        Some(layout) => layout,
        None => read_layout(engine, header, &mut file, stored_len).map_err(|failure| failure.at(input))?,
    };
    let opener = Opener::new(engine, &header.secrets, &layout, Extent::WholeAndTrailer).map_err(refused)?;
    file.seek(SeekFrom::Start(0)).map_err(in_file)?;
    if output.exists() {
        return Err(Failure::file(output, &"exists already"));
    }
    let partial = output.with_extension("sceau-partial");
    let written = write_plain(opener, file, &partial).map_err(|failure| failure.at(input));
    let finished =
        written.and_then(|()| fs::rename(&partial, output).map_err(|error| Failure::file(output, &error)));
    if finished.is_err() {
        // What was written verified, but it is not the whole object: it must not be taken for one.
        let _ = fs::remove_file(&partial);
    }
    finished
}

/// What went wrong while reading the object.
enum ReadFailure {
    Io(io::Error),
    Refused(String),
    Output(Failure),
}

impl ReadFailure {
    fn at(self, input: &Path) -> Failure {
        match self {
            Self::Io(error) => Failure::file(input, &error),
            Self::Refused(why) => refused(why),
            Self::Output(failure) => failure,
        }
    }
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read_layout(
    engine: &Engine,
    header: &ObjectHeader,
    file: &mut File,
    stored_len: u64,
) -> Result<Layout, ReadFailure> {
    let mut wanted = TAIL_BYTES.min(stored_len);
    for _ in 0..2 {
        file.seek(SeekFrom::Start(stored_len.saturating_sub(wanted)))?;
        let mut tail = Vec::new();
        Read::take(&mut *file, wanted).read_to_end(&mut tail)?;
        match Suffix::open(engine, header, &tail).map_err(|error| ReadFailure::Refused(error.to_string()))? {
            Suffix::Complete(_, manifest) => return Ok(manifest.layout().clone()),
            Suffix::Need(_, more) => wanted = more.min(stored_len),
        }
    }
    Err(ReadFailure::Refused(
        "the manifest is longer than the footer says".to_owned(),
    ))
}

fn write_plain(mut opener: Opener, mut file: File, partial: &Path) -> Result<(), ReadFailure> {
    let on_output = |error: io::Error| ReadFailure::Output(Failure::file(partial, &error));
    let mut output = File::options()
        .write(true)
        .create_new(true)
        .open(partial)
        .map_err(on_output)?;
    while let Need::Exactly(bytes) = opener.need() {
        let mut unit = BytesMut::zeroed(bytes);
        file.read_exact(&mut unit)?;
        let verified = opener
            .supply(unit)
            .map_err(|error| ReadFailure::Refused(error.to_string()))?;
        if let Some(segment) = verified {
            output.write_all(&segment.into_bytes()).map_err(on_output)?;
        }
    }
    if file.read(&mut [0])? != 0 {
        return Err(ReadFailure::Refused(
            "bytes follow the end of the object".to_owned(),
        ));
    }
    output.sync_all().map_err(on_output)
}
