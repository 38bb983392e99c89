//! The configured issuers and their keys, as fresh as they can be had.
//!
//! What lives here: [`Issuer`], which fetches, keeps and renews one issuer's keys. What must not: tokens'
//! claims, roles. Invariants: one look at a time for each issuer, and not more often than
//! [`limits::ISSUER_LOOK_INTERVAL`]; keys older than [`limits::ISSUER_KEYS_AGE_MAX`] are not used.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::Uri;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fetch::Fetcher;
use super::jwks::{Algorithm, IssuerKey, parse_key_set};
use crate::config::{IssuerConfig, IssuerKeys, is_loopback};
use crate::limits;
use crate::telemetry::Metrics;

/// When keys are asked for again.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// Age at which they are.
    pub fresh: Duration,
    /// Age until which they are used meanwhile.
    pub usable: Duration,
    /// Least time between two looks.
    pub interval: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            fresh: limits::ISSUER_KEYS_AGE,
            usable: limits::ISSUER_KEYS_AGE_MAX,
            interval: limits::ISSUER_LOOK_INTERVAL,
        }
    }
}

/// The issuer's keys cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

/// One issuer. Share it by `Arc`.
pub struct Issuer {
    config: IssuerConfig,
    fetcher: Fetcher,
    ages: Ages,
    metrics: Arc<Metrics>,
    held: RwLock<Option<Arc<Held>>>,
    look: Arc<Mutex<Look>>,
}

struct Held {
    keys: Vec<IssuerKey>,
    since: Instant,
}

/// The last look at the keys, held while one is under way.
#[derive(Default)]
struct Look {
    began: Option<Instant>,
    has_succeeded: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// An issuer whose keys nobody asked for yet.
    ///
    /// # Errors
    /// What is wrong with its trust anchors.
    pub fn new(config: IssuerConfig, ages: Ages, metrics: Arc<Metrics>) -> Result<Arc<Self>, String> {
        // Without a network there is nothing to trust, and perhaps no system store either.
        let fetcher =
            Fetcher::new(config.ca_file.as_deref()).map_err(|why| format!("{}: {why}", config.url))?;
        Ok(Arc::new(Self {
            config,
            fetcher,
            ages,
            metrics,
            held: RwLock::default(),
            look: Arc::default(),
        }))
    }

    /// Its configuration.
    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// The keys to verify a token with. When none suits it, they are looked at again, because the issuer
    /// may have begun to use a new one; the answer may still hold none.
    ///
    /// # Errors
    /// `Unreachable` when there are no keys that may still be used, or none suits and the last look
    /// failed: whether the key exists is then not known.
    pub async fn keys_for(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<IssuerKey>, Unreachable> {
        let suits = |held: &Held| held.keys.iter().any(|key| key.suits(kid, algorithm));
        let is_fresh = |held: &Held| held.since.elapsed() < self.ages.fresh;
        if let Some(held) = self.held()
            && is_fresh(&held)
            && suits(&held)
        {
            return Ok(held.keys.clone());
        }
        let has_succeeded = self.look_again().await;
        match self.held().filter(|held| held.since.elapsed() < self.ages.usable) {
            Some(held) if has_succeeded || suits(&held) => Ok(held.keys.clone()),
            Some(_) | None => Err(Unreachable),
        }
    }

    /// Looks now, whatever is held, for `sceau check`: how many usable keys there are.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn try_keys(&self) -> Result<usize, String> {
        self.load().await.map(|keys| keys.len())
    }

    fn held(&self) -> Option<Arc<Held>> {
        // Held for the time of one pointer copy.
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers whether the last look succeeded.
    ///
    /// Attack considered: a stranger who asks and hangs up. The look goes on in its own task, so that it
    /// cannot be broken off time and again; waiting for it can.
    async fn look_again(self: &Arc<Self>) -> bool {
        let asked = Instant::now();
        let mut look = Arc::clone(&self.look).lock_owned().await;
        if let Some(began) = look.began
            && (began >= asked || began.elapsed() < self.ages.interval)
        {
            return look.has_succeeded;
        }
        look.began = Some(Instant::now());
        look.has_succeeded = false;
        let this = Arc::clone(self);
        let looking = tokio::spawn(async move {
            let loaded = this.load().await;
            look.has_succeeded = this.install(loaded);
            look.has_succeeded
        });
        looking.await.unwrap_or(false)
    }

    fn install(&self, loaded: Result<Vec<IssuerKey>, String>) -> bool {
        self.metrics.issuer_look(loaded.is_ok());
        let issuer = self.config.url.as_str();
        match loaded {
            Ok(keys) => {
                tracing::info!(issuer, keys = keys.len(), "keys of an identity provider loaded");
                let held = Arc::new(Held {
                    keys,
                    since: Instant::now(),
                });
                *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
                true
            }
            Err(why) => {
                tracing::warn!(
                    error_id = "E-STS-001",
                    issuer,
                    "keys of an identity provider not loaded, older ones stay for a day: {why}"
                );
                false
            }
        }
    }

    async fn load(&self) -> Result<Vec<IssuerKey>, String> {
        let document = match &self.config.keys {
            IssuerKeys::Discovery => {
                let place = self.discover().await?;
                self.fetcher.get(place).await?
            }
            IssuerKeys::Uri(place) => self.fetcher.get(place.clone()).await?,
            IssuerKeys::File(path) => read(path).await?,
        };
        parse_key_set(&document)
            .ok_or_else(|| format!("not a key set of 1 to {} usable keys", limits::ISSUER_KEYS_MAX))
    }

    /// OpenID Connect Discovery, section 4.
    async fn discover(&self) -> Result<Uri, String> {
        let issuer = &self.config.url;
        let place = format!(
            "{}/.well-known/openid-configuration",
            issuer.strip_suffix('/').unwrap_or(issuer)
        );
        let place: Uri = place
            .parse()
            .map_err(|_| "its URL cannot be extended".to_owned())?;
        let document = self.fetcher.get(place).await?;
        let found: Discovery = serde_json::from_slice(&document)
            .map_err(|_| "its discovery document has no issuer and jwks_uri".to_owned())?;
        // A document of somebody else would let them sign in its place (section 4.3).
        if found.issuer != *issuer {
            return Err("its discovery document is of another issuer".to_owned());
        }
        let keys: Uri = found
            .jwks_uri
            .parse()
            .map_err(|_| "its jwks_uri is not a URL".to_owned())?;
        let issuer: Uri = issuer.parse().map_err(|_| "it is no URL".to_owned())?;
        may_name(&issuer, &keys)
            .then_some(keys)
            .ok_or_else(|| "its jwks_uri is on this host".to_owned())
    }
}

/// Whether a discovery document of `issuer` may send the gateway to `place`.
///
/// Attack considered: an issuer elsewhere that names a place on this host, and has the gateway ask services
/// that listen on loopback because they trust who can reach them there.
fn may_name(issuer: &Uri, place: &Uri) -> bool {
    !is_loopback(place) || is_loopback(issuer)
}

async fn read(path: &Path) -> Result<bytes::Bytes, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    let length = tokio::fs::metadata(path).await.map_err(fault)?.len();
    if length > limits::ISSUER_DOCUMENT_BYTES_MAX as u64 {
        return Err(format!("{}: too large", path.display()));
    }
    tokio::fs::read(path).await.map(Into::into).map_err(fault)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An issuer on this host: answers what it is told, and counts.
    struct Fake {
        url: String,
        asked: Arc<AtomicUsize>,
        answers: Arc<std::sync::Mutex<(String, String)>>,
    }

    impl Fake {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string();
            let answers = Arc::new(std::sync::Mutex::new((discovery, keys("one"))));
            let asked = Arc::new(AtomicUsize::new(0));
            let (counts, given) = (Arc::clone(&asked), Arc::clone(&answers));
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let (counts, given) = (Arc::clone(&counts), Arc::clone(&given));
                    tokio::spawn(async move {
                        let mut head = vec![0; 4096];
                        let length = stream.read(&mut head).await.unwrap();
                        let is_keys = head[..length].starts_with(b"GET /keys ");
                        let body = {
                            let given = given.lock().unwrap();
                            if is_keys { given.1.clone() } else { given.0.clone() }
                        };
                        if is_keys {
                            counts.fetch_add(1, Ordering::SeqCst);
                            // Long enough for others to join.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        let status = if body.is_empty() { "503 Down" } else { "200 OK" };
                        let text = format!(
                            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(text.as_bytes()).await.unwrap();
                    });
                }
            });
            Self { url, asked, answers }
        }

        fn issuer(&self, ages: Ages) -> Arc<Issuer> {
            let config = IssuerConfig {
                url: self.url.clone(),
                audiences: vec!["a".to_owned()],
                keys: IssuerKeys::Discovery,
                ca_file: None,
            };
            Issuer::new(config, ages, Arc::new(Metrics::new().unwrap())).unwrap()
        }

        fn publish(&self, text: impl Into<String>) {
            self.answers.lock().unwrap().1 = text.into();
        }
    }

    fn keys(kid: &str) -> String {
        json!({ "keys": [{ "kty": "RSA", "kid": kid, "n": "AQAB", "e": "AQAB" }] }).to_string()
    }

    fn ages(fresh: u64, usable: u64, interval: u64) -> Ages {
        let ms = Duration::from_millis;
        Ages {
            fresh: ms(fresh),
            usable: ms(usable),
            interval: ms(interval),
        }
    }

    async fn found(issuer: &Arc<Issuer>, kid: &str) -> Result<bool, Unreachable> {
        let keys = issuer.keys_for(Some(kid), Algorithm::Rs256).await?;
        Ok(keys.iter().any(|key| key.suits(Some(kid), Algorithm::Rs256)))
    }

    #[tokio::test]
    async fn many_requests_share_one_look() {
        let fake = Fake::start().await;
        let issuer = fake.issuer(Ages::default());
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let issuer = Arc::clone(&issuer);
            waiting.spawn(async move { found(&issuer, "one").await });
        }
        while let Some(done) = waiting.join_next().await {
            assert_eq!(done.unwrap(), Ok(true));
        }
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_for_but_not_more_often_than_stated() {
        let fake = Fake::start().await;
        let issuer = fake.issuer(ages(60_000, 60_000, 300));
        assert_eq!(found(&issuer, "one").await, Ok(true));
        fake.publish(keys("two"));
        for _ in 0..5 {
            assert_eq!(found(&issuer, "two").await, Ok(false));
        }
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(found(&issuer, "two").await, Ok(true));
        assert_eq!(found(&issuer, "one").await, Ok(false), "the old key is gone");
        assert_eq!(fake.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn old_keys_serve_while_the_issuer_is_down_until_the_limit() {
        let fake = Fake::start().await;
        let issuer = fake.issuer(ages(1, 600, 1));
        assert_eq!(found(&issuer, "one").await, Ok(true));
        fake.publish("");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(found(&issuer, "one").await, Ok(true));
        assert_eq!(found(&issuer, "two").await, Err(Unreachable), "not known");
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(found(&issuer, "one").await, Err(Unreachable), "too old");
        fake.publish(keys("one"));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(found(&issuer, "one").await, Ok(true));
    }

    #[tokio::test]
    async fn who_hangs_up_does_not_break_off_the_look() {
        let fake = Fake::start().await;
        let issuer = fake.issuer(Ages::default());
        let asking = tokio::time::timeout(Duration::from_millis(20), found(&issuer, "one"));
        assert!(asking.await.is_err());
        assert_eq!(found(&issuer, "one").await, Ok(true));
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_issuer_elsewhere_names_no_place_on_this_host() {
        for (issuer, place, is_followed) in [
            ("https://login.example.com", "https://keys.example.net/keys", true),
            (
                "https://login.example.com",
                "http://127.0.0.1:9001/metrics",
                false,
            ),
            ("https://login.example.com", "http://localhost/keys", false),
            ("https://login.example.com", "https://127.0.0.1/keys", false),
            ("https://login.example.com", "https://[::1]/keys", false),
            ("https://login.example.com", "https://localhost./keys", false),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/keys", true),
            (
                "https://localhost:8443/realm",
                "https://127.0.0.1:8443/keys",
                true,
            ),
        ] {
            let [issuer, place]: [Uri; 2] = [issuer, place].map(|text| text.parse().unwrap());
            assert_eq!(may_name(&issuer, &place), is_followed, "{issuer} {place}");
        }
    }

    #[tokio::test]
    async fn documents_that_cannot_be_trusted_are_refused() {
        let fake = Fake::start().await;
        let quick = || fake.issuer(ages(60_000, 60_000, 1));
        for discovery in [
            json!({ "issuer": format!("{}/", fake.url), "jwks_uri": format!("{}/keys", fake.url) }),
            json!({ "issuer": fake.url, "jwks_uri": "http://192.0.2.1/keys" }),
            json!({ "issuer": fake.url, "jwks_uri": "file:///etc/passwd" }),
            json!({ "issuer": fake.url }),
        ] {
            let good = std::mem::replace(&mut fake.answers.lock().unwrap().0, discovery.to_string());
            assert_eq!(found(&quick(), "one").await, Err(Unreachable), "{discovery}");
            fake.answers.lock().unwrap().0 = good;
        }
        assert_eq!(fake.asked.load(Ordering::SeqCst), 0);
        fake.publish("x".repeat(limits::ISSUER_DOCUMENT_BYTES_MAX + 1));
        assert_eq!(found(&quick(), "one").await, Err(Unreachable));
        fake.publish("{\"keys\": []}");
        assert_eq!(found(&quick(), "one").await, Err(Unreachable));
        fake.publish(keys("one"));
        assert_eq!(found(&quick(), "one").await, Ok(true));
    }
}
