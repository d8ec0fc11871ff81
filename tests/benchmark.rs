//! Goal: the benchmark's figures are what their names say. Method: its plain modules on figures that are known.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

#[path = "../benches/compare/figures.rs"]
mod figures;
#[allow(dead_code, reason = "the charts use all of it")]
#[path = "../benches/compare/svg.rs"]
mod svg;

use std::time::Duration;

use figures::{Compared, Latency, Spread};
use svg::Scale;

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
fn a_logarithmic_scale_has_whole_decades_and_keeps_within_its_ends() {
    let scale = Scale::decades([3.0, 250.0].into_iter(), (0.0, 300.0));
    assert_eq!(scale.ticks(), [1.0, 10.0, 100.0, 1000.0]);
    assert_eq!([0.01, 1.0, 10.0, 1e9].map(|value| scale.place(value).round()), [0.0, 0.0, 100.0, 300.0]);
    let flat = Scale::decades([100.0].into_iter(), (0.0, 1.0));
    assert_eq!(flat.ticks(), [100.0, 1000.0], "one value has a decade to be in");
}
