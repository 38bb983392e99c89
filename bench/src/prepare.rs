//! From the command line to a run.
//!
//! What lives here: options and environment to plan, endpoints and processes. What must not: requests.
//! Invariant: whatever can be judged without a request is judged here, before the first one.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use sceau_s3wire::amztime::format_iso8601;
use sceau_s3wire::bucket_name;
use sceau_s3wire::sigv4::{SecretAccessKey, SigningKeyCache};
use zeroize::Zeroizing;

use crate::args::{Arrival, Options};
use crate::draw::{Popularity, ZIPF_OBJECTS_MAX};
use crate::endpoint::{Endpoint, client_tls};
use crate::live::Live;
use crate::load::{Arm, Plan};
use crate::pace::Pace;
use crate::process::Group;
use crate::report::build::Place;
use crate::report::model::Load;
use crate::rounds::Setting;
use crate::scrape::Source;
use crate::target::Target;

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Many short rounds tell more than few long ones.
const DEFAULT_DURATION_OF_ROUNDS: Duration = Duration::from_secs(3);
const DEFAULT_REGION: &str = "us-east-1";
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Intervals of a short round, if nothing else is asked for.
const INTERVALS: u32 = 20;
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// A run that can start.
pub struct Run {
    /// Load and rounds.
    pub setting: Setting,
    /// Endpoints.
    pub arms: Vec<Arm>,
    /// The load for the report.
    pub load: Load,
    /// When it began.
    pub started: String,
}

/// Judges everything.
pub fn run(endpoints: &[(String, String)], rounds: u16, options: &Options) -> Result<Run, String> {
    options.check()?;
    let plan = Arc::new(plan(rounds, options)?);
    let mut arms: Vec<Arm> = Vec::new();
    for (name, url) in endpoints {
        if arms.iter().any(|arm| arm.name == *name) {
            return Err(format!("there are two endpoints called {name}"));
        }
        let target = target(name, url, options)?;
        arms.push(Arm::new(name.clone(), target, &plan, !options.no_verify));
    }
    let mut groups = vec![Group::own()];
    groups.extend(Group::gather(&options.processes));
    if let Some((name, pid)) = groups
        .iter()
        .find_map(|group| Some((&group.name, group.missing()?)))
    {
        return Err(format!("--proc {name}={pid}: there is no such process"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Run {
        load: load(&plan, rounds, options),
        setting: Setting {
            plan,
            rounds,
            groups,
            sources: sources(&arms, &options.metrics)?,
            live: Arc::new(Live::new(options.quiet)),
        },
        arms,
        started: format_iso8601(now.map_or(0, |since| since.as_secs())),
    })
}

/// Metrics of each endpoint's gateway.
fn sources(arms: &[Arm], urls: &[String]) -> Result<Vec<Option<Source>>, String> {
    let mut sources: Vec<Option<Source>> = arms.iter().map(|_| None).collect();
    for text in urls {
        let (name, url) = match (text.split_once('='), arms) {
            (Some((name, url)), _) if !name.contains("//") => (name, url),
            (_, [only]) => (only.name.as_str(), text.as_str()),
            (_, _) => return Err("--metrics needs the name of an endpoint: NAME=URL".to_owned()),
        };
        let number = arms.iter().position(|arm| arm.name == name);
        let place = number.and_then(|number| sources.get_mut(number));
        *place.ok_or_else(|| format!("--metrics: there is no endpoint called {name}"))? =
            Some(Source::parse(url)?);
    }
    Ok(sources)
}

/// An endpoint for the report.
pub fn place(arm: &Arm) -> Place {
    Place {
        name: arm.name.clone(),
        host: arm.target.endpoint.address.clone(),
        tls: arm.target.endpoint.is_tls(),
        bucket: arm.target.bucket.clone(),
    }
}

fn plan(rounds: u16, options: &Options) -> Result<Plan, String> {
    let drawn = || getrandom::u64().map_err(|error| error.to_string());
    let objects = options.size.objects(options.objects);
    if matches!(options.popularity, Popularity::Zipf(..)) && objects > ZIPF_OBJECTS_MAX {
        return Err("zipf takes at most 10 000 000 objects".to_owned());
    }
    let default = if rounds > 1 {
        DEFAULT_DURATION_OF_ROUNDS
    } else {
        DEFAULT_DURATION
    };
    let duration = options.duration.unwrap_or(default);
    let interval = duration.checked_div(INTERVALS).unwrap_or_default();
    Ok(Plan {
        prefix: format!("sceau-bench/{}/", HEXLOWER.encode(&drawn()?.to_be_bytes())),
        seed: options.seed.map_or_else(drawn, Ok)?,
        sizes: options.size.clone(),
        objects,
        popularity: options.popularity.clone().over(objects),
        mix: options.operations(),
        concurrency: options.concurrency,
        pace: options.rate.map_or(Pace::Closed, |rate| Pace::Open {
            rate,
            is_random: options.arrival == Arrival::Poisson,
        }),
        requests: options.requests,
        duration,
        ramp: options.ramp,
        warm_up: options.warm_up,
        part_bytes: options.part_size,
        range_bytes: options.range_size,
        list_entries: options.list_entries,
        interval: options
            .interval
            .unwrap_or(interval.clamp(INTERVAL_MIN, INTERVAL_MAX)),
        auto_stop: options.auto_stop,
        stop: AtomicBool::new(false),
    })
}

fn load(plan: &Plan, rounds: u16, options: &Options) -> Load {
    Load {
        mix: plan.mix.to_string(),
        sizes: plan.sizes.to_string(),
        objects: plan.objects,
        popularity: plan.popularity.to_string(),
        concurrency: plan.concurrency,
        rate: options.rate,
        random_arrival: options.arrival == Arrival::Poisson,
        mode: options.mode,
        content_md5: options.content_md5,
        verified: !options.no_verify,
        prefix: plan.prefix.clone(),
        seed: plan.seed,
        rounds,
        duration_seconds: plan.requests.is_none().then_some(plan.duration.as_secs_f64()),
        requests: plan.requests,
        warm_up_seconds: plan.warm_up.as_secs_f64(),
    }
}

fn target(name: &str, url: &str, options: &Options) -> Result<Target, String> {
    let ca = options.ca.as_deref().map(Path::new);
    let endpoint = Endpoint::parse(url, || client_tls(ca))?;
    let bucket = endpoint.bucket.clone().or_else(|| options.bucket.clone());
    let bucket = bucket.ok_or("name a bucket with --bucket, or in the endpoint's URL")?;
    bucket_name::check(&bucket).map_err(|_| format!("{bucket} is not a bucket name"))?;
    let needed = |what: &str| variable(what, name).ok_or_else(|| format!("{what} is not set"));
    let region = options.region.clone().or_else(|| env::var("AWS_REGION").ok());
    Ok(Target {
        endpoint,
        bucket,
        region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        access_key: needed("AWS_ACCESS_KEY_ID")?,
        secret: SecretAccessKey::new(needed("AWS_SECRET_ACCESS_KEY")?),
        session_token: variable("AWS_SESSION_TOKEN", name).map(Zeroizing::new),
        cache: SigningKeyCache::new(),
        timeout: options.timeout,
        mode: options.mode,
        content_md5: options.content_md5,
        throttle: options.throttle,
    })
}

/// A variable of the environment: the endpoint's own first.
fn variable(what: &str, endpoint: &str) -> Option<String> {
    let suffix: String = endpoint
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    env::var(format!("{what}_{suffix}"))
        .or_else(|_| env::var(what))
        .ok()
}
