//! Random requests that are hard to canonicalise, signed as the gateway signs for its store, one JSON
//! object a line: for trying the signer against the signature checks of other servers.
//!
//! `signed_requests SEED COUNT HOST BUCKET ACCESS_KEY SECRET_KEY [REGION]`, where HOST is what the `Host`
//! header says. A line has `form` (`header` or `query`), `method`, `path`, `query` (or null), `headers`
//! (pairs, in the order to send) and `body`, all of it text to be sent as UTF-8.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::indexing_slicing
)]

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sceau_s3wire::sigv4::{
    Credentials, PayloadHash, PresignInput, SERVICE_S3, SecretAccessKey, SignInput, SigningKeyCache, presign,
    sign,
};
use sceau_s3wire::target::{QueryPair, encode_component, encode_path};
use serde_json::json;
use sha2::{Digest, Sha256};

const PIECES: &[&str] = &[
    "a", "photo", "2026", " ", "  ", "/", "//", ".", "..", "./", "../", "/../", "/./", "+", "++", "%", "%2F",
    "%2f", "%25", "%2E%2E", "~", "é", "e\u{301}", "€", "日本", "🦀", "\u{200b}", "\u{202e}", "ı", "!", "'",
    "(", ")", "*", "&", "=", "?", "#", ";", ":", "@", "$", ",", "[", "]", "\"", "<", ">", "\\", "^", "`",
    "|", "{", "}", "\t", "\u{1}", "\u{7f}",
];
const VALUES: &[&str] = &[
    "plain",
    "two  spaces   here",
    "  edges  ",
    "\ttab\tinside\t",
    "semi;colon,comma",
    "=",
    "",
    "a:b",
    "+%2F",
    "\"quoted  text\"",
    "é",
];
const META: &[&str] = &[
    "x-amz-meta-note",
    "x-amz-meta-empty",
    "x-amz-meta-a-b",
    "x-amz-meta-sceauh1",
];

/// SplitMix64: the same requests for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn text(&mut self, pieces_max: usize) -> String {
        let count = self.below(pieces_max + 1);
        (0..count).map(|_| self.pick(PIECES)).collect()
    }
}

/// What one request asks for, before it is signed.
struct Ask {
    method: Method,
    key: String,
    query: Vec<(String, Option<String>)>,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seed, count, host, bucket, access_key, secret_key, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: signed_requests SEED COUNT HOST BUCKET ACCESS_KEY SECRET_KEY [REGION]");
        std::process::exit(2);
    };
    let signer = Signer {
        host: HeaderValue::from_str(host).unwrap(),
        bucket,
        access_key,
        secret: SecretAccessKey::new(secret_key.clone()),
        region: rest.first().map_or("us-east-1", String::as_str),
        cache: SigningKeyCache::new(),
    };
    let mut random = Random(seed.parse().unwrap());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for _ in 0..count.parse::<usize>().unwrap() {
        let ask = draw(&mut random, bucket);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        // botocore leaves the agent out of what a URL demands.
        let fits_url = ask.method != Method::PUT && ask.headers.iter().all(|(name, _)| *name != "user-agent");
        let line = if fits_url && random.below(10) < 3 {
            signer.in_query(&ask, 60 + random.next() % 600_000, now)
        } else {
            signer.in_headers(&ask, random.one_in(2), now)
        };
        // The reader may have seen enough.
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn draw(random: &mut Random, bucket: &str) -> Ask {
    let key = random.text(9);
    let mut ask = Ask {
        method: Method::GET,
        key,
        query: Vec::new(),
        headers: Vec::new(),
        body: String::new(),
    };
    match random.below(10) {
        0 if !ask.key.is_empty() => ask.method = Method::HEAD,
        1 if !ask.key.is_empty() => ask.method = Method::DELETE,
        2 | 3 if !ask.key.is_empty() => put(random, &mut ask, bucket),
        4 if !ask.key.is_empty() => read_query(random, &mut ask),
        _ if ask.key.is_empty() => list_query(random, &mut ask),
        5 => {
            ask.key.clear();
            list_query(random, &mut ask);
        }
        _ => {}
    }
    for name in META {
        if random.one_in(6) {
            let times = if random.one_in(4) { 2 } else { 1 };
            ask.headers
                .extend((0..times).map(|_| (*name, random.pick(VALUES).to_owned())));
        }
    }
    // Headers that are forwarded and not signed.
    if ask.method == Method::GET && random.one_in(5) {
        ask.headers.push(("range", "bytes=0-9".to_owned()));
    }
    if random.one_in(8) {
        ask.headers
            .push(("user-agent", "sceau/test  two  spaces".to_owned()));
    }
    // The order of parameters is not that of the canonical query.
    for place in (1..ask.query.len()).rev() {
        ask.query.swap(place, random.below(place + 1));
    }
    ask
}

fn put(random: &mut Random, ask: &mut Ask, bucket: &str) {
    ask.method = Method::PUT;
    if random.one_in(4) {
        let source = format!("/{bucket}/{}", encode_path(&format!("none/{}", random.text(5))));
        ask.headers.push(("x-amz-copy-source", source));
        return;
    }
    ask.body = random.text(20);
    if random.one_in(3) {
        let types = ["text/plain; charset=utf-8", "application/x  y", "  a/b  "];
        ask.headers.push(("content-type", random.pick(&types).to_owned()));
    }
    if random.one_in(3) {
        let md5 = sceau_s3wire::checksum::md5_base64(ask.body.as_bytes());
        ask.headers.push(("content-md5", md5));
    }
}

fn read_query(random: &mut Random, ask: &mut Ask) {
    let names = [
        "response-content-type",
        "response-content-disposition",
        "response-content-language",
        "response-cache-control",
        "response-content-encoding",
        "response-expires",
        "x-id",
        "partNumber",
    ];
    for name in names {
        if random.one_in(2) {
            let value = match name {
                "partNumber" => Some("1".to_owned()),
                _ if random.one_in(4) => Some(String::new()),
                _ => Some(random.text(4).replace(char::is_control, "_")),
            };
            ask.query.push((name.to_owned(), value));
        }
    }
}

fn list_query(random: &mut Random, ask: &mut Ask) {
    let kinds: [&[&str]; 4] = [
        &["list-type=2", "start-after", "fetch-owner=true", "max-keys=3"],
        &["marker", "max-keys=1"],
        &["uploads", "key-marker", "max-uploads=2"],
        &["location"],
    ];
    let kind = kinds[random.below(kinds.len())];
    for (place, entry) in kind.iter().enumerate() {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        let value = match name {
            // A parameter without `=`, and one with an empty value, are signed alike.
            "uploads" | "location" => random.one_in(2).then(String::new),
            "start-after" | "marker" | "key-marker" => Some(random.text(6)),
            _ => Some(value.to_owned()),
        };
        if place == 0 || random.one_in(2) {
            ask.query.push((name.to_owned(), value));
        }
    }
    if kind != kinds[3] {
        for name in ["prefix", "delimiter"] {
            if random.one_in(2) {
                let value = if random.one_in(4) {
                    String::new()
                } else {
                    random.text(6)
                };
                ask.query.push((name.to_owned(), Some(value)));
            }
        }
        if random.one_in(3) {
            ask.query
                .push(("encoding-type".to_owned(), Some("url".to_owned())));
        }
    }
    // Parameters that mean nothing and are signed all the same.
    for number in 0..random.below(12) {
        ask.query.push((
            format!("x-{number} {}", random.pick(&["a", "Z", "é", "+", "-", "~"])),
            Some(random.text(3)),
        ));
    }
}

struct Signer<'a> {
    host: HeaderValue,
    bucket: &'a str,
    access_key: &'a str,
    secret: SecretAccessKey,
    region: &'a str,
    cache: SigningKeyCache,
}

impl Signer<'_> {
    fn in_headers(&self, ask: &Ask, hashed: bool, now: u64) -> String {
        let mut headers = self.headers(ask);
        let payload = match (ask.body.is_empty(), hashed) {
            (true, _) => PayloadHash::Empty,
            (false, true) => PayloadHash::Sha256(Sha256::digest(&ask.body).into()),
            (false, false) => PayloadHash::Unsigned,
        };
        let path = self.path(ask);
        sign(SignInput {
            method: &ask.method,
            path: &path,
            query: &pairs(ask),
            headers: &mut headers,
            payload,
            credentials: self.credentials(),
            region: self.region,
            service: SERVICE_S3,
            now,
        })
        .unwrap();
        let query = ask.query.iter().map(|(name, value)| match value {
            Some(value) => format!("{}={}", encode_component(name), encode_component(value)),
            None => encode_component(name),
        });
        let query: Vec<String> = query.collect();
        let query = (!query.is_empty()).then(|| query.join("&"));
        line("header", ask, &path, query.as_deref(), &headers)
    }

    fn in_query(&self, ask: &Ask, expires_seconds: u64, now: u64) -> String {
        let headers = self.headers(ask);
        let path = self.path(ask);
        let query = presign(&PresignInput {
            method: &ask.method,
            path: &path,
            query: &pairs(ask),
            headers: &headers,
            credentials: self.credentials(),
            region: self.region,
            expires_seconds,
            now,
        })
        .unwrap();
        line("query", ask, &path, Some(&query), &headers)
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            access_key: self.access_key,
            secret: &self.secret,
            session_token: None,
            cache: Some(&self.cache),
        }
    }

    fn headers(&self, ask: &Ask) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", self.host.clone());
        for (name, value) in &ask.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        if ask.method == Method::PUT {
            headers.insert("content-length", HeaderValue::from(ask.body.len()));
        }
        headers
    }

    fn path(&self, ask: &Ask) -> String {
        if ask.key.is_empty() {
            return format!("/{}", self.bucket);
        }
        format!("/{}/{}", self.bucket, encode_path(&ask.key))
    }
}

fn pairs(ask: &Ask) -> Vec<QueryPair> {
    let pair = |(name, value): &(String, Option<String>)| QueryPair {
        name: name.clone(),
        value: value.clone().unwrap_or_default(),
    };
    ask.query.iter().map(pair).collect()
}

fn line(form: &str, ask: &Ask, path: &str, query: Option<&str>, headers: &HeaderMap) -> String {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()).unwrap()))
        .collect();
    json!({
        "form": form, "method": ask.method.as_str(), "path": path, "query": query, "headers": headers, "body": ask.body,
    })
    .to_string()
}
