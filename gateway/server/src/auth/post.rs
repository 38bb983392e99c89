//! Who sends a form, and what it says in the terms of a PutObject.
//!
//! What lives here: reading the form in front of its file, the policy's signature and conditions, and the
//! [`Authenticated`] request that comes of it. What must not: rules of our own policy (`authorize` asks
//! those for the form's key as for any PutObject), the file. Invariant: the fields of a form stand in
//! the place of headers only after its policy allowed every one of them.
//!
//! Attacks considered: headers beside the form that nobody signed (every `x-amz-*` is refused); fields
//! that the policy does not mention; a key that leaves the allowed prefix through the file's name; a body
//! that another reader takes for another file; a redirect to where the policy does not lead; a form
//! that claims credentials and falls back to being anonymous.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use sceau_policy::Principal;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::op::Operation;
use sceau_s3wire::post::{
    Boundary, FormFile, FormHead, FormReader, LengthRange, Policy, PolicySignature, PostError, PostForm,
};

use crate::app::Gateway;
use crate::auth::{Authenticated, Proof, RawRequest, RequestBody, Sender, SentForm, find_sender};
use crate::error::{GatewayError, Result};
use crate::limits;
use crate::plan::fault;

/// The boundary of a form upload; `None` for any other request.
pub fn boundary(request: &RawRequest) -> Result<Option<Boundary>> {
    let is_post = request.method == Method::POST
        && request.name.bucket.is_some()
        && request.name.key.is_none()
        && request.target.query().is_empty();
    let kind = request
        .headers
        .get(header::CONTENT_TYPE)
        .filter(|_| is_post)
        .and_then(|kind| Boundary::of_content_type(kind.as_bytes()));
    kind.transpose().map_err(|error| fault::post_error(&error))
}

/// A POST to a bucket that is no form has no meaning, whoever signed it.
pub fn check_is_form(request: &Authenticated, operation: Operation) -> Result<()> {
    if operation == Operation::PostObject && request.form.is_none() {
        let message = "Bucket POST must be of the enclosure-type multipart/form-data";
        return Err(GatewayError::client(ErrorCode::PreconditionFailed, message));
    }
    Ok(())
}

/// Reads the form up to its file and proves who sends it, at Unix time `now` in seconds.
pub async fn prove(
    gateway: &Gateway,
    mut request: RawRequest,
    boundary: &Boundary,
    body: &mut RequestBody,
    now: u64,
) -> Result<Authenticated> {
    check_headers(&request.headers)?;
    let body_length = body_length(&request.headers)?;
    let reading = read(gateway, boundary, body, body_length);
    let (head, file) = tokio::time::timeout(limits::FORM_HEAD_WAIT, reading)
        .await
        .map_err(|_| GatewayError::code(ErrorCode::RequestTimeout))??;
    let refused = |error: PostError| fault::post_error(&error);
    let bucket = request.name.bucket.clone().unwrap_or_default();
    let form = PostForm::from_head(head, &bucket).map_err(refused)?;
    let (sender, range) = judge(gateway, &form, now).await?;
    range.check(file.length()).map_err(refused)?;
    let root = root(&request, &bucket);
    request.headers = form.headers().map_err(refused)?;
    request.name.key = Some(form.key().to_owned());
    body.set_file(file);
    let proof = if sender.principal.is_anonymous() {
        Proof::Nothing
    } else {
        Proof::Policy
    };
    Ok(Authenticated {
        request,
        sender,
        form: Some(SentForm { form, root }),
        proof,
    })
}

/// Only the form speaks.
fn check_headers(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(GatewayError::client(
            ErrorCode::InvalidRequest,
            "A form carries its signature in its fields.",
        ));
    }
    let mut names = headers.keys().map(http::HeaderName::as_str);
    match names.find(|name| name.starts_with("x-amz-")) {
        Some(name) => Err(GatewayError::client(
            ErrorCode::AccessDenied,
            format!("There were headers present in the request which were not signed: {name}"),
        )),
        None => Ok(()),
    }
}

fn body_length(headers: &HeaderMap) -> Result<u64> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else {
        return Err(fault::post_error(&PostError::MissingLength));
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.ok_or_else(|| GatewayError::code(ErrorCode::InvalidArgument))
}

/// Reads up to the file, or a short form to its end.
async fn read(
    gateway: &Gateway,
    boundary: &Boundary,
    body: &mut RequestBody,
    body_length: u64,
) -> Result<(FormHead, FormFile)> {
    let refused = |error: PostError| fault::post_error(&error);
    let mut reader = FormReader::new(boundary);
    let mut head = loop {
        let data = next(gateway, body).await?;
        let data = data.ok_or_else(|| refused(PostError::Malformed("it ends before its file")))?;
        if let Some(head) = reader.push(&data).map_err(refused)? {
            break head;
        }
    };
    let rest = std::mem::take(&mut head.rest);
    let file = if body_length <= limits::FORM_WHOLE_BYTES_MAX {
        FormFile::arrived(boundary, read_rest(gateway, body, rest).await?)
    } else {
        FormFile::arriving(boundary, body_length, head.file_offset, rest)
    };
    Ok((head, file.map_err(refused)?))
}

/// The rest of a body whose announced length is small; it cannot be longer than announced.
async fn read_rest(gateway: &Gateway, body: &mut RequestBody, begun: Bytes) -> Result<Bytes> {
    let mut whole = BytesMut::from(begun);
    while let Some(data) = next(gateway, body).await? {
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn next(gateway: &Gateway, body: &mut RequestBody) -> Result<Option<Bytes>> {
    tokio::time::timeout(gateway.settings.patience.silence, body.next_data())
        .await
        .map_err(|_| GatewayError::code(ErrorCode::RequestTimeout))?
}

/// Whose form it is, and how long its file may be.
async fn judge(gateway: &Gateway, form: &PostForm, now: u64) -> Result<(Sender, LengthRange)> {
    let refused = |error: PostError| fault::post_error(&error);
    let Some(signature) = PolicySignature::of_form(form).map_err(refused)? else {
        form.check_without_policy().map_err(refused)?;
        let sender = Sender {
            principal: Principal::anonymous(),
            session: None,
        };
        return Ok((sender, LengthRange::ANY));
    };
    let (access_key, token) = (signature.access_key(), signature.session_token());
    let (sender, ()) = find_sender(gateway, access_key, token, now, |secret| {
        signature
            .verify(secret, &gateway.signing_keys, now, &gateway.verify_rules)
            .map_err(refused)
    })
    .await?;
    let policy = Policy::parse(signature.policy()).map_err(refused)?;
    let range = policy.check(form, now).map_err(refused)?;
    Ok((sender, range))
}

/// The address of the bucket as the browser used it.
fn root(request: &RawRequest, bucket: &str) -> String {
    let host = request.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if request.is_tls { "https" } else { "http" };
    // With the bucket in the host, the path is a slash.
    if request.target.path() == "/" {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}/{bucket}")
    }
}
