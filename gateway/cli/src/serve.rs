//! `sceau serve`: the gateway as a service.
//!
//! What lives here: the order of start and stop. What must not: anything a request does. Invariant:
//! the process is hardened before it reads a secret, and ready only after the keys were proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sceau_audit::AuditKey;
use sceau_server::access::AccessFiles;
use sceau_server::admin;
use sceau_server::app::{AppParts, Gateway, Settings};
use sceau_server::audit::Trail;
use sceau_server::config::{LimitsConfig, TlsFiles, read_secret_file};
use sceau_server::keyring::KeyringService;
use sceau_server::lanes;
use sceau_server::listen::{self, ListenOptions};
use sceau_server::patience::Patience;
use sceau_server::sts::Sts;
use sceau_server::telemetry::{self, DropCause, Metrics};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::exit::{Failure, Part};
use crate::parts::{ConfigArg, Foundations, Provider, load_config};
use crate::{enrolment, hygiene, stop};

/// How often the helper's restarts are counted.
const HELPER_LOOK: Duration = Duration::from_secs(5);

/// Runs the gateway.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sceau serve --config /etc/sceau/sceau.toml\n  sceau check --config /etc/sceau/sceau.toml && sceau serve --config /etc/sceau/sceau.toml"
)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Failure> {
    let config = load_config(&args.config.config)?;
    telemetry::init(&config.log).map_err(Failure::internal)?;
    hygiene::harden(config.limits.connections);
    // With a handler, a limit on the size of files fails the write and not the process.
    let _too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let mut foundations = Foundations::new(config)?;
    foundations.trail = Trail::new(&foundations.config.audit, Arc::clone(&foundations.metrics));
    let foundations = foundations;
    let config = &foundations.config;
    config.listen.tls.as_ref().map(check_key_file).transpose()?;
    let tls = config
        .listen
        .tls
        .as_ref()
        .map(listen::acceptor)
        .transpose()
        .map_err(tls_failure)?;
    let access = AccessFiles::open(&config.access, Arc::clone(&foundations.metrics))
        .map_err(|error| Failure::access(&error))?;
    let sts = config
        .sts
        .as_ref()
        .map(|sts| Sts::new(sts, &foundations.metrics))
        .transpose()
        .map_err(Failure::issuers)?;
    // Addresses are taken before the keys are unlocked: a second gateway by mistake ends here.
    let data = bind(config.listen.data).await?;
    let admin = bind(config.listen.admin).await?;
    let stop = stop::on_signal();
    // Taken before keys are: the default action of the signal would end the process.
    let drop_signal = signal(SignalKind::user_defined1()).map_err(Failure::internal)?;
    // Health and metrics answer until the end, also while requests drain.
    let (_admin_runs, admin_stop) = watch::channel(false);
    let key_drop = admin::KeyDrop::default();
    let mut background = JoinSet::new();
    background.spawn(admin::serve(
        admin,
        Arc::clone(&foundations.metrics),
        Arc::clone(&foundations.readiness),
        Arc::clone(&key_drop),
        admin_stop,
    ));
    let provider = Provider::start(&config.keys).await?;
    let keyring = foundations.keyring(provider.audited(&foundations)).await?;
    let dropping = Arc::clone(&keyring);
    // Set once, here.
    let _ = key_drop.set(Box::new(move || dropping.drop_keys(DropCause::Admin)));
    background.spawn(drop_on_signal(drop_signal, Arc::clone(&keyring)));
    enrolment::verify(&foundations, &keyring, &provider).await?;
    start_trail(&foundations, &keyring).await?;
    access.audit(foundations.trail.clone());
    background.spawn(Arc::clone(&keyring).run());
    background.spawn(Arc::clone(&access).run());
    background.spawn(count_restarts(provider, Arc::clone(&foundations.metrics)));
    background.spawn(drain_at(stop.clone(), Arc::clone(&foundations.readiness)));
    let gateway = Gateway::new(AppParts {
        settings: Settings {
            domains: config.listen.domains.clone(),
            regions: config.listen.regions.clone(),
            patience: patience(&config.limits),
            in_flight_max: config.limits.in_flight,
        },
        store: foundations.store.clone(),
        control: foundations.control.clone(),
        keyring,
        access,
        sts,
        trail: foundations.trail.clone(),
        metrics: Arc::clone(&foundations.metrics),
    })
    .map_err(Failure::internal)?;
    tracing::info!(
        data = %config.listen.data,
        admin = %config.listen.admin,
        tls = tls.is_some(),
        key_provider = config.keys.provider.name(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    let options = ListenOptions {
        connections_max: config.limits.connections,
        head_bytes_max: config.limits.header_bytes,
        header_read_wait: config.limits.header_read_timeout,
        patience: patience(&config.limits),
        drain_wait: config.limits.drain_timeout,
        lanes: lanes::count(),
    };
    let cut = listen::serve(data, tls, options, gateway, stop).await;
    background.shutdown().await;
    foundations.trail.stop().await;
    match cut {
        0 => {
            tracing::info!("stopped");
            Ok(())
        }
        cut => Err(Failure::new(
            Part::Finding,
            format!("{cut} connections were cut at the end of the drain time"),
        )
        .with_hint("raise limits.drain_timeout")),
    }
}

fn patience(limits: &LimitsConfig) -> Patience {
    Patience::new(
        limits.body_idle_timeout,
        limits.body_rate_min,
        limits.body_rate_window,
    )
}

/// The rule about its permissions; the content is wiped at once.
fn check_key_file(files: &TlsFiles) -> Result<(), Failure> {
    read_secret_file(&files.key)
        .map(drop)
        .map_err(|error| Failure::config(&error))
}

fn tls_failure(message: String) -> Failure {
    Failure::new(Part::Usage, message)
        .with_id("E-CONF-008")
        .with_hint("listen.tls needs a certificate chain and its key, both PEM")
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::listen(address, &error))
}

async fn start_trail(foundations: &Foundations, keyring: &KeyringService) -> Result<(), Failure> {
    let config = &foundations.config.audit;
    if !foundations.trail.is_on() {
        return Ok(());
    }
    let root = keyring.audit_root().await.map_err(Failure::keyring)?;
    let about = format!("version={}", env!("CARGO_PKG_VERSION"));
    let started = foundations.trail.start(config, AuditKey::new(root), about);
    started.map_err(|error| Failure::audit(&error))
}

/// SIGUSR1 drops all unwrapped keys.
async fn drop_on_signal(mut signal: Signal, keyring: Arc<KeyringService>) {
    while signal.recv().await.is_some() {
        keyring.drop_keys(DropCause::Signal);
    }
}

async fn count_restarts(provider: Provider, metrics: Arc<Metrics>) {
    let mut ticker = tokio::time::interval(HELPER_LOOK);
    loop {
        ticker.tick().await;
        metrics.helper_restarts(provider.helper_restarts());
        let (up, hedged) = provider.endpoints();
        metrics.key_endpoints(&up, hedged);
    }
}

async fn drain_at(mut stop: watch::Receiver<bool>, readiness: Arc<admin::Readiness>) {
    // A dropped sender is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
    readiness.drain();
}
