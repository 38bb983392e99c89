//! `sceau keys export|import`: the keyring as a file.
//!
//! What lives here: files. What must not: what a document must satisfy, which is the keyring's. Invariant: an
//! export never overwrites.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use sceau_envelope::keyring::KEYRING_BYTES_MAX;
use sceau_server::keyring;
use serde_json::json;

use super::make_folder;
use crate::exit::Failure;
use crate::output::Output;
use crate::parts::{ConfigArg, Foundations, Provider};

/// Where to write the keyring.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// New file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Which keyring to put in place.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// A file that `export` wrote, or a copy of the local keyring
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The last generation that is known to have existed: an older keyring is refused
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    generation_min: u64,
    /// Replace copies that do not verify
    #[arg(long)]
    replace_damaged: bool,
}

/// Writes the verified keyring to a new file.
pub async fn export(args: ExportArgs, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(&args.config.config)?;
    let provider = Provider::start(&foundations.config.keys).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let document = service.document();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .map_err(|error| Failure::file(&args.file, &error))?;
    file.write_all(&document)
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::file(&args.file, &error))?;
    let generation = service.keyring().content().generation;
    let text = format!(
        "generation {generation}, {} bytes, in {}: note the generation, import refuses older ones when told",
        document.len(),
        args.file.display()
    );
    output.print(
        &text,
        &json!({"generation": generation, "bytes": document.len(), "file": args.file}),
    )
}

/// Verifies a keyring and puts it where it is missing or newer.
pub async fn import(args: ImportArgs, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(&args.config.config)?;
    let limit = u64::try_from(KEYRING_BYTES_MAX).unwrap_or(u64::MAX);
    let mut document = Vec::new();
    File::open(&args.file)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut document))
        .map_err(|error| Failure::file(&args.file, &error))?;
    let provider = Provider::start(&foundations.config.keys).await?;
    foundations
        .control
        .ensure_bucket()
        .await
        .map_err(Failure::store)?;
    make_folder(&foundations.config.keys.keyring)?;
    let parts = foundations.keyring_parts(provider.shared(&foundations.metrics));
    let imported = keyring::import(parts, document.into(), args.generation_min, args.replace_damaged)
        .await
        .map_err(Failure::keyring)?;
    let written = |is_written: bool| {
        if is_written {
            "written"
        } else {
            "was there already"
        }
    };
    let text = format!(
        "generation {}: control bucket's copy {}, local copy {}",
        imported.generation,
        written(imported.control_written),
        written(imported.local_written)
    );
    let json = json!({
        "generation": imported.generation, "control_written": imported.control_written,
        "local_written": imported.local_written,
    });
    output.print(&text, &json)
}
