//! `[keys.pkcs11]`: a key in one HSM, or in several.
//!
//! What lives here: the rules of the table and of its endpoints. What must not: the module, the PIN. Invariant:
//! the endpoints of one table have one key label, version and scheme.

use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use sceau_keys::WrapScheme;

use super::file::FilePkcs11;
use super::key_uri::KeyUri;
use super::resolve::Resolver;
use super::{Pkcs11Config, SecretSource};

impl Resolver<'_> {
    pub(super) fn pkcs11(&mut self, mut file: FilePkcs11) -> Option<Pkcs11Config> {
        let further = std::mem::take(&mut file.endpoint);
        if further.len() > 7 {
            self.problem("keys.pkcs11.endpoint", "a key is in 8 HSMs at most");
        }
        let local_site = file.local_site.take();
        let sites = std::iter::once(&file.site).chain(further.iter().map(|endpoint| &endpoint.site));
        if local_site.is_some() && !sites.into_iter().any(|site| *site == local_site) {
            self.problem("keys.pkcs11.local_site", "is the site of no HSM in this file");
        }
        let mut first = self.pkcs11_endpoint(file, local_site.as_deref())?;
        let (key_label, key_version) = (first.key_label.clone(), first.key_version);
        let scheme = first.scheme.map(|scheme| scheme.name().to_owned());
        for endpoint in further {
            let endpoint = FilePkcs11 {
                uri: endpoint.uri,
                module: endpoint.module,
                token_serial: endpoint.token_serial,
                token_label: endpoint.token_label,
                key_label: Some(key_label.clone()),
                key_id: endpoint.key_id,
                key_version: Some(key_version),
                pin_file: endpoint.pin_file,
                workers: endpoint.workers,
                scheme: scheme.clone(),
                profile: endpoint.profile,
                pass_environment: endpoint.pass_environment,
                site: endpoint.site,
                weight: endpoint.weight,
                local_site: None,
                hedge_after: None,
                endpoint: Vec::new(),
            };
            let endpoint = self.pkcs11_endpoint(endpoint, local_site.as_deref());
            first.endpoints.extend(endpoint);
        }
        if first
            .all()
            .filter(|endpoint| endpoint.pin == SecretSource::Prompt)
            .count()
            > 1
        {
            self.problem(
                "keys.pkcs11.pin_file",
                "only one PIN can be asked for; credentials are, outside of the unit that has them",
            );
        }
        Some(first)
    }

    /// What a URI names, put where the single settings would be.
    fn read_uri(&mut self, file: &mut FilePkcs11) {
        let Some(uri) = file.uri.take() else { return };
        let named = match KeyUri::parse(&uri) {
            Ok(named) => named,
            Err(wrong) => return self.problem("keys.pkcs11.uri", wrong),
        };
        let mut is_twice = false;
        let mut fill = |place: &mut Option<String>, value: Option<String>| {
            is_twice |= place.is_some() && value.is_some() && *place != value;
            *place = value.or(place.take());
        };
        fill(&mut file.token_label, named.token_label);
        fill(&mut file.token_serial, named.token_serial);
        fill(&mut file.key_label, named.key_label);
        fill(&mut file.key_id, named.key_id);
        for (place, value) in [
            (&mut file.module, named.module),
            (&mut file.pin_file, named.pin_file),
        ] {
            is_twice |= place.is_some() && value.is_some();
            *place = value.or(place.take());
        }
        if is_twice {
            self.problem(
                "keys.pkcs11.uri",
                "names something that another setting names as well",
            );
        }
    }

    /// A setting that must be there, by itself or in the URI.
    fn needed<T: Default>(&mut self, name: &'static str, value: Option<T>) -> T {
        if value.is_none() {
            self.problem(name, "is missing, here and in the uri");
        }
        value.unwrap_or_default()
    }

    /// One HSM.
    fn pkcs11_endpoint(&mut self, mut file: FilePkcs11, local_site: Option<&str>) -> Option<Pkcs11Config> {
        self.read_uri(&mut file);
        let module = self.needed("keys.pkcs11.module", file.module.take());
        let key_label = self.needed("keys.pkcs11.key_label", file.key_label.take());
        let pin_file = self.needed("keys.pkcs11.pin_file", file.pin_file.take());
        if file.token_serial.is_none() && file.token_label.is_none() {
            self.problem(
                "keys.pkcs11",
                "name the token by token_serial, token_label or both",
            );
        }
        if !module.as_os_str().is_empty() && !module.is_absolute() {
            // A search path would let whoever controls it load code next to the PIN.
            self.problem("keys.pkcs11.module", "must be an absolute path");
        }
        let key_id = file
            .key_id
            .as_ref()
            .map(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()));
        if matches!(key_id, Some(Err(_))) {
            self.problem("keys.pkcs11.key_id", "is not hexadecimal");
        }
        if file.key_version == Some(0) {
            self.problem("keys.pkcs11.key_version", "versions count from 1");
        }
        if !matches!(file.workers, None | Some(1..=64)) {
            self.problem("keys.pkcs11.workers", "must be between 1 and 64");
        }
        let scheme = file.scheme.as_deref().map(WrapScheme::from_name);
        if matches!(
            scheme,
            Some(
                None | Some(
                    WrapScheme::Transit
                        | WrapScheme::KmipGcm
                        | WrapScheme::AwsKms
                        | WrapScheme::InsecureLocal
                )
            )
        ) {
            self.problem("keys.pkcs11.scheme", "is no scheme of docs/format/ section 9.1");
        }
        Some(Pkcs11Config {
            scheme: scheme.flatten(),
            profile: file.profile,
            module,
            token_serial: file.token_serial,
            token_label: file.token_label,
            key_label,
            key_id: file.key_id,
            key_version: file.key_version.unwrap_or(1),
            pin: self.secret("keys.pkcs11.pin_file", &pin_file),
            workers: file.workers.unwrap_or(8),
            weight: file.weight.unwrap_or(1),
            is_local: local_site.is_none_or(|local| file.site.as_deref() == Some(local)),
            hedge_after: self.duration(
                "keys.pkcs11.hedge_after",
                file.hedge_after,
                Duration::from_millis(250),
            ),
            pass_environment: file.pass_environment,
            endpoints: Vec::new(),
        })
    }
}
