//! An open file: this crate's part, followed in memory by the file of SQLite's own VFS.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use rusqlite::ffi;

use crate::vfs::real;
use crate::{Failure, Operation, Watch};

#[repr(C)]
pub(crate) struct File {
    /// The first field, since SQLite takes the file for a `sqlite3_file`.
    base: ffi::sqlite3_file,
    /// A pointer from a box; null when nobody watches the file.
    watched: *mut WatchedFile,
}

struct WatchedFile {
    path: PathBuf,
    watch: Arc<dyn Watch>,
}

/// Asks the watch, and gives SQLite a code.
pub(crate) fn operate(watch: &dyn Watch, operation: &Operation<'_>, run: &mut dyn FnMut() -> c_int) -> c_int {
    let mut run = || match run() {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Failure(code)),
    };
    // A panic must not unwind into C.
    match catch_unwind(AssertUnwindSafe(|| watch.operate(operation, &mut run))) {
        Ok(Ok(())) => ffi::SQLITE_OK,
        Ok(Err(Failure(code))) => code,
        Err(_) => Failure::of_device(operation).0,
    }
}

impl File {
    /// How many bytes lie before the file of SQLite's own VFS.
    pub(crate) const SIZE: c_int = size_of::<Self>() as c_int;

    /// The file of SQLite's own VFS.
    ///
    /// # Safety
    /// The pointer is one that SQLite handed to this VFS.
    unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
        // SAFETY: SQLite allocated `SIZE` bytes more than its own VFS asks for.
        unsafe { file.cast::<Self>().add(1).cast() }
    }

    /// # Safety
    /// As for `xOpen`.
    pub(crate) unsafe fn open(
        file: *mut ffi::sqlite3_file,
        name: ffi::sqlite3_filename,
        flags: c_int,
        out_flags: *mut c_int,
    ) -> c_int {
        // SAFETY: the memory is that of a `File` and of the file of SQLite's own VFS behind it, and is not yet used.
        unsafe {
            let base = ffi::sqlite3_file { pMethods: ptr::null() };
            file.cast::<Self>().write(Self { base, watched: ptr::null_mut() });
            let inner = Self::inner(file);
            (*inner).pMethods = ptr::null();
            let Some(open) = (*real()).xOpen else { return ffi::SQLITE_CANTOPEN };
            let code = open(real(), name, inner, flags, out_flags);
            if code == ffi::SQLITE_OK {
                (*file).pMethods = &raw const METHODS;
            } else if let Some(methods) = (*inner).pMethods.as_ref()
                && let Some(close) = methods.xClose
            {
                close(inner);
            }
            code
        }
    }

    /// # Safety
    /// The file is open.
    pub(crate) unsafe fn watch(file: *mut ffi::sqlite3_file, path: &Path, watch: Arc<dyn Watch>) {
        let watched = Box::new(WatchedFile { path: path.to_owned(), watch });
        // SAFETY: an open file is a `File`.
        unsafe { (*file.cast::<Self>()).watched = Box::into_raw(watched) };
    }

    /// # Safety
    /// The file is open, and stays so while the answer is used.
    unsafe fn watched<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a WatchedFile> {
        // SAFETY: an open file is a `File`, whose pointer is null or from a box that only `close` frees.
        unsafe { (*file.cast::<Self>()).watched.as_ref() }
    }
}

/// Calls a method of the file of SQLite's own VFS.
macro_rules! inner {
    ($file:ident . $method:ident ( $($argument:expr),* ) else $missing:expr) => {{
        // SAFETY: SQLite calls methods of open files only. An open file is followed by an open one of its own VFS, and
        // the arguments are those of the same method.
        unsafe {
            let inner = File::inner($file);
            match (*inner).pMethods.as_ref().and_then(|methods| methods.$method) {
                Some(method) => method(inner $(, $argument)*),
                None => $missing,
            }
        }
    }};
}

/// Does an operation, by way of the watch if there is one.
macro_rules! watched {
    ($file:ident, |$path:ident| $operation:expr, $run:expr) => {{
        let mut run = || $run;
        // SAFETY: SQLite calls methods of open files only, and closes none while it does.
        match unsafe { File::watched($file) } {
            Some(watched) => {
                let $path = watched.path.as_path();
                operate(&*watched.watch, &$operation, &mut run)
            }
            None => run(),
        }
    }};
}

/// Version 2: without memory-mapped reads and writes, which a watch would not see.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(map_shared),
    xShmLock: Some(lock_shared),
    xShmBarrier: Some(barrier),
    xShmUnmap: Some(unmap_shared),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = inner!(file.xClose() else ffi::SQLITE_OK);
    // SAFETY: the file was open, so it is a `File`. SQLite does not use it any more; the box is freed once.
    unsafe {
        let watched = std::mem::replace(&mut (*file.cast::<File>()).watched, ptr::null_mut());
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
    }
    code
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    len: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    watched!(
        file,
        |path| Operation::Read { path, offset: offset.unsigned_abs(), len: len.unsigned_abs() as usize },
        inner!(file.xRead(buffer, len, offset) else ffi::SQLITE_IOERR_READ)
    )
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite hands over that many bytes, which nobody writes to meanwhile.
    let slice = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len.unsigned_abs() as usize) };
    watched!(
        file,
        |path| Operation::Write { path, offset: offset.unsigned_abs(), bytes: slice },
        inner!(file.xWrite(bytes, len, offset) else ffi::SQLITE_IOERR_WRITE)
    )
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    watched!(
        file,
        |path| Operation::Truncate { path, len: len.unsigned_abs() },
        inner!(file.xTruncate(len) else ffi::SQLITE_IOERR_TRUNCATE)
    )
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    watched!(file, |path| Operation::Sync { path }, inner!(file.xSync(flags) else ffi::SQLITE_IOERR_FSYNC))
}

unsafe extern "C" fn map_shared(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    page_bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    watched!(
        file,
        |path| Operation::MapShared { path },
        inner!(file.xShmMap(page, page_bytes, extend, out) else ffi::SQLITE_IOERR_SHMMAP)
    )
}

// The methods below go straight to SQLite's own VFS.

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    inner!(file.xFileSize(out) else ffi::SQLITE_IOERR_FSTAT)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    inner!(file.xLock(level) else ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    inner!(file.xUnlock(level) else ffi::SQLITE_IOERR_UNLOCK)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    inner!(file.xCheckReservedLock(out) else ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, code: c_int, argument: *mut c_void) -> c_int {
    inner!(file.xFileControl(code, argument) else ffi::SQLITE_NOTFOUND)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    inner!(file.xSectorSize() else 4096)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    inner!(file.xDeviceCharacteristics() else 0)
}

unsafe extern "C" fn lock_shared(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    inner!(file.xShmLock(offset, count, flags) else ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn barrier(file: *mut ffi::sqlite3_file) {
    inner!(file.xShmBarrier() else ());
}

unsafe extern "C" fn unmap_shared(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    inner!(file.xShmUnmap(delete) else ffi::SQLITE_OK)
}
