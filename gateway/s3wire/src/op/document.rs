//! Operations on a document that belongs to a bucket or an object: the store keeps it, the gateway
//! passes it.
//!
//! What lives here: one line per such operation. What must not: anything that may carry an object's
//! content, its metadata or its tags; those are sealed or refused. Invariant: every row here is of class
//! [`Class::Pass`], asks the policy for `configure` or `read-configuration`, and has a GET of the same
//! parameters, by which a store shows that it knows the document.

use super::Selector::{Flag, Value};
use super::{Action, Class, Operation, Row, Scope, Selector, Subject};

macro_rules! documents {
    ($( $name:ident = $method:literal $scope:ident [$($selector:expr),+] [$($allowed:literal),*]; )+) => {
        /// An operation of the S3 interface on such a document. The names are those of the interface.
        #[allow(missing_docs, reason = "each variant is named like the S3 operation it stands for")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Document {
            $( $name, )+
        }

        impl Document {
            /// Every one, in declaration order.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The operation's row.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $( Self::$name => {
                        const ROW: Row = Row {
                            operation: Operation::Document(Document::$name),
                            name: stringify!($name),
                            class: Class::Pass,
                            scope: Scope::$scope,
                            method: $method,
                            selectors: &[$( $selector ),+],
                            allowed: &[$( $allowed ),*],
                            copy_source: false,
                            action: action($method),
                            subject: subject(Scope::$scope),
                        };
                        &ROW
                    } )+
                }
            }
        }
    };
}

/// GET reads a configuration, everything else changes one.
const fn action(method: &str) -> Action {
    match method.as_bytes() {
        b"GET" => Action::ReadConfiguration,
        _ => Action::Configure,
    }
}

const fn subject(scope: Scope) -> Subject {
    match scope {
        Scope::Object => Subject::Key,
        Scope::Service | Scope::Bucket => Subject::Bucket,
    }
}

/// The parameter that names one of several configurations.
const ID: Selector = Value("id");

documents! {
    GetBucketAbac = "GET" Bucket [Flag("abac")] [];
    PutBucketAbac = "PUT" Bucket [Flag("abac")] [];
    GetBucketAccelerateConfiguration = "GET" Bucket [Flag("accelerate")] [];
    PutBucketAccelerateConfiguration = "PUT" Bucket [Flag("accelerate")] [];
    GetBucketAcl = "GET" Bucket [Flag("acl")] [];
    PutBucketAcl = "PUT" Bucket [Flag("acl")] [];
    ListBucketAnalyticsConfigurations = "GET" Bucket [Flag("analytics")] ["continuation-token"];
    GetBucketAnalyticsConfiguration = "GET" Bucket [Flag("analytics"), ID] [];
    PutBucketAnalyticsConfiguration = "PUT" Bucket [Flag("analytics"), ID] [];
    DeleteBucketAnalyticsConfiguration = "DELETE" Bucket [Flag("analytics"), ID] [];
    GetBucketCors = "GET" Bucket [Flag("cors")] [];
    PutBucketCors = "PUT" Bucket [Flag("cors")] [];
    DeleteBucketCors = "DELETE" Bucket [Flag("cors")] [];
    GetBucketEncryption = "GET" Bucket [Flag("encryption")] [];
    PutBucketEncryption = "PUT" Bucket [Flag("encryption")] [];
    DeleteBucketEncryption = "DELETE" Bucket [Flag("encryption")] [];
    ListBucketIntelligentTieringConfigurations = "GET" Bucket [Flag("intelligent-tiering")] ["continuation-token"];
    GetBucketIntelligentTieringConfiguration = "GET" Bucket [Flag("intelligent-tiering"), ID] [];
    PutBucketIntelligentTieringConfiguration = "PUT" Bucket [Flag("intelligent-tiering"), ID] [];
    DeleteBucketIntelligentTieringConfiguration = "DELETE" Bucket [Flag("intelligent-tiering"), ID] [];
    ListBucketInventoryConfigurations = "GET" Bucket [Flag("inventory")] ["continuation-token"];
    GetBucketInventoryConfiguration = "GET" Bucket [Flag("inventory"), ID] [];
    PutBucketInventoryConfiguration = "PUT" Bucket [Flag("inventory"), ID] [];
    DeleteBucketInventoryConfiguration = "DELETE" Bucket [Flag("inventory"), ID] [];
    GetBucketLifecycleConfiguration = "GET" Bucket [Flag("lifecycle")] [];
    PutBucketLifecycleConfiguration = "PUT" Bucket [Flag("lifecycle")] [];
    DeleteBucketLifecycle = "DELETE" Bucket [Flag("lifecycle")] [];
    GetBucketLogging = "GET" Bucket [Flag("logging")] [];
    PutBucketLogging = "PUT" Bucket [Flag("logging")] [];
    ListBucketMetricsConfigurations = "GET" Bucket [Flag("metrics")] ["continuation-token"];
    GetBucketMetricsConfiguration = "GET" Bucket [Flag("metrics"), ID] [];
    PutBucketMetricsConfiguration = "PUT" Bucket [Flag("metrics"), ID] [];
    DeleteBucketMetricsConfiguration = "DELETE" Bucket [Flag("metrics"), ID] [];
    GetBucketNotificationConfiguration = "GET" Bucket [Flag("notification")] [];
    PutBucketNotificationConfiguration = "PUT" Bucket [Flag("notification")] [];
    GetObjectLockConfiguration = "GET" Bucket [Flag("object-lock")] [];
    PutObjectLockConfiguration = "PUT" Bucket [Flag("object-lock")] [];
    GetBucketOwnershipControls = "GET" Bucket [Flag("ownershipControls")] [];
    PutBucketOwnershipControls = "PUT" Bucket [Flag("ownershipControls")] [];
    DeleteBucketOwnershipControls = "DELETE" Bucket [Flag("ownershipControls")] [];
    GetBucketPolicy = "GET" Bucket [Flag("policy")] [];
    PutBucketPolicy = "PUT" Bucket [Flag("policy")] [];
    DeleteBucketPolicy = "DELETE" Bucket [Flag("policy")] [];
    GetBucketPolicyStatus = "GET" Bucket [Flag("policyStatus")] [];
    GetPublicAccessBlock = "GET" Bucket [Flag("publicAccessBlock")] [];
    PutPublicAccessBlock = "PUT" Bucket [Flag("publicAccessBlock")] [];
    DeletePublicAccessBlock = "DELETE" Bucket [Flag("publicAccessBlock")] [];
    GetBucketReplication = "GET" Bucket [Flag("replication")] [];
    PutBucketReplication = "PUT" Bucket [Flag("replication")] [];
    DeleteBucketReplication = "DELETE" Bucket [Flag("replication")] [];
    GetBucketRequestPayment = "GET" Bucket [Flag("requestPayment")] [];
    PutBucketRequestPayment = "PUT" Bucket [Flag("requestPayment")] [];
    GetBucketTagging = "GET" Bucket [Flag("tagging")] [];
    PutBucketTagging = "PUT" Bucket [Flag("tagging")] [];
    DeleteBucketTagging = "DELETE" Bucket [Flag("tagging")] [];
    GetBucketVersioning = "GET" Bucket [Flag("versioning")] [];
    PutBucketVersioning = "PUT" Bucket [Flag("versioning")] [];
    GetBucketWebsite = "GET" Bucket [Flag("website")] [];
    PutBucketWebsite = "PUT" Bucket [Flag("website")] [];
    DeleteBucketWebsite = "DELETE" Bucket [Flag("website")] [];
    GetObjectAcl = "GET" Object [Flag("acl")] ["versionId"];
    PutObjectAcl = "PUT" Object [Flag("acl")] ["versionId"];
    GetObjectLegalHold = "GET" Object [Flag("legal-hold")] ["versionId"];
    PutObjectLegalHold = "PUT" Object [Flag("legal-hold")] ["versionId"];
    GetObjectRetention = "GET" Object [Flag("retention")] ["versionId"];
    PutObjectRetention = "PUT" Object [Flag("retention")] ["versionId"];
}
