use std::io;
use std::mem;

use crate::{HarnessError, Result};

/// The processors that this thread may run on, by number.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn processors() -> Result<Vec<usize>> {
    // SAFETY: the set is an array of integers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a set of this size.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if failed != 0 {
        return Err(HarnessError::system("sched_getaffinity")(io::Error::last_os_error()));
    }
    // SAFETY: the number is within the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&number| unsafe { libc::CPU_ISSET(number, &set) }).collect())
}

/// Lets a process (0: the calling thread) run on one processor only; of a process with several threads, the first one.
///
/// # Errors
///
/// When there is no such process, or processor.
pub fn pin(pid: u32, processor: usize) -> Result<()> {
    let fail = || HarnessError::system("sched_setaffinity");
    let pid = libc::pid_t::try_from(pid).map_err(|_| fail()(io::ErrorKind::InvalidInput.into()))?;
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(fail()(io::ErrorKind::InvalidInput.into()));
    }
    // SAFETY: as in `processors`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number is within the set.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the pointer is to a set of this size.
    let failed = unsafe { libc::sched_setaffinity(pid, size_of_val(&set), &raw const set) };
    if failed == 0 { Ok(()) } else { Err(fail()(io::Error::last_os_error())) }
}
