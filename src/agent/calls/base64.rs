//! The text form of bytes that providers take: base64 of RFC 4648 with padding.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes as base64.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place)) as usize & 63).filter(|_| place <= chunk.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors_of_rfc_4648_and_every_digit() {
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (text, encoded) in vectors {
            assert_eq!(encode(text.as_bytes()), encoded);
        }
        let all: Vec<u8> = (0..64_u8).collect::<Vec<_>>().chunks(4).flat_map(packed).collect();
        assert_eq!(encode(&all).as_bytes(), DIGITS);
    }

    fn packed(digits: &[u8]) -> [u8; 3] {
        let bits = digits.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let [_, a, b, c] = bits.to_be_bytes();
        [a, b, c]
    }
}
