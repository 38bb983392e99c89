//! The errors a client can see: one closed list of codes, and the XML body that carries one.
//!
//! What lives here: every S3 error code the gateway answers, its HTTP status, a message that is
//! safe to show, and whether trying again can help. What must not: causes, upstream texts, keys,
//! signatures of the server's own. Invariant: a status and a code always come from the same row.

use crate::xml::write::XmlWriter;

/// Whether the same request, sent again unchanged, may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The answer will not change until somebody changes something.
    Never,
    /// A later attempt may succeed, and sending it does no harm.
    Safe,
}

macro_rules! error_codes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $retry:ident, $message:literal; )+) => {
        /// An error code of the S3 protocol, as the gateway answers it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl ErrorCode {
            /// Every code, in declaration order.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The text of the `Code` element.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Self::$name => $code, )+ }
            }

            /// The HTTP status of the response.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $( Self::$name => $status, )+ }
            }

            /// A message that may be shown to any client.
            #[must_use]
            pub const fn default_message(self) -> &'static str {
                match self { $( Self::$name => $message, )+ }
            }

            /// Whether sending the same request again may help.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $( Self::$name => Retry::$retry, )+ }
            }
        }
    };
}

error_codes! {
    /// The bucket takes no ACLs.
    AccessControlListNotSupported = "AccessControlListNotSupported", 400, Never, "The bucket does not allow ACLs.";
    /// The bucket's CORS rules do not allow a browser's question.
    AccessForbidden = "AccessForbidden", 403, Never, "CORSResponse: This CORS request is not allowed.";
    /// The policy or the store refuses the request.
    AccessDenied = "AccessDenied", 403, Never, "Access Denied";
    /// The `Authorization` header cannot be read, or names another region or service.
    AuthorizationHeaderMalformed = "AuthorizationHeaderMalformed", 400, Never, "The authorization header that you provided is not valid.";
    /// The query-string form of a signature cannot be read.
    AuthorizationQueryParametersError = "AuthorizationQueryParametersError", 400, Never, "The query-string authentication parameters that you provided are not valid.";
    /// A declared checksum does not match the bytes received.
    BadDigest = "BadDigest", 400, Never, "The checksum you specified did not match what we received.";
    /// The request breaks a rule that has no code of its own.
    BadRequest = "BadRequest", 400, Never, "Bad Request";
    /// The bucket name is taken by somebody else.
    BucketAlreadyExists = "BucketAlreadyExists", 409, Never, "The requested bucket name is not available. Select a different name and try again.";
    /// The bucket exists and belongs to the caller.
    BucketAlreadyOwnedByYou = "BucketAlreadyOwnedByYou", 409, Never, "The bucket that you tried to create already exists, and you own it.";
    /// The bucket still holds objects.
    BucketNotEmpty = "BucketNotEmpty", 409, Never, "The bucket that you tried to delete is not empty.";
    /// Another write to the same key was under way.
    ConditionalRequestConflict = "ConditionalRequestConflict", 409, Safe, "A conflicting operation occurred during the conditional request.";
    /// The object or the part is larger than allowed.
    EntityTooLarge = "EntityTooLarge", 400, Never, "Your proposed upload exceeds the maximum allowed object size.";
    /// A part other than the last is smaller than allowed.
    EntityTooSmall = "EntityTooSmall", 400, Never, "Your proposed upload is smaller than the minimum allowed object size.";
    /// The session token has expired.
    ExpiredToken = "ExpiredToken", 400, Never, "The provided token has expired.";
    /// The body ended before the declared length.
    IncompleteBody = "IncompleteBody", 400, Never, "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    /// A form upload has no file.
    IncorrectNumberOfFilesInPostRequest = "IncorrectNumberOfFilesInPostRequest", 400, Never, "POST requires exactly one file upload per request.";
    /// A failure of the gateway's own.
    InternalError = "InternalError", 500, Safe, "We encountered an internal error. Try again.";
    /// No credential with this access key.
    InvalidAccessKeyId = "InvalidAccessKeyId", 403, Never, "The access key ID that you provided does not exist in our records.";
    /// A parameter has a value that is not allowed.
    InvalidArgument = "InvalidArgument", 400, Never, "Invalid Argument";
    /// The bucket name does not follow the rules.
    InvalidBucketName = "InvalidBucketName", 400, Never, "The specified bucket is not valid.";
    /// The bucket's state does not allow the change.
    InvalidBucketState = "InvalidBucketState", 409, Never, "The request is not valid for the current state of the bucket.";
    /// The method of encryption asked for is not one of S3's.
    InvalidEncryptionAlgorithm = "InvalidEncryptionAlgorithmError", 400, Never, "The encryption request that you specified is not valid. The valid value is AES256.";
    /// `Content-MD5` or a checksum header is not well formed.
    InvalidDigest = "InvalidDigest", 400, Never, "The Content-MD5 or checksum value that you specified is not valid.";
    /// The location asked for at CreateBucket is not available.
    InvalidLocationConstraint = "InvalidLocationConstraint", 400, Never, "The specified location constraint is not valid.";
    /// The object is in an archive tier.
    InvalidObjectState = "InvalidObjectState", 403, Never, "The operation is not valid for the current state of the object.";
    /// A part named at Complete is missing or has another entity tag.
    InvalidPart = "InvalidPart", 400, Never, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.";
    /// The part that a read asks for does not exist.
    InvalidPartNumber = "InvalidPartNumber", 416, Never, "The requested partnumber is not satisfiable.";
    /// The parts named at Complete are not in ascending order.
    InvalidPartOrder = "InvalidPartOrder", 400, Never, "The list of parts was not in ascending order. Parts list must be specified in order by part number.";
    /// The policy of a form upload cannot be read.
    InvalidPolicyDocument = "InvalidPolicyDocument", 400, Never, "The content of the form does not meet the conditions specified in the policy document.";
    /// The requested range is outside the object.
    InvalidRange = "InvalidRange", 416, Never, "The requested range is not satisfiable.";
    /// The request is not one S3 allows.
    InvalidRequest = "InvalidRequest", 400, Never, "Invalid Request";
    /// The security credentials are not valid.
    InvalidSecurity = "InvalidSecurity", 403, Never, "The provided security credentials are not valid.";
    /// The storage class is none that the store has.
    InvalidStorageClass = "InvalidStorageClass", 400, Never, "The storage class that you specified is not valid.";
    /// A tag breaks the rules.
    InvalidTag = "InvalidTag", 400, Never, "The tag provided was not a valid tag.";
    /// The bucket for logs cannot take them.
    InvalidTargetBucketForLogging = "InvalidTargetBucketForLogging", 400, Never, "The target bucket for logging is not valid.";
    /// The session token is not one of ours.
    InvalidToken = "InvalidToken", 400, Never, "The provided token is malformed or otherwise not valid.";
    /// The request target cannot be parsed.
    InvalidUri = "InvalidURI", 400, Never, "The specified URI couldn't be parsed.";
    /// The object key is longer than 1024 bytes.
    KeyTooLong = "KeyTooLongError", 400, Never, "Your key is too long.";
    /// The ACL document is not one.
    MalformedAcl = "MalformedACLError", 400, Never, "The ACL that you provided was not well formed or did not validate against our published schema.";
    /// The KMS key that a request names is not listed.
    KmsNotFound = "KMS.NotFoundException", 400, Never, "The key does not exist.";
    /// The bucket policy document is not one.
    MalformedPolicy = "MalformedPolicy", 400, Never, "Your policy contains a principal, action or resource that is not valid.";
    /// The body of a form upload is not a form.
    MalformedPostRequest = "MalformedPOSTRequest", 400, Never, "The body of your POST request is not well-formed multipart/form-data.";
    /// The XML body is not well formed or not of the expected shape.
    MalformedXml = "MalformedXML", 400, Never, "The XML that you provided was not well formed or did not validate against our published schema.";
    /// The trailer of a chunked body is broken, lacks what was announced, or has what was not.
    MalformedTrailer = "MalformedTrailerError", 400, Never, "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    /// The request line and headers, or a control body, are too long.
    MaxMessageLengthExceeded = "MaxMessageLengthExceeded", 400, Never, "Your request was too large.";
    /// A form has more in front of its file than is read.
    MaxPostPreDataLengthExceeded = "MaxPostPreDataLengthExceededError", 400, Never, "Your POST request fields preceding the upload file were too large.";
    /// User metadata is larger than 2 KB.
    MetadataTooLarge = "MetadataTooLarge", 400, Never, "Your metadata headers exceed the maximum allowed metadata size.";
    /// The method is not allowed against this resource.
    MethodNotAllowed = "MethodNotAllowed", 405, Never, "The specified method is not allowed against this resource.";
    /// The length of the body must be declared.
    MissingContentLength = "MissingContentLength", 411, Never, "You must provide the Content-Length HTTP header.";
    /// The operation needs a body.
    MissingRequestBody = "MissingRequestBodyError", 400, Never, "Request body is empty.";
    /// A header that must be there is absent.
    MissingSecurityHeader = "MissingSecurityHeader", 400, Never, "Your request is missing a required header.";
    /// The bucket does not exist.
    NoSuchBucket = "NoSuchBucket", 404, Never, "The specified bucket does not exist.";
    /// The bucket has no policy.
    NoSuchBucketPolicy = "NoSuchBucketPolicy", 404, Never, "The bucket policy does not exist.";
    /// The bucket has no configuration of this name.
    NoSuchConfiguration = "NoSuchConfiguration", 404, Never, "The specified configuration does not exist.";
    /// The bucket has no CORS rules.
    NoSuchCorsConfiguration = "NoSuchCORSConfiguration", 404, Never, "The CORS configuration does not exist.";
    /// The object does not exist.
    NoSuchKey = "NoSuchKey", 404, Never, "The specified key does not exist.";
    /// The bucket has no lifecycle rules.
    NoSuchLifecycleConfiguration = "NoSuchLifecycleConfiguration", 404, Never, "The lifecycle configuration does not exist.";
    /// The object has no retention or legal hold.
    NoSuchObjectLockConfiguration = "NoSuchObjectLockConfiguration", 404, Never, "The specified object does not have an Object Lock configuration.";
    /// The bucket has no public access block.
    NoSuchPublicAccessBlockConfiguration = "NoSuchPublicAccessBlockConfiguration", 404, Never, "The public access block configuration was not found.";
    /// The bucket has no tags.
    NoSuchTagSet = "NoSuchTagSet", 404, Never, "The TagSet does not exist.";
    /// The multipart upload does not exist.
    NoSuchUpload = "NoSuchUpload", 404, Never, "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might have been aborted or completed.";
    /// The version does not exist.
    NoSuchVersion = "NoSuchVersion", 404, Never, "The specified version does not exist.";
    /// The bucket is not a website.
    NoSuchWebsiteConfiguration = "NoSuchWebsiteConfiguration", 404, Never, "The specified bucket does not have a website configuration.";
    /// The gateway does not answer this operation, parameter or header.
    NotImplemented = "NotImplemented", 501, Never, "A header, query parameter or operation that you provided implies functionality that is not implemented.";
    /// The condition says that the client's copy is current (no body).
    NotModified = "NotModified", 304, Never, "Not Modified";
    /// The stored object failed authentication: it was changed, moved or truncated.
    ObjectIntegrityFailure = "ObjectIntegrityFailure", 409, Never, "The stored object failed its integrity check and was refused. Trying again does not help.";
    /// The bucket has no Object Lock configuration.
    ObjectLockConfigurationNotFound = "ObjectLockConfigurationNotFoundError", 404, Never, "Object Lock configuration does not exist for this bucket.";
    /// The stored object was not written through the gateway.
    ObjectNotSealed = "ObjectNotSealed", 409, Never, "The stored object was not written through this gateway and was refused. Trying again does not help.";
    /// Another change of the same resource was under way.
    OperationAborted = "OperationAborted", 409, Safe, "A conflicting conditional operation is currently in progress against this resource. Try again.";
    /// The bucket has no ownership controls.
    OwnershipControlsNotFound = "OwnershipControlsNotFoundError", 404, Never, "The bucket ownership controls were not found.";
    /// A condition of the request does not hold.
    PreconditionFailed = "PreconditionFailed", 412, Never, "At least one of the preconditions that you specified did not hold.";
    /// The bucket has no replication rules.
    ReplicationConfigurationNotFound = "ReplicationConfigurationNotFoundError", 404, Never, "The replication configuration was not found.";
    /// The client's clock and the gateway's differ by more than fifteen minutes.
    RequestTimeTooSkewed = "RequestTimeTooSkewed", 403, Never, "The difference between the request time and the server's time is too large.";
    /// The client was too slow.
    RequestTimeout = "RequestTimeout", 400, Safe, "Your socket connection to the server was not read from or written to within the timeout period.";
    /// The bucket has no default encryption.
    ServerSideEncryptionConfigurationNotFound = "ServerSideEncryptionConfigurationNotFoundError", 404, Never, "The server side encryption configuration was not found.";
    /// The store or the key provider cannot be reached.
    ServiceUnavailable = "ServiceUnavailable", 503, Safe, "Service is unable to handle request.";
    /// The signature is not the one computed from the request.
    SignatureDoesNotMatch = "SignatureDoesNotMatch", 403, Never, "The request signature that we calculated does not match the signature that you provided. Check your secret access key and signing method.";
    /// The gateway is full, or the store asks for fewer requests.
    SlowDown = "SlowDown", 503, Safe, "Please reduce your request rate.";
    /// More than 100 buckets, or another quota.
    TooManyBuckets = "TooManyBuckets", 400, Never, "You have attempted to create more buckets than are allowed.";
    /// A declared checksum algorithm or checksum value contradicts the body.
    XAmzContentChecksumMismatch = "XAmzContentChecksumMismatch", 400, Never, "The provided 'x-amz-checksum' header does not match what was computed.";
    /// The declared SHA-256 of the body is not that of the bytes received.
    XAmzContentSha256Mismatch = "XAmzContentSHA256Mismatch", 400, Never, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl ErrorCode {
    /// The code with this text, when it is one the gateway answers itself.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.code() == code)
    }
}

/// The body of an error response.
///
/// A response to HEAD, and a 304, carry the status and no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3ErrorBody {
    /// The code, which also fixes the HTTP status.
    pub code: ErrorCode,
    /// What went wrong, for a person.
    pub message: String,
    /// The path the client asked for, as the client wrote it.
    pub resource: String,
    /// The gateway's request identifier.
    pub request_id: String,
    /// An identifier of the host, for support.
    pub host_id: Option<String>,
    /// More elements, for example `StringToSign` or `ArgumentName`; names must be XML names.
    pub extra: Vec<(&'static str, String)>,
}

impl S3ErrorBody {
    /// A body with the code's own message and nothing else.
    #[must_use]
    pub fn new(code: ErrorCode, resource: impl Into<String>, request_id: impl Into<String>) -> Self {
        Self {
            code,
            message: code.default_message().to_owned(),
            resource: resource.into(),
            request_id: request_id.into(),
            host_id: None,
            extra: Vec::new(),
        }
    }

    /// The same body with another message.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The XML document; characters that XML cannot carry are replaced.
    #[must_use]
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::document();
        xml.open("Error");
        self.write_fields(&mut xml);
        xml.close("Error");
        xml.finish()
    }

    fn write_fields(&self, xml: &mut XmlWriter) {
        xml.element("Code", self.code.code());
        xml.element("Message", &self.message);
        for (name, value) in &self.extra {
            xml.element(name, value);
        }
        xml.element("Resource", &self.resource);
        xml.element("RequestId", &self.request_id);
        if let Some(host_id) = &self.host_id {
            xml.element("HostId", host_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
        }
        assert_eq!(ErrorCode::from_code("Nonsense"), None);
    }

    #[test]
    fn an_integrity_failure_is_never_retried() {
        // SDKs retry 5xx and some 4xx; 409 with this code must end the attempt.
        assert_eq!(ErrorCode::ObjectIntegrityFailure.http_status(), 409);
        assert_eq!(ErrorCode::ObjectIntegrityFailure.retry(), Retry::Never);
        assert_eq!(ErrorCode::ServiceUnavailable.retry(), Retry::Safe);
    }

    #[test]
    fn every_retryable_code_is_one_that_clients_retry() {
        for code in ErrorCode::ALL.iter().filter(|code| code.retry() == Retry::Safe) {
            let status = code.http_status();
            assert!(
                status >= 500 || status == 409 || *code == ErrorCode::RequestTimeout,
                "{code:?}"
            );
        }
    }

    #[test]
    fn the_body_escapes_what_the_client_sent() {
        let mut body = S3ErrorBody::new(ErrorCode::NoSuchKey, "/b/<a>&\u{1}", "R1");
        body.extra.push(("StringToSign", "x\ry".to_owned()));
        let text = String::from_utf8(body.to_xml()).unwrap();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.\
             </Message><StringToSign>x&#xD;y</StringToSign><Resource>/b/&lt;a&gt;&amp;\u{fffd}</Resource><RequestId>R1</RequestId></Error>"
        );
    }
}
