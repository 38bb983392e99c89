//! The source tree keeps its shape: who may depend on whom, what every file begins with, what no file holds.
//!
//! How: `cargo metadata` and `cargo tree` are compared with tables, and the sources are read as text.
//! A rule that has to change is changed here, with its reason.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 800;

/// What each crate may know of the workspace. Nothing points upwards.
const CRATES: &[(&str, &[&str])] = &[
    ("sceau-keys", &[]),
    ("sceau-s3wire", &[]),
    ("sceau-envelope", &["sceau-keys"]),
    ("sceau-policy", &["sceau-s3wire", "sceau-keys"]),
    // It knows records and one key, nothing of requests.
    ("sceau-audit", &["sceau-keys"]),
    ("sceau-kms", &["sceau-keys"]),
    (
        "sceau-kms-pkcs11",
        &["sceau-kms", "sceau-keys", "sceau-pkcs11-calls"],
    ),
    // Calls of a module: it knows nothing of keys and records.
    ("sceau-pkcs11-calls", &[]),
    // The HTTPS client of the remote adapters knows errors of key providers, and no keys.
    ("sceau-kms-http", &["sceau-kms"]),
    (
        "sceau-kms-transit",
        &["sceau-kms", "sceau-keys", "sceau-kms-http"],
    ),
    // The encoding of KMIP: it knows nothing of keys.
    ("sceau-kms-ttlv", &[]),
    ("sceau-kms-kmip", &["sceau-kms", "sceau-keys", "sceau-kms-ttlv"]),
    // The signer of requests to the store signs those to the key service too.
    (
        "sceau-kms-aws",
        &["sceau-kms", "sceau-keys", "sceau-kms-http", "sceau-s3wire"],
    ),
    // A test tool that stands in for a vendor's module: it knows nothing of the gateway.
    ("sceau-pkcs11-shim", &[]),
    ("sceau-kms-insecure-local", &["sceau-kms", "sceau-keys"]),
    (
        "sceau-server",
        &[
            "sceau-keys",
            "sceau-envelope",
            "sceau-s3wire",
            "sceau-policy",
            "sceau-audit",
            "sceau-kms",
        ],
    ),
    // It must not know that what it keeps is sealed.
    ("sceau-devstore", &["sceau-s3wire"]),
    (
        "sceau",
        &[
            "sceau-keys",
            "sceau-envelope",
            "sceau-s3wire",
            "sceau-policy",
            "sceau-audit",
            "sceau-server",
            "sceau-devstore",
            "sceau-kms",
            "sceau-kms-pkcs11",
            "sceau-kms-transit",
            "sceau-kms-kmip",
            "sceau-kms-aws",
            "sceau-kms-insecure-local",
        ],
    ),
    // It is an S3 client and knows nothing of the gateway.
    ("sceau-bench", &["sceau-s3wire"]),
    ("sceau-tests", &[]),
];

/// Crates without effects: what each may use directly from outside the workspace.
const PURE: &[(&str, &[&str])] = &[
    ("sceau-keys", &["memmap2", "subtle", "zeroize"]),
    (
        "sceau-envelope",
        &[
            "aes-gcm",
            "aws-lc-rs",
            "bytes",
            "data-encoding",
            "getrandom",
            "hkdf",
            "hmac",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "zeroize",
        ],
    ),
    (
        "sceau-s3wire",
        &[
            "bytes",
            "crc-fast",
            "data-encoding",
            "hmac",
            "http",
            "httpdate",
            "md-5",
            "quick-xml",
            "serde",
            "serde_json",
            "sha1",
            "sha2",
            "subtle",
            "time",
            "twox-hash",
            "zeroize",
        ],
    ),
    ("sceau-policy", &["serde", "serde_json", "zeroize"]),
    (
        "sceau-audit",
        &["data-encoding", "hmac", "serde", "serde_json", "sha2", "time"],
    ),
    ("sceau-kms-ttlv", &["zeroize"]),
];

/// What a pure crate may not even reach through others: runtimes, sockets, TLS, logging.
const EFFECTS: &[&str] = &[
    "async-std",
    "cryptoki",
    "h2",
    "hyper",
    "hyper-util",
    "log",
    "mio",
    "prometheus",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tokio-rustls",
    "tracing",
    "tracing-subscriber",
];

/// What the sources of a pure crate may not say, tests aside.
const EFFECT_WORDS: &[&str] = &[
    "std::env",
    "std::fs",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "println!",
    "eprintln!",
];

/// External crates that only one crate may use.
const ONLY_IN: &[(&str, &str)] = &[
    ("cryptoki", "sceau-kms-pkcs11 sceau-pkcs11-calls"),
    ("cryptoki-sys", "sceau-pkcs11-calls sceau-pkcs11-shim"),
    ("rustls", "sceau-server sceau-kms-http sceau-kms-kmip sceau-bench"),
    (
        "tokio-rustls",
        "sceau-server sceau-kms-http sceau-kms-kmip sceau-bench",
    ),
    ("prometheus", "sceau-server"),
    ("quick-xml", "sceau-s3wire sceau-devstore"),
    ("clap", "sceau sceau-bench"),
    ("memmap2", "sceau-keys"),
    ("mimalloc", "sceau"),
];

/// Folders whose sources may say what is otherwise forbidden everywhere, and why.
const UNSAFE_IN: &[(&str, &str)] = &[
    (
        "kms-adapters/pkcs11-calls/src",
        "a PKCS#11 module is a table of C functions; runs in the helper process only (decision 0013)",
    ),
    (
        "kms-adapters/pkcs11-shim/src",
        "a PKCS#11 module is a table of C functions; a test tool, linked into nothing that is shipped",
    ),
];

/// Rooms of the server and what each may name. The first part are foundations, the second the walk of a request.
const ROOMS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("lanes", &["limits"]),
    ("patience", &[]),
    ("telemetry", &["config", "error"]),
    ("config", &["limits", "telemetry"]),
    ("error", &["limits"]),
    ("admin", &["limits", "telemetry"]),
    ("audit", &["config", "limits", "telemetry"]),
    ("access", &["audit", "config", "limits", "telemetry"]),
    ("upstream", &["lanes", "limits"]),
    (
        "keyring",
        &["admin", "audit", "crypt", "limits", "telemetry", "upstream"],
    ),
    (
        "crypt",
        &[
            "error",
            "limits",
            "patience",
            "plan",
            "record",
            "telemetry",
            "upstream",
        ],
    ),
    ("listen", &["config", "lanes", "limits", "patience", "respond"]),
    (
        "auth",
        &["app", "crypt", "error", "limits", "plan", "record", "sts"],
    ),
    (
        "sts",
        &[
            "app",
            "auth",
            "config",
            "error",
            "limits",
            "record",
            "respond",
            "telemetry",
            "upstream",
        ],
    ),
    ("authorize", &["access", "auth", "error"]),
    ("plan", &["error", "keyring", "limits", "upstream"]),
    (
        "execute",
        &[
            "app",
            "auth",
            "authorize",
            "crypt",
            "error",
            "keyring",
            "limits",
            "plan",
            "record",
            "respond",
            "telemetry",
            "upstream",
        ],
    ),
    ("respond", &["crypt", "error", "limits", "record"]),
    ("record", &["audit", "error", "respond", "telemetry"]),
    ("examine", &["app", "error", "execute", "plan", "upstream"]),
    (
        "rewrap",
        &["app", "error", "examine", "execute", "plan", "upstream"],
    ),
    (
        "app",
        &[
            "access",
            "admin",
            "audit",
            "auth",
            "authorize",
            "config",
            "crypt",
            "error",
            "execute",
            "keyring",
            "limits",
            "listen",
            "patience",
            "plan",
            "record",
            "respond",
            "sts",
            "telemetry",
            "upstream",
        ],
    ),
];

/// The walk of a request. A room names no later one, but for the exceptions below.
const WALK: &[&str] = &[
    "listen",
    "auth",
    "authorize",
    "plan",
    "execute",
    "respond",
    "record",
    "app",
];
const WALK_EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "listen",
        "respond",
        "the connection writes the body type that respond makes",
    ),
    (
        "auth",
        "app",
        "the shared state of the gateway is app's `Gateway`",
    ),
    ("auth", "plan", "faults of bodies are named by plan::fault"),
    ("auth", "record", "bytes received are counted for the record"),
    (
        "execute",
        "app",
        "the shared state of the gateway is app's `Gateway`",
    ),
    ("execute", "record", "bytes sent are counted for the record"),
    ("execute", "respond", "execute hands over what respond writes"),
    (
        "respond",
        "record",
        "the response carries the record that is written when it ends",
    ),
];

/// Types that hold secrets, and what none of them may implement.
const SECRETS: &[&str] = &["SecretKey", "SecretText", "LockedKey"];
const NEVER_ON_SECRETS: &[&str] = &[
    "Clone",
    "Copy",
    "Debug",
    "Deserialize",
    "Display",
    "Hash",
    "PartialEq",
    "Serialize",
    "ToString",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let done = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// Direct dependencies by crate: name and kind (`normal`, `dev` or `build`).
fn dependencies() -> BTreeMap<String, Vec<(String, String)>> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let direct = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| {
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                (dependency["name"].as_str().unwrap().to_owned(), kind)
            });
        found.insert(package["name"].as_str().unwrap().to_owned(), direct.collect());
    }
    found
}

struct Source {
    path: PathBuf,
    name: String,
    text: String,
}

/// Rust sources below these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut waiting = folders
        .iter()
        .map(|folder| root().join(folder))
        .collect::<Vec<_>>();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let skipped = path.file_name().is_some_and(|name| name == "target");
            if !skipped {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push(Source { path, name, text });
        }
    }
    assert!(!found.is_empty(), "{folders:?}");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn all_sources() -> Vec<Source> {
    sources(&["gateway", "kms-adapters", "bench", "tests/src", "tests/tests"])
}

/// Lines of code: no comments, and nothing from the tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

fn no_problems(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn crates_depend_only_on_what_they_may_know() {
    let mut problems = Vec::new();
    let rules = CRATES.iter().copied().collect::<BTreeMap<_, _>>();
    for (name, direct) in dependencies() {
        let Some(allowed) = rules.get(name.as_str()) else {
            problems.push(format!("{name}: a new crate needs a row in CRATES"));
            continue;
        };
        for (other, kind) in direct {
            if rules.contains_key(other.as_str()) && kind != "dev" && !allowed.contains(&other.as_str()) {
                problems.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    no_problems(&problems);
}

#[test]
fn the_black_box_suites_link_nothing_of_the_gateway() {
    for (name, _) in &dependencies()["sceau-tests"] {
        assert!(!name.starts_with("sceau"), "{name}");
    }
}

#[test]
fn pure_crates_use_only_listed_libraries() {
    let mut problems = Vec::new();
    let dependencies = dependencies();
    for (name, allowed) in PURE {
        for (other, kind) in &dependencies[*name] {
            let outside = !other.starts_with("sceau");
            if outside && kind == "normal" && !allowed.contains(&other.as_str()) {
                problems.push(format!("{name} is pure and must not use {other}"));
            }
        }
    }
    no_problems(&problems);
}

#[test]
fn pure_crates_reach_no_effects_through_others() {
    let mut problems = Vec::new();
    for (name, _) in PURE {
        let tree = cargo(&[
            "tree",
            "--package",
            name,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]);
        for reached in tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect::<BTreeSet<_>>()
        {
            if EFFECTS.contains(&reached) {
                problems.push(format!("{name} reaches {reached}"));
            }
        }
    }
    no_problems(&problems);
}

#[test]
fn pure_crates_have_no_files_sockets_or_clocks() {
    let folders = [
        "gateway/keys/src",
        "gateway/envelope/src",
        "gateway/s3wire/src",
        "gateway/policy/src",
    ];
    let mut problems = Vec::new();
    for source in sources(&folders) {
        for line in code(&source.text) {
            for word in EFFECT_WORDS.iter().filter(|word| line.contains(**word)) {
                problems.push(format!("{}: {word}", source.name));
            }
        }
    }
    no_problems(&problems);
}

#[test]
fn some_libraries_have_one_home() {
    let mut problems = Vec::new();
    for (name, direct) in dependencies() {
        for (library, home) in ONLY_IN {
            let uses = direct
                .iter()
                .any(|(other, kind)| other == library && kind == "normal");
            if uses && !home.split(' ').any(|allowed| allowed == name) {
                problems.push(format!("{library} belongs to {home}, not to {name}"));
            }
        }
    }
    no_problems(&problems);
}

#[test]
fn every_file_begins_with_what_it_is() {
    let mut problems = Vec::new();
    for source in all_sources() {
        if !source.text.starts_with("//!") {
            problems.push(format!("{}: the first line is not `//!`", source.name));
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!(
                "{}: {lines} lines, {FILE_LINES_MAX} at most",
                source.name
            ));
        }
    }
    no_problems(&problems);
}

#[test]
fn forbidden_words_do_not_occur() {
    // Put together, so that this file does not hold them.
    let words = [
        ["unsafe", " {"],
        ["unsafe", " fn"],
        ["unsafe", " impl"],
        ["to", "do!("],
        ["un", "implemented!("],
        ["db", "g!("],
    ];
    let names = ["util", "utils", "common", "helpers", "misc", "manager"];
    let mut problems = Vec::new();
    for source in all_sources() {
        for line in code(&source.text) {
            for word in words
                .iter()
                .map(|halves| halves.concat())
                .filter(|word| line.contains(word.as_str()))
                .filter(|word| {
                    let excepted = UNSAFE_IN
                        .iter()
                        .any(|(folder, _)| source.name.starts_with(folder));
                    !(excepted && word.starts_with("unsafe"))
                })
            {
                problems.push(format!("{}: {word}", source.name));
            }
        }
        let stem = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        if names.contains(&stem.as_str()) {
            problems.push(format!("{}: a room is missing behind this name", source.name));
        }
    }
    no_problems(&problems);
}

#[test]
fn secret_types_cannot_be_shown_copied_or_compared() {
    let mut problems = Vec::new();
    let mut found = BTreeSet::new();
    for source in sources(&["gateway/keys/src"]) {
        let mut derived = String::new();
        for line in code(&source.text) {
            let line = line.trim();
            if line.starts_with("#[") {
                derived.push_str(line);
                continue;
            }
            for secret in SECRETS {
                let defined = line.starts_with(&format!("pub struct {secret}"));
                if defined {
                    found.insert(*secret);
                }
                let implemented = line.starts_with("impl") && line.contains(&format!("for {secret}"));
                for forbidden in NEVER_ON_SECRETS {
                    let by_derive = defined && derived.contains("derive") && derived.contains(forbidden);
                    let by_hand = implemented && line.split(" for ").next().unwrap().contains(forbidden);
                    if by_derive || by_hand {
                        problems.push(format!("{}: {secret} must not be {forbidden}", source.name));
                    }
                }
            }
            derived.clear();
        }
    }
    no_problems(&problems);
    assert_eq!(
        found,
        SECRETS.iter().copied().collect(),
        "a secret type moved: correct SECRETS"
    );
}

/// Rooms that each room of the server names in its code.
fn room_uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&["gateway/server/src"]) {
        let inside = source.name.strip_prefix("gateway/server/src/").unwrap();
        let room = inside.split(['/', '.']).next().unwrap().to_owned();
        let is_test = inside.contains("/tests");
        if room == "lib" || is_test {
            continue;
        }
        let found = uses.entry(room.clone()).or_default();
        for line in code(&source.text) {
            for piece in line.split("crate::").skip(1) {
                let end = piece.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
                let named = &piece[..end.unwrap_or(piece.len())];
                if !named.is_empty() && named != room {
                    found.insert(named.to_owned());
                }
            }
        }
    }
    uses
}

#[test]
fn rooms_of_the_server_name_only_what_they_may() {
    let mut problems = Vec::new();
    let rules = ROOMS.iter().copied().collect::<BTreeMap<_, _>>();
    for (room, named) in room_uses() {
        let Some(allowed) = rules.get(room.as_str()) else {
            problems.push(format!("{room}: a new room needs a row in ROOMS"));
            continue;
        };
        for other in named.iter().filter(|other| !allowed.contains(&other.as_str())) {
            problems.push(format!("{room} must not name crate::{other}"));
        }
    }
    no_problems(&problems);
}

#[test]
fn the_walk_goes_one_way() {
    let mut problems = Vec::new();
    let uses = room_uses();
    for (position, room) in WALK.iter().enumerate() {
        let named = uses.get(*room).cloned().unwrap_or_default();
        for later in &WALK[position + 1..] {
            let excepted = WALK_EXCEPTIONS
                .iter()
                .any(|(from, to, _)| from == room && to == later);
            if named.contains(*later) && !excepted {
                problems.push(format!("{room} names the later room {later}"));
            }
        }
    }
    no_problems(&problems);
}

#[test]
fn the_project_has_no_local_paths() {
    let mut problems = Vec::new();
    let banned = [["/wo", "rk/"], ["/tmp/", "contract"], ["shared/", "design"]].map(|halves| halves.concat());
    let listed = Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output();
    let Ok(listed) = listed.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()) else {
        return;
    };
    for name in listed.lines() {
        let Ok(text) = fs::read_to_string(root().join(name)) else {
            continue;
        };
        for word in banned.iter().filter(|word| text.contains(word.as_str())) {
            problems.push(format!("{name}: {word}"));
        }
    }
    no_problems(&problems);
}
