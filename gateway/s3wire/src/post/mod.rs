//! Browser form uploads (POST Object): the form, its policy, and where its file ends.
//!
//! What lives here: the incremental parser of `multipart/form-data`, the signature and the conditions of
//! a POST policy, and what an accepted form asks for. What must not: sockets, clocks, who owns an access
//! key. Invariant: a form's fields are obeyed only after [`Policy::check`] accepted every one of them, or
//! where the form has no policy at all and is an anonymous request.
//!
//! Entry: [`Boundary::of_content_type`], then [`FormReader::push`] until it gives a [`FormHead`];
//! [`PostForm::from_head`]; [`PolicySignature::of_form`] and [`PolicySignature::verify`];
//! [`Policy::check`]; [`FormFile`] for the payload plan of the file.

mod disposition;
mod error;
mod file;
mod form;
mod policy;
mod request;
mod signature;

pub use error::PostError;
pub(crate) use file::FormEnd;
pub use file::FormFile;
pub use form::{Boundary, FIELDS_MAX, FORM_HEAD_BYTES_MAX, Field, FormHead, FormReader};
pub use policy::{CONDITIONS_MAX, LengthRange, Policy};
pub use request::{PostForm, Reply, post_response};
pub use signature::PolicySignature;
