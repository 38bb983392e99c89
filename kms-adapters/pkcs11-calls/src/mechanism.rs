//! Mechanisms and their parameters, as the module reads them.
//!
//! What lives here: [`Mechanism`] and its C form for the time of a call. What must not: calls. Invariant:
//! the C form never outlives what it points to.

use cryptoki::error::Error;
use cryptoki_sys::{
    CK_BYTE_PTR, CK_GCM_PARAMS, CK_MECHANISM, CK_MECHANISM_PTR, CK_MECHANISM_TYPE, CK_RSA_PKCS_OAEP_PARAMS,
    CK_ULONG, CK_VOID_PTR, CKG_MGF1_SHA256, CKM_AES_CBC, CKM_AES_GCM, CKM_AES_KEY_WRAP, CKM_RSA_PKCS_OAEP,
    CKM_SHA256, CKM_SHA256_HMAC, CKZ_DATA_SPECIFIED,
};

/// Length of a GCM tag in bits.
const TAG_BITS: CK_ULONG = 128;
/// Length of an AES block in bytes.
const BLOCK_BYTES: usize = 16;

/// A mechanism with its parameters.
#[non_exhaustive]
pub enum Mechanism<'a> {
    /// AES-GCM with a tag of 128 bits. A token that makes its own IV may write it to `iv`; an empty `iv` is
    /// passed as none.
    AesGcm {
        /// The IV.
        iv: &'a mut [u8],
        /// Authenticated data.
        aad: &'a [u8],
    },
    /// AES key wrap, RFC 3394.
    AesKeyWrap,
    /// AES-CBC without padding.
    AesCbc {
        /// The IV.
        iv: [u8; BLOCK_BYTES],
    },
    /// HMAC-SHA-256.
    Sha256Hmac,
    /// RSA-OAEP with SHA-256 for digest and mask, without a label.
    RsaOaepSha256,
}

fn length(bytes: usize) -> Result<CK_ULONG, Error> {
    CK_ULONG::try_from(bytes).map_err(|_| Error::InvalidValue)
}

fn plain(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism,
        pParameter: std::ptr::null_mut(),
        ulParameterLen: 0,
    }
}

fn with_parameter<T>(mechanism: CK_MECHANISM_TYPE, parameter: &mut T) -> Result<CK_MECHANISM, Error> {
    Ok(CK_MECHANISM {
        mechanism,
        pParameter: CK_VOID_PTR::cast(std::ptr::from_mut(parameter).cast()),
        ulParameterLen: length(size_of::<T>())?,
    })
}

/// Where `bytes` are; null if there are none.
fn place(bytes: &mut [u8]) -> CK_BYTE_PTR {
    if bytes.is_empty() {
        std::ptr::null_mut()
    } else {
        bytes.as_mut_ptr()
    }
}

impl Mechanism<'_> {
    /// Hands `call` the C form, which is good for this call only.
    pub(crate) fn with<T>(
        &mut self,
        call: impl FnOnce(CK_MECHANISM_PTR) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Self::AesGcm { iv, aad } => {
                let bytes = length(iv.len())?;
                let mut parameters = CK_GCM_PARAMS {
                    ulIvLen: bytes,
                    ulIvBits: bytes.saturating_mul(8),
                    pIv: place(iv),
                    // The module only reads it, although its type is not const.
                    pAAD: aad.as_ptr().cast_mut(),
                    ulAADLen: length(aad.len())?,
                    ulTagBits: TAG_BITS,
                };
                call(&mut with_parameter(CKM_AES_GCM, &mut parameters)?)
            }
            Self::AesCbc { iv } => call(&mut with_parameter(CKM_AES_CBC, iv)?),
            Self::RsaOaepSha256 => {
                let mut parameters = CK_RSA_PKCS_OAEP_PARAMS {
                    hashAlg: CKM_SHA256,
                    mgf: CKG_MGF1_SHA256,
                    source: CKZ_DATA_SPECIFIED,
                    pSourceData: std::ptr::null_mut(),
                    ulSourceDataLen: 0,
                };
                call(&mut with_parameter(CKM_RSA_PKCS_OAEP, &mut parameters)?)
            }
            Self::AesKeyWrap => call(&mut plain(CKM_AES_KEY_WRAP)),
            Self::Sha256Hmac => call(&mut plain(CKM_SHA256_HMAC)),
        }
    }
}
