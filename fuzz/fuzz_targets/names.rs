//! Names and owner files of any bytes are taken or refused.
#![no_main]

use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    decode::names(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        decode::owner(text, text);
        decode::owner("00112233445566778899aabbccddeeff", text);
    }
});
