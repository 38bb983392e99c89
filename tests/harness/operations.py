"""Which S3 operation a request is, told from its method, path and query alone, as the S3 documentation does."""

OBJECT = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
BUCKET = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "POST": "PostObject"}
# Sub-resources whose operation is not simply method and noun.
BUCKET_NAMES = {
    ("GET", "versions"): "ListObjectVersions",
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "delete"): "DeleteObjects",
    ("DELETE", "lifecycle"): "DeleteBucketLifecycle",
    ("GET", "publicAccessBlock"): "GetPublicAccessBlock",
    ("PUT", "publicAccessBlock"): "PutPublicAccessBlock",
    ("DELETE", "publicAccessBlock"): "DeletePublicAccessBlock",
    ("GET", "object-lock"): "GetObjectLockConfiguration",
    ("PUT", "object-lock"): "PutObjectLockConfiguration",
}
NOUNS = {
    "abac": "Abac",
    "accelerate": "AccelerateConfiguration",
    "acl": "Acl",
    "cors": "Cors",
    "encryption": "Encryption",
    "lifecycle": "LifecycleConfiguration",
    "location": "Location",
    "logging": "Logging",
    "notification": "NotificationConfiguration",
    "ownershipControls": "OwnershipControls",
    "policy": "Policy",
    "policyStatus": "PolicyStatus",
    "replication": "Replication",
    "requestPayment": "RequestPayment",
    "tagging": "Tagging",
    "versioning": "Versioning",
    "website": "Website",
}
OBJECT_NOUNS = {"acl": "Acl", "tagging": "Tagging", "retention": "Retention", "legal-hold": "LegalHold"}


def operation(method, key, query, headers):
    """The operation's name; "other" for a request that is none."""
    names = {name for name, _ in query}
    if key:
        return _of_object(method, names, headers)
    for (verb, name), operation_name in BUCKET_NAMES.items():
        if verb == method and name in names:
            return operation_name
    for name, noun in NOUNS.items():
        if name in names:
            return f"{_verb(method)}Bucket{noun}"
    if method == "GET" and ("list-type", "2") in query:
        return "ListObjectsV2"
    return BUCKET.get(method, "other")


def _verb(method):
    return {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}.get(method, "other")


def _of_object(method, names, headers):
    copies = any(name.lower() == "x-amz-copy-source" for name in headers)
    if "uploads" in names:
        return "CreateMultipartUpload"
    if "uploadId" in names:
        part = "UploadPartCopy" if copies else "UploadPart"
        return {"PUT": part, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(method, "ListParts")
    if "attributes" in names:
        return "GetObjectAttributes"
    for name, noun in OBJECT_NOUNS.items():
        if name in names:
            return f"{_verb(method)}Object{noun}"
    return "CopyObject" if copies and method == "PUT" else OBJECT.get(method, "other")
