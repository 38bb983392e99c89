//! Refuses request heads that two servers could read differently.
//!
//! What lives here: checks on framing headers. What must not: anything about S3. Invariant: a head
//! that passes has one `Host`, which the request line does not contradict, one body length, and asks for
//! no protocol switch. (hyper itself
//! accepts `Content-Length` beside `Transfer-Encoding`, and ignores the former.)

use http::{HeaderMap, Version, header, request::Parts};

/// Checks the framing of a request head; the error says what to tell the client.
pub fn check_framing(head: &Parts) -> Result<(), &'static str> {
    if head.version != Version::HTTP_11 {
        return Err("only HTTP/1.1 is served");
    }
    let headers = &head.headers;
    if headers.get_all(header::HOST).iter().count() != 1 {
        return Err("exactly one Host header is required");
    }
    check_host(head)?;
    if headers.contains_key(header::UPGRADE) {
        return Err("protocol upgrades are not served");
    }
    check_body_length(headers)?;
    Ok(())
}

/// A name or an address, and a port. The signature covers `Host`, so it has to be what says where the request
/// goes; an address in the request line (RFC 9112 section 3.2.2) must say the same.
fn check_host(head: &Parts) -> Result<(), &'static str> {
    let host = head
        .headers
        .get(header::HOST)
        .map_or(&b""[..], |host| host.as_bytes());
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest
                .iter()
                .position(|byte| *byte == b']')
                .ok_or("the Host header is malformed")?;
            let (name, port) = rest.split_at_checked(end).unwrap_or_default();
            (name, port.get(1..).unwrap_or_default())
        }
        None => {
            let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
            host.split_at_checked(end).unwrap_or_default()
        }
    };
    let is_literal = host.first() == Some(&b'[');
    let is_in_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte) || (is_literal && *byte == b':');
    let is_port = match port.split_first() {
        None => true,
        Some((colon, digits)) => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    if name.is_empty() || !name.iter().all(is_in_name) || !is_port {
        return Err("the Host header is malformed");
    }
    let is_same = |authority: &http::uri::Authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host);
    if head.uri.authority().is_some_and(|authority| !is_same(authority)) {
        return Err("the request line and the Host header name different hosts");
    }
    Ok(())
}

fn check_body_length(headers: &HeaderMap) -> Result<(), &'static str> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if lengths > 1 || codings.next().is_some() {
        return Err("repeated body length headers");
    }
    if lengths == 1 && coding.is_some() {
        return Err("Content-Length and Transfer-Encoding exclude each other");
    }
    match coding {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err("the only transfer coding served is chunked")
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(request: http::request::Builder) -> Result<(), &'static str> {
        check_framing(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_plain_request_passes() {
        assert!(check(Request::get("/b/k").header("host", "h")).is_ok());
        assert!(
            check(
                Request::put("/b/k")
                    .header("host", "h")
                    .header("content-length", "5")
            )
            .is_ok()
        );
        assert!(
            check(
                Request::put("/b/k")
                    .header("host", "h")
                    .header("transfer-encoding", "Chunked")
            )
            .is_ok()
        );
    }

    #[test]
    fn a_host_has_one_meaning() {
        for host in [
            "h",
            "H.example.com.",
            "a_b.h:9000",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:9000",
            "h:",
        ] {
            assert!(check(Request::get("/b/k").header("host", host)).is_ok(), "{host}");
            let target = format!("http://{host}/b/k");
            assert!(
                check(Request::get(&target).header("host", host)).is_ok(),
                "{target}"
            );
            assert!(
                check(Request::get(&target).header("host", "other")).is_err(),
                "{target}"
            );
        }
        for host in [
            "", ":9000", "h:x", "h/x", "a b", "u@h", "h,h", "[::1", "[::1]x", "[]", "a:b:c", "::1", "h?x",
        ] {
            assert!(
                check(Request::get("/b/k").header("host", host)).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn smuggling_shapes_are_refused() {
        let put = || Request::put("/b/k").header("host", "h");
        assert!(
            check(
                put()
                    .header("content-length", "5")
                    .header("transfer-encoding", "chunked")
            )
            .is_err()
        );
        assert!(check(put().header("content-length", "5").header("content-length", "5")).is_err());
        assert!(check(put().header("transfer-encoding", "gzip, chunked")).is_err());
        assert!(
            check(
                put()
                    .header("transfer-encoding", "chunked")
                    .header("transfer-encoding", "chunked")
            )
            .is_err()
        );
        assert!(check(put().header("upgrade", "h2c")).is_err());
        assert!(check(put().header("host", "other")).is_err());
        assert!(check(Request::put("/b/k")).is_err());
        assert!(check(put().version(Version::HTTP_10)).is_err());
    }
}
