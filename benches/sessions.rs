//! What sessions cost that a host keeps open: resident memory for 1,000, 10,000 and 100,000 of them, with the default
//! limits, with everything kept in memory, and with everything emptied; and the time to serve the first message of an
//! emptied session, beside that of one in memory.
//!
//! `cargo bench --bench sessions [-- [--short] [--json FILE]]`. Each row runs in a process of its own, on a directory,
//! at the default durability; a session has [`EVENTS`] events of about 300 bytes.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use foldlog::agent::{AgentBody, Message};
use foldlog::testkit::Dice;
use foldlog::{ResidencyConfig, Session, Store, StoreConfig};
use futures::future::join_all;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const EVENTS: u64 = 4;
/// How many sessions are opened at once.
const AT_ONCE: usize = 1000;
/// How many first messages are timed.
const SAMPLES: usize = 500;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1).cloned();
    if let Some(row) = after("--row") {
        return actix::System::new().block_on(async { Row::named(&row)?.measure().await });
    }
    let sizes: &[usize] = if args.iter().any(|arg| arg == "--short") { &[1_000] } else { &[1_000, 10_000, 100_000] };
    let mut rows = Vec::new();
    println!(
        "| sessions | residency | resident | in all | a session | cold append p50, p99 | resident append p50, p99 |"
    );
    println!("|---|---|---|---|---|---|---|");
    for sessions in sizes {
        for residency in ["default", "off", "cold"] {
            let row = format!("{sessions}/{residency}");
            let output = Command::new(std::env::current_exe()?).args(["--row", &row]).output()?;
            if !output.status.success() {
                return Err(format!("{row}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let number = |name: &str| json.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
            println!(
                "| {sessions} | {residency} | {} | {:.1} MiB | {} B | {}, {} us | {}, {} us |",
                number("sessions_resident"),
                number("resident_bytes") as f64 / f64::from(1 << 20),
                number("bytes_per_session"),
                number("cold_append_p50_us"),
                number("cold_append_p99_us"),
                number("resident_append_p50_us"),
                number("resident_append_p99_us"),
            );
            rows.push(json);
        }
    }
    if let Some(path) = after("--json") {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

struct Row {
    sessions: usize,
    residency: String,
}

impl Row {
    fn named(row: &str) -> Outcome<Self> {
        let (sessions, residency) = row.split_once('/').ok_or("a row is <sessions>/<residency>")?;
        Ok(Self { sessions: sessions.parse()?, residency: residency.to_owned() })
    }

    async fn measure(self) -> Outcome<()> {
        let directory = tempfile::tempdir()?;
        let store = Store::open(self.config(directory.path().join("store"))).await?;
        let before = resident_bytes()?;
        let begun = Instant::now();
        let mut sessions = Vec::with_capacity(self.sessions);
        while sessions.len() < self.sessions {
            let first = sessions.len();
            let names = first..self.sessions.min(first + AT_ONCE);
            for session in join_all(names.map(|n| fill(&store, n))).await {
                sessions.push(session?);
            }
        }
        let opened = begun.elapsed();
        // Emptying the last of those beyond the limit takes a moment.
        let limit = self.limit() as u64;
        while store.stats().sessions_resident > limit {
            actix::clock::sleep(Duration::from_millis(10)).await;
        }
        let resident = resident_bytes()?.saturating_sub(before);
        let stats = store.stats();
        let (cold, warm) = first_messages(&store, &sessions).await?;
        let closing = Instant::now();
        store.close().await?;
        println!(
            "{}",
            serde_json::json!({
                "sessions": self.sessions,
                "residency": self.residency,
                "events_per_session": EVENTS,
                "sessions_resident": stats.sessions_resident,
                "record_bytes": stats.resident_bytes,
                "resident_bytes": resident,
                "bytes_per_session": resident / self.sessions as u64,
                "cold_append_p50_us": percentile(&cold, 50),
                "cold_append_p99_us": percentile(&cold, 99),
                "resident_append_p50_us": percentile(&warm, 50),
                "resident_append_p99_us": percentile(&warm, 99),
                "open_ms": opened.as_millis() as u64,
                "close_ms": closing.elapsed().as_millis() as u64,
            })
        );
        Ok(())
    }

    fn limit(&self) -> usize {
        match self.residency.as_str() {
            "off" => usize::MAX,
            "cold" => 0,
            _ => ResidencyConfig::default().resident_sessions_max,
        }
    }

    fn config(&self, path: PathBuf) -> StoreConfig {
        let residency = match self.residency.as_str() {
            "off" => ResidencyConfig::unlimited(),
            _ => ResidencyConfig { resident_sessions_max: self.limit(), ..ResidencyConfig::default() },
        };
        StoreConfig { residency, ..StoreConfig::directory(path) }
    }
}

fn said(n: u64) -> AgentBody {
    AgentBody::MessageAppended(Message::user(format!("{n:>250}")))
}

async fn fill(store: &Store, number: usize) -> Result<Session, foldlog::Error> {
    let session = store.open_session(format!("session-{number}")).await?;
    for n in 0..EVENTS {
        session.append(said(n))?.await?;
    }
    Ok(session)
}

/// The times of an append to sessions that were emptied, and to sessions in memory, one at a time and in turn: what was
/// committed right before changes what a sync costs.
async fn first_messages(store: &Store, sessions: &[Session]) -> Outcome<(Vec<Duration>, Vec<Duration>)> {
    let mut dice = Dice::new(4711);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        for (is_cold, times) in [(true, &mut cold), (false, &mut warm)] {
            let session = dice.pick(sessions).ok_or("there are sessions")?;
            store.empty_idle_sessions();
            session.current_view().await?;
            session.counters().await?;
            if is_cold {
                store.empty_idle_sessions();
            }
            let begun = Instant::now();
            session.append(said(0))?.await?;
            times.push(begun.elapsed());
        }
    }
    Ok((cold, warm))
}

fn percentile(times: &[Duration], percent: usize) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0, |time| time.as_micros() as u64)
}

/// What of this process is in memory.
fn resident_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS: not Linux")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kilobytes * 1024)
}
