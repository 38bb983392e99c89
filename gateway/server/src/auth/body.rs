//! A request's body before anybody reads it.
//!
//! What lives here: [`RequestBody`]. What must not: what a body means. Invariant: a body is taken once,
//! together with what must hold for it; what nobody takes is left to be drained.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sceau_s3wire::payload::{BodyRole, PayloadPlan};
use sceau_s3wire::post::FormFile;

use crate::auth::{Authenticated, Upload};
use crate::error::{GatewayError, Kind, Result};
use crate::plan::fault;
use crate::record::ByteCount;

/// A request's body, taken by the operation that needs it. What nobody takes is the caller's to drain.
pub struct RequestBody {
    incoming: Option<Incoming>,
    /// The file in it, if it is a form whose head was read.
    file: Option<FormFile>,
    count: ByteCount,
}

impl RequestBody {
    /// Holds a body that was not read.
    pub fn new(incoming: Incoming, count: ByteCount) -> Self {
        Self {
            incoming: Some(incoming),
            file: None,
            count,
        }
    }

    /// The next bytes of a body that nobody took yet; `None` at its end.
    pub async fn next_data(&mut self) -> Result<Option<Bytes>> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(None);
        };
        loop {
            let Some(frame) = incoming.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| GatewayError::new(Kind::ClientGone, error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                self.count.add(data.len());
                return Ok(Some(data));
            }
        }
    }

    /// Says that what is left is the file of a form and its end.
    pub fn set_file(&mut self, file: FormFile) {
        self.file = Some(file);
    }

    /// Takes the body, in its role for the operation.
    pub fn take(&mut self, request: &Authenticated, role: BodyRole) -> Result<Upload> {
        let payload = match self.file.take() {
            Some(file) => PayloadPlan::for_form(file, &request.request.headers)
                .map_err(|error| fault::payload_error(&error))?,
            None => request.payload(role)?,
        };
        let incoming = self.take_whole()?;
        Ok(Upload::new(incoming, payload, self.count.clone()))
    }

    /// Takes the body as it is, for who judges it by itself.
    pub fn take_whole(&mut self) -> Result<Incoming> {
        self.incoming
            .take()
            .ok_or_else(|| GatewayError::new(Kind::Internal, "a body was taken twice"))
    }

    /// What was not taken.
    pub fn into_rest(self) -> Option<Incoming> {
        self.incoming
    }
}
