//! Reports.
//!
//! What lives here: the forms of one report. What must not: measuring. Invariant: every form shows the same
//! numbers, all of them taken from one [`model::Report`], and what was not measured is absent, never zero.

pub mod build;
pub mod files;
pub mod html;
pub mod model;
mod svg;
pub mod text;
