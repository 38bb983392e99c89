//! `sceau check`: everything that can be tried before the gateway runs, in the order it would fail.
//!
//! What lives here: the stages. What must not: changes, but an object in the control bucket that is made
//! and removed. Invariant: every stage says what
//! it found, how long it took, and what to do; later stages run where earlier failures let them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use http::{Method, header};
use sceau_kms::{HealthState, KeyProvider, Probe, Severity};
use sceau_server::access::AccessFiles;
use sceau_server::config::{
    Config, CredentialsSource, FolderMarkers, ProviderConfig, StsConfig, read_secret_file,
};
use sceau_server::keyring::{ControlCopy, KeyringFault, KeyringService};
use sceau_server::listen;
use sceau_server::sts::Sts;
use sceau_server::upstream::{StoreRequest, classify_error, keeps_folder_objects};
use serde_json::json;

use crate::exit::{Failure, Part};
use crate::output::Output;
use crate::parts::{self, ConfigArg, Foundations, Provider};
use crate::{enrolment, hygiene};

/// Clock difference to the store that is reported, in seconds; the store refuses requests at 900.
const SKEW_WARN_SECONDS: u64 = 60;

/// Clock difference at which stores refuse requests, in seconds.
const SKEW_FAIL_SECONDS: u64 = 900;

/// Largest answer of the store that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Checks configuration, files, store and keys before the gateway runs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sceau check --config /etc/sceau/sceau.toml\n  sceau check --config sceau.toml --output json"
)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// What a stage found.
enum Found {
    Good(String),
    Warning(String),
}

type Stage = Result<Found, Failure>;

/// Prints each result as it comes and remembers whether all were good.
struct Report {
    output: Output,
    failed: usize,
}

impl Report {
    fn show(&mut self, name: &str, start: Instant, stage: &Stage) -> Result<(), Failure> {
        let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (result, message, id, hint) = match stage {
            Ok(Found::Good(message)) => ("ok", message.as_str(), None, None),
            Ok(Found::Warning(message)) => ("warning", message.as_str(), None, None),
            Err(failure) => {
                self.failed = self.failed.saturating_add(1);
                ("failed", failure.message(), failure.id(), failure.hint())
            }
        };
        let mut text = format!("{result:<8} {name:<16} {elapsed_ms:>6} ms  {message}");
        if let Some(id) = id {
            text.push_str(&format!("  [{id}]"));
        }
        if let Some(hint) = hint {
            text.push_str(&format!("\n{:38}help: {hint}", ""));
        }
        let json = json!({
            "check": name, "result": result, "elapsed_ms": elapsed_ms,
            "message": message, "error_id": id, "hint": hint,
        });
        self.output.print(&text, &json)
    }

    fn run(&mut self, name: &str, stage: impl FnOnce() -> Stage) -> Result<bool, Failure> {
        let start = Instant::now();
        let outcome = stage();
        self.show(name, start, &outcome)?;
        Ok(outcome.is_ok())
    }

    async fn wait(&mut self, name: &str, stage: impl Future<Output = Stage>) -> Result<bool, Failure> {
        let start = Instant::now();
        let outcome = stage.await;
        self.show(name, start, &outcome)?;
        Ok(outcome.is_ok())
    }
}

/// Runs all stages; fails if one did.
pub async fn run(args: CheckArgs, output: Output) -> Result<(), Failure> {
    parts::quiet_logs();
    let mut report = Report { output, failed: 0 };
    let config = parts::load_config(&args.config.config);
    let start = Instant::now();
    let stage = config
        .as_ref()
        .map(|_| Found::Good(args.config.config.display().to_string()));
    report.show("configuration", start, &stage.map_err(again))?;
    if let Ok(config) = config {
        run_stages(&mut report, config).await?;
    }
    match report.failed {
        0 => Ok(()),
        failed => Err(Failure::new(Part::Finding, format!("{failed} checks failed"))),
    }
}

async fn run_stages(report: &mut Report, config: Config) -> Result<(), Failure> {
    report.run("files", || files(&config))?;
    report.run("limits", || limits(&config))?;
    let mut foundations = None;
    report.run("store client", || {
        foundations = Some(Foundations::new(config.clone())?);
        Ok(Found::Good(config.store.endpoint.to_string()))
    })?;
    let Some(foundations) = foundations else {
        return Ok(());
    };
    report.run("access", || access(&foundations))?;
    if let Some(sts) = &foundations.config.sts {
        report.wait("issuers", issuers(sts, &foundations)).await?;
    }
    let reached = report.wait("store", store(&foundations)).await?;
    if reached {
        report
            .wait("control bucket", control_bucket(&foundations))
            .await?;
        report
            .wait("folder markers", folder_markers(&foundations))
            .await?;
    }
    let mut provider = None;
    let start = Instant::now();
    let stage = match Provider::start(&foundations.config.keys).await {
        Ok(started) => {
            let started = provider.insert(started);
            describe(started.shared(&foundations.metrics).as_ref()).await
        }
        Err(failure) => Err(failure),
    };
    report.show("key provider", start, &stage)?;
    let Some(provider) = provider else { return Ok(()) };
    report
        .wait("wrap and unwrap", canary(provider.shared(&foundations.metrics)))
        .await?;
    if reached {
        let is_open = report.wait("keyring", keyring(&foundations, &provider)).await?;
        if is_open {
            report
                .wait("enrolment", enrolment(&foundations, &provider))
                .await?;
        }
    }
    Ok(())
}

/// Permissions of every file that holds a secret, and what TLS needs.
fn files(config: &Config) -> Stage {
    let mut secrets: Vec<&Path> = vec![&config.access.credentials];
    if let CredentialsSource::Static { secret, .. } = &config.store.credentials {
        secrets.extend(secret.file());
    }
    match &config.keys.provider {
        ProviderConfig::InsecureLocal { key_file } => secrets.push(key_file),
        ProviderConfig::Transit(transit) => secrets.push(&transit.token_file),
        ProviderConfig::Kmip(kmip) => secrets.push(&kmip.key_file),
        ProviderConfig::AwsKms(kms) => match &kms.credentials {
            CredentialsSource::Static { secret, .. } => secrets.extend(secret.file()),
            CredentialsSource::Profile { file, .. } => secrets.extend(file.as_deref()),
            CredentialsSource::Environment => {}
        },
        ProviderConfig::Pkcs11(pkcs11) => {
            secrets.extend(pkcs11.all().filter_map(|endpoint| endpoint.pin.file()))
        }
    }
    if let Some(tls) = &config.listen.tls {
        secrets.push(&tls.key);
        listen::acceptor(tls).map_err(|message| Failure::new(Part::Usage, message).with_id("E-CONF-008"))?;
    }
    for path in &secrets {
        read_secret_file(path).map_err(|error| Failure::config(&error))?;
    }
    Ok(Found::Good(format!(
        "{} secret files, readable to their owner only",
        secrets.len()
    )))
}

fn limits(config: &Config) -> Stage {
    let warnings = hygiene::warnings(config.limits.connections);
    if warnings.is_empty() {
        return Ok(Found::Good("open files and locked memory suffice".to_owned()));
    }
    Ok(Found::Warning(warnings.join("; ")))
}

fn access(foundations: &Foundations) -> Stage {
    let access = AccessFiles::open(&foundations.config.access, Arc::clone(&foundations.metrics))
        .map_err(|error| Failure::access(&error))?;
    match access.snapshot().credentials_count() {
        0 => Ok(Found::Warning("no credentials: nobody can sign in".to_owned())),
        count => Ok(Found::Good(format!("{count} credentials and the policy"))),
    }
}

/// Asks every identity provider for its keys.
async fn issuers(config: &StsConfig, foundations: &Foundations) -> Stage {
    let sts = Sts::new(config, &foundations.metrics).map_err(Failure::issuers)?;
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for issuer in sts.issuers() {
        match issuer.try_keys().await {
            Ok(keys) => found.push(format!("{} ({keys} keys)", issuer.config().url)),
            Err(why) => faults.push(format!("{}: {why}", issuer.config().url)),
        }
    }
    if faults.is_empty() {
        Ok(Found::Good(found.join(", ")))
    } else {
        Err(Failure::issuers(faults.join("; ")))
    }
}

/// Reaches the store with a signed request, and compares clocks.
async fn store(foundations: &Foundations) -> Stage {
    let request = StoreRequest::new(Method::GET)
        .bucket(foundations.control.name())
        .query("list-type", "2")
        .query("max-keys", "1");
    let response = foundations.store.send(request).await.map_err(Failure::store)?;
    let (head, body) = response.collect(ANSWER_BYTES_MAX).await.map_err(Failure::store)?;
    if !head.status.is_success() {
        let fault = classify_error(head.status, &body);
        let bucket = foundations.control.name();
        return Err(Failure::new(Part::Store, format!("listing {bucket}: {} ({fault})", head.status))
            .with_id("E-STORE-002")
            .with_hint("create the control bucket (`sceau keys enrol` does), and let the gateway's credentials list, read and write it"));
    }
    let date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    match date.map(clock_difference) {
        None => Ok(Found::Warning(
            "reached, but it does not say what time it is".to_owned(),
        )),
        Some(skew) if skew >= SKEW_FAIL_SECONDS => Err(Failure::new(
            Part::Store,
            format!("the clocks differ by {skew} s"),
        )
        .with_id("E-STORE-004")
        .with_hint("set this host's clock; stores refuse requests beyond 15 minutes")),
        Some(skew) if skew >= SKEW_WARN_SECONDS => {
            Ok(Found::Warning(format!("the clocks differ by {skew} s")))
        }
        Some(skew) => Ok(Found::Good(format!("reached; the clocks differ by {skew} s"))),
    }
}

fn clock_difference(theirs: SystemTime) -> u64 {
    let ours = SystemTime::now();
    let difference: Duration = ours
        .duration_since(theirs)
        .unwrap_or_else(|error| error.duration());
    difference.as_secs()
}

async fn control_bucket(foundations: &Foundations) -> Stage {
    match foundations.control.read().await.map_err(Failure::keyring)? {
        Some((document, _)) => Ok(Found::Good(format!("keyring of {} bytes", document.len()))),
        None => Ok(Found::Warning("no keyring in it yet".to_owned())),
    }
}

/// Tries whether the store keeps objects whose names end in a slash, with one that is thrown away.
async fn folder_markers(foundations: &Foundations) -> Stage {
    let keeps = keeps_folder_objects(&foundations.store, &foundations.control);
    let keeps = keeps.await.map_err(Failure::store)?;
    Ok(match (foundations.config.store.folder_markers, keeps) {
        (FolderMarkers::Sealed, true) => {
            Found::Good("the store keeps objects whose names end in a slash; they are sealed".to_owned())
        }
        (FolderMarkers::Plain, false) => Found::Good(
            "the store drops objects whose names end in a slash; empty ones are written plain".to_owned(),
        ),
        (FolderMarkers::Sealed, false) => Found::Warning(
            "the store drops objects whose names end in a slash: clients that mark folders get 501; set \
             store.folder_markers = \"plain\" in the configuration of every gateway"
                .to_owned(),
        ),
        (FolderMarkers::Plain, true) => Found::Warning(
            "the store keeps objects whose names end in a slash: take store.folder_markers = \"plain\" out of \
             the configuration, so that they are sealed"
                .to_owned(),
        ),
    })
}

async fn describe(provider: &dyn KeyProvider) -> Stage {
    let status = provider.describe().await.map_err(Failure::keys)?;
    let findings: Vec<_> = status
        .findings
        .iter()
        .map(|finding| finding.what.as_str())
        .collect();
    if status
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
    {
        return Err(Failure::new(Part::Keys, findings.join("; ")).with_id("E-KEYS-015"));
    }
    if !provider.info().is_production_grade {
        return Ok(Found::Warning(format!(
            "software keys, for development only ({})",
            status.location
        )));
    }
    if findings.is_empty() {
        return Ok(Found::Good(status.location));
    }
    Ok(Found::Warning(format!(
        "{}: {}",
        status.location,
        findings.join("; ")
    )))
}

async fn canary(provider: Arc<dyn KeyProvider>) -> Stage {
    let health = provider.health(Probe::Canary).await;
    match (health.state, health.error) {
        (HealthState::Ready, _) => Ok(Found::Good("a canary came back".to_owned())),
        (HealthState::Recovering | HealthState::Down, Some(error)) => Err(Failure::keys(error)),
        (HealthState::Recovering | HealthState::Down, None) => {
            Err(Failure::keys(sceau_kms::KeyError::Internal))
        }
    }
}

/// Verifies both copies without repairing either.
async fn keyring(foundations: &Foundations, provider: &Provider) -> Stage {
    match sceau_server::keyring::inspect(foundations.keyring_parts(provider.shared(&foundations.metrics)))
        .await
    {
        Ok((content, copies)) => {
            let buckets = content.buckets.len();
            Ok(Found::Good(format!(
                "generation {}, {buckets} buckets, {copies}",
                content.generation
            )))
        }
        Err(KeyringFault::Absent) => Ok(Found::Warning(
            "none yet: make one with `sceau keys enrol`".to_owned(),
        )),
        Err(fault) => Err(Failure::keyring(fault)),
    }
}

/// Compares key, token and module with what was accepted, without writing the record anywhere.
async fn enrolment(foundations: &Foundations, provider: &Provider) -> Stage {
    let parts = foundations.keyring_parts(provider.shared(&foundations.metrics));
    let service = match KeyringService::open(parts).await {
        Ok(service) => service,
        Err(KeyringFault::Absent) => return Ok(Found::Warning("nothing is enrolled yet".to_owned())),
        Err(fault) => return Err(Failure::keyring(fault)),
    };
    let look = enrolment::look(foundations, &service, provider).await?;
    let found = look.refuse()?;
    Ok(match found {
        None => Found::Good("not kept for this kind of key provider".to_owned()),
        Some((_, true)) => Found::Warning("no record yet: the first start makes one".to_owned()),
        Some((record, false)) => Found::Good(format!("as accepted, record {}", record.serial)),
    })
}

/// The same failure, to be shown here and reported no further.
fn again(failure: &Failure) -> Failure {
    let copy = Failure::new(Part::Usage, failure.message());
    let copy = match failure.id() {
        Some(id) => copy.with_id(id),
        None => copy,
    };
    match failure.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}
