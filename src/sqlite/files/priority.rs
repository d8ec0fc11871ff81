//! Work that may take longer if only it keeps nobody waiting.

/// Has the calling thread give way to all others from now on. Best effort: where it cannot, the work only costs them
/// more.
#[cfg(target_os = "linux")]
pub(crate) fn give_way() {
    /// With 10 the scheduler gives a thread about a tenth of what it gives others, where all want to run.
    const NICER: i32 = 10;
    // On Linux the priority is that of a thread. Elsewhere it would be that of the host.
    if let Err(error) = rustix::process::nice(NICER) {
        log::debug!("a thread keeps its priority: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn give_way() {}
