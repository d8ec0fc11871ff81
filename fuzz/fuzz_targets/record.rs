//! A record of any bytes is decoded or refused.
#![no_main]

use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(body) = decode::record(bytes) {
        assert!(body <= bytes.len());
    }
});
