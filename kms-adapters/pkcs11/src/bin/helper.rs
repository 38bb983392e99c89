//! The helper alone, for this crate's tests.

fn main() -> std::process::ExitCode {
    sceau_kms_pkcs11::helper_main()
}
