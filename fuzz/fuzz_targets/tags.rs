#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sceau_fuzz::tags::run(data));
