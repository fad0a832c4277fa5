//! The verdict maps, seen as what `decide` and the binder ask for.
//!
//! INVARIANT (slots): everything of policy version `v` is in slot `v % 2`. A program reads the version once and uses that
//! slot throughout; user space fences before it touches a slot that programs may still read.

use crate::{atomic, repeat::BpfLoop};
use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_NOEXIST},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, lpm_trie::Key},
    helpers::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id,
        generated::{bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id},
    },
    macros::btf_map,
};
use enforcer_common::{
    Address, Binding, CgroupSubjects, CidrEntry, FRESH_ENTRIES, Lookup, Vector,
    control::{CONTROLS, Control},
    decide::{BindingPart, CidrPart, Error, OtherResolvers, Protection, live_word},
    dns::{Scratch, Slot},
    image::{Buckets, Meta},
    vector::{WORDS, Word},
};

type Image = Array<Vector, 1, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;
type Bindings = HashMap<Address, Binding, FRESH_ENTRIES>;

#[btf_map]
static CONTROL: Array<u64, CONTROLS> = Array::new();

#[btf_map]
static IMAGES: ArrayOfMaps<Image, 2> = ArrayOfMaps::new();

#[btf_map]
static CIDRS: ArrayOfMaps<LpmTrie<Address, CidrEntry, 1>, 2> = ArrayOfMaps::new();

/// The third place exists for fences: an update of an outer map waits for running programs.
#[btf_map]
static USERS: ArrayOfMaps<HashMap<u32, Vector, 1>, 3> = ArrayOfMaps::new();

#[btf_map]
static CGROUPS: ArrayOfMaps<HashMap<u64, CgroupSubjects, 1>, 2> = ArrayOfMaps::new();

/// Index: slot * 2 + epoch % 2. Only the binder writes the inner maps; user space replaces them whole.
#[btf_map]
static FRESH: ArrayOfMaps<Bindings, 4> = ArrayOfMaps::new();

/// Only user space writes: a new inner map each time.
#[btf_map]
static TRUTH: ArrayOfMaps<Bindings, 2> = ArrayOfMaps::new();

/// Addresses of trusted resolvers.
#[btf_map]
static RESOLVERS: HashMap<Address, u64, 256> = HashMap::new();

/// Deepest cgroup whose ancestors are looked at.
const CGROUP_DEPTH: i32 = 24;

#[inline(always)]
pub(crate) fn control(word: Control) -> u64 {
    // SAFETY: the value lives as long as the map; user space writes whole words.
    CONTROL.get_ptr(word as u32).map_or(0, |value| unsafe { value.read_volatile() })
}

/// Writes a control word that belongs to the programs: `LastWake`, `LastUnsolicited`.
#[inline(always)]
pub(crate) fn set_time(word: Control, now: u64) {
    if let Some(value) = CONTROL.get_ptr_mut(word as u32) {
        // SAFETY: the value lives as long as the map, and a torn order between CPUs only moves what is done now and then.
        unsafe { value.write_volatile(now) };
    }
}

/// What decisions read beside the policy, as one number: the lower half is the epoch, the upper one counts what has changed
/// within it. A decision is remembered under the moment *before* it: what changes meanwhile makes it void.
#[inline(always)]
pub(crate) fn moment() -> u64 {
    let changes = control(Control::Learned).wrapping_add(control(Control::Replaced));
    changes << 32 | control(Control::Epoch) & 0xffff_ffff
}

/// Counts an answer that has bound what a rule denies.
#[inline(always)]
pub(crate) fn learned() {
    if let Some(value) = CONTROL.get_ptr_mut(Control::Learned as u32) {
        // SAFETY: a value of the map, which programs alone write.
        unsafe { atomic::add(value, 1) };
    }
}

/// Whether a cgroup may open any socket (`sockets.exempt`), by the policy of a version.
#[inline(always)]
pub(crate) fn is_exempt(version: u64, cgroup: u64) -> bool {
    // SAFETY: as for `PolicySlot::classified`.
    let classified = CGROUPS.get((version & 1) as u32).and_then(|map| unsafe { map.get(cgroup) });
    classified.is_some_and(|classified| classified.exempt != 0)
}

/// Whether what a peer opened is answered whatever the default, by the policy of a version.
#[inline(always)]
pub(crate) fn answers_peers(version: u64) -> bool {
    let slot = PolicySlot::new((version & 1) as u32);
    slot.is_some_and(|slot| Meta::of(&slot).is_some_and(|meta| !meta.inbound_judged()))
}

/// Whether an internal error refuses.
#[inline(always)]
pub(crate) fn errors_deny() -> bool {
    control(Control::OnError) != 0
}

/// What happens to queries to servers that are no trusted resolvers.
#[inline(always)]
pub(crate) fn other_resolvers() -> OtherResolvers {
    OtherResolvers::of(control(Control::OtherResolvers))
}

#[inline(always)]
pub(crate) fn is_resolver(address: &Address) -> bool {
    // SAFETY: only the presence of the entry is used.
    unsafe { RESOLVERS.get(address) }.is_some()
}

/// Whose cgroup counts.
pub(crate) trait Subject {
    /// Its id.
    fn cgroup(&self) -> u64;
    /// Id of its ancestor that is so many levels below the root, 0 if it has none.
    fn ancestor(&self, level: i32) -> u64;
}

/// The current task.
pub(crate) struct Task;

impl Subject for Task {
    #[inline(always)]
    fn cgroup(&self) -> u64 {
        // SAFETY: plain helper call.
        unsafe { bpf_get_current_cgroup_id() }
    }

    #[inline(always)]
    fn ancestor(&self, level: i32) -> u64 {
        // SAFETY: plain helper call.
        unsafe { bpf_get_current_ancestor_cgroup_id(level) }
    }
}

/// Whoever sends a packet.
pub(crate) struct Sender {
    pub(crate) skb: *mut __sk_buff,
    pub(crate) cgroup: u64,
}

impl Subject for Sender {
    #[inline(always)]
    fn cgroup(&self) -> u64 {
        self.cgroup
    }

    #[inline(always)]
    fn ancestor(&self, level: i32) -> u64 {
        // The ancestors of another cgroup than the socket's cannot be asked for: it has none that says anything.
        // SAFETY: the packet of the program's context.
        unsafe {
            if bpf_skb_cgroup_id(self.skb) == self.cgroup {
                bpf_skb_ancestor_cgroup_id(self.skb, level)
            } else {
                0
            }
        }
    }
}

/// One policy slot, for whom it judges.
pub(crate) struct PolicySlot<S = Task> {
    slot: u32,
    epoch: u32,
    image: &'static Image,
    subject: S,
}

impl PolicySlot {
    /// The slot with this number, if it holds a policy, for the current task.
    #[inline(always)]
    pub(crate) fn new(slot: u32) -> Option<Self> {
        Self::of(slot, moment(), Task)
    }
}

impl<S> PolicySlot<S> {
    /// The slot with this number, if it holds a policy, at a [`moment`].
    #[inline(always)]
    pub(crate) fn of(slot: u32, moment: u64, subject: S) -> Option<Self> {
        Some(Self { slot, epoch: moment as u32, image: IMAGES.get(slot)?, subject })
    }

    #[inline(always)]
    fn learned(&self, epoch: u32, address: &Address) -> Result<Option<&Binding>, Error> {
        // SAFETY: entries are never removed one by one, so a reference stays with its address.
        Ok(unsafe { self.fresh_map(epoch).ok_or(Error::NoMap)?.get(address) })
    }

    #[inline(always)]
    fn classified(&self, id: u64) -> Result<Option<&CgroupSubjects>, Error> {
        // SAFETY: entries are added, or replaced by the same value, never removed while the slot is in force.
        Ok(unsafe { CGROUPS.get(self.slot).ok_or(Error::NoMap)?.get(id) })
    }

    #[inline(always)]
    fn fresh_map(&self, epoch: u32) -> Option<&'static Bindings> {
        FRESH.get((self.slot & 1) * 2 + (epoch & 1))
    }
}

impl<S> Buckets for PolicySlot<S> {
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&Vector> {
        self.image.get(index)
    }
}

impl Slot for PolicySlot {
    type Loop = BpfLoop;

    #[inline(always)]
    fn read_name(&self, scratch: &mut Scratch) -> Option<()> {
        some(read_name(scratch))
    }

    #[inline(always)]
    fn hash_name(&self, scratch: &mut Scratch, look_up: bool) -> Option<()> {
        some(hash_name(scratch, self.slot, look_up.into()))
    }

    #[inline(always)]
    fn read_record(&self, scratch: &mut Scratch) -> Option<()> {
        some(read_record(scratch, self.slot))
    }

    #[inline(always)]
    fn follow_alias(&self, scratch: &mut Scratch) -> Option<()> {
        some(follow_alias(scratch, self.slot))
    }

    #[inline(always)]
    fn cidr(&self, address: &Address) -> Option<&CidrEntry> {
        Lookup::cidr(self, address).ok().flatten()
    }

    #[inline(always)]
    fn bind(&self, address: &Address, binding: &Binding) -> bool {
        let Some(map) = self.fresh_map(self.epoch) else { return false };
        match map.insert(address, binding, u64::from(BPF_NOEXIST)) {
            Ok(()) => true,
            Err(EEXIST) => map.get_ptr_mut(address).is_some_and(|known| {
                join(known, binding);
                true
            }),
            Err(_) => false,
        }
    }
}

impl<S: Subject> Lookup for PolicySlot<S> {
    type Image = Self;
    type Loop = BpfLoop;

    #[inline(always)]
    fn image(&self) -> &Self {
        self
    }

    #[inline(always)]
    fn fresh(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        self.learned(self.epoch, address)
    }

    #[inline(always)]
    fn older(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        self.learned(self.epoch ^ 1, address)
    }

    #[inline(always)]
    fn truth(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        // SAFETY: user space never changes an inner map that programs can see; it swaps in a new one.
        Ok(unsafe { TRUTH.get(self.slot).ok_or(Error::NoMap)?.get(address) })
    }

    #[inline(always)]
    fn cidr(&self, address: &Address) -> Result<Option<&CidrEntry>, Error> {
        Ok(CIDRS.get(self.slot).ok_or(Error::NoMap)?.get(&Key::new(128, *address)))
    }

    #[inline(always)]
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error> {
        // SAFETY: the inner map is built before its slot is used and not changed afterwards.
        Ok(unsafe { USERS.get(self.slot).ok_or(Error::NoMap)?.get(uid) })
    }

    #[inline(always)]
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error> {
        self.classified(self.subject.cgroup())
    }

    #[inline(always)]
    fn ancestor(&self) -> Result<Option<&Vector>, Error> {
        Ok(self.classified(nearest_classified(self.slot, &self.subject))?.map(|ancestor| &ancestor.below))
    }

    #[inline(always)]
    fn is_resolver(&self, address: &Address) -> bool {
        is_resolver(address)
    }

    #[inline(always)]
    fn protection(&self, address: &Address, port: u16) -> Protection {
        Protection(protection(address, port.into()))
    }

    #[inline(always)]
    fn vector_word(vector: Option<&Vector>, word: Word) -> u64 {
        peek_vector(vector.map_or(core::ptr::null(), core::ptr::from_ref), word.index() as u64)
    }

    #[inline(always)]
    fn cidr_word(cidr: Option<&CidrEntry>, part: CidrPart, word: Word) -> u64 {
        peek_cidr(
            cidr.map_or(core::ptr::null(), core::ptr::from_ref),
            (part as usize * WORDS + word.index()) as u64,
        )
    }

    #[inline(always)]
    fn binding_word(binding: Option<&Binding>, part: BindingPart, word: Word, now: u64, denies: u64) -> u64 {
        let binding = binding.map_or(core::ptr::null(), core::ptr::from_ref);
        peek_binding(binding, part as u64, word.index() as u64, now, denies)
    }
}

/// The name at the cursor of `scratch`; 1 if it could be read. Global, like all `extern "C"` functions here: the verifier
/// looks at it once, for any arguments, instead of once for every path that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_name(scratch: *mut Scratch) -> u64 {
    // SAFETY: the verifier checks that a pointer that is not null has a whole `Scratch` behind it; the caller lends it.
    let Some(scratch) = (unsafe { scratch.as_mut() }) else { return 0 };
    scratch.read_name::<BpfLoop>().is_some().into()
}

/// The hash of the name read last; 1 if it could be made.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hash_name(scratch: *mut Scratch, slot: u32, look_up: u64) -> u64 {
    // SAFETY: as in `read_name`.
    let (Some(scratch), Some(slot)) = (unsafe { scratch.as_mut() }, PolicySlot::new(slot & 1)) else {
        return 0;
    };
    scratch.hash_name(&slot, look_up != 0).is_some().into()
}

/// The record at the cursor; 1 if it could be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_record(scratch: *mut Scratch, slot: u32) -> u64 {
    // SAFETY: as in `read_name`.
    let (Some(scratch), Some(slot)) = (unsafe { scratch.as_mut() }, PolicySlot::new(slot & 1)) else {
        return 0;
    };
    scratch.read_record(&slot).is_some().into()
}

/// The next alias; 0 when the chain grows no more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_alias(scratch: *mut Scratch, slot: u32) -> u64 {
    // SAFETY: as in `read_name`.
    let (Some(scratch), Some(slot)) = (unsafe { scratch.as_mut() }, PolicySlot::new(slot & 1)) else {
        return 0;
    };
    scratch.follow_alias(&slot).is_some().into()
}

#[inline(always)]
fn some(done: u64) -> Option<()> {
    (done != 0).then_some(())
}

/// The [`Protection`] of an address, as a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn protection(address: *const Address, port: u64) -> u64 {
    // SAFETY: the verifier checks that a pointer that is not null has a whole `Address` behind it.
    let Some(address) = (unsafe { address.as_ref() }) else { return 0 };
    // A copy on this stack: older kernels take no other memory as a key.
    let address = *address;
    Protection::of(&address, port as u16, is_resolver(&address)).0
}

/// Word `word` of a vector, 0 without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn peek_vector(vector: *const Vector, word: u64) -> u64 {
    peek::<{ size_of::<Vector>() }>(vector.cast(), word)
}

/// Word `word` of a CIDR entry, 0 without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn peek_cidr(cidr: *const CidrEntry, word: u64) -> u64 {
    peek::<{ size_of::<CidrEntry>() }>(cidr.cast(), word)
}

/// Word `word` of a part of a binding, or of the identity without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn peek_binding(binding: *const Binding, part: u64, word: u64, now: u64, denies: u64) -> u64 {
    let part = BindingPart::of(part);
    // SAFETY: the verifier checks that a pointer that is not null has a whole `Binding` behind it.
    match unsafe { binding.as_ref() } {
        Some(binding) => live_word(binding, part, Word::of(word), now, denies),
        None if matches!(part, BindingPart::All) => u64::MAX,
        None => 0,
    }
}

#[inline(always)]
fn peek<const SIZE: usize>(words: *const u64, word: u64) -> u64 {
    if words.is_null() || word >= (SIZE / 8) as u64 {
        return 0;
    }
    // SAFETY: the pointer is to a map value of `SIZE` bytes, and the index was checked.
    unsafe { words.add(word as usize).read_volatile() }
}

/// Id of the nearest ancestor that user space has classified, 0 if there is none.
#[inline(never)]
fn nearest_classified(slot: u32, subject: &impl Subject) -> u64 {
    let Some(map) = CGROUPS.get(slot & 1) else { return 0 };
    let mut nearest = 0;
    for level in 0..CGROUP_DEPTH {
        let id = subject.ancestor(level);
        if id == 0 {
            break;
        }
        // SAFETY: only the presence of the entry is used.
        if unsafe { map.get(id) }.is_some() {
            nearest = id;
        }
    }
    nearest
}

const EEXIST: i32 = -17;

/// Joins a binding into one that other CPUs may be joining into too.
#[inline(always)]
fn join(known: *mut Binding, more: &Binding) {
    for word in Vector::words() {
        let (any, all, except) = (more.any[word], more.all[word], more.except[word]);
        let index = word.index();
        // SAFETY: `known` is a value of a map; every field is a `u64` or an array of them, and after insertion all access
        // to them is atomic or reads whole words.
        unsafe {
            if any != 0 {
                atomic::or(&raw mut (*known).any.0[index], any);
            }
            if all != u64::MAX {
                atomic::and(&raw mut (*known).all.0[index], all);
            }
            if except != 0 {
                atomic::or(&raw mut (*known).except.0[index], except);
            }
        }
    }
    // SAFETY: as above; `&raw` makes no reference.
    let expiry = unsafe { &raw mut (*known).expiry };
    for _ in 0..4 {
        // SAFETY: as above.
        let current = unsafe { expiry.read_volatile() };
        // SAFETY: as above.
        if current >= more.expiry
            || unsafe { atomic::compare_exchange(expiry, current, more.expiry) } == current
        {
            break;
        }
    }
}
