//! The functional test of a rung, and the canary.
//!
//! What lives here: wrapping a known key, altering the wrap on purpose, and noting how the token refuses.
//! What must not: requests. Invariant: a rung is used only after the token proved on the very key that
//! it opens what it wrapped, that two wraps differ, and that it refuses what was altered.

use cryptoki::error::{Error, RvError};
use sceau_keys::KEY_BYTES;
use zeroize::Zeroizing;

use super::fault::name;
use super::note;
use super::rung::{Context, Fail, Rung, Wrapped};
use super::token::{Bench, Token};
use crate::enrol::enrolment_context;
use crate::form;

/// A wrap of ours whose key we know: tells a refusal of bad input from a fault of the device.
pub(super) struct Canary {
    pub(super) rung: Rung,
    pub(super) iv: Vec<u8>,
    pub(super) blob: Vec<u8>,
    plain: Zeroizing<[u8; KEY_BYTES]>,
    /// Codes this token gave for input altered on purpose.
    pub(super) learnt: Vec<RvError>,
}

/// What a functional test works on: a source of fresh benches with one key.
pub(super) trait Benches {
    /// A session of its own and the key in it.
    fn bench(&self) -> Result<Bench, Fail>;
}

impl Benches for Token {
    fn bench(&self) -> Result<Bench, Fail> {
        Token::bench(self).map_err(|_| Fail::Check("no session"))
    }
}

impl Canary {
    /// Runs the functional test of `rung` and keeps its wrap as the canary.
    pub(super) fn make(benches: &impl Benches, rung: Rung) -> Result<Self, Fail> {
        let mut plain = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(plain.as_mut_slice()).map_err(|_| Fail::Check("no randomness"))?;
        let bench = benches.bench()?;
        let context = enrolment_context().to_bytes();
        let first = round_trip(&rung, &bench, &context, &plain)?;
        let second = round_trip(&rung, &bench, &context, &plain)?;
        if first.blob == second.blob || (!first.iv.is_empty() && first.iv == second.iv) {
            return Err(Fail::Check("two wraps of one key are alike"));
        }
        let mut canary = Self {
            rung,
            iv: first.iv,
            blob: first.blob,
            plain,
            learnt: Vec::new(),
        };
        canary.learn(benches)?;
        Ok(canary)
    }

    /// Whether `bench` still unwraps the canary to what it was.
    pub(super) fn holds(&self, bench: &Bench) -> bool {
        let context = enrolment_context().to_bytes();
        match self.rung.unwrap(bench, &context, &self.iv, &self.blob) {
            Ok(back) => back.as_slice() == self.plain.as_slice(),
            Err(fail) => {
                note(&format!("canary: {}", reason(&fail)));
                false
            }
        }
    }

    /// Alters the canary on purpose and notes how the token refuses. Each trial has its own session,
    /// because a token may leave the operation active.
    fn learn(&mut self, benches: &impl Benches) -> Result<(), Fail> {
        let right = enrolment_context().to_bytes();
        let mut wrong = right;
        wrong.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        let flip = |at: usize| -> Vec<u8> {
            let flipped = |(i, byte): (usize, &u8)| if i == at { byte ^ 1 } else { *byte };
            self.blob.iter().enumerate().map(flipped).collect()
        };
        let last = self.blob.len().saturating_sub(1);
        let trials = [(wrong, self.blob.clone()), (right, flip(0)), (right, flip(last))];
        for (context, blob) in trials {
            match self.rung.unwrap(&benches.bench()?, &context, &self.iv, &blob) {
                Ok(_) => return Err(Fail::Check("the token accepts an altered wrap or context")),
                Err(Fail::Token(Error::Pkcs11(code, _))) if !self.learnt.contains(&code) => {
                    self.learnt.push(code);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn round_trip(
    rung: &Rung,
    bench: &Bench,
    context: &Context,
    plain: &[u8; KEY_BYTES],
) -> Result<Wrapped, Fail> {
    let wrapped = rung.wrap(bench, context, plain)?;
    if !form::fits(rung.scheme, &wrapped.iv, &wrapped.blob) {
        return Err(Fail::Check("the wrap has another length than the scheme's"));
    }
    let back = rung.unwrap(bench, context, &wrapped.iv, &wrapped.blob)?;
    if back.as_slice() == plain {
        Ok(wrapped)
    } else {
        Err(Fail::Check("the token unwraps something else than was wrapped"))
    }
}

/// Why a rung failed, in words without input.
pub(super) fn reason(fail: &Fail) -> String {
    match fail {
        Fail::Token(error) => name(error),
        Fail::Check(what) => (*what).to_owned(),
    }
}
