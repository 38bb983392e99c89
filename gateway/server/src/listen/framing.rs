//! Refuses request heads that two servers could read differently.
//!
//! What lives here: checks on framing headers. What must not: anything about S3. Invariant: a head
//! that passes has one `Host`, one body length, and asks for no protocol switch. (hyper itself
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
    if headers.contains_key(header::UPGRADE) {
        return Err("protocol upgrades are not served");
    }
    check_body_length(headers)?;
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
