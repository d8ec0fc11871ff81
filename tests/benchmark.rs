//! Goal: the benchmark's figures are what their names say. Method: its plain modules on figures that are known.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

#[path = "../benches/compare/figures.rs"]
mod figures;

use std::time::Duration;

use figures::{Compared, Latency, Spread, thousands};

#[test]
fn percentiles_are_of_the_sorted_latencies() {
    // 0 to 9,999 us, from the last to the first.
    let latencies = (0..10_000).rev().map(Duration::from_micros).collect();
    assert_eq!(Latency::of(latencies), Latency { p50: 5_000.0, p99: 9_900.0, p999: 9_990.0 });
    let one = Latency::of(vec![Duration::from_millis(1)]);
    assert_eq!(one, Latency { p50: 1_000.0, p99: 1_000.0, p999: 1_000.0 });
}

#[test]
fn a_spread_has_the_middle_and_both_ends() {
    assert_eq!(Spread::of(vec![3.0, 1.0, 9.0]), Spread { median: 3.0, min: 1.0, max: 9.0 });
    assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 9.0]), Spread { median: 3.0, min: 1.0, max: 9.0 });
}

#[test]
fn the_median_decides_and_a_wanted_one_is_met_from_a_little_less() {
    let met = |ratios: &[f64], wanted| Compared::new(ratios.to_vec(), wanted).met;
    assert_eq!(met(&[5.0, 20.0, 90.0], Some(20.0)), Some(true));
    assert_eq!(met(&[5.0, 19.99, 90.0], Some(20.0)), Some(false));
    assert_eq!(met(&[0.95], Some(1.0)), Some(true));
    assert_eq!(met(&[0.949], Some(1.0)), Some(false));
    assert_eq!(met(&[0.94], Some(0.95)), Some(false), "nothing is taken off any other");
    assert_eq!(met(&[0.75], Some(0.7)), Some(true));
    assert_eq!(met(&[0.1], None), None);
}

#[test]
fn a_spread_is_shown_with_three_digits_and_commas() {
    let shown = |median| Spread { median, min: 0.5, max: 12.34 }.to_string();
    assert_eq!(shown(0.949), "0.95x [0.50..12.3]");
    assert_eq!(shown(44_319.4), "44,319x [0.50..12.3]");
    assert_eq!([999, 1_000, 1_020_003].map(thousands), ["999", "1,000", "1,020,003"]);
}
