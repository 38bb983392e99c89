//! PKCS#11 URIs (RFC 7512): one line that names module, token, key and PIN file.
//!
//! What lives here: their reading. What must not: files. Invariant: an attribute that is not understood, or
//! is given twice, refuses the URI, because ignoring one would select by less than the operator wrote.

use data_encoding::HEXLOWER;
use std::path::PathBuf;

/// Longest URI in bytes.
const URI_BYTES_MAX: usize = 2048;

/// What a URI names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyUri {
    /// `token`
    pub(super) token_label: Option<String>,
    /// `serial`
    pub(super) token_serial: Option<String>,
    /// `object`
    pub(super) key_label: Option<String>,
    /// `id`, in hexadecimal
    pub(super) key_id: Option<String>,
    /// `module-path`
    pub(super) module: Option<PathBuf>,
    /// `pin-source`
    pub(super) pin_file: Option<PathBuf>,
}

impl KeyUri {
    /// Reads `uri`; an error says what is wrong, and never repeats a PIN.
    pub(super) fn parse(uri: &str) -> Result<Self, String> {
        if uri.len() > URI_BYTES_MAX {
            return Err(format!("is longer than {URI_BYTES_MAX} bytes"));
        }
        let rest = uri
            .strip_prefix("pkcs11:")
            .ok_or("does not begin with `pkcs11:`")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut read = Self::default();
        for pair in path.split(';').filter(|pair| !pair.is_empty()) {
            read.path_attribute(pair)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            read.query_attribute(pair)?;
        }
        Ok(read)
    }

    fn path_attribute(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = split(pair)?;
        match name {
            "token" => once(&mut self.token_label, text(name, value)?, name),
            "serial" => once(&mut self.token_serial, text(name, value)?, name),
            "object" => once(&mut self.key_label, text(name, value)?, name),
            "id" => once(&mut self.key_id, HEXLOWER.encode(&decode(name, value)?), name),
            "type" if matches!(value, "secret-key" | "private") => Ok(()),
            "type" => Err("its `type` is neither secret-key nor private".to_owned()),
            _ => Err(format!(
                "has the attribute `{name}`, which selects nothing here: use token, serial, object, id, type"
            )),
        }
    }

    fn query_attribute(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = split(pair)?;
        match name {
            "module-path" => once(&mut self.module, text(name, value)?.into(), name),
            "pin-source" => {
                let source = text(name, value)?;
                let path = source.strip_prefix("file:").unwrap_or(&source);
                // `file:///path`, as RFC 8089 has it.
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.starts_with('|') || path.is_empty() {
                    return Err("its `pin-source` is no file".to_owned());
                }
                once(&mut self.pin_file, path.into(), name)
            }
            // Whoever reads the configuration would read the PIN, and the gateway would know it.
            "pin-value" => Err("holds a PIN: put it into a file and name that with pin-source".to_owned()),
            "module-name" => Err("names its module by a search: give module-path".to_owned()),
            _ => Err(format!(
                "has the query attribute `{name}`: known are module-path and pin-source"
            )),
        }
    }
}

fn split(pair: &str) -> Result<(&str, &str), String> {
    let (name, value) = pair.split_once('=').ok_or("has an attribute without a value")?;
    if value.is_empty() {
        return Err(format!("has an empty `{name}`"));
    }
    Ok((name, value))
}

fn once<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("has `{name}` twice")),
    }
}

fn text(name: &str, value: &str) -> Result<String, String> {
    String::from_utf8(decode(name, value)?).map_err(|_| format!("its `{name}` is not UTF-8"))
}

/// Undoes percent-encoding.
fn decode(name: &str, value: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("its `{name}` is not percent-encoded as RFC 3986 has it");
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = after;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_everything() {
        let read = KeyUri::parse(
            "pkcs11:token=My%20token;serial=c61d;object=kek;id=%01%aB;type=secret-key\
             ?module-path=/usr/lib/m.so&pin-source=file:/run/pin",
        )
        .unwrap();
        assert_eq!(read.token_label.as_deref(), Some("My token"));
        assert_eq!(read.token_serial.as_deref(), Some("c61d"));
        assert_eq!(read.key_label.as_deref(), Some("kek"));
        assert_eq!(read.key_id.as_deref(), Some("01ab"));
        assert_eq!(read.module, Some("/usr/lib/m.so".into()));
        assert_eq!(read.pin_file, Some("/run/pin".into()));
        let slashes = KeyUri::parse("pkcs11:?pin-source=file:///run/pin").unwrap();
        assert_eq!(slashes.pin_file, Some("/run/pin".into()));
    }

    #[test]
    fn what_is_not_understood_refuses_the_uri() {
        for (uri, why) in [
            ("token=t", "begin"),
            ("pkcs11:token", "without a value"),
            ("pkcs11:token=", "empty"),
            ("pkcs11:token=a;token=b", "twice"),
            ("pkcs11:object=a;x-vendor=b", "x-vendor"),
            ("pkcs11:slot-id=3", "slot-id"),
            ("pkcs11:type=cert", "type"),
            ("pkcs11:id=%0", "percent"),
            ("pkcs11:id=%+1", "percent"),
            ("pkcs11:token=%ff", "UTF-8"),
            ("pkcs11:?module-name=m", "module-path"),
            ("pkcs11:?pin-source=|/bin/pin", "no file"),
        ] {
            let error = KeyUri::parse(uri).unwrap_err();
            assert!(error.contains(why), "{uri}: {error}");
        }
        let error = KeyUri::parse("pkcs11:object=k?pin-value=4711").unwrap_err();
        assert!(error.contains("PIN") && !error.contains("4711"));
    }
}
