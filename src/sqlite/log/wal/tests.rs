use super::*;

/// A log as SQLite writes it: one number a frame, the size of the database after it or 0.
fn log(salts: [u32; 2], frames: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [MAGIC, 3_007_000, 512, 0, salts[0], salts[1]] {
        bytes.extend(word.to_be_bytes());
    }
    let mut sums = checksum(false, [0, 0], &bytes);
    bytes.extend(sums.map(u32::to_be_bytes).concat());
    for (number, size) in frames.iter().enumerate() {
        let head = [number as u32 + 1, *size].map(u32::to_be_bytes).concat();
        let page = [number as u8 + 7; 512];
        sums = checksum(false, checksum(false, sums, &head), &page);
        bytes.extend(head);
        bytes.extend(salts.map(u32::to_be_bytes).concat());
        bytes.extend(sums.map(u32::to_be_bytes).concat());
        bytes.extend(page);
    }
    bytes
}

const FRAME: usize = FRAME_HEADER_BYTES + 512;

fn end_of(frame: usize) -> usize {
    HEADER_BYTES + frame * FRAME
}

fn found(bytes: &[u8]) -> Option<Break> {
    scan(bytes, 0).unwrap().broken
}

fn valid_frames(bytes: &[u8]) -> u64 {
    scan(bytes, 0).unwrap().extent.valid_frames
}

/// Transactions of 2, 1, 3 and 2 frames.
const FRAMES: [u32; 8] = [0, 5, 6, 0, 0, 7, 0, 8];

#[test]
fn a_whole_log_and_one_cut_anywhere_have_no_break() {
    let bytes = log([3, 4], &FRAMES);
    for len in 0..=bytes.len() {
        assert_eq!(found(&bytes[..len]), None, "cut at {len}");
    }
}

#[test]
fn each_flipped_bit_is_found_and_what_follows_is_counted() {
    let bytes = log([3, 4], &FRAMES);
    for bit in HEADER_BYTES * 8..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let frame = (bit / 8 - HEADER_BYTES) / FRAME + 1;
        let in_size = (4..8).contains(&((bit / 8 - HEADER_BYTES) % FRAME));
        let Some(found) = found(&damaged) else {
            // The one bit that makes the last frame the midst of a transaction that was never finished.
            assert!(frame == 8 && in_size, "bit {bit} of frame {frame}");
            continue;
        };
        assert_eq!((valid_frames(&damaged), found.first_bad_frame), (frame as u64 - 1, frame as u64), "bit {bit}");
        assert_eq!(found.later_frames, 8 - frame as u64, "bit {bit}");
        if !in_size {
            let commits = FRAMES[frame - 1..].iter().filter(|size| **size != 0).count() as u64;
            assert_eq!(found.lost_commits, commits, "bit {bit}");
            // Only the last transaction has no other behind it.
            assert_eq!(found.acknowledged, frame <= 6, "bit {bit}");
        }
    }
}

#[test]
fn a_damaged_header_leaves_nothing_that_sqlite_reads() {
    let bytes = log([3, 4], &FRAMES);
    for bit in 0..HEADER_BYTES * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Of pages of the size that foldlog's databases have.
        let Some(found) = found(&damaged) else { continue };
        assert_eq!((valid_frames(&damaged), found.first_bad_frame), (0, 0), "bit {bit}");
    }
    let large = vec![0; PAGE_BYTES - 512];
    let mut damaged = bytes[..HEADER_BYTES].to_vec();
    for frame in 0..8 {
        damaged.extend(&bytes[end_of(frame)..end_of(frame + 1)]);
        damaged.extend(&large);
    }
    damaged[0] ^= 1;
    let found = found(&damaged).unwrap();
    assert_eq!((found.later_frames, found.lost_commits, found.acknowledged), (8, 4, true));
}

#[test]
fn frames_of_an_earlier_generation_are_no_break() {
    let old = log([3, 4], &FRAMES);
    for frames in 0..8 {
        for sizes in [[0; 8], [9; 8]] {
            let mut bytes = log([4, 9], &sizes[..frames]);
            bytes.extend(&old[bytes.len()..]);
            assert_eq!(found(&bytes), None, "{frames}");
        }
    }
    // Two generations before, too.
    let mut bytes = log([4, 9], &[1, 1]);
    bytes.extend(&log([9, 9], &FRAMES)[bytes.len()..end_of(5)]);
    bytes.extend(&old[bytes.len()..]);
    assert_eq!(found(&bytes), None);
}

#[test]
fn a_torn_last_transaction_is_told_from_a_lost_one() {
    let old = log([3, 4], &[9; 8]);
    let new = log([4, 9], &FRAMES);
    // A sector of frame 5 was never written, and the rest of its transaction was: nothing follows that.
    let mut bytes = new[..end_of(6)].to_vec();
    bytes[end_of(4) + 100..end_of(4) + 300].copy_from_slice(&old[end_of(4) + 100..end_of(4) + 300]);
    bytes.extend(&old[bytes.len()..]);
    bytes[end_of(4) + 100] ^= 1;
    let torn = found(&bytes).unwrap();
    assert_eq!((torn.first_bad_frame, torn.later_frames, torn.lost_commits, torn.acknowledged), (5, 1, 1, false));
    // The same with a transaction behind it, which began when the torn one was acknowledged.
    bytes[end_of(6)..].copy_from_slice(&new[end_of(6)..]);
    let lost = found(&bytes).unwrap();
    assert_eq!((lost.first_bad_frame, lost.later_frames, lost.lost_commits, lost.acknowledged), (5, 3, 2, true));
}

#[test]
fn pages_that_are_neither_in_the_database_nor_in_the_log_are_missing() {
    // Frames of the pages 1 to 8; after the last whole transaction the database has this many pages.
    for (size, in_file, missing) in [(8, 0, false), (8, 8, false), (9, 8, true), (9, 9, false), (12, 10, true)] {
        let bytes = log([3, 4], &[0, 0, 0, 0, 0, 0, 0, size]);
        let found = scan(&*bytes, in_file * 512).unwrap().extent;
        assert_eq!(
            (found.salts, found.valid_frames, found.lacks_pages),
            (Some([3, 4]), 8, missing),
            "{size} {in_file}"
        );
    }
    // Of the second transaction, only the first frame is there: nothing of it counts.
    let bytes = log([3, 4], &[0, 2, 0, 9]);
    assert!(!scan(&bytes[..end_of(3)], 0).unwrap().extent.lacks_pages);
    assert!(scan(&*bytes, 0).unwrap().extent.lacks_pages);
}

/// As on a full disk: what a transaction has written is rolled back, the next one is shorter, and then the process is
/// killed.
#[test]
fn what_a_rolled_back_transaction_left_is_no_damage() {
    let rolled_back = log([3, 4], &[0, 2, 0, 0, 0, 0, 0]);
    let next = log([3, 4], &[0, 2, 9, 9]);
    let bytes = [&next[..end_of(3)], &rolled_back[end_of(3)..]].concat();
    assert_eq!(found(&bytes), None);
    assert_eq!(valid_frames(&bytes), 3);
    // With its end there, it was a transaction.
    let committed = log([3, 4], &[0, 2, 0, 0, 0, 0, 7]);
    let bytes = [&next[..end_of(3)], &committed[end_of(3)..]].concat();
    assert_eq!(found(&bytes).unwrap().lost_commits, 1);
}
