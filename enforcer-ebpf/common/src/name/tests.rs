use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const RANDOM: [u64; 8] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 3, 4, 5, 6, 7, 8];

fn exact(random: [u64; 8], name: &str) -> Place {
    let key = key(random);
    place(&key, Hasher::new(&key).hash(name.as_bytes()))
}

#[test]
fn a_name_is_hashed_from_its_end() {
    let key = key(RANDOM);
    let mut pushed = START;
    for byte in b"www.evil.example".iter().rev() {
        pushed = push(&key, pushed, *byte);
    }
    assert_eq!(pushed, Hasher::new(&key).hash(b"www.evil.example"));
    assert_eq!(Hasher::new(&key).hash(b""), START);
}

#[test]
fn the_order_and_the_number_of_bytes_count() {
    let names = ["ab", "ba", "a", "aa", "aaa", "a.a", "", "\0", "\0\0", "A", "a"];
    let places: HashSet<_> = names.iter().map(|name| exact(RANDOM, name).fingerprint).collect();
    assert_eq!(places.len(), names.len() - 1, "only the two `a` share a place");
}

#[test]
fn every_word_of_the_key_that_is_used_moves_a_name() {
    let before = exact(RANDOM, "evil.example");
    for (word, what) in [(0, "first multiplier"), (1, "second multiplier"), (2, "place"), (3, "second place")]
    {
        let mut random = RANDOM;
        random[word] ^= 1 << 20;
        assert_ne!(exact(random, "evil.example"), before, "{what}");
    }
}

#[test]
fn no_random_words_make_a_key_that_forgets_positions() {
    for random in [[0; 8], [1; 8], [PRIME; 8], [PRIME - 1; 8], [PRIME - 2; 8], [u64::MAX; 8]] {
        let [low, high, ..] = key(random).0;
        assert!((2..PRIME).contains(&low) && (2..PRIME).contains(&high), "{random:?}");
    }
}

#[test]
fn a_million_names_do_not_collide() {
    let key = key(RANDOM);
    let mut seen = HashSet::with_capacity(1_000_000);
    for n in 0..1_000_000_u32 {
        let name = match n % 4 {
            0 => format!("n{n}.test"),
            1 => format!("{n}.evil.example"),
            2 => format!("www.{n:x}.com"),
            _ => format!("a.b.c.{}.{}.net", n / 1000, n % 1000),
        };
        let Place { fingerprint, first, .. } = place(&key, Hasher::new(&key).hash(name.as_bytes()));
        assert!(seen.insert((fingerprint, first)), "{name}");
    }
}

#[test]
fn places_fill_the_table_evenly() {
    let key = key(RANDOM);
    let mut buckets = [[0_u32; 64]; 2];
    for n in 0..64_000 {
        let Place { first, second, .. } =
            place(&key, Hasher::new(&key).hash(format!("n{n}.test").as_bytes()));
        buckets[0][((first * 64) >> 32) as usize] += 1;
        buckets[1][((second * 64) >> 32) as usize] += 1;
    }
    for count in buckets.into_iter().flatten() {
        assert!((800..1200).contains(&count), "{count} of 1,000");
    }
}

proptest! {
    #[test]
    fn the_hash_of_a_suffix_is_the_state_at_its_first_byte(random: [u64; 8], front: Vec<u8>, suffix: Vec<u8>) {
        let key = key(random);
        let whole = [front.as_slice(), suffix.as_slice()].concat();
        let state = Hasher::new(&key).hash(&suffix);
        prop_assert_eq!(front.iter().rev().fold(state, |state, byte| push(&key, state, *byte)), Hasher::new(&key).hash(&whole));
    }

    #[test]
    fn a_place_has_48_32_and_32_bits(random: [u64; 8], name: Vec<u8>) {
        let key = key(random);
        let Place { fingerprint, first, second } = place(&key, Hasher::new(&key).hash(&name));
        prop_assert!(fingerprint < 1 << 48 && first < 1 << 32 && second < 1 << 32);
    }

    /// The halves stay below 2^32, so that one never runs into the other, and are right modulo 2^31-1.
    #[test]
    fn both_halves_are_polynomials_modulo_the_prime(random: [u64; 8], name in proptest::collection::vec(any::<u8>(), 0..255)) {
        let key = key(random);
        let expected = |multiplier: u64| {
            name.iter().rev().fold(1_u128, |sum, byte| {
                (sum * u128::from(multiplier) + u128::from(*byte) + 1) % u128::from(PRIME)
            })
        };
        let hash = Hasher::new(&key).hash(&name);
        let [low, high, ..] = key.0;
        prop_assert_eq!(u128::from((hash & 0xffff_ffff) % PRIME), expected(low));
        prop_assert_eq!(u128::from((hash >> 32) % PRIME), expected(high));
    }
}
