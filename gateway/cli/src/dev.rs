//! `sceau dev`: the whole gateway with no file to write first.
//!
//! What lives here: throw-away keys, an embedded store, one credential, and the banner. What must not:
//! anything that `serve` does not do too; requests take the same path. Invariant: nothing here can reach
//! a production key provider or a store that is not embedded.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sceau_devstore::{DataLocation, DevStore};
use sceau_keys::SecretText;
use sceau_kms_insecure_local::InsecureLocalProvider;
use sceau_policy::{Credentials, Policy, PolicyFile, Principal, RuleEntry, Verb};
use sceau_server::access::{AccessFiles, AccessSnapshot};
use sceau_server::admin::Readiness;
use sceau_server::app::{AppParts, Gateway, Settings};
use sceau_server::audit::Trail;
use sceau_server::config::{LogConfig, LogFormat};
use sceau_server::keyring::{self, KeyringOptions, KeyringParts, KeyringService};
use sceau_server::lanes;
use sceau_server::listen::{self, ListenOptions};
use sceau_server::patience::Patience;
use sceau_server::telemetry::{self, Metrics};
use sceau_server::upstream::{ControlBucket, CredentialSource, Store, StoreConfig};
use tokio::net::TcpListener;

use crate::exit::Failure;
use crate::stop;

/// Bucket that is there from the start.
const DEMO_BUCKET: &str = "demo";

/// Name of the control bucket in the embedded store.
const CONTROL_BUCKET: &str = "sceau-control";

/// Whose the one credential is.
const PRINCIPAL: &str = "developer";

/// Label of the throw-away key-encryption key.
const KEY_LABEL: &str = "sceau-dev";

/// How long requests may go on after Ctrl-C.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Starts a gateway for trying out: throw-away keys, embedded store, no configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sceau dev\n  sceau dev --listen 127.0.0.1:9000 --data ./sceau-data")]
pub struct DevArgs {
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Keep objects and keys in this folder; without it everything is gone at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Access key of the one credential; drawn without it
    #[arg(long, value_name = "K")]
    access_key: Option<String>,
    /// Secret key of the one credential; drawn without it
    #[arg(long, value_name = "S")]
    secret_key: Option<String>,
    /// Log level or filter; `info` shows one line for each request
    #[arg(long, default_value = "warn", value_name = "LEVEL")]
    log: String,
}

/// Where this run keeps its files. A folder of our own is removed at the end.
struct Place {
    folder: PathBuf,
    is_ours: bool,
}

impl Place {
    fn open(data: Option<&Path>) -> Result<Self, Failure> {
        let place = match data {
            Some(folder) => Self {
                folder: folder.to_owned(),
                is_ours: false,
            },
            None => Self {
                folder: std::env::temp_dir().join(format!("sceau-dev-{}", draw_text()?)),
                is_ours: true,
            },
        };
        std::fs::create_dir_all(&place.folder).map_err(|error| Failure::file(&place.folder, &error))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Runs until Ctrl-C.
pub async fn run(args: DevArgs) -> Result<(), Failure> {
    let log = LogConfig {
        format: LogFormat::Text,
        level: args.log.clone(),
    };
    telemetry::init(&log).map_err(Failure::usage)?;
    let place = Place::open(args.data.as_deref())?;
    let store = embedded_store(&place).await?;
    let control = ControlBucket::new(store.clone(), CONTROL_BUCKET);
    control.ensure_bucket().await.map_err(Failure::store)?;
    let metrics = Arc::new(Metrics::new().map_err(Failure::internal)?);
    let readiness = Arc::new(Readiness::new(Duration::ZERO));
    let keyring = open_keyring(&place, &control, &metrics, &readiness).await?;
    demo_bucket(&store, &keyring).await?;
    let (access_key, secret_key) = credential(&args)?;
    let access = AccessFiles::fixed(snapshot(&access_key, secret_key.clone())?);
    let settings = Settings {
        domains: Vec::new(),
        regions: Vec::new(),
        patience: Patience::default(),
        in_flight_max: 512,
    };
    let refresh = tokio::spawn(Arc::clone(&keyring).run());
    let gateway = Gateway::new(AppParts {
        settings,
        store,
        control,
        keyring,
        access,
        sts: None,
        trail: Trail::off(),
        metrics,
    })
    .map_err(Failure::internal)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::listen(args.listen, &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::listen(args.listen, &error))?;
    banner(address, args.data.as_deref(), &access_key, &secret_key);
    let options = ListenOptions {
        connections_max: 1024,
        head_bytes_max: 32 * 1024,
        header_read_wait: Duration::from_secs(20),
        patience: Patience::default(),
        drain_wait: DRAIN_WAIT,
        lanes: lanes::count(),
    };
    listen::serve(listener, None, options, gateway, stop::on_signal()).await;
    refresh.abort();
    Ok(())
}

async fn embedded_store(place: &Place) -> Result<Store, Failure> {
    let location = DataLocation::Directory(place.folder.join("store"));
    let store = DevStore::open(location).map_err(|error| Failure::file(&place.folder, &error))?;
    // Known to nobody else, and good for this run only.
    let (access_key, secret_key) = (draw_text()?, draw_text()?);
    let credentials = sceau_devstore::Credentials {
        access_key: access_key.clone(),
        secret_key: secret_key.clone(),
    };
    let (address, handle) = store
        .spawn(credentials)
        .await
        .map_err(|error| Failure::file(&place.folder, &error))?;
    // Served until the process ends.
    std::mem::forget(handle);
    let endpoint = http::Uri::try_from(format!("http://{address}")).map_err(Failure::internal)?;
    let credentials = CredentialSource::Static {
        access_key,
        secret: SecretText::new(secret_key),
        session_token: None,
    };
    Store::new(StoreConfig::new(endpoint, sceau_devstore::REGION, credentials)).map_err(Failure::store)
}

async fn open_keyring(
    place: &Place,
    control: &ControlBucket,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
) -> Result<Arc<KeyringService>, Failure> {
    let key_file = place.folder.join("insecure-key.json");
    let is_new = !key_file.exists();
    if is_new {
        InsecureLocalProvider::create(&key_file, KEY_LABEL).map_err(Failure::keys)?;
    }
    let provider = InsecureLocalProvider::open(&key_file).map_err(Failure::keys)?;
    let provider = keyring::Recorded::over(Arc::new(provider), Arc::clone(metrics));
    let parts = KeyringParts {
        provider: Arc::clone(&provider),
        control: Arc::new(control.clone()),
        options: KeyringOptions {
            local: place.folder.join("keyring.json"),
            cache_ttl: Duration::from_secs(300),
            cache_entries: 1024,
            refresh: Duration::from_secs(10),
            epochs: keyring::EpochLimits::default(),
        },
        metrics: Arc::clone(metrics),
        readiness: Arc::clone(readiness),
    };
    if is_new {
        let key = keyring::enrolled_key(provider.as_ref(), String::new())
            .await
            .map_err(Failure::keyring)?;
        return KeyringService::create(parts, key).await.map_err(Failure::keyring);
    }
    KeyringService::open(parts).await.map_err(Failure::keyring)
}

async fn demo_bucket(store: &Store, keyring: &KeyringService) -> Result<(), Failure> {
    if keyring.bucket(DEMO_BUCKET).is_some() {
        return Ok(());
    }
    ControlBucket::new(store.clone(), DEMO_BUCKET)
        .ensure_bucket()
        .await
        .map_err(Failure::store)?;
    keyring.add_bucket(DEMO_BUCKET).await.map_err(Failure::keyring)?;
    Ok(())
}

fn credential(args: &DevArgs) -> Result<(String, String), Failure> {
    let access_key = args.access_key.clone().map_or_else(draw_text, Ok)?;
    let secret_key = args.secret_key.clone().map_or_else(draw_text, Ok)?;
    Ok((access_key, secret_key))
}

/// One credential that may do everything.
fn snapshot(access_key: &str, secret_key: String) -> Result<AccessSnapshot, Failure> {
    let verbs = vec![
        Verb::Read,
        Verb::Write,
        Verb::Delete,
        Verb::List,
        Verb::CreateBucket,
        Verb::DeleteBucket,
        Verb::Configure,
        Verb::ReadConfiguration,
    ];
    let everything = RuleEntry {
        name: Some("everything".to_owned()),
        principal: PRINCIPAL.to_owned(),
        buckets: vec!["*".to_owned()],
        prefixes: None,
        verbs,
    };
    let policy = Policy::from_file(&PolicyFile {
        allow: vec![everything],
        deny: Vec::new(),
        bucket: Vec::new(),
        key_use: Vec::new(),
    });
    let principal = Principal::new(PRINCIPAL).ok_or_else(|| Failure::internal("principal"))?;
    let credentials = Credentials::for_development(access_key, secret_key, principal);
    Ok(AccessSnapshot::new(
        credentials,
        policy.map_err(Failure::internal)?,
    ))
}

/// 128 random bits as text.
fn draw_text() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Failure::internal)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

#[expect(clippy::print_stdout, reason = "the banner is this command's output")]
fn banner(address: SocketAddr, data: Option<&Path>, access_key: &str, secret_key: &str) {
    println!(
        "\n  SCEAU DEVELOPMENT MODE: keys are in a file beside the data. Never for real data.\n\n\
         \x20 endpoint     http://{address}\n\
         \x20 access key   {access_key}\n\
         \x20 secret key   {secret_key}\n\
         \x20 bucket       {DEMO_BUCKET}\n\
         \x20 data         {}\n\n\
         \x20 Try:\n\n\
         \x20   export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION=us-east-1\n\
         \x20   aws --endpoint-url http://{address} s3 cp README.md s3://{DEMO_BUCKET}/\n",
        data.map_or_else(
            || "in a temporary folder, gone at the end".to_owned(),
            |data| data.display().to_string()
        ),
    );
}
