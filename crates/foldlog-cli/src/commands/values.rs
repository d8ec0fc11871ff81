//! Values of arguments that several commands take.

use std::time::Duration;

/// A number of seconds, minutes, hours or days.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wanted = || "wanted a number with its unit: 90s, 10m, 24h, 30d".to_owned();
    let (number, unit) = split(text).ok_or_else(wanted)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    Ok(Duration::from_secs(u64::from(u32::try_from(number).map_err(|_| wanted())?) * seconds))
}

/// A number of bytes, KiB, MiB or GiB.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wanted = || "wanted a number of bytes, or one with its unit: 500K, 20M, 2G (of 1024)".to_owned();
    let (number, unit) = split(text).ok_or_else(wanted)?;
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(wanted()),
    };
    number.checked_mul(1 << shift).ok_or_else(wanted)
}

/// The digits that a text begins with, and the rest.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// The name of a label and its value.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("wanted the name of a label and its value: team=support".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_sizes_and_labels_are_read() {
        assert_eq!(["90s", "10m", "2h", "3d"].map(|it| span(it).unwrap().as_secs()), [90, 600, 7_200, 259_200]);
        assert_eq!(["0", "500K", "20M", "2G"].map(|it| size(it).unwrap()), [0, 500 << 10, 20 << 20, 2 << 30]);
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        for wrong in ["", "h", "-1h", "2w", "1.5h", "ü", "12", "99999999999d", "999999999999999999999s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "K", "-1", "2k", "1.5M", "99999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
