//! A child process by fork alone, without a new program: for a test of what a store does in one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(code: i32) -> !;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
}

/// After how many seconds a child that hangs is killed.
const CHILD_SECONDS_MAX: u32 = 60;

/// Forks, runs `check` in the child, waits for the child's end, and tells whether `check` came to its end without a
/// panic. The child has only the thread that forked; it ends without running what a program runs at its end.
///
/// # Errors
/// That of the system, if it makes no process.
pub fn ends_well_in_a_forked_child(check: impl FnOnce()) -> io::Result<bool> {
    // SAFETY: no arguments. The child runs `check` alone, on this thread, and the C library's allocator can be used in
    // a child; a lock that another thread had stays locked, which at worst hangs the child until its alarm.
    let child = unsafe { fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: sets a timer of this process, whose signal ends it.
        unsafe { alarm(CHILD_SECONDS_MAX) };
        let code = i32::from(catch_unwind(AssertUnwindSafe(check)).is_err());
        // SAFETY: ends this process at once.
        unsafe { _exit(code) }
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the status.
        let ended = unsafe { waitpid(child, &raw mut status, 0) };
        if ended == child {
            // An exit with code 0 is the status 0, on every Unix.
            return Ok(status == 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
