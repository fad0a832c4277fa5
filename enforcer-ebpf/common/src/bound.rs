//! Bounds that survive the optimiser.
//!
//! LLVM removes a mask that it can prove redundant; the kernel's verifier forgets the proof when the value passes
//! through memory. Inline assembly keeps the instruction where the verifier reads it.

/// `value & MASK`, with the `and` instruction guaranteed to be in the program.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn masked<const MASK: u64>(mut value: u64) -> usize {
    // SAFETY: one register in, the same register out, no memory touched.
    unsafe {
        core::arch::asm!("{v} &= {m}", v = inout(reg) value, m = const MASK, options(pure, nomem, nostack))
    };
    // SAFETY: the instruction above has just cleared every bit outside the mask.
    unsafe { core::hint::assert_unchecked(value <= MASK) };
    value as usize
}

/// `value & MASK`, with the `and` instruction guaranteed to be in the program.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn masked<const MASK: u64>(value: u64) -> usize {
    (value & MASK) as usize
}

/// `value`, about which the optimiser knows nothing. Keeps a short loop a loop.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: moves a register onto itself.
    unsafe { core::arch::asm!("{v} = {v}", v = inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// `value`, about which the optimiser knows nothing.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn opaque(value: u64) -> u64 {
    value
}

/// Zero, made of a `value` that the verifier does not know, in a way that it does not see through. Newer verifiers walk the
/// body of a `bpf_loop` until its state stops changing; state that starts as a known zero makes them walk it much oftener.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn unknown_zero(value: u64) -> u64 {
    let mut zero = value;
    // SAFETY: arithmetic on two registers.
    unsafe {
        core::arch::asm!("{z} -= {v}", z = inout(reg) zero, v = in(reg) value, options(pure, nomem, nostack));
    }
    zero
}

/// Zero.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn unknown_zero(_: u64) -> u64 {
    0
}
