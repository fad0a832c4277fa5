//! `AF_XDP`: frames that the driver fetches from memory of ours, past the whole network stack.

use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use enforcer_tests::Target;

use crate::scene::Scene;
use crate::socket::{Address, Socket, check};
use crate::wire::{ethernet, interface};

const FRAME: u32 = 4096;
const FRAMES: u32 = 4;
const ENTRIES: i32 = 4;

/// Memory of a descriptor's, or of nobody's; given back with the process.
fn map(descriptor: i32, offset: i64, length: usize) -> io::Result<NonNull<u8>> {
    let flags = if descriptor < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses a place that is free.
    let memory = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, descriptor, offset) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(memory.cast()).ok_or_else(io::Error::last_os_error)
}

pub fn frame(scene: &Scene) -> io::Result<()> {
    let socket = Socket::new(libc::AF_XDP, libc::SOCK_RAW, 0)?;
    let frames = map(-1, 0, (FRAME * FRAMES) as usize)?;
    // struct xdp_umem_reg: address, length, size of a frame, room before it, flags.
    let start = (frames.as_ptr() as u64).to_ne_bytes();
    let length = u64::from(FRAME * FRAMES).to_ne_bytes();
    let region = [&start[..], &length, &FRAME.to_ne_bytes(), &[0; 4], &[0; 4], &[0; 4]].concat();
    socket.set(libc::SOL_XDP, libc::XDP_UMEM_REG, &region)?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        socket.set_number(libc::SOL_XDP, ring, ENTRIES)?;
    }

    // SAFETY: plain data, for which zeros are a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&offsets) as libc::socklen_t;
    let pointer = (&raw mut offsets).cast();
    // SAFETY: the pointers are to the offsets and to the number that says their size.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, pointer, &raw mut size)
    })?;
    let ring = offsets.tx;
    let descriptors = usize::try_from(ring.desc).map_err(io::Error::other)?;
    let producer = usize::try_from(ring.producer).map_err(io::Error::other)?;
    let length = descriptors + ENTRIES as usize * size_of::<libc::xdp_desc>();
    let memory = map(socket.as_raw_fd(), libc::XDP_PGOFF_TX_RING, length)?;

    let bytes = ethernet(scene.target.denied4());
    let entry = libc::xdp_desc { addr: 0, len: bytes.len() as u32, options: 0 };
    // SAFETY: the first frame is larger than the packet, and the kernel does not look at it before it is in the ring.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), frames.as_ptr(), bytes.len()) };
    // SAFETY: the kernel has said where in the ring its entries begin; there is room for four.
    unsafe { memory.add(descriptors).cast::<libc::xdp_desc>().write(entry) };

    // struct sockaddr_xdp: flags, interface, queue, another socket.
    let flags = libc::XDP_COPY.to_ne_bytes();
    let address = [&flags[..], &interface(Target::LINK)?.to_ne_bytes(), &[0; 4], &[0; 4]].concat();
    socket.bind(&Address::new(libc::AF_XDP, &address))?;
    // SAFETY: the kernel has said where in the ring the number of the next entry is; it is shared as an atomic.
    unsafe { memory.add(producer).cast::<AtomicU32>().as_ref() }.store(1, Ordering::Release);
    // Wakes the driver; there is nothing to send by the call itself.
    socket.send(&[], libc::MSG_DONTWAIT)
}
