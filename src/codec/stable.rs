//! Whether a body comes back from its own bytes.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shape::shape_of;
use super::{RecordError, decode_body};

/// Refuses a body whose bytes do not decode, or decode to something else: shapes that serde describes and bincode
/// cannot decode, such as fields that are left out when empty, would otherwise be found at recovery, when it is too
/// late.
pub(crate) fn check_stable<B: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(), RecordError> {
    let again = decode_body::<B>(bytes).map_err(|_| RecordError::NotStable)?;
    let mut expected = Expected(bytes);
    match bincode::DefaultOptions::new().serialize_into(&mut expected, &again) {
        Ok(()) if expected.0.is_empty() => Ok(()),
        _ => Err(RecordError::NotStable),
    }
}

/// The same for a body that has these bytes, once for each shape that bodies of its type have: to decode every body
/// would make a busy session slower.
pub(crate) fn check_shape<B: Serialize + DeserializeOwned + 'static>(
    body: &B,
    bytes: &[u8],
) -> Result<(), RecordError> {
    /// So that what is remembered has a limit: with more shapes, each is checked anew from time to time.
    const SHAPES_MAX: usize = 4096;
    thread_local! {
        static STABLE: RefCell<HashSet<(TypeId, u64)>> = RefCell::default();
    }
    let shape = shape_of(body).map(|shape| (TypeId::of::<B>(), shape));
    if shape.is_some_and(|shape| STABLE.with_borrow(|stable| stable.contains(&shape))) {
        return Ok(());
    }
    check_stable::<B>(bytes)?;
    if let Some(shape) = shape {
        STABLE.with_borrow_mut(|stable| {
            if stable.len() >= SHAPES_MAX {
                stable.clear();
            }
            stable.insert(shape);
        });
    }
    Ok(())
}

/// Takes the bytes that are expected, and no others.
struct Expected<'a>(&'a [u8]);

impl io::Write for Expected<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(written).ok_or(io::ErrorKind::InvalidData)?;
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode_body;

    #[test]
    fn a_serde_shape_that_bincode_cannot_decode_is_refused() {
        #[derive(Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Loose {
            Number(u64),
        }
        let bytes = encode_body(&Loose::Number(1)).unwrap();
        assert!(matches!(check_stable::<Loose>(&bytes), Err(RecordError::NotStable)));

        #[derive(Serialize, serde::Deserialize)]
        struct Skips {
            #[serde(skip_serializing_if = "Vec::is_empty", default)]
            list: Vec<u64>,
            name: String,
        }
        for (list, is_stable) in [(vec![1], true), (vec![], false)] {
            let bytes = encode_body(&Skips { list, name: "n".to_owned() }).unwrap();
            assert_eq!(check_stable::<Skips>(&bytes).is_ok(), is_stable);
        }
        let value = encode_body(&serde_json::json!({"a": 1})).unwrap();
        assert!(matches!(check_stable::<serde_json::Value>(&value), Err(RecordError::NotStable)));
        // By its shape: one that was skipped differs from one that was not, whichever comes first.
        let skips = |list| Skips { list, name: "n".to_owned() };
        for (list, is_stable) in [(vec![1], true), (vec![], false), (vec![2, 3], true), (vec![], false)] {
            let body = skips(list);
            assert_eq!(check_shape(&body, &encode_body(&body).unwrap()).is_ok(), is_stable);
        }
        let text = encode_body(&"text").unwrap();
        assert!(check_stable::<String>(&text).is_ok());
        assert!(check_stable::<String>(&[&text[..], &[0]].concat()).is_err());
    }
}
