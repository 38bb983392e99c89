//! Guards: a wrong configuration is refused with its place and a way out, and the sample is right.
//! How: small files as text; the shipped sample as it is and with every default switched on.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/sceau.toml");

const SMALL: &str = r#"version = 1
[store]
endpoint = "http://127.0.0.1:8333"
control_bucket = "control"
credentials = { source = "profile" }
[keys]
provider = "insecure-local"
keyring = "state/keyring"
insecure_local = { key_file = "dev-key" }
[access]
credentials = "credentials.toml"
policy = "/etc/sceau/policy.toml"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/conf/sceau.toml"))
}

fn refusal(text: &str) -> (String, &'static str) {
    let error = parse(text).unwrap_err();
    (error.to_string(), error.id())
}

#[test]
fn the_smallest_file_gets_every_default_and_absolute_paths() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.listen.data.to_string(), "127.0.0.1:9000");
    assert_eq!(config.keys.cache_ttl, Duration::from_secs(300));
    assert_eq!(config.keys.keyring, PathBuf::from("/conf/state/keyring"));
    assert_eq!(config.access.policy, PathBuf::from("/etc/sceau/policy.toml"));
    assert_eq!(config.keys.provider.name(), "insecure-local");
}

#[test]
fn an_unknown_key_is_shown_with_line_column_caret_and_the_nearest_name() {
    let text = SMALL.replace("control_bucket", "contol_bucket");
    let (message, id) = refusal(&text);
    assert_eq!(id, "E-CONF-002");
    assert!(message.contains("line 4, column 1"), "{message}");
    assert!(message.contains("4 | contol_bucket = \"control\""), "{message}");
    assert!(message.contains("^^^^^^^^^^^^^"), "{message}");
    assert!(message.contains("did you mean `control_bucket`?"), "{message}");
}

#[test]
fn a_value_without_unit_is_shown_in_its_place() {
    let text = SMALL.replace("[access]", "cache_ttl = \"5 minutes\"\n[access]");
    let (message, _) = refusal(&text);
    assert!(message.contains("line 10, column 13"), "{message}");
    assert!(message.contains("such as \"250ms\""), "{message}");
    let (message, _) = refusal(&SMALL.replace("[access]", "cache_ttl = 300\n[access]"));
    assert!(message.contains("a duration in quotes"), "{message}");
}

#[test]
fn the_version_is_required_and_must_be_known() {
    assert_eq!(refusal(&SMALL.replace("version = 1\n", "")).1, "E-CONF-003");
    let (message, id) = refusal(&SMALL.replace("version = 1\n", "version = 2\nnew_key = true\n"));
    assert_eq!(id, "E-CONF-003");
    assert!(message.contains("version 2"), "{message}");
}

#[test]
fn all_broken_rules_are_reported_together() {
    let text = SMALL
        .replace("\"control\"", "\"Control_\"")
        .replace("http://127.0.0.1:8333", "ftp://store")
        .replace(
            "[store]",
            "[listen]\nadmin = \"0.0.0.0:9001\"\n[log]\nlevel = \"loud\"\n[store]",
        );
    let error = parse(&text).unwrap_err();
    let ConfigError::Invalid { problems, .. } = error else {
        panic!("{error}")
    };
    let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(
        keys,
        [
            "listen.admin",
            "store.endpoint",
            "store.control_bucket",
            "log.level"
        ]
    );
}

#[test]
fn the_admin_listener_leaves_loopback_only_on_request() {
    let remote = SMALL.replace(
        "[store]",
        "[listen]\nadmin = \"0.0.0.0:9001\"\nadmin_allow_remote = true\n[store]",
    );
    assert!(parse(&remote).is_ok());
}

/// A configuration with these lines in `[keys.pkcs11]`.
fn with_hsm(lines: &str) -> String {
    SMALL
        .replace("[access]", &format!("[keys.pkcs11]\n{lines}\n[access]"))
        .replace("\"insecure-local\"", "\"pkcs11\"")
        .replace("insecure_local = { key_file = \"dev-key\" }\n", "")
}

#[test]
fn a_uri_stands_for_the_single_settings() {
    let single = "module = \"/lib/m.so\"\ntoken_label = \"my token\"\nkey_label = \"k\"\nkey_id = \"01\"\npin_file = \"/run/pin\"";
    let uri = "uri = \"pkcs11:token=my%20token;object=k;id=%01;type=secret-key?module-path=/lib/m.so&pin-source=file:/run/pin\"";
    let (one, other) = (parse(&with_hsm(single)).unwrap(), parse(&with_hsm(uri)).unwrap());
    assert_eq!(one.keys.provider, other.keys.provider);
    // Two names for one thing are a mistake in one of them.
    let both = format!("{uri}\nkey_label = \"other\"");
    assert!(refusal(&with_hsm(&both)).0.contains("names as well"));
    let without_pin = "uri = \"pkcs11:token=t;object=k?module-path=/lib/m.so\"";
    assert!(refusal(&with_hsm(without_pin)).0.contains("pin_file"));
    let with_value = "uri = \"pkcs11:token=t;object=k?module-path=/lib/m.so&pin-value=4711\"";
    assert!(!refusal(&with_hsm(with_value)).0.contains("4711"));
}

#[test]
fn further_endpoints_have_the_first_ones_key() {
    let lines = "module = \"/lib/m.so\"\ntoken_label = \"t\"\nkey_label = \"k\"\nkey_version = 2\npin_file = \"/run/pin\"\n\
                 [[keys.pkcs11.endpoint]]\nuri = \"pkcs11:serial=77?module-path=/lib/n.so&pin-source=file:/run/pin-2\"";
    let config = parse(&with_hsm(lines)).unwrap();
    let ProviderConfig::Pkcs11(first) = &config.keys.provider else {
        panic!("not an HSM")
    };
    let all: Vec<_> = first.all().collect();
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].key_label.as_str(), all[1].key_version), ("k", 2));
    assert_eq!(all[1].token_serial.as_deref(), Some("77"));
}

#[test]
fn a_transit_key_is_named_and_stands_alone() {
    let table =
        "[keys.transit]\naddress = \"https://bao.example:8200\"\nkey = \"kek\"\ntoken_file = \"t\"\n[access]";
    let both = SMALL.replace("[access]", table);
    assert!(
        refusal(&both)
            .0
            .contains("refuses to be used with a production key provider")
    );
    let chosen = both.replace("provider = \"insecure-local\"", "provider = \"transit\"");
    assert!(
        refusal(&chosen)
            .0
            .contains("refuses to be used with insecure-local")
    );
    let alone = chosen.replace("insecure_local = { key_file = \"dev-key\" }\n", "");
    let config = parse(&alone).unwrap();
    let ProviderConfig::Transit(transit) = &config.keys.provider else {
        panic!("not transit")
    };
    assert_eq!((transit.mount.as_str(), transit.key_version), ("transit", 1));
    // Keys never travel in the clear to another host.
    let clear = alone.replace("https://bao.example:8200", "http://bao.example:8200");
    assert!(refusal(&clear).0.contains("keys.transit.address"));
    assert!(parse(&alone.replace("https://bao.example:8200", "http://127.0.0.1:8200")).is_ok());
    let hsm = alone.replace("provider = \"transit\"", "provider = \"pkcs11\"");
    assert!(refusal(&hsm).0.contains("no [keys.transit]"));
    let none = alone.replace("key = \"kek\"", "key = \"kek\"\nkey_version = 0");
    assert!(refusal(&none).0.contains("count from 1"));
}

#[test]
fn a_key_of_aws_tells_where_it_is_and_an_alias_is_none() {
    let table = "[keys.aws_kms]\nkey = \"arn:aws:kms:eu-west-3:111122223333:key/1234abcd\"\n[keys.aws_kms.credentials]\nsource = \"profile\"\n[access]";
    let alone = SMALL
        .replace("[access]", table)
        .replace("provider = \"insecure-local\"", "provider = \"aws-kms\"")
        .replace("insecure_local = { key_file = \"dev-key\" }\n", "");
    let config = parse(&alone).unwrap();
    let ProviderConfig::AwsKms(kms) = &config.keys.provider else {
        panic!("not aws-kms")
    };
    assert_eq!(kms.region, "eu-west-3");
    assert_eq!(kms.address.to_string(), "https://kms.eu-west-3.amazonaws.com/");
    let seconds = Duration::from_secs(2);
    assert_eq!((kms.connect_timeout, kms.timeout), (seconds, seconds));
    let with = |line: &str| alone.replace("[keys.aws_kms]", &format!("[keys.aws_kms]\n{line}"));
    // A VPC endpoint, or a service with the same protocol; never in the clear to another host.
    assert!(parse(&with("address = \"https://kms.example\"")).is_ok());
    assert!(
        refusal(&with("address = \"http://kms.example\""))
            .0
            .contains("keys.aws_kms.address")
    );
    let elsewhere = alone.replace("arn:aws:", "arn:aws-cn:");
    let (said, _) = refusal(&elsewhere);
    assert!(
        said.contains("keys.aws_kms.address") && said.contains("keys.aws_kms.region"),
        "{said}"
    );
    let bare = alone.replace("arn:aws:kms:eu-west-3:111122223333:key/", "");
    assert!(refusal(&bare).0.contains("keys.aws_kms.region"));
    let alias = alone.replace(":key/", ":alias/");
    assert!(refusal(&alias).0.contains("an alias is not taken"));
    let said = refusal(&alone.replace("source = \"profile\"", "source = \"environment\"")).0;
    assert!(
        said.contains("keys.aws_kms.credentials") && said.contains("not taken here"),
        "{said}"
    );
    let none = with("timeout = \"0s\"");
    assert!(refusal(&none).0.contains("longer than zero"));
}

#[test]
fn a_kmip_key_is_reached_with_certificates_only() {
    let table = "[keys.kmip]\naddress = \"kmip.example\"\nca_file = \"ca\"\ncert_file = \"c\"\nkey_file = \"k\"\nkey = \"kek\"\n[access]";
    let both = SMALL.replace("[access]", table);
    assert!(refusal(&both).0.contains("remove [keys.kmip]"));
    let alone = both
        .replace("provider = \"insecure-local\"", "provider = \"kmip\"")
        .replace("insecure_local = { key_file = \"dev-key\" }\n", "");
    let config = parse(&alone).unwrap();
    let ProviderConfig::Kmip(kmip) = &config.keys.provider else {
        panic!("not kmip")
    };
    assert_eq!((kmip.host.as_str(), kmip.port), ("kmip.example", 5696));
    assert_eq!((kmip.key_version, kmip.connections), (1, 8));
    let seconds = Duration::from_secs(2);
    assert_eq!((kmip.connect_timeout, kmip.timeout), (seconds, seconds));
    assert_eq!((kmip.scheme, &kmip.protocol_max), (None, &None));
    // There is no way to go without one of the three files.
    for line in ["ca_file = \"ca\"\n", "cert_file = \"c\"\n", "key_file = \"k\"\n"] {
        assert!(parse(&alone.replace(line, "")).is_err(), "{line}");
    }
    let with = |line: &str| alone.replace("[keys.kmip]", &format!("[keys.kmip]\n{line}"));
    assert!(parse(&with("scheme = \"aes-cbc-kdf\"\nprotocol_max = \"1.4\"")).is_ok());
    for (line, key) in [
        ("scheme = \"aes-gcm/caller-iv\"", "keys.kmip.scheme"),
        ("protocol_max = \"1.1\"", "keys.kmip.protocol_max"),
        ("key_version = 0", "count from 1"),
        ("connections = 0", "keys.kmip.connections"),
        ("connections = 65", "keys.kmip.connections"),
        ("timeout = \"0s\"", "longer than zero"),
    ] {
        assert!(refusal(&with(line)).0.contains(key), "{line}");
    }
    let url = alone.replace("\"kmip.example\"", "\"https://kmip.example\"");
    assert!(refusal(&url).0.contains("keys.kmip.address"));
}

#[test]
fn software_keys_and_an_hsm_refuse_each_other() {
    let pkcs11 = "[keys.pkcs11]\nmodule = \"/lib/m.so\"\ntoken_label = \"t\"\nkey_label = \"k\"\npin_file = \"pin\"\n[access]";
    let both = SMALL.replace("[access]", pkcs11);
    assert!(
        refusal(&both)
            .0
            .contains("refuses to be used with a production key provider")
    );
    let other_way = both.replace("\"insecure-local\"", "\"pkcs11\"");
    assert!(
        refusal(&other_way)
            .0
            .contains("refuses to be used with insecure-local")
    );
    let alone = other_way.replace("insecure_local = { key_file = \"dev-key\" }\n", "");
    assert_eq!(parse(&alone).unwrap().keys.provider.name(), "pkcs11");
    assert!(
        refusal(&alone.replace("/lib/m.so", "m.so"))
            .0
            .contains("absolute")
    );
    assert!(
        refusal(&alone.replace("token_label = \"t\"\n", ""))
            .0
            .contains("token_serial")
    );
}

#[test]
fn credentials_of_another_source_are_refused() {
    let mixed = SMALL.replace(
        "source = \"profile\"",
        "source = \"profile\", access_key = \"AK\"",
    );
    assert!(refusal(&mixed).0.contains("belong to source = \"static\""));
    let half = SMALL.replace("source = \"profile\"", "source = \"static\", access_key = \"AK\"");
    assert!(refusal(&half).0.contains("needs access_key and secret_file"));
}

#[test]
fn the_sample_is_right_and_its_defaults_are_the_defaults() {
    let sample = std::fs::read_to_string(SAMPLE).unwrap();
    let parsed = Config::parse(&sample, Path::new(SAMPLE)).unwrap_or_else(|error| panic!("{error}"));
    // Switch on what is shown as a default (not the tables and values that are mere examples).
    let examples = [
        "domains",
        "regions",
        "ca_file",
        "token_serial",
        "key_id",
        "pass_environment",
        "cert",
        "key =",
        "key_file",
        "address",
        "mount",
        "namespace",
        "token_file",
        "region = \"eu-west-3\"",
        "source = \"profile\"",
        "file = ",
        "profile = ",
        "scheme",
        "profile",
        "account",
        "url",
        "audiences",
        "jwks_uri",
        "jwks_file",
        "name",
        "issuer",
        "subjects",
        "claims",
        "principal",
        "duration_max",
        "epoch_max_age",
        "epoch_max_writes",
        "scheme",
        "profile",
        "module",
        "pin_file",
        // [audit] needs it once it is on.
        "directory",
        "[",
    ];
    let switched: Vec<_> = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !examples.iter().any(|e| rest.starts_with(e)) => rest,
            _ => line,
        })
        .collect();
    let explicit = Config::parse(&switched.join("\n"), Path::new(SAMPLE)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(explicit, parsed);
    // And everything at once still parses, so that no example is out of date.
    let all: Vec<_> = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let error = Config::parse(&all.join("\n"), Path::new(SAMPLE)).unwrap_err();
    let ConfigError::Invalid { problems, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(problems.len(), 1, "{error}");
    assert!(problems[0].message.contains("refuses to be used with"), "{error}");
}

#[test]
fn production_keys_and_credentials_in_the_environment_refuse_each_other() {
    let hsm = "module = \"/lib/m.so\"\ntoken_label = \"t\"\nkey_label = \"k\"\npin_file = \"prompt:\"";
    let in_environment = with_hsm(hsm).replace("profile", "environment");
    let (message, _) = refusal(&in_environment);
    assert!(
        message.contains("environment") && message.contains("credential"),
        "{message}"
    );
    let file = with_hsm(hsm).replace(
        "credentials = { source = \"profile\" }",
        "credentials = { source = \"static\", access_key = \"A\", secret_file = \"prompt:\" }",
    );
    let config = parse(&file).unwrap();
    let ProviderConfig::Pkcs11(pkcs11) = &config.keys.provider else {
        panic!("another provider")
    };
    assert_eq!(pkcs11.pin, SecretSource::Prompt);
    assert!(
        parse(&SMALL.replace("profile", "environment")).is_ok(),
        "software keys"
    );
    let twice = file.replace("[access]", "[[keys.pkcs11.endpoint]]\nmodule = \"/lib/n.so\"\ntoken_label = \"u\"\npin_file = \"prompt:\"\n[access]");
    assert!(refusal(&twice).0.contains("only one PIN"), "two questions");
    let asked = file.replace("credentials = \"credentials.toml\"", "credentials = \"prompt:\"");
    assert!(
        refusal(&asked).0.contains("cannot be asked for"),
        "read again and again"
    );
}

#[test]
fn a_secret_file_that_others_can_read_is_refused_with_its_mode() {
    let path = std::env::temp_dir().join(format!("sceau-config-secret-{}", std::process::id()));
    std::fs::write(&path, "s3cret\n").unwrap();
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    let error = read_secret(&path).err().unwrap();
    assert_eq!(error.id(), "E-CONF-005");
    assert!(error.to_string().contains("mode 0644"), "{error}");
    set_mode(0o600);
    assert_eq!(read_secret(&path).ok().unwrap().expose(), "s3cret");
    std::fs::write(&path, "two\nlines\n").unwrap();
    let error = read_secret(&path).err().unwrap();
    assert!(!error.to_string().contains("two"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read_secret(&path).err().unwrap().id(), "E-CONF-006");
}

#[test]
fn sites_and_weights_of_several_hsms_are_read() {
    let sample = std::fs::read_to_string(SAMPLE).unwrap();
    let more =
        "key_label = \"sceau-kek\"\nsite = \"paris\"\nlocal_site = \"LOCAL\"\nhedge_after = \"80ms\"\n";
    let further = "\n[[keys.pkcs11.endpoint]]\nmodule = \"/m.so\"\ntoken_serial = \"1\"\npin_file = \"p\"\nsite = \"lyon\"\nweight = 0\n\n[access]\n";
    let text = sample
        .replace("key_label = \"sceau-kek\"\n", more)
        .replace("\n[access]\n", further);
    let parse = |local: &str| Config::parse(&text.replace("LOCAL", local), Path::new(SAMPLE));
    let config = parse("lyon").unwrap_or_else(|error| panic!("{error}"));
    let ProviderConfig::Pkcs11(hsm) = &config.keys.provider else {
        panic!("an HSM")
    };
    let told: Vec<_> = hsm.all().map(|one| (one.is_local, one.weight)).collect();
    assert_eq!(told, [(false, 1), (true, 0)]);
    assert_eq!(hsm.hedge_after, std::time::Duration::from_millis(80));
    let refused = parse("nice").unwrap_err().to_string();
    assert!(refused.contains("keys.pkcs11.local_site"), "{refused}");
}
