//! The results as a plain table, each row beside its target.

use crate::figures::Compared;
use crate::results::{Results, RowResult};

/// How wide a ratio with its range and a target are at most.
const RATIO_WIDTH: usize = 26;
const TARGET_WIDTH: usize = 8;

/// One line a row and a line for each target of a p99, then how many targets are missed, and what is left out.
pub(crate) fn table(results: &Results) -> String {
    let mut text = line("ratio, median [min..max]", "wanted", "", "row");
    for row in &results.rows {
        text += &compared(&row.rate, &row.name);
        if let Some(p99) = p99_with_target(row) {
            text += &compared(p99, &format!("{}: p99 of an acknowledgement", row.name));
        }
    }
    let all = results.rows.iter().flat_map(|row| [Some(&row.rate), p99_with_target(row)]).flatten();
    let verdicts: Vec<bool> = all.filter_map(|compared| compared.met).collect();
    let missed = verdicts.iter().filter(|met| !**met).count();
    text += &format!("\n{missed} of {} targets missed\n", verdicts.len());
    if results.form == "short" {
        text += "The short form says that the benchmark runs, and not how fast foldlog is.\n";
    }
    for left_out in &results.left_out {
        text += &format!("Left out: {left_out}.\n");
    }
    text
}

fn p99_with_target(row: &RowResult) -> Option<&Compared> {
    row.p99.as_ref().filter(|p99| p99.wanted.is_some())
}

fn compared(compared: &Compared, name: &str) -> String {
    let wanted = compared.wanted.map_or("-".to_owned(), |wanted| format!("{wanted}x"));
    let missed = if compared.met == Some(false) { "MISSED" } else { "" };
    line(&compared.ratio.to_string(), &wanted, missed, name)
}

fn line(ratio: &str, wanted: &str, missed: &str, name: &str) -> String {
    format!("{ratio:RATIO_WIDTH$} {wanted:TARGET_WIDTH$} {missed:6} {name}\n")
}
