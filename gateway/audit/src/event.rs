//! What happened, before it has a place in the chain.
//!
//! What lives here: [`Event`], the one form from which every other is made. What must not: key material,
//! signatures, tokens, object data; there is no field for them. Invariant: an empty text and a missing number
//! say "does not apply", and are not written.

/// The kind of an event; its name is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A request of a client ended.
    Request,
    /// The key provider was asked for something.
    Key,
    /// The gateway started; the first record of a process.
    Start,
    /// The gateway stopped; the last record of a process but for its checkpoint.
    Stop,
    /// A changed source of configuration was taken, or refused.
    Reload,
    /// All unwrapped keys were dropped from memory.
    Drop,
    /// Records were lost here; `count` says how many.
    Lost,
    /// The chain so far, authenticated.
    Checkpoint,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Request,
        Self::Key,
        Self::Start,
        Self::Stop,
        Self::Reload,
        Self::Drop,
        Self::Lost,
        Self::Checkpoint,
    ];

    /// The word in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Key => "key",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Drop => "drop",
            Self::Lost => "lost",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// The class of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// One event. Texts may be empty, numbers missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which kind.
    pub class: Class,
    /// When it ended, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The request's id; for a key operation that of the request it served.
    pub request_id: String,
    /// The client's address and port.
    pub client: String,
    /// Who asked.
    pub principal: String,
    /// Name of their session, with temporary credentials.
    pub session: String,
    /// How they proved it.
    pub auth: &'static str,
    /// HTTP method as received.
    pub method: String,
    /// The S3 operation; of the key provider for key operations; for others what is concerned.
    pub operation: &'static str,
    /// For what reason a key was used.
    pub reason: &'static str,
    /// Bucket.
    pub bucket: String,
    /// Object key.
    pub key: String,
    /// Bytes of the client's body.
    pub bytes_in: Option<u64>,
    /// Bytes of the answer's body.
    pub bytes_out: Option<u64>,
    /// Id of the key record that was used.
    pub key_record: String,
    /// Its epoch.
    pub epoch: Option<u32>,
    /// What the policy said: `allowed` or `denied`; empty when it was not asked.
    pub decision: &'static str,
    /// `ok`, `error`, or `cut` when the answer did not go out whole; the provider's code for key operations.
    pub outcome: &'static str,
    /// HTTP status; missing when there was no answer.
    pub status: Option<u16>,
    /// S3 error code.
    pub error: &'static str,
    /// Whose fault it was.
    pub side: &'static str,
    /// How long it took, in microseconds.
    pub duration_us: Option<u64>,
    /// How many: keys that were dropped, records that were lost.
    pub count: Option<u64>,
    /// Further words about starts and reloads.
    pub detail: String,
}

impl Event {
    /// An event of this class and nothing else.
    pub fn new(class: Class, time_ns: u64) -> Self {
        Self {
            class,
            time_ns,
            request_id: String::new(),
            client: String::new(),
            principal: String::new(),
            session: String::new(),
            auth: "",
            method: String::new(),
            operation: "",
            reason: "",
            bucket: String::new(),
            key: String::new(),
            bytes_in: None,
            bytes_out: None,
            key_record: String::new(),
            epoch: None,
            decision: "",
            outcome: "",
            status: None,
            error: "",
            side: "",
            duration_us: None,
            count: None,
            detail: String::new(),
        }
    }
}
