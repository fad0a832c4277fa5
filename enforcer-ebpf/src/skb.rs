//! A packet as [`Bytes`]: packets start at the IP header here.

use crate::repeat::BpfLoop;
use aya_ebpf::{
    EbpfContext as _, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext,
};
use core::mem::MaybeUninit;
use enforcer_common::packet::{self, Bytes};

pub(crate) struct Skb<'a>(pub(crate) &'a SkBuffContext);

impl Skb<'_> {
    /// Bytes of each datagram, where the packet is several of them that were sent at once (`UDP_SEGMENT`) or are received at
    /// once (`UDP_GRO`); 0 where it is one. A socket that wants them one by one gets them cut, and the program sees each
    /// (`net/ipv4/udp.c` `udp_queue_rcv_skb`). One large datagram of a guest's network card (`VIRTIO_NET_F_GUEST_UFO`) looks
    /// the same.
    #[inline(always)]
    pub(crate) fn datagram_size(&self) -> u16 {
        // SAFETY: the kernel passes a valid context; the field (Linux 5.7) is 16 bits wide in the kernel.
        unsafe { (&raw const (*self.0.skb.skb).gso_size).read_volatile() as u16 }
    }
}

impl Bytes for Skb<'_> {
    type Loop = BpfLoop;

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the context is the packet that the helper wants, and the destination has `N` bytes.
        let failed =
            unsafe { bpf_skb_load_bytes(self.0.as_ptr().cast(), at, bytes.as_mut_ptr().cast(), N as u32) };
        // SAFETY: without a failure the helper has written all of it.
        (failed == 0).then(|| unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn skip_extensions(&self, protocol: u8, at: u32) -> u64 {
        skip_extensions(self.0.skb.skb, protocol.into(), at)
    }
}

/// The part of a packet that lies in one piece, as [`Bytes`]: nearly always with all headers. It is read without a helper.
pub(crate) struct Head<'a>(pub(crate) &'a SkBuffContext);

impl Bytes for Head<'_> {
    type Loop = BpfLoop;

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        // SAFETY: the kernel passes a valid context; to the verifier (`cgroup_skb`, Linux 5.0) the fields are pointers.
        let (start, end) = unsafe { ((*self.0.skb.skb).data as usize, (*self.0.skb.skb).data_end as usize) };
        let bytes = start + at as usize;
        // SAFETY: the bytes end before those of the packet do.
        (bytes + N <= end).then(|| unsafe { (bytes as *const [u8; N]).read() })
    }

    /// Of the whole packet, of which this may be less.
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }
}

/// Whether the packet comes or goes by the loopback interface (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
#[inline(always)]
pub(crate) fn is_loopback(ctx: &SkBuffContext) -> bool {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.skb.skb).ifindex == 1 }
}

/// [`packet::skip_extensions`], verified once, for any arguments: what it returns is a number of which nothing is known, so
/// that what depends on it later does not lead the verifier back into the loop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skip_extensions(skb: *mut __sk_buff, protocol: u64, at: u32) -> u64 {
    packet::skip_extensions(&Skb(&SkBuffContext::new(skb)), protocol as u8, at)
}
