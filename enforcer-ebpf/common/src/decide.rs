//! The decision about one connection attempt: the code that the kernel programs run.
//!
//! For a destination, with one bit for each rule:
//! `to = ((names | (cidrs & !exceptNames)) & !exceptCidrs) | any`, `match = to & ports & subjects`. The lowest bit of
//! `match` among the enforced rules decides what happens; the lowest bit of all is what the rules say.

use core::ops::ControlFlow;

use crate::{
    Address, Binding, CgroupSubjects, CidrEntry, Vector,
    bound::unknown_zero,
    image::{self, Buckets, ClassVector, ClassWord, Meta, Protocol},
    repeat::{Repeat, Step},
    vector::Word,
};

/// What rules say about an attempt, or what happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The attempt goes on.
    Allow,
    /// The attempt is refused.
    Deny,
}

/// Who decided: the class of a rule, or one of five that are no rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RuleId(pub u16);

impl RuleId {
    /// No rule matched.
    pub const DEFAULT: Self = Self(0xffff);
    /// Something that must stay reachable, unless a deny rule names its address.
    pub const BUILTIN: Self = Self(0xfffe);
    /// The programs could not decide; see [`crate::control::Control::OnError`].
    pub const ERROR: Self = Self(0xfffd);
    /// No rule matched, and no lookup preceded (`literalAddresses`).
    pub const LITERAL: Self = Self(0xfffc);
    /// The server at the port of DNS is no trusted resolver (`dns.otherResolvers`).
    pub const OTHER_RESOLVER: Self = Self(0xfffb);
}

/// The outcome of [`decide()`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What the rules say, audit rules included.
    pub verdict: Verdict,
    /// The rule that says so.
    pub rule: RuleId,
    /// What happens.
    pub effective: Verdict,
    /// The rule that makes it happen.
    pub effective_rule: RuleId,
    /// The errno of a refusal.
    pub errno: u8,
}

impl Decision {
    /// The decision in one register, in which a kernel subprogram returns it; never 0.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        let Self { verdict, rule, effective, effective_rule, errno } = self;
        1 << 63
            | u64::from(matches!(verdict, Verdict::Deny)) << 41
            | u64::from(matches!(effective, Verdict::Deny)) << 40
            | u64::from(errno) << 32
            | u64::from(effective_rule.0) << 16
            | u64::from(rule.0)
    }

    /// The decision that [`Decision::pack`] packed; `None` for 0.
    #[inline(always)]
    pub fn unpack(packed: u64) -> Option<Self> {
        let verdict = |bit: u32| if packed >> bit & 1 == 1 { Verdict::Deny } else { Verdict::Allow };
        (packed != 0).then(|| Self {
            verdict: verdict(41),
            rule: RuleId(packed as u16),
            effective: verdict(40),
            effective_rule: RuleId((packed >> 16) as u16),
            errno: (packed >> 32) as u8,
        })
    }
}

/// One attempt to reach an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// Where to, after [`Address::destination`].
    pub address: Address,
    /// Port in the machine's byte order.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Real user id of the caller.
    pub uid: u32,
    /// Now, in nanoseconds of `CLOCK_BOOTTIME`.
    pub now: u64,
    /// Which rules strike.
    pub reach: Reach,
}

impl Attempt {
    /// Turns to one of the addresses that are judged; false if there is none. A resolver is judged as it is listed, and as
    /// nothing else.
    #[inline(always)]
    pub fn turn<L: Lookup>(&mut self, lookup: &L, part: Part) -> bool {
        let translated = image::translated(lookup.image(), &self.address);
        let beside = if translated.is_some() { Some(self.address) } else { self.address.embedded() };
        if beside.is_none() || lookup.is_resolver(&self.address) {
            return part == Part::Meant;
        }
        match (part, translated, beside) {
            (Part::Meant, Some(meant), _) => self.address = meant,
            (Part::Beside, _, Some(beside)) => {
                (self.address, self.reach) = (beside.destination(), Reach::Named);
            }
            _ => {}
        }
        true
    }
}

/// What is judged of an attempt, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The address to which it leads: that behind a translator, else its own.
    Meant,
    /// The other one, of an address that holds another: a deny rule that names it strikes too.
    Beside,
}

/// Which rules an attempt meets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// All of them, and the default.
    All,
    /// Deny rules that name the address, or a network that it is in; else it is a built-in allow.
    Named,
}

const _: () =
    assert!(size_of::<Attempt>() == 32, "no padding: older kernels pass no uninitialized memory on");

/// What [`decide()`] asks of the maps. Every answer stays valid while the decision runs.
pub trait Lookup {
    /// The image of the policy in force.
    type Image: Buckets;
    /// How to loop.
    type Loop: Repeat;

    /// The image of the policy in force.
    fn image(&self) -> &Self::Image;
    /// What the kernel binder learned in this epoch.
    fn fresh(&self, address: &Address) -> Result<Option<&Binding>, Error>;
    /// What the kernel binder learned in the epoch before.
    fn older(&self, address: &Address) -> Result<Option<&Binding>, Error>;
    /// What user space made of the answers. Asked last: user space fills it before it clears an epoch.
    fn truth(&self, address: &Address) -> Result<Option<&Binding>, Error>;
    /// The longest policy prefix that holds the address.
    fn cidr(&self, address: &Address) -> Result<Option<&CidrEntry>, Error>;
    /// Rules with this user among their subjects.
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error>;
    /// The caller's cgroup, if user space has classified it.
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error>;
    /// What the nearest classified ancestor of the caller's cgroup says about cgroups below it.
    fn ancestor(&self) -> Result<Option<&Vector>, Error>;
    /// Whether the address is that of a trusted resolver.
    fn is_resolver(&self, address: &Address) -> bool;
    /// How far the address is out of reach of rules that do not name it. The kernel programs answer this, and the next three,
    /// in functions that the verifier looks at once, instead of walking every combination of what is there and what is not.
    #[inline(always)]
    fn protection(&self, address: &Address, port: u16) -> Protection {
        Protection::of(address, port, self.is_resolver(address))
    }
    /// Word `word` of a vector, 0 if there is none.
    #[inline(always)]
    fn vector_word(vector: Option<&Vector>, word: Word) -> u64 {
        vector.map_or(0, |vector| vector[word])
    }
    /// Words `word` of what a CIDR entry says: `to` and `except`.
    #[inline(always)]
    fn cidr_word(cidr: Option<&CidrEntry>, part: CidrPart, word: Word) -> u64 {
        cidr.map_or(0, |cidr| match part {
            CidrPart::To => cidr.to[word],
            CidrPart::Except => cidr.except[word],
        })
    }
    /// [`live_word`] of a binding, or of [`Binding::IDENTITY`].
    #[inline(always)]
    fn binding_word(binding: Option<&Binding>, part: BindingPart, word: Word, now: u64, denies: u64) -> u64 {
        live_word(binding.unwrap_or(&Binding::IDENTITY), part, word, now, denies)
    }
}

/// How far an address is out of reach of rules that do not name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Protection(pub u64);

impl Protection {
    const PROTECTED: u64 = 1;
    const BUILTIN: u64 = 2;

    /// Loopback and resolvers are never denied by a name; loopback, and the DNS ports of resolvers, not by `to: any` or the
    /// default either.
    #[inline(always)]
    pub fn of(address: &Address, port: u16, resolver: bool) -> Self {
        if address.is_loopback() {
            return Self(Self::PROTECTED | Self::BUILTIN);
        }
        if !resolver {
            return Self(0);
        }
        Self(if matches!(port, 53 | 853) { Self::PROTECTED | Self::BUILTIN } else { Self::PROTECTED })
    }

    #[inline(always)]
    fn is(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}

/// A vector of a [`CidrEntry`], by its place.
#[derive(Clone, Copy, Debug)]
pub enum CidrPart {
    /// [`CidrEntry::to`]
    To = 0,
    /// [`CidrEntry::except`]
    Except = 1,
}

/// A part of a [`Binding`].
#[derive(Clone, Copy, Debug)]
pub enum BindingPart {
    /// [`Binding::any`]
    Any = 0,
    /// [`Binding::all`]
    All = 1,
    /// [`Binding::except`]
    Except = 2,
    /// [`Binding::expiry`], the same for every word.
    Expiry = 3,
}

impl BindingPart {
    /// The part with this number; any other number is the expiry.
    #[inline(always)]
    pub fn of(number: u64) -> Self {
        match number {
            0 => Self::Any,
            1 => Self::All,
            2 => Self::Except,
            _ => Self::Expiry,
        }
    }
}

/// One word of a binding, as far as it counts at `now`; `denies` is that word of the deny rules. What has expired can still
/// deny, and no longer allow: neither by itself nor by sparing a deny.
#[inline(always)]
pub fn live_word(binding: &Binding, part: BindingPart, word: Word, now: u64, denies: u64) -> u64 {
    let expired = binding.expiry < now;
    match part {
        BindingPart::Any => binding.any[word] & if expired { denies } else { u64::MAX },
        BindingPart::All => binding.all[word] | if expired { denies } else { 0 },
        BindingPart::Except => binding.except[word] & if expired { !denies } else { u64::MAX },
        BindingPart::Expiry => {
            if expired {
                0
            } else {
                binding.expiry
            }
        }
    }
}

/// Why no decision could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// The slot of the version in force holds no image of this layout.
    NoImage,
    /// A map of the slot is missing.
    NoMap,
}

/// Judges both parts of an attempt.
///
/// # Errors
/// As [`decide()`].
#[cfg(feature = "user")]
pub fn decide_parts<L: Lookup>(lookup: &L, attempt: &Attempt) -> Result<Decision, Error> {
    let (mut meant, mut beside) = (*attempt, *attempt);
    meant.turn(lookup, Part::Meant);
    let decision = decide(lookup, &meant)?;
    if !beside.turn(lookup, Part::Beside) {
        return Ok(decision);
    }
    Ok(decision.join(decide(lookup, &beside)?))
}

/// Judges one address. Pure: the same maps give the same decision.
///
/// # Errors
/// [`Error`] when the maps cannot answer; the caller has a verdict for it.
#[inline(always)]
pub fn decide<L: Lookup>(lookup: &L, attempt: &Attempt) -> Result<Decision, Error> {
    let image = lookup.image();
    let meta = Meta::of(image).ok_or(Error::NoImage)?;
    let ports = image::ports(image, &meta, attempt.protocol, attempt.port).ok_or(Error::NoImage)?;

    let zero = unknown_zero(attempt.now);
    let nothing = Found::nothing(zero);
    // Filled in where it lies: the stack has no room for a second copy.
    let mut words = Words::<L> {
        image,
        ports,
        user: lookup.user(attempt.uid)?,
        cgroup: None,
        cidr: None,
        fresh: None,
        older: None,
        truth: None,
        now: attempt.now,
        flags: zero,
        verdict: nothing,
        effective: nothing,
    };
    words.cidr = lookup.cidr(&attempt.address)?;
    if meta.by_cgroup() {
        match lookup.cgroup()? {
            Some(classified) => words.cgroup = Some(&classified.own),
            None => {
                words.cgroup = lookup.ancestor()?;
                words.flags |= UNCLASSIFIED;
            }
        }
    }
    words.fresh = lookup.fresh(&attempt.address)?;
    words.older = lookup.older(&attempt.address)?;
    words.truth = lookup.truth(&attempt.address)?;

    let protection = lookup.protection(&attempt.address, attempt.port);
    let named = attempt.reach == Reach::Named;
    let is_builtin = protection.is(Protection::BUILTIN) || named;
    words.flags |= flag(PROTECTED, protection.is(Protection::PROTECTED))
        | flag(BUILTIN, is_builtin)
        | flag(NAMED, named);
    L::Loop::repeat(meta.words(), &mut words);
    if words.flags & DAMAGED != 0 {
        return Err(Error::NoImage);
    }
    let (verdict, effective) = (words.verdict, words.effective);

    // An allowance like any other: it ends with the binding.
    let literal = meta.literal_deny() && words.flags & LOOKED_UP == 0;
    let fallback = |enforced_only: bool| {
        if is_builtin {
            return (Verdict::Allow, RuleId::BUILTIN);
        }
        if literal && (!enforced_only || meta.literal_enforced()) {
            return (Verdict::Deny, RuleId::LITERAL);
        }
        let deny = meta.default_deny() && (!enforced_only || meta.default_enforced());
        (if deny { Verdict::Deny } else { Verdict::Allow }, RuleId::DEFAULT)
    };
    let resolve = |found: Found, enforced_only| {
        if found.bits == 0 {
            return fallback(enforced_only);
        }
        let lowest = found.bits & found.bits.wrapping_neg();
        let class = found.word * 64 + u64::from(lowest.trailing_zeros());
        (if found.denies & lowest != 0 { Verdict::Deny } else { Verdict::Allow }, RuleId(class as u16))
    };
    let (verdict, rule) = resolve(verdict, false);
    let (effective, effective_rule) = resolve(effective, true);
    let errno = match effective_rule {
        RuleId::DEFAULT | RuleId::BUILTIN | RuleId::LITERAL | RuleId::OTHER_RESOLVER => EPERM,
        // 0 would let the attempt through.
        RuleId(class) => image::errno(image, class).filter(|errno| *errno != 0).unwrap_or(EPERM),
    };
    Ok(Decision { verdict, rule, effective, effective_rule, errno })
}

impl Decision {
    /// What becomes of this decision where an address inside the address was judged, too: a deny of either strikes.
    #[inline(always)]
    #[must_use]
    pub fn join(mut self, inner: Self) -> Self {
        if matches!((self.verdict, inner.verdict), (Verdict::Allow, Verdict::Deny)) {
            (self.verdict, self.rule) = (inner.verdict, inner.rule);
        }
        if matches!((self.effective, inner.effective), (Verdict::Allow, Verdict::Deny)) {
            (self.effective, self.effective_rule, self.errno) =
                (inner.effective, inner.effective_rule, inner.errno);
        }
        self
    }
}

/// What happens to queries to servers that are no trusted resolvers; a control word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OtherResolvers {
    /// They pass.
    Allow = 0,
    /// They pass, and the event says that they would not.
    Audit = 1,
    /// They are refused.
    Deny = 2,
}

impl OtherResolvers {
    /// The one with this number; any other number denies.
    #[inline(always)]
    pub fn of(number: u64) -> Self {
        match number {
            0 => Self::Allow,
            1 => Self::Audit,
            _ => Self::Deny,
        }
    }

    /// What becomes of a decision: behind the deny rules, before everything else.
    #[inline(always)]
    #[must_use]
    pub fn judge(self, decision: Decision, port: u16, resolver: bool) -> Decision {
        if matches!(self, Self::Allow) || port != DNS || resolver {
            return decision;
        }
        let by_rule =
            |verdict, rule: RuleId| matches!(verdict, Verdict::Deny) && usize::from(rule.0) < crate::CLASSES;
        let mut decision = decision;
        if !by_rule(decision.verdict, decision.rule) {
            (decision.verdict, decision.rule) = (Verdict::Deny, RuleId::OTHER_RESOLVER);
        }
        if matches!(self, Self::Deny) && !by_rule(decision.effective, decision.effective_rule) {
            (decision.effective, decision.effective_rule) = (Verdict::Deny, RuleId::OTHER_RESOLVER);
            decision.errno = EPERM;
        }
        decision
    }
}

/// The port of DNS.
pub const DNS: u16 = 53;

/// The first word with a match.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    word: u64,
    bits: u64,
    /// The deny rules of that word.
    denies: u64,
}

impl Found {
    /// Nothing yet; `zero` is [`unknown_zero`].
    #[inline(always)]
    pub(crate) fn nothing(zero: u64) -> Self {
        Self { word: zero, bits: zero, denies: zero }
    }

    /// The lowest class, if there is one.
    #[inline(always)]
    pub(crate) fn lowest(&self) -> Option<RuleId> {
        let class = self.word * 64 + u64::from(self.bits.trailing_zeros());
        (self.bits != 0).then_some(RuleId(class as u16))
    }

    /// Keeps the first word with a match. Without a branch, which the verifier would follow both ways at every word.
    #[inline(always)]
    pub(crate) fn keep(&mut self, word: Word, bits: u64, denies: u64) {
        // All ones while nothing was found.
        let open = ((self.bits | self.bits.wrapping_neg()) >> 63).wrapping_sub(1);
        let found = open & ((bits | bits.wrapping_neg()) >> 63).wrapping_neg();
        self.word |= word.index() as u64 & found;
        self.denies |= denies & found;
        self.bits |= bits & found;
    }
}

/// The bit vectors of one attempt. Matching goes word by word, in `bpf_loop` on the kernel side: a plain loop has the
/// verifier walk every combination of words with and without a match.
struct Words<'a, L: Lookup> {
    image: &'a L::Image,
    ports: &'a Vector,
    user: Option<&'a Vector>,
    cgroup: Option<&'a Vector>,
    cidr: Option<&'a CidrEntry>,
    fresh: Option<&'a Binding>,
    older: Option<&'a Binding>,
    truth: Option<&'a Binding>,
    now: u64,
    /// [`UNCLASSIFIED`] to [`DAMAGED`]; in one word, because the stack is small.
    flags: u64,
    verdict: Found,
    effective: Found,
}

/// The cgroup is not classified.
const UNCLASSIFIED: u64 = 1;
/// No name denies the address.
const PROTECTED: u64 = 2;
/// Only a deny rule that names the address reaches it: a CIDR, ..
const BUILTIN: u64 = 4;
/// .. or a name, too, unless it is protected.
const NAMED: u64 = 8;
/// Some lookup of the address still counts.
const LOOKED_UP: u64 = 16;
/// The image lacks a word.
const DAMAGED: u64 = 32;

#[inline(always)]
fn flag(flag: u64, set: bool) -> u64 {
    if set { flag } else { 0 }
}

impl<L: Lookup> Words<'_, L> {
    /// All ones if the flag is set: bits of the words that a condition switches off, for all rules or for some.
    #[inline(always)]
    fn mask(&self, flag: u64) -> u64 {
        (self.flags >> flag.trailing_zeros() & 1).wrapping_neg()
    }
}

impl<L: Lookup> Step for Words<'_, L> {
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let word = Word::of(index.into());
        let Some(classes) = ClassWord::of(self.image, word) else {
            self.flags |= DAMAGED;
            return ControlFlow::Break(());
        };
        let denies = classes.bits(ClassVector::Deny);
        let (mut any_names, mut all_names, mut except_names) = (0, u64::MAX, 0);
        for binding in [self.fresh, self.older, self.truth] {
            let part = |part| L::binding_word(binding, part, word, self.now, denies);
            // Without a branch, as in `Found::keep`.
            let expiry = part(BindingPart::Expiry);
            self.flags |= (expiry | expiry.wrapping_neg()) >> 63 << LOOKED_UP.trailing_zeros();
            any_names |= part(BindingPart::Any);
            all_names &= part(BindingPart::All);
            except_names |= part(BindingPart::Except);
        }
        let cidrs = L::cidr_word(self.cidr, CidrPart::To, word);
        let except_cidrs = L::cidr_word(self.cidr, CidrPart::Except, word);
        // A cgroup that user space has not classified yet has every deny subject and no allow subject.
        let subjects = classes.bits(ClassVector::Everyone)
            | L::vector_word(self.user, word)
            | L::vector_word(self.cgroup, word)
            | classes.bits(ClassVector::ByCgroup) & denies & self.mask(UNCLASSIFIED);
        // A rule that wants all sightings wants at least one.
        let names = any_names & (all_names | !classes.bits(ClassVector::AllSightings));
        let names = names & !(denies & self.mask(PROTECTED)) & !except_cidrs;
        let cidrs = cidrs & !except_names & !except_cidrs;
        let destination = (names | classes.bits(ClassVector::AnyDestination)) & !self.mask(BUILTIN)
            | cidrs & (denies | !self.mask(BUILTIN));
        let destination = destination | names & denies & self.mask(NAMED);
        let matched = destination & self.ports[word] & subjects;
        self.verdict.keep(word, matched, denies);
        self.effective.keep(word, matched & classes.bits(ClassVector::Enforced), denies);
        if self.effective.bits == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// The errno of a refusal that no rule gave another.
pub const EPERM: u8 = 1;

#[cfg(test)]
mod tests;
