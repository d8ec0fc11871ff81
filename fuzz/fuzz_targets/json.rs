//! JSON of any text is made canonical or refused, and canonical text stays as it is.
#![no_main]

use foldlog::testkit::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    decode::json(text);
});
