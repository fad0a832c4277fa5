//! The calls of `bpf(2)` that aya does not offer: batch updates, maps by file descriptor, mapping an array.
#![expect(unsafe_code, reason = "system calls and shared memory")]

use enforcer_common::{Address, Binding, CgroupSubjects, CidrEntry, Vector, control::Settings, dns::Holder};
use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

/// Types that are nothing but integers without padding, so that their bytes are them.
///
/// # Safety
/// `repr(C)`, no padding, no pointer, every bit pattern valid.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: integers, or `repr(C)` structs of integers whose sizes are asserted where they are defined.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for Address {}
// SAFETY: as above.
unsafe impl Plain for Binding {}
// SAFETY: as above.
unsafe impl Plain for CgroupSubjects {}
// SAFETY: as above.
unsafe impl Plain for CidrEntry {}
// SAFETY: as above.
unsafe impl Plain for Holder {}
// SAFETY: as above.
unsafe impl Plain for PrefixKey {}
// SAFETY: as above; its number of 32-bit words is even.
unsafe impl Plain for Settings {}
// SAFETY: as above.
unsafe impl Plain for Vector {}

/// Key of an LPM trie.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PrefixKey {
    pub(super) length: u32,
    pub(super) address: [u8; 16],
}

/// The bytes of a plain value.
pub(super) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` promises that all bytes are initialised.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) }
}

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_MAP_GET_FD_BY_ID: libc::c_long = 14;
const BPF_BTF_GET_FD_BY_ID: libc::c_long = 19;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// `union bpf_attr` for operations on elements.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for operations on batches.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `union bpf_attr` for opening by id.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Sets one element.
pub(super) fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    element(BPF_MAP_UPDATE_ELEM, map, address(key), address(value)).map(drop)
}

/// Removes one element; that it was not there is no error.
pub(super) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    match element(BPF_MAP_DELETE_ELEM, map, address(key), 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

/// Reads one element into `value`, which must have the size that the map's values have in user space.
pub(super) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &mut [V]) -> io::Result<bool> {
    match element(BPF_MAP_LOOKUP_ELEM, map, address(key), value.as_mut_ptr() as u64) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|_| true),
    }
}

/// The key after `key`, or the first.
pub(super) fn next_key<K: Plain>(map: BorrowedFd<'_>, key: Option<&K>, next: &mut K) -> io::Result<bool> {
    let next = ptr::from_mut(next) as u64;
    match element(BPF_MAP_GET_NEXT_KEY, map, key.map_or(0, address), next) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|_| true),
    }
}

/// Sets many elements in one call (Linux 5.6); an outer map waits for running programs once.
pub(super) fn update_batch<K: Plain, V: Plain>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    if keys.is_empty() || keys.len() != values.len() {
        return Ok(());
    }
    let mut attribute = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(keys.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the slices have `count` elements of the sizes that the caller created the map with.
    unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attribute) }.map(drop)
}

/// Opens a map.
pub(super) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(BPF_MAP_GET_FD_BY_ID, id)
}

/// Opens BTF.
pub(super) fn btf_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(BPF_BTF_GET_FD_BY_ID, id)
}

/// Copies `image` into a mappable array map.
pub(super) fn fill(map: BorrowedFd<'_>, image: &[Vector]) -> io::Result<()> {
    let length = size_of_val(image);
    // SAFETY: a new shared mapping of the map's memory, at an address the kernel chooses.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            map.as_raw_fd(),
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping has `length` bytes, no program sees the map yet, and the two do not overlap; afterwards the
    // mapping is given back and not used.
    unsafe {
        ptr::copy_nonoverlapping(image.as_ptr().cast::<u8>(), memory.cast::<u8>(), length);
        libc::munmap(memory, length);
    }
    Ok(())
}

fn address<T>(value: &T) -> u64 {
    ptr::from_ref(value) as u64
}

fn element(command: libc::c_long, map: BorrowedFd<'_>, key: u64, value: u64) -> io::Result<libc::c_long> {
    let mut attribute = Element { map_fd: map.as_raw_fd() as u32, key, value, ..Element::default() };
    // SAFETY: the callers above pass addresses of values of the sizes that the map was created with.
    unsafe { bpf(command, &mut attribute) }
}

fn by_id(command: libc::c_long, id: u32) -> io::Result<OwnedFd> {
    let mut attribute = ById { id, ..ById::default() };
    // SAFETY: the attribute is that of the command.
    let fd = unsafe { bpf(command, &mut attribute) }?;
    // SAFETY: the kernel has just made this file descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// # Safety
/// `attribute` is that of `command`, and the addresses in it are valid for what the command does.
unsafe fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attribute), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

const _: () = assert!(size_of::<Settings>() == 4 * 8 + 28 * 4, "settings have no padding");
