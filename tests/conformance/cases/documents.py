"""Documents about buckets and objects, which the store keeps."""

from harness.differential import add, case

from .bodies import BODY

POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket",'
    '"Resource":"arn:aws:s3:::%s"}]}'
)
LIFECYCLE = (
    "<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status>"
    "<Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>"
)
CORS = (
    "<CORSConfiguration><CORSRule><AllowedOrigin>https://example.org</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    "<MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>"
)
BLOCK = (
    "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
    "<BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
)
TAGS = "<Tagging><TagSet><Tag><Key>cost centre</Key><Value>team+a:1</Value></Tag></TagSet></Tagging>"
OWNERSHIP = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"
ENCRYPTION = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    "</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)
WEBSITE = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>"
PAYMENT = "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>"
ACCELERATE = "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>"
# Name of the parameter: document, status of the change, code when there is none (None: there always is one), removable.
DOCUMENTS = {
    "policy": (POLICY, 204, "NoSuchBucketPolicy", True),
    "lifecycle": (LIFECYCLE, 200, "NoSuchLifecycleConfiguration", True),
    "cors": (CORS, 200, "NoSuchCORSConfiguration", True),
    "publicAccessBlock": (BLOCK, 200, "NoSuchPublicAccessBlockConfiguration", True),
    "tagging": (TAGS, (200, 204), "NoSuchTagSet", True),
    "ownershipControls": (OWNERSHIP, 200, (200, "OwnershipControlsNotFoundError"), True),
    "encryption": (ENCRYPTION, 200, (200, "ServerSideEncryptionConfigurationNotFoundError"), True),
    "website": (WEBSITE, 200, "NoSuchWebsiteConfiguration", True),
    "requestPayment": (PAYMENT, 200, None, False),
    "accelerate": (ACCELERATE, 200, None, False),
}


def document(name, content, changed, missing, removable):
    def tell(side):
        text = content % side.bucket if "%s" in content else content
        side("before", "GET", query={name: ""}, says=missing or 200)
        side("set", "PUT", query={name: ""}, headers=digest(text), body=text.encode(), says=changed)
        side("get", "GET", query={name: ""})
        if removable:
            side("remove", "DELETE", query={name: ""})
            side("after", "GET", query={name: ""}, says=missing or 200)
        side("bucket is there", "HEAD")

    return tell


def digest(text):
    from harness.raw import md5

    return {"content-md5": md5(text.encode())}


def damaged(name, changed):
    def tell(side):
        says = "MalformedPolicy" if name == "policy" else "MalformedXML"
        side("set", "PUT", query={name: ""}, headers=digest("<x"), body=b"<x", says=says)
        side("bucket is there", "HEAD")

    return tell


for name, (content, changed, missing, removable) in DOCUMENTS.items():
    add("documents", name, document(name, content, changed, missing, removable), "own")
    add("documents", f"{name} damaged", damaged(name, changed), "own")
for name, says in {"logging": 200, "notification": 200, "replication": "ReplicationConfigurationNotFoundError",
                   "object-lock": "ObjectLockConfigurationNotFoundError", "policyStatus": "NoSuchBucketPolicy", "acl": 200}.items():  # fmt: skip
    add("documents", f"{name} that was never set", lambda side, name=name, says=says: side("get", "GET", query={name: ""}, says=says), "own")


@case("documents")
def acl_of_an_object(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", {"acl": ""})
    side("set", "PUT", "k", {"acl": ""}, {"x-amz-acl": "private"})
    side("still there", "GET", "k", gives=BODY)


@case("documents")
def canned_acl_on_writing(side):
    side("put", "PUT", "k", headers={"x-amz-acl": "private"}, body=BODY)
    side("get", "GET", "k", gives=BODY)


@case("documents")
def acl_of_a_missing_object(side):
    side("get", "GET", "none", {"acl": ""}, says="NoSuchKey")


@case("documents")
def documents_of_a_missing_bucket(side):
    for name in ("policy", "lifecycle", "cors", "tagging", "versioning", "acl", "encryption"):
        side(name, "GET", query={name: ""}, bucket="no-such-bucket-0", says="NoSuchBucket")
