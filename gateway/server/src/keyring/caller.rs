//! Who causes a use of a key.
//!
//! What lives here: [`Caller`], and its way from the walk of a request to the key provider's boundary.
//! What must not: decisions by it. Invariant: it is audit data only; no key is chosen, bound or checked by
//! it, so that a caller that is missing or wrong can make a record worse but never open anything.
//!
//! It travels beside the calls, as a value of the task, because it concerns the two ends only: what lies
//! between (copies, uploads, tags) neither reads it nor could do anything with it.

use std::sync::Arc;

tokio::task_local! {
    static CALLER: Arc<Caller>;
}

/// Who causes a use of a key, for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Principal of the request; `gateway` and `operator` where there is none.
    pub principal: String,
    /// The S3 operation, or what the gateway or operator does.
    pub operation: &'static str,
    /// Name of the bucket, empty without one.
    pub bucket: String,
    /// The request's id, empty without one.
    pub request_id: String,
}

impl Caller {
    /// Runs `work` with this caller.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CALLER.scope(Arc::new(self), work).await
    }

    /// The caller of the present task; the process itself where nobody else is known.
    pub fn current() -> Arc<Self> {
        CALLER.try_with(Arc::clone).unwrap_or_else(|_| {
            Arc::new(Self {
                principal: "gateway".to_owned(),
                operation: "-",
                bucket: String::new(),
                request_id: String::new(),
            })
        })
    }

    /// `work` with the present task's caller, for a task of its own.
    pub(super) fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
        CALLER.scope(Self::current(), work)
    }
}
