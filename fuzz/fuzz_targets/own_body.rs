//! A body of foldlog's own of any bytes is decoded or refused, and one that is decoded comes back.
#![no_main]

use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for event_type in ["foldlog.described", "foldlog.redacted"] {
        decode::own_body(event_type, bytes);
    }
});
