//! Where a request goes: scheme, host, path and query on the wire.
//!
//! What lives here: the endpoint, addressing styles. What must not: URL
//! libraries, which collapse dot segments and so turn one object key into another. Invariant: the
//! path and the host that are signed are, byte for byte, the ones that are sent.

use std::net::Ipv4Addr;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use sceau_s3wire::target::{encode_component, encode_path};

use super::config::AddressingStyle;
use super::error::StoreError;

/// Longest host name, in bytes.
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// The store's endpoint, checked.
pub(super) struct Endpoint {
    tls: bool,
    host: String,
    /// `None` when it is the scheme's default.
    port: Option<u16>,
}

/// One request's place on the wire.
pub(super) struct Address {
    /// What the connection is made from.
    pub(super) uri: Uri,
    /// The `Host` header.
    pub(super) host: HeaderValue,
    /// The path, encoded, as sent and signed.
    pub(super) path: String,
}

impl Endpoint {
    /// Takes `scheme://host[:port]`.
    pub(super) fn new(endpoint: &Uri) -> Result<Self, StoreError> {
        let tls = match endpoint.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) | None => return Err(StoreError::Config("the endpoint needs http or https")),
        };
        let authority = endpoint
            .authority()
            .ok_or(StoreError::Config("the endpoint needs a host"))?;
        if authority.as_str().contains('@') {
            return Err(StoreError::Config("the endpoint must not carry credentials"));
        }
        if !matches!(endpoint.path(), "" | "/") || endpoint.query().is_some() {
            return Err(StoreError::Config("the endpoint must not have a path or a query"));
        }
        let default_port = if tls { 443 } else { 80 };
        Ok(Self {
            tls,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().filter(|port| *port != default_port),
        })
    }

    /// Whether requests go over TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// The place of `bucket` and `key`; `query` is appended in the order given.
    pub(super) fn address(
        &self,
        style: AddressingStyle,
        bucket: Option<&str>,
        key: Option<&str>,
        query: &[(String, Option<String>)],
    ) -> Result<Address, StoreError> {
        let in_host = bucket.filter(|bucket| style == AddressingStyle::VirtualHost && self.fits_host(bucket));
        let mut authority =
            in_host.map_or_else(|| self.host.clone(), |bucket| format!("{bucket}.{}", self.host));
        if let Some(port) = self.port {
            authority = format!("{authority}:{port}");
        }
        let path = path(bucket.filter(|_| in_host.is_none()), key);
        let mut target = path.clone();
        append_query(&mut target, query);
        let uri = Uri::builder()
            .scheme(if self.tls { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(authority.as_str())
            .path_and_query(target)
            .build()
            .map_err(|_| StoreError::Request("the bucket, key or query does not fit into a request line"))?;
        let host =
            HeaderValue::from_str(&authority).map_err(|_| StoreError::Request("the host is not valid"))?;
        Ok(Address { uri, host, path })
    }

    /// The style that reaches the host of `location`, when that host is this endpoint's or the
    /// bucket's below it. The location's path is not used: a redirect moves a request, it does not
    /// choose another object.
    pub(super) fn style_of(&self, location: &Uri, bucket: &str) -> Option<AddressingStyle> {
        let other = Self::new(
            &Uri::builder()
                .scheme(location.scheme()?.clone())
                .authority(location.authority()?.clone())
                .path_and_query("/")
                .build()
                .ok()?,
        )
        .ok()?;
        if other.tls != self.tls || other.port != self.port {
            return None;
        }
        if other.host == self.host {
            return Some(AddressingStyle::Path);
        }
        (self.fits_host(bucket) && other.host == format!("{bucket}.{}", self.host))
            .then_some(AddressingStyle::VirtualHost)
    }

    fn fits_host(&self, bucket: &str) -> bool {
        let is_address = self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        // A certificate for `*.endpoint` covers one label only.
        let labels_fit = if self.tls {
            label(bucket)
        } else {
            bucket.split('.').all(label)
        };
        let length = bucket.len().saturating_add(self.host.len()).saturating_add(1);
        !is_address && labels_fit && length <= HOST_BYTES_MAX
    }
}

fn path(bucket: Option<&str>, key: Option<&str>) -> String {
    let mut path = String::from("/");
    if let Some(bucket) = bucket {
        path.push_str(&encode_component(bucket));
        if key.is_some_and(|key| !key.is_empty()) {
            path.push('/');
        }
    }
    path.push_str(&encode_path(key.unwrap_or_default()));
    path
}

fn append_query(target: &mut String, query: &[(String, Option<String>)]) {
    let mut separator = '?';
    for (name, value) in query {
        target.push(separator);
        separator = '&';
        target.push_str(&encode_component(name));
        if let Some(value) = value {
            target.push('=');
            target.push_str(&encode_component(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(uri: &str) -> Endpoint {
        Endpoint::new(&uri.parse().unwrap()).unwrap()
    }

    fn line(endpoint: &Endpoint, style: AddressingStyle, bucket: &str, key: &str) -> String {
        endpoint
            .address(style, Some(bucket), Some(key), &[])
            .unwrap()
            .uri
            .to_string()
    }

    #[test]
    fn keys_reach_the_wire_as_they_are() {
        let store = endpoint("http://store.test:8333");
        let style = AddressingStyle::Path;
        assert_eq!(
            line(&store, style, "b", "a/../b/./c//d"),
            "http://store.test:8333/b/a/../b/./c//d"
        );
        assert_eq!(
            line(&store, style, "b", "/lead"),
            "http://store.test:8333/b//lead"
        );
        assert_eq!(
            line(&store, style, "b", "ü+ %2F?#*'"),
            "http://store.test:8333/b/%C3%BC%2B%20%252F%3F%23%2A%27"
        );
        let query = [
            ("acl".to_owned(), None),
            ("prefix".to_owned(), Some("a/b c".to_owned())),
        ];
        let address = store.address(style, Some("b"), None, &query).unwrap();
        assert_eq!(address.uri.path_and_query().unwrap(), "/b?acl&prefix=a%2Fb%20c");
        assert_eq!(address.host, "store.test:8333");
    }

    #[test]
    fn the_bucket_goes_into_the_host_only_where_it_fits() {
        let style = AddressingStyle::VirtualHost;
        let tls = endpoint("https://store.test:443");
        assert_eq!(line(&tls, style, "photos", "k"), "https://photos.store.test/k");
        assert_eq!(
            line(&tls, style, "my.photos", "k"),
            "https://store.test/my.photos/k"
        );
        assert_eq!(line(&tls, style, "Photos", "k"), "https://store.test/Photos/k");
        assert_eq!(
            line(&endpoint("http://store.test"), style, "my.photos", "k"),
            "http://my.photos.store.test/k"
        );
        assert_eq!(
            line(&endpoint("http://127.0.0.1:1"), style, "photos", "k"),
            "http://127.0.0.1:1/photos/k"
        );
        assert_eq!(
            line(&tls, style, "evil.test/x", "k"),
            "https://store.test/evil.test%2Fx/k"
        );
    }

    #[test]
    fn only_hosts_of_the_same_endpoint_are_followed() {
        let store = endpoint("https://store.test");
        let style = |location: &str| store.style_of(&location.parse().unwrap(), "photos");
        assert_eq!(
            style("https://photos.store.test/x"),
            Some(AddressingStyle::VirtualHost)
        );
        assert_eq!(style("https://store.test/x"), Some(AddressingStyle::Path));
        assert_eq!(style("https://other.store.test/x"), None);
        assert_eq!(style("https://photos.store.test.evil.test/x"), None);
        assert_eq!(style("http://photos.store.test/x"), None);
        assert_eq!(style("https://photos.store.test:444/x"), None);
        assert_eq!(style("/relative"), None);
    }

    #[test]
    fn an_endpoint_with_a_path_or_credentials_is_refused() {
        for uri in ["http://h/x", "ftp://h", "http://u:p@h", "/x", "http://h?x"] {
            assert!(Endpoint::new(&uri.parse().unwrap()).is_err(), "{uri}");
        }
    }
}
