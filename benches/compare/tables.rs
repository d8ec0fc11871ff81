//! The results as Markdown tables.

use crate::docs::Residency;
use crate::figures::{Compared, Latency, Spread};
use crate::mix::MIX;
use crate::results::{Level, Results, RowResult, Side};

pub(crate) fn all(results: &Results) -> String {
    let mut tables = vec![conditions(results), ratios(results), latencies(results), rates(results)];
    tables.retain(|table| !table.is_empty());
    tables.join("\n")
}

/// Where and how it was measured.
fn conditions(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "foldlog {}, SQLite {}; {} cores ({}), {} GiB, {}, kernel {}, file system {}.\nThe {} form: {} rounds, {} s for \
         each side of a sustained row, {} s for others; {} s in all.\n",
        machine.foldlog,
        machine.sqlite,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.system,
        machine.kernel,
        machine.file_system,
        results.form,
        results.rounds,
        results.seconds_sustained,
        results.seconds,
        results.took_seconds,
    );
    text += &format!("The sessions that are reopened: {MIX}.\n");
    for left_out in &results.left_out {
        text += &format!("Left out: {left_out}.\n");
    }
    text
}

fn ratios(results: &Results) -> String {
    let cells = |row: &RowResult| {
        let (wanted, met) = verdict(&row.rate);
        let what = if row.sustained { format!("{}, sustained", row.what) } else { row.what.clone() };
        vec![what, row.beside.clone(), Level::of_both(&row.levels), wanted, spread(&row.rate.ratio), met]
    };
    let heads = ["what", "beside", "durability", "wanted", "ratio, median [min..max]", "met"];
    table(&heads, results.rows.iter().map(cells).collect())
}

fn latencies(results: &Results) -> String {
    let cells = |row: &RowResult| {
        let (p99, ours, other) = (row.p99.as_ref()?, row.ours.latency?, row.other.latency?);
        let three = |latency: Latency| [latency.p50, latency.p99, latency.p999].map(micros).join(" / ");
        let (wanted, met) = verdict(p99);
        let name = format!("{} / {}", row.what, row.beside);
        Some(vec![name, Level::of_both(&row.levels), three(ours), three(other), wanted, spread(&p99.ratio), met])
    };
    let heads = [
        "acknowledgement",
        "durability",
        "ours: p50 / p99 / p99.9",
        "beside: p50 / p99 / p99.9",
        "wanted",
        "p99, beside by ours",
        "met",
    ];
    table(&heads, results.rows.iter().filter_map(cells).collect())
}

fn rates(results: &Results) -> String {
    let cells = |row: &RowResult| {
        let name = format!("{} / {}", row.what, row.beside);
        let facts = [("", &row.ours), ("beside: ", &row.other)].map(|(side, of)| facts(side, of)).concat().join("; ");
        let per_second = |side: &Side| rate(side.per_second.median);
        vec![name, Level::of_both(&row.levels), row.unit.clone(), per_second(&row.ours), per_second(&row.other), facts]
    };
    let heads = ["on this machine", "durability", "per second", "ours", "beside", "also"];
    table(&heads, results.rows.iter().map(cells).collect())
}

fn facts(prefix: &str, side: &Side) -> Vec<String> {
    let told = |name: &String| format!("{prefix}{name} {}", rate(side.fact(name).unwrap_or(f64::NAN)));
    side.fact_names().map(told).collect()
}

/// The memory of a host that keeps many sessions open.
pub(crate) fn memory(residencies: &[Residency]) -> String {
    let cells = |of: &Residency| {
        let (mib, each) = (of.resident_bytes / f64::from(1 << 20), of.bytes_per_session);
        let two = |p50, p99| format!("{} / {}", micros(p50), micros(p99));
        vec![
            thousands(of.sessions),
            of.name().to_owned(),
            thousands(of.sessions_resident),
            format!("{mib:.1} MiB"),
            format!("{each:.0} bytes"),
            two(of.cold_append_p50_us, of.cold_append_p99_us),
            two(of.resident_append_p50_us, of.resident_append_p99_us),
        ]
    };
    let heads = [
        "sessions",
        "limits",
        "in memory",
        "resident memory they add",
        "each",
        "append to an emptied one: p50 / p99",
        "to one in memory: p50 / p99",
    ];
    table(&heads, residencies.iter().map(cells).collect())
}

fn verdict(compared: &Compared) -> (String, String) {
    let wanted = compared.wanted.map_or("-".to_owned(), |wanted| format!(">= {}x", ratio(wanted)));
    let met = match compared.met {
        None => "-",
        Some(true) => "yes",
        Some(false) => "**no**",
    };
    (wanted, met.to_owned())
}

pub(crate) fn spread(spread: &Spread) -> String {
    format!("{}x [{}..{}]", ratio(spread.median), ratio(spread.min), ratio(spread.max))
}

/// A number for people.
pub(crate) fn thousands(number: u64) -> String {
    match number {
        1_000_000.. => format!("{},{:03},{:03}", number / 1_000_000, number / 1000 % 1000, number % 1000),
        1000.. => format!("{},{:03}", number / 1000, number % 1000),
        _ => number.to_string(),
    }
}

pub(crate) fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 10.0 => format!("{ratio:.2}"),
        ratio if ratio < 100.0 => format!("{ratio:.1}"),
        ratio => thousands(ratio.round() as u64),
    }
}

pub(crate) fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.1}M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.0}k", rate / 1e3),
        rate if rate >= 1e3 => format!("{:.1}k", rate / 1e3),
        rate if rate >= 10.0 => format!("{rate:.0}"),
        rate => format!("{rate:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

pub(crate) fn micros(micros: f64) -> String {
    match micros {
        micros if micros >= 1e6 => format!("{:.1} s", micros / 1e6),
        micros if micros >= 1e4 => format!("{:.0} ms", micros / 1e3),
        micros if micros >= 1e3 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{micros:.0} us"),
    }
}

/// Nothing, if it has no rows.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("| {cell:width$} "));
        cells.collect::<String>() + "|\n"
    };
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    [&heads, &rules].into_iter().chain(&rows).map(|cells| line(cells)).collect()
}
