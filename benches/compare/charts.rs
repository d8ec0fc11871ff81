//! The charts, each with the durability level and the units in it.

mod lines;

use crate::docs::Residency;
use crate::figures::{Compared, Latency};
use crate::results::{Level, Results, RowResult, Topic};
use crate::svg::{Anchor, BAD, COLOURS, GOOD, INK, PALE, RULE, Scale, Style, Svg};
use crate::tables::{micros, rate, ratio, spread, thousands};

use lines::{Axis, Chart, Series};

const WIDTH: f64 = 980.0;
/// Where the names of rows end and the drawing begins.
const NAMES: f64 = 430.0;
const TOP: f64 = 126.0;
/// The height of a row.
const ROW: f64 = 38.0;

/// All of them by file name; `None` where there is nothing to draw.
pub(crate) fn all(results: &Results, residencies: &[Residency]) -> [(&'static str, Option<String>); 5] {
    [
        ("ratios.svg", ratios(results)),
        ("latency.svg", latency(results)),
        ("throughput.svg", throughput(results)),
        ("reopen.svg", reopen(results)),
        ("memory.svg", memory(residencies)),
    ]
}

/// Each ratio by what is wanted of it, so that one line parts what is met from what is not.
fn ratios(results: &Results) -> Option<String> {
    let rows: Vec<_> = results.rows.iter().flat_map(targets).collect();
    if rows.is_empty() {
        return None;
    }
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = Svg::new(
        WIDTH,
        bottom + 24.0,
        "How many times as fast, against what is wanted",
        &[
            "Both sides run in the same round; the dot is the median of the rounds' ratios, the bar goes from the lowest to the",
            "highest. Right of the line is more than wanted; what is beyond an end is drawn at it. FULL survives a power cut,",
            "NORMAL a killed process; of two levels the first is ours.",
        ],
    );
    let scale = Scale { values: (0.25, 8.0), places: (NAMES + 20.0, WIDTH - 220.0) };
    for tick in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0] {
        let x = scale.place(tick);
        let (colour, width) = if tick == 1.0 { (INK, 1.5) } else { (RULE, 1.0) };
        svg.line((x, TOP - 8.0), (x, bottom), colour, width);
        let label = if tick == 1.0 { "as wanted".to_owned() } else { format!("{tick}x of it") };
        svg.text((x, TOP - 14.0), Anchor::Middle, Style::Small, PALE, label);
    }
    for (place, (what, compared, wanted, row)) in rows.into_iter().enumerate() {
        let y = TOP + ROW * place as f64 + 14.0;
        let colour = if compared.met == Some(true) { GOOD } else { BAD };
        two_lines(&mut svg, y, &what, row);
        let at = |value: f64| (scale.place(value / wanted), y);
        svg.line(at(compared.ratio.min), at(compared.ratio.max), colour, 3.0);
        svg.dot(at(compared.ratio.median), 5.0, colour);
        figures(&mut svg, y, compared, wanted, colour);
    }
    Some(svg.finish())
}

/// What is wanted of a row: of its rate, of its p99.
fn targets(row: &RowResult) -> impl Iterator<Item = (String, &Compared, f64, &RowResult)> {
    let both = [("", Some(&row.rate)), (": p99 of acknowledgement", row.p99.as_ref())];
    both.into_iter().filter_map(move |(suffix, compared)| {
        let compared = compared?;
        Some((row.what.clone() + suffix, compared, compared.wanted?, row))
    })
}

fn two_lines(svg: &mut Svg, y: f64, what: &str, row: &RowResult) {
    let below = format!("beside {}, {}", row.beside, Level::of_both(&row.levels));
    svg.text((NAMES, y - 2.0), Anchor::End, Style::Strong, INK, what);
    svg.text((NAMES, y + 12.0), Anchor::End, Style::Small, PALE, below);
}

fn figures(svg: &mut Svg, y: f64, compared: &Compared, wanted: f64, colour: &str) {
    svg.text((WIDTH - 20.0, y - 2.0), Anchor::End, Style::Strong, colour, spread(&compared.ratio));
    let wanted = format!("wanted {}x", ratio(wanted));
    svg.text((WIDTH - 20.0, y + 12.0), Anchor::End, Style::Small, PALE, wanted);
}

/// From asking to the acknowledgement, on both sides.
fn latency(results: &Results) -> Option<String> {
    let both = |row: &RowResult| Some((row.ours.latency?, row.other.latency?));
    // The faster level is in the table.
    let full = results.rows.iter().filter(|row| row.levels == [Level::Full; 2]);
    let rows: Vec<_> = full.filter_map(|row| Some((row, both(row)?))).collect();
    if rows.is_empty() {
        return None;
    }
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = Svg::new(
        WIDTH,
        bottom + 24.0,
        "How long an acknowledgement takes",
        &[
            "From the caller's call to its acknowledgement, at FULL: it survives a power cut. The dots are p50, p99 and p99.9,",
            "each the median of the rounds.",
        ],
    );
    svg.dot((26.0, 88.0), 5.0, COLOURS[0]);
    svg.text((36.0, 92.0), Anchor::Start, Style::Strong, COLOURS[0], "foldlog");
    svg.dot((106.0, 88.0), 5.0, COLOURS[1]);
    svg.text((116.0, 92.0), Anchor::Start, Style::Strong, COLOURS[1], "beside");
    let values = rows.iter().flat_map(|(_, (ours, other))| [ours.p50, ours.p999, other.p50, other.p999]);
    let scale = Scale::decades(values, (NAMES + 20.0, WIDTH - 190.0));
    for tick in scale.ticks() {
        let x = scale.place(tick);
        svg.line((x, TOP - 8.0), (x, bottom), RULE, 1.0);
        svg.text((x, TOP - 14.0), Anchor::Middle, Style::Small, PALE, tick_micros(tick));
    }
    for (place, (row, (ours, other))) in rows.into_iter().enumerate() {
        let y = TOP + ROW * place as f64 + 14.0;
        two_lines(&mut svg, y, &row.what, row);
        for (y, latency, colour) in [(y - 6.0, ours, COLOURS[0]), (y + 8.0, other, COLOURS[1])] {
            percentiles(&mut svg, scale, y, latency, colour);
        }
    }
    Some(svg.finish())
}

fn percentiles(svg: &mut Svg, scale: Scale, y: f64, latency: Latency, colour: &str) {
    let at = |value| (scale.place(value), y);
    svg.line(at(latency.p50), at(latency.p999), colour, 2.0);
    for (value, radius) in [(latency.p50, 5.0), (latency.p99, 4.0), (latency.p999, 3.0)] {
        svg.dot(at(value), radius, colour);
    }
    let three = [latency.p50, latency.p99, latency.p999].map(micros).join(" / ");
    svg.text((WIDTH - 20.0, y + 4.0), Anchor::End, Style::Small, colour, three);
}

fn tick_micros(tick: f64) -> String {
    match tick {
        tick if tick >= 1e6 => format!("{:.0} s", tick / 1e6),
        tick if tick >= 1e3 => format!("{:.0} ms", tick / 1e3),
        tick => format!("{tick} us"),
    }
}

fn mib(mib: f64) -> String {
    let number = if mib < 1000.0 { rate(mib) } else { thousands(mib.round() as u64) };
    number + " MiB"
}

/// One side of each row of a topic, by the number that the topic goes by.
fn series(results: &Results, topic: Topic, name: &str, colour: usize, of: fn(&RowResult) -> Option<f64>) -> Series {
    let rows = results.rows.iter().filter(|row| row.topic == topic);
    let mut points: Vec<_> = rows.filter_map(|row| Some((row.at? as f64, of(row)?))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Series { name: name.to_owned(), colour: COLOURS[colour], points }
}

fn throughput(results: &Results) -> Option<String> {
    let ours = |row: &RowResult| Some(row.ours.per_second.median);
    let other = |row: &RowResult| Some(row.other.per_second.median);
    Chart {
        title: "Acknowledged events a second, by the number of busy sessions",
        lines: &[
            "One append of 300 bytes in flight in each session. FULL survives a power cut, NORMAL a killed process.",
        ],
        x: Axis { name: "sessions", tick: |sessions| thousands(sessions as u64) },
        y: Axis { name: "events a second", tick: rate },
        series: vec![
            series(results, Topic::AppendsFull, "foldlog, FULL", 0, ours),
            series(results, Topic::AppendsNormal, "foldlog, NORMAL", 2, ours),
            series(results, Topic::AppendsNormal, "insert per commit, NORMAL", 3, other),
            series(results, Topic::AppendsFull, "insert per commit, FULL", 1, other),
        ],
    }
    .draw()
}

fn reopen(results: &Results) -> Option<String> {
    let ours = |row: &RowResult| row.ours.fact("ms");
    let other = |row: &RowResult| row.other.fact("ms");
    Chart {
        title: "How long a session takes to open, by its events",
        lines: &[
            "From opening the store to the session's view; events mixed with puts, every hash of the chain checked.",
            "Beside it, the same rows read, hashed and decoded by hand, and nothing done with them.",
        ],
        x: Axis { name: "events", tick: |events| thousands(events as u64) },
        y: Axis { name: "time to open", tick: |ms| micros(ms * 1e3) },
        series: vec![
            series(results, Topic::Reopen, "foldlog, full fold", 0, ours),
            series(results, Topic::Snapshot, "foldlog, with a snapshot", 2, ours),
            series(results, Topic::Reopen, "scan by hand", 1, other),
        ],
    }
    .draw()
}

fn memory(residencies: &[Residency]) -> Option<String> {
    let mut names: Vec<&str> = residencies.iter().map(Residency::name).collect();
    names.sort_unstable();
    names.dedup();
    let series = names.iter().zip(COLOURS).map(|(name, colour)| {
        let of = residencies.iter().filter(|of| of.name() == *name);
        let mut points: Vec<_> = of.map(|of| (of.sessions as f64, of.resident_bytes / f64::from(1 << 20))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name: (*name).to_owned(), colour, points }
    });
    Chart {
        title: "Resident memory, by the sessions that a host keeps",
        lines: &["What sessions of a few events add to the process, with a handle to each of them kept; all durable at FULL."],
        x: Axis { name: "sessions", tick: |sessions| thousands(sessions as u64) },
        y: Axis { name: "resident memory", tick: mib },
        series: series.collect(),
    }
    .draw()
}
