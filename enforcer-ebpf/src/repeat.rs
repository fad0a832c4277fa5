//! `bpf_loop` (Linux 5.17) as a [`Repeat`].

use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use enforcer_common::{
    bound::masked,
    repeat::{Repeat, Step},
};

pub(crate) struct BpfLoop;

impl Repeat for BpfLoop {
    #[inline(always)]
    fn repeat<S: Step>(count: u32, state: &mut S) {
        // The helper looks at the whole register, and LLVM leaves in its upper half what a `u32` was cut from.
        let count = masked::<0x7fff_ffff>(count.into()) as u32;
        // SAFETY: the callback has the signature that the helper wants, and gets the state it was made for, which lives
        // on this stack frame until the helper returns.
        unsafe { bpf_loop(count, callback::<S> as *mut c_void, (&raw mut *state).cast(), 0) };
    }
}

unsafe extern "C" fn callback<S: Step>(index: u32, state: *mut c_void) -> i64 {
    // SAFETY: `repeat` passes a unique pointer to an `S`.
    let state = unsafe { &mut *state.cast::<S>() };
    // The verifier wants to see that the result is 0 or 1.
    masked::<1>(state.step(index).is_break().into()) as i64
}
