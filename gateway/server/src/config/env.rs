//! What the environment says about output.
//!
//! What lives here: reading environment variables that are not credentials (the store client reads
//! those itself). What must not: general overrides of the file, which would be a second place to
//! look for every setting. Invariant: an absent variable changes nothing.

/// Whether the user asked for output without colour (<https://no-color.org>).
pub fn is_colour_unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
