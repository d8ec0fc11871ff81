//! The runs of an index row of any bytes are decoded or refused, though its checksum is right.
#![no_main]

use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (i64, u64, &[u8])| {
    let (key, first, runs) = input;
    decode::index_rows(key, first, runs);
});
