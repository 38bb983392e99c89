//! Which bucket names the gateway accepts.
//!
//! What lives here: S3's naming rules for general purpose buckets. What must not: which names are
//! taken or hidden. Invariant: an accepted name is one DNS-safe path segment.

use crate::error::ErrorCode;

/// Shortest name, bytes.
pub const NAME_BYTES_MIN: usize = 3;
/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Prefixes that S3 reserves.
const RESERVED_PREFIXES: &[&str] = &["xn--", "sthree-", "amzn-s3-demo-"];
/// Suffixes that S3 reserves: access points, Object Lambda, directory buckets, tables.
const RESERVED_SUFFIXES: &[&str] = &["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an"];

/// Judges a name for routing: any request that addresses a bucket.
///
/// # Errors
///
/// `NotImplemented` for directory buckets, `InvalidBucketName` for names that break the rules.
pub fn check(name: &str) -> Result<(), ErrorCode> {
    if name.ends_with("--x-s3") {
        return Err(ErrorCode::NotImplemented);
    }
    if is_well_formed(name) {
        Ok(())
    } else {
        Err(ErrorCode::InvalidBucketName)
    }
}

/// Judges a name for CreateBucket, where S3's reserved prefixes and suffixes count too.
///
/// # Errors
///
/// As [`check`].
pub fn check_new(name: &str) -> Result<(), ErrorCode> {
    check(name)?;
    let reserved = RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if reserved {
        Err(ErrorCode::InvalidBucketName)
    } else {
        Ok(())
    }
}

fn is_well_formed(name: &str) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = name.as_bytes();
    (NAME_BYTES_MIN..=NAME_BYTES_MAX).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && edge(bytes.first())
        && edge(bytes.last())
        && !["..", ".-", "-."].iter().any(|pair| name.contains(pair))
        && !looks_like_ipv4(name)
}

fn looks_like_ipv4(name: &str) -> bool {
    name.parse::<std::net::Ipv4Addr>().is_ok()
        || (name.split('.').count() == 4
            && name
                .split('.')
                .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        let longest = "a".repeat(63);
        for name in ["abc", "my.bucket-1", "0ab", "a--b", "1.2.3", longest.as_str()] {
            assert_eq!(check_new(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_break_the_rules_are_refused() {
        let long = "a".repeat(64);
        for name in [
            "",
            "ab",
            long.as_str(),
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "a.-b",
            "a-.b",
            "192.168.1.1",
            "999.1.1.1",
            "a b",
            "a/b",
            "bücket",
            "a%b",
        ] {
            assert_eq!(check(name), Err(ErrorCode::InvalidBucketName), "{name}");
        }
        assert_eq!(check("data--use1-az4--x-s3"), Err(ErrorCode::NotImplemented));
    }

    #[test]
    fn reserved_names_can_be_used_but_not_created() {
        for name in ["xn--abc", "sthree-x", "abc-s3alias", "abc--ol-s3", "abc.mrap"] {
            assert_eq!(check(name), Ok(()), "{name}");
            assert_eq!(check_new(name), Err(ErrorCode::InvalidBucketName), "{name}");
        }
    }
}
