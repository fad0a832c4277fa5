//! A received packet as [`Bytes`]: packets start at the IP header here.

use crate::repeat::BpfLoop;
use aya_ebpf::{
    EbpfContext as _, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext,
};
use core::mem::MaybeUninit;
use enforcer_common::packet::{self, Bytes};

pub(crate) struct Skb<'a>(pub(crate) &'a SkBuffContext);

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

/// [`packet::skip_extensions`], verified once, for any arguments: what it returns is a number of which nothing is known, so
/// that what depends on it later does not lead the verifier back into the loop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skip_extensions(skb: *mut __sk_buff, protocol: u64, at: u32) -> u64 {
    packet::skip_extensions(&Skb(&SkBuffContext::new(skb)), protocol as u8, at)
}
