//! The VFS itself: a copy of SQLite's own VFS, except for opening and removing files.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi;

use crate::file::{self, File};
use crate::{NAME, Operation, watch_of};

/// A pointer that is set once and never freed.
struct Vfs(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite takes a VFS to be usable from any thread, and its own one is; nobody writes to ours after it is made.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

static REAL: OnceLock<Vfs> = OnceLock::new();
static REGISTERED: OnceLock<c_int> = OnceLock::new();

/// SQLite's own VFS.
pub(crate) fn real() -> *mut ffi::sqlite3_vfs {
    // SAFETY: with a null name the call returns the default VFS, which lives as long as the process.
    REAL.get_or_init(|| Vfs(unsafe { ffi::sqlite3_vfs_find(ptr::null()) })).0
}

/// Registers the VFS, once.
pub(crate) fn register() -> io::Result<()> {
    let code = *REGISTERED.get_or_init(|| {
        // SAFETY: the call initializes the library, which every other call would do too.
        if unsafe { ffi::sqlite3_initialize() } != ffi::SQLITE_OK || real().is_null() {
            return ffi::SQLITE_ERROR;
        }
        const NAME_Z: &CStr = c"foldlog-testkit";
        debug_assert_eq!(NAME_Z.to_bytes(), NAME.as_bytes());
        // SAFETY: `real` is not null, and the structure is plain data. What is not replaced below belongs to SQLite's
        // own VFS for Unix, whose functions take nothing from their first argument but `mxPathname`.
        let mut vfs = unsafe { *real() };
        vfs.pNext = ptr::null_mut();
        vfs.zName = NAME_Z.as_ptr();
        vfs.szOsFile += File::SIZE;
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        // SAFETY: the structure and its name live as long as the process.
        unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) }
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(io::Error::other(format!("SQLite does not take the VFS: code {code}"))),
    }
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over a name that is null (a temporary file) or ends with a zero.
    let path = unsafe { path_of(name) };
    // SAFETY: SQLite hands over `szOsFile` bytes, which begin with a `File`.
    let mut run = || unsafe { File::open(file, name, flags, out_flags) };
    let Some((path, watch)) = path.and_then(|path| Some((path, watch_of(path)?))) else {
        return run();
    };
    let makes = flags & ffi::SQLITE_OPEN_CREATE != 0 && !path.exists();
    let code = file::operate(&*watch, &Operation::Open { path, makes }, &mut run);
    if code == ffi::SQLITE_OK {
        // SAFETY: the file was opened just above.
        unsafe { File::watch(file, path, watch) };
    } else {
        // SAFETY: as for `run`. A file whose methods are null is not closed by SQLite.
        unsafe { (*file).pMethods = ptr::null() };
    }
    code
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite's own VFS has this function, and the arguments are those it is made for.
    let mut run = || unsafe {
        match (*real()).xDelete {
            Some(delete) => delete(real(), name, sync_directory),
            None => ffi::SQLITE_IOERR_DELETE,
        }
    };
    // SAFETY: SQLite hands over a name that ends with a zero.
    let path = unsafe { path_of(name) };
    match path.and_then(|path| Some((path, watch_of(path)?))) {
        Some((path, watch)) => {
            file::operate(&*watch, &Operation::Remove { path, sync_directory: sync_directory != 0 }, &mut run)
        }
        None => run(),
    }
}

/// # Safety
/// The name is null, or ends with a zero and outlives what is made of it.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())))
}
