//! Values of labels.
//!
//! What lives here: closed lists. What must not: counting. Invariant: a label has no other value, and all
//! of them appear from the start.

/// A part of a request's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Signature verification and authorization.
    Auth,
    /// From the answer's head to the last byte of its body.
    Body,
    /// Deciding what to do.
    Plan,
    /// Waiting for an epoch key.
    Unwrap,
    /// From the request to the store to its response head.
    UpstreamTtfb,
}

impl Phase {
    pub(super) const ALL: [Self; 5] = [
        Self::Auth,
        Self::Body,
        Self::Plan,
        Self::Unwrap,
        Self::UpstreamTtfb,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Body => "body",
            Self::Plan => "plan",
            Self::Unwrap => "unwrap",
            Self::UpstreamTtfb => "upstream_ttfb",
        }
    }
}

/// Where bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Body bytes received from clients.
    ClientIn,
    /// Body bytes sent to clients.
    ClientOut,
    /// Body bytes received from the store.
    StoreIn,
    /// Body bytes sent to the store.
    StoreOut,
}

impl Direction {
    pub(super) const ALL: [Self; 4] = [Self::ClientIn, Self::ClientOut, Self::StoreIn, Self::StoreOut];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ClientIn => "client_in",
            Self::ClientOut => "client_out",
            Self::StoreIn => "store_in",
            Self::StoreOut => "store_out",
        }
    }
}

/// How a key was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// It had been held for its whole time limit and was unwrapped again.
    Expired,
    /// It was held.
    Hit,
    /// Another request was unwrapping it already.
    Joined,
    /// It was not held.
    Miss,
    /// The bucket's keys are never held.
    Off,
}

impl CacheOutcome {
    pub(super) const ALL: [Self; 5] = [Self::Expired, Self::Hit, Self::Joined, Self::Miss, Self::Off];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Hit => "hit",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Off => "off",
        }
    }
}

/// What made a gateway drop its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// POST /keys/drop on the admin listener.
    Admin,
    /// `sceau keys drop-all`, seen in the control bucket.
    Call,
    /// A new generation of the keyring.
    Generation,
    /// SIGUSR1.
    Signal,
}

impl DropCause {
    pub(super) const ALL: [Self; 4] = [Self::Admin, Self::Call, Self::Generation, Self::Signal];

    /// Stable name for metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Call => "call",
            Self::Generation => "generation",
            Self::Signal => "signal",
        }
    }
}

/// What was loaded again while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadSource {
    /// The credentials file or the policy file.
    Access,
    /// The keyring.
    Keyring,
}

impl ReloadSource {
    pub(super) const ALL: [Self; 2] = [Self::Access, Self::Keyring];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Keyring => "keyring",
        }
    }
}
