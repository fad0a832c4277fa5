//! What the kernel programs and user space share, in one `no_std` crate: the layout of maps and events, the policy
//! image, the DNS parser, and [`decide()`].
//!
//! Everything here is plain data and pure functions. The kernel programs bring maps, the daemon brings vectors; both
//! call the same code, so `explain`, `test` and `replay` tell what the kernel does.
//!
//! Byte order: addresses are network order byte arrays, every other number is the machine's own.
#![cfg_attr(not(feature = "user"), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod address;
pub mod binding;
pub mod bound;
pub mod control;
pub mod decide;
pub mod dns;
pub mod event;
pub mod flow;
pub mod image;
pub mod name;
pub mod packet;
pub mod repeat;
pub mod sent;
pub mod sockaddr;
pub mod stream;
pub mod vector;
pub mod wire;

pub use address::Address;
pub use binding::{Binding, CgroupSubjects, CidrEntry, SightingWord};
pub use decide::{Attempt, Decision, Lookup, Reach, RuleId, Verdict, decide};
pub use vector::Vector;

/// Most rules a policy can have: one bit each in a [`Vector`].
pub const CLASSES: usize = 512;

/// Entries of one epoch of fresh bindings.
pub const FRESH_ENTRIES: usize = 16_384;
