//! A write-ahead log of any frames is whole or damaged, and so is one of any page size.
#![no_main]

use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, [u32; 2], &[u8])| {
    let (page_bytes, salts, frames) = input;
    decode::write_ahead_log(page_bytes, salts, frames);
    // The smallest pages, so that short inputs have several frames.
    decode::write_ahead_log(512, salts, frames);
});
