//! Whether a write-ahead log is damaged before its end. SQLite stops at the first frame that is not valid, says nothing
//! of the frames after it, and later writes over them.
//!
//! The file: a header of 32 bytes (magic, version, page size, number, two salts, two checksums), then frames: 24 bytes
//! (page, size of the database after a commit or 0, the salts, two checksums) and a page. A checksum goes on from that
//! of the frame before. Frames of other salts are from before the log was started anew, and mean nothing.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::schema::Database;
use crate::sqlite::directory::{DirectoryError, StoreDirectory};
use crate::sqlite::files::failed;

/// The magic number, without the bit for the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The page size of foldlog's databases, where the header cannot be believed.
const PAGE_BYTES: usize = 4096;

/// How many copies of damaged write-ahead logs are kept beside the database.
const EVIDENCE_MAX: usize = 8;

/// A write-ahead log that was found damaged when the store was opened, and what may be lost with it.
///
/// Commits are in the write-ahead log until they are moved to `events.db`. SQLite reads it up to the first frame that
/// is not valid; what comes behind that is lost, although it may have been acknowledged. A copy was kept before SQLite
/// could write over it. Sessions that lost nothing go on; one whose last events are gone is shorter, and
/// [`Store::verify`](crate::Store::verify) tells whether what is left fits together: `is_sound` does not mean that
/// nothing was lost here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalDamage {
    /// What is likely lost.
    pub loss: WalLoss,
    /// Frames before the damage. A frame holds a page that a transaction changed.
    pub valid_frames: u64,
    /// The first frame that is not valid, from 1; 0 for the header of the file.
    pub first_bad_frame: u64,
    /// Frames behind it that belong to the same log.
    pub later_frames: u64,
    /// How many transactions end behind the valid frames, as far as it can be told.
    pub lost_commits: u64,
    /// The copy. None when the directory has eight such copies already: move them away.
    pub evidence: Option<PathBuf>,
}

/// What a damaged write-ahead log means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalLoss {
    /// Transactions behind the damage were acknowledged: others followed them.
    Likely,
    /// At most one transaction is lost. A power cut in the midst of it leaves the same, and so do several programs that
    /// are killed one after the other in the midst of their commits: then it was never acknowledged. Or its bytes were
    /// damaged later.
    Possible,
}

impl fmt::Display for WalDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, valid_frames, first_bad_frame, later_frames, lost_commits, evidence } = self;
        let what = match loss {
            WalLoss::Likely => "acknowledged events are likely lost",
            WalLoss::Possible => {
                "the last transaction may be lost, unless a power cut, or a kill of several programs in the midst of their \
                 commits, kept it from being acknowledged"
            }
        };
        write!(
            f,
            "the write-ahead log is damaged at frame {first_bad_frame}, {what}: {valid_frames} frames are valid, \
             {later_frames} frames and {lost_commits} ends of transactions come behind them"
        )?;
        match evidence {
            Some(path) => write!(f, "; a copy is {}", path.display()),
            None => write!(f, "; no copy was made, since there are {EVIDENCE_MAX} already"),
        }
    }
}

/// Looks at a write-ahead log before SQLite does, and keeps a copy of a damaged one. The caller is alone.
pub(crate) fn inspect(
    directory: &StoreDirectory,
    database: &Database,
) -> Result<(Option<WalDamage>, Extent), DirectoryError> {
    let wal = &database.companion("-wal");
    let found = look(database).map_err(failed("cannot read", wal))?;
    let Some(broken) = found.broken else { return Ok((None, found.extent)) };
    let damage = WalDamage {
        loss: if broken.acknowledged { WalLoss::Likely } else { WalLoss::Possible },
        valid_frames: found.extent.valid_frames,
        first_bad_frame: broken.first_bad_frame,
        later_frames: broken.later_frames,
        lost_commits: broken.lost_commits,
        evidence: directory.keep_copy(wal, "damaged", EVIDENCE_MAX)?,
    };
    log::error!("{damage}");
    Ok((Some(damage), found.extent))
}

/// Reads the write-ahead log of a database, if there is one.
pub(crate) fn look(database: &Database) -> io::Result<Scan> {
    let file = match File::open(database.companion("-wal")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Scan::default()),
        Err(error) => return Err(error),
    };
    let database_bytes = std::fs::metadata(&database.path).map_or(0, |file| file.len());
    scan(io::BufReader::new(file), database_bytes)
}

/// What was found in a write-ahead log.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) extent: Extent,
    pub(crate) broken: Option<Break>,
}

/// How far a write-ahead log goes.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// The two numbers that tell this log from those before it in the same file; `None` without a valid header.
    pub(crate) salts: Option<[u32; 2]>,
    /// Frames before the first that is not valid, whole transactions or not.
    pub(crate) valid_frames: u64,
    /// Whether the database has pages, as of the last transaction, that are neither in its file nor in the log.
    pub(crate) lacks_pages: bool,
}

/// A write-ahead log that goes on behind what SQLite reads of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Break {
    /// The first frame that is not valid, from 1; 0 for the header.
    pub(crate) first_bad_frame: u64,
    /// Frames of the same generation behind that one.
    pub(crate) later_frames: u64,
    /// How many frames end a transaction, from the first bad one on.
    pub(crate) lost_commits: u64,
    /// Whether another transaction follows one of these: it began after that one was acknowledged. Without it, a power
    /// cut in the midst of the last transaction looks the same.
    pub(crate) acknowledged: bool,
    is_ours: bool,
}

/// Reads a write-ahead log from its beginning. It is broken if frames of its own generation are behind what is valid.
/// Holds one frame in memory, and a number for each page that is not in the file of the database.
pub(crate) fn scan(mut wal: impl Read, database_bytes: u64) -> io::Result<Scan> {
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut wal, &mut header)? {
        // Nothing was ever in it: frames come after a header.
        return Ok(Scan::default());
    }
    let [magic, version, page_bytes, _, salt_1, salt_2, sum_1, sum_2] = words::<8>(&header);
    let big_endian = magic & 1 == 1;
    let is_header = magic & !1 == MAGIC
        && version == 3_007_000
        // As SQLite takes them: the checksum is no protection against a size that was made up.
        && page_bytes.is_power_of_two()
        && (512..=65536).contains(&page_bytes)
        && checksum(big_endian, [0, 0], header.get(..24).unwrap_or_default()) == [sum_1, sum_2];
    // Without a header, the generation is that of the first frame.
    let mut generation = is_header.then_some([salt_1, salt_2]);
    let page_bytes = if is_header { page_bytes as usize } else { PAGE_BYTES };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut sums = [sum_1, sum_2];
    let mut before_is_ours = is_header;
    let mut extent = Extent { salts: generation, ..Extent::default() };
    let mut pages = NewPages::behind(database_bytes / page_bytes as u64, page_bytes as u64);
    let mut found = Break::default();
    let mut broken = !is_header;
    while fill(&mut wal, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        let [page_number, size_after, salt_1, salt_2, sum_1, sum_2] = words::<6>(head);
        let after_head = checksum(big_endian, sums, head.get(..8).unwrap_or_default());
        let follows = checksum(big_endian, after_head, page) == [sum_1, sum_2];
        // Zeros are what a file system leaves of bytes that it never wrote.
        let salts = [salt_1, salt_2];
        let same = salts != [0, 0] && *generation.get_or_insert(salts) == salts;
        sums = [sum_1, sum_2];
        if !broken && same && follows {
            extent.valid_frames += 1;
            pages.take(page_number.into(), size_after.into());
            continue;
        }
        // The checksum does not cover the salts: one that goes on from a frame of ours tells that these are damaged.
        let ours = same || (follows && before_is_ours);
        before_is_ours = ours;
        if !broken {
            found.first_bad_frame = extent.valid_frames + 1;
        } else if ours {
            found.later_frames += 1;
        }
        found.acknowledged |= ours && found.lost_commits > 0;
        found.lost_commits += u64::from(ours && size_after != 0);
        // One bad frame of ours is a break by itself; one of another generation is the end, unless ours come behind it.
        found.is_ours |= ours;
        broken = true;
    }
    extent.lacks_pages = pages.are_missing();
    // A transaction that was rolled back, as on a full disk, leaves frames without an end. The next one writes over the
    // first of them, and what is left behind it means nothing.
    let is_lost = found.is_ours && found.lost_commits > 0;
    Ok(Scan { extent, broken: is_lost.then_some(found) })
}

/// Which pages behind the end of the database's file a write-ahead log has.
struct NewPages {
    /// The pages of the file.
    in_file: u64,
    /// The page at SQLite's lock bytes, which is in no database.
    never: u64,
    found: HashSet<u64>,
    /// Those of a transaction whose end was not read yet.
    unfinished: Vec<u64>,
    /// The size of the database after the last whole transaction, in pages.
    size: u64,
}

impl NewPages {
    fn behind(in_file: u64, page_bytes: u64) -> Self {
        const LOCK_BYTES: u64 = 1 << 30;
        let never = LOCK_BYTES / page_bytes + 1;
        Self { in_file, never, found: HashSet::new(), unfinished: Vec::new(), size: 0 }
    }

    fn take(&mut self, page: u64, size_after: u64) {
        if page > self.in_file {
            self.unfinished.push(page);
        }
        if size_after != 0 {
            self.found.extend(self.unfinished.drain(..));
            self.size = size_after;
        }
    }

    fn are_missing(&self) -> bool {
        (self.in_file + 1..=self.size).any(|page| page != self.never && !self.found.contains(&page))
    }
}

/// Reads bytes as the frames of a write-ahead log whose header is right, and tells whether they are damaged. For
/// fuzzing.
#[cfg(feature = "testkit")]
pub(crate) fn scan_under_header(page_bytes: u32, salts: [u32; 2], frames: &[u8]) -> bool {
    let mut wal = [MAGIC, 3_007_000, page_bytes, 0, salts[0], salts[1]].map(u32::to_be_bytes).concat();
    wal.extend(checksum(false, [0, 0], &wal).map(u32::to_be_bytes).concat());
    wal.extend(frames);
    scan(&*wal, 0).is_ok_and(|found| found.broken.is_some())
}

/// Fills the buffer; `false` at the end of the file, also in the midst of the buffer.
fn fill(mut file: impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The big-endian words at the beginning of bytes.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// SQLite's checksum over pairs of words.
fn checksum(big_endian: bool, [mut one, mut two]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let word = |bytes: [u8; 4]| if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    for [a, b] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
        one = one.wrapping_add(word(*a)).wrapping_add(two);
        two = two.wrapping_add(word(*b)).wrapping_add(one);
    }
    [one, two]
}

#[cfg(test)]
mod tests;
