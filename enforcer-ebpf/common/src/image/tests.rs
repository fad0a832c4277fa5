use super::*;

const RANDOM: [u64; 8] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 3, 4, 5, 6, 7, 8];

fn sets_of(image: &Vec<Vector>, text: &str) -> Vec<u16> {
    let meta = Meta::of(image).unwrap();
    let key = image.bucket(KEY).unwrap();
    let mut to = Vector::EMPTY;
    let mut hash = name::START;
    for byte in text.bytes().rev() {
        if byte == b'.' {
            to.union(set(image, &meta, find(image, &meta, key, hash), Form::Below).unwrap().0);
        }
        hash = name::push(key, hash, byte);
    }
    to.union(set(image, &meta, find(image, &meta, key, hash), Form::Exact).unwrap().0);
    to.classes().collect()
}

#[test]
fn one_pass_finds_the_name_and_every_suffix() {
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    builder.names([b"evil.example".as_slice()], &[Form::Below], 0, false).unwrap();
    builder.names([b"www.evil.example".as_slice()], &[Form::Exact], 1, false).unwrap();
    builder.names([b"example".as_slice()], &[Form::Below], 2, false).unwrap();
    let image = builder.build().unwrap();
    assert_eq!(sets_of(&image, "www.evil.example"), [0, 1, 2]);
    assert_eq!(sets_of(&image, "a.b.evil.example"), [0, 2]);
    assert_eq!(sets_of(&image, "evil.example"), [2]);
    assert_eq!(sets_of(&image, "notevil.example"), [2]);
    assert_eq!(sets_of(&image, "www.evil.example.test"), []);
    assert_eq!(sets_of(&image, "example"), []);
}

#[test]
fn a_hundred_thousand_names_are_all_found_and_no_other() {
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    // More at once than are hashed together, and the rest one by one.
    let names: Vec<String> = (0..100_000).map(|n| format!("n{n}.test")).collect();
    let (many, few) = names.split_at(90_000);
    for (n, half) in many.chunks(45_000).enumerate() {
        builder.names(half.iter().map(String::as_bytes), &[Form::Exact], n as u16, false).unwrap();
    }
    for (n, name) in few.iter().enumerate() {
        builder.names([name.as_bytes()], &[Form::Exact], 2 + (n % 510) as u16, false).unwrap();
    }
    let image = builder.build().unwrap();
    for n in 0..100_000 {
        let class = if n < 90_000 { n / 45_000 } else { 2 + (n - 90_000) % 510 };
        assert_eq!(sets_of(&image, &format!("n{n}.test")), [class as u16], "n{n}.test");
        assert_eq!(sets_of(&image, &format!("x{n}.test")), []);
    }
    assert!(image.len() * 64 < 100_000 * 14, "{} buckets", image.len());
}

#[test]
fn a_port_has_the_rules_of_its_ranges_and_those_without_ports() {
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    builder.port(3, Protocol::Tcp, 443..=443);
    builder.port(3, Protocol::Udp, 443..=443);
    builder.port(4, Protocol::Udp, 8000..=8100);
    builder.port(4, Protocol::Udp, 65_535..=65_535);
    let image = builder.build().unwrap();
    let meta = Meta::of(&image).unwrap();
    let has = |class, protocol, port| ports(&image, &meta, protocol, port).unwrap().contains(class);
    assert!(has(3, Protocol::Tcp, 443) && has(3, Protocol::Udp, 443));
    assert!(!has(3, Protocol::Tcp, 442) && !has(3, Protocol::Tcp, 444) && !has(3, Protocol::Udp, 0));
    assert!(has(4, Protocol::Udp, 8000) && has(4, Protocol::Udp, 8100) && has(4, Protocol::Udp, 65_535));
    assert!(!has(4, Protocol::Udp, 8101) && !has(4, Protocol::Tcp, 8000) && !has(4, Protocol::Udp, 7999));
    assert!(has(5, Protocol::Tcp, 1) && has(511, Protocol::Udp, 65_535));
}

#[test]
fn each_class_keeps_its_errno() {
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    for class in 0..512 {
        builder.errno(class, (class % 133 + 1) as u8);
    }
    let image = builder.build().unwrap();
    for class in 0..512 {
        assert_eq!(errno(&image, class), Some((class % 133 + 1) as u8));
    }
}

#[test]
fn what_is_no_image_has_no_meta() {
    assert_eq!(Meta::of(&vec![Vector::FULL; 40]), None);
    assert_eq!(Meta::of(&Vec::new()), None);
}

#[test]
fn what_a_name_excepts_is_kept_apart_from_what_it_matches() {
    let mut builder = ImageBuilder::new(1, 3, 100_000, RANDOM).unwrap();
    builder.names([b"evil.example".as_slice()], &[Form::Below], 0, false).unwrap();
    builder.names([b"ok.evil.example".as_slice()], &[Form::Exact], 0, true).unwrap();
    builder.names([b"ok.evil.example".as_slice()], &[Form::Exact], 2, false).unwrap();
    let image = builder.build().unwrap();
    let meta = Meta::of(&image).unwrap();
    let key = image.bucket(KEY).unwrap();

    let number = find(&image, &meta, key, name::Hasher::new(key).hash(b"ok.evil.example"));
    let (to, except) = set(&image, &meta, number, Form::Exact).unwrap();

    assert_eq!(to.classes().collect::<Vec<_>>(), [2]);
    assert_eq!(except.classes().collect::<Vec<_>>(), [0]);
}

#[test]
fn names_in_the_stash_are_found() {
    let names: Vec<String> = (0..12).map(|n| format!("n{n}.test")).collect();
    let mut with_stash = 0;
    for seed in 0..2_000_u64 {
        let random =
            [1, 2, 3, 4, 5, 6, 7, 8].map(|n: u64| (n + seed * 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Two buckets, as for fewer names.
        let mut builder = ImageBuilder::new(1, 12, 10, random).unwrap();
        for (class, name) in names.iter().enumerate() {
            builder.names([name.as_bytes()], &[Form::Exact], class as u16, false).unwrap();
        }
        let image = builder.build().unwrap();
        if image[STASH as usize].is_empty() {
            continue;
        }
        with_stash += 1;
        for (class, name) in names.iter().enumerate() {
            assert_eq!(sets_of(&image, name), [class as u16], "seed {seed}");
        }
    }
    assert!(with_stash > 0, "no key filled the stash");
}

#[test]
fn an_image_without_names_finds_none() {
    let image = ImageBuilder::new(1, 0, 100_000, RANDOM).unwrap().build().unwrap();
    assert_eq!(sets_of(&image, "example"), []);
    assert_eq!(sets_of(&image, ""), []);
}

#[test]
fn the_numbers_of_an_image_are_those_given() {
    let mut builder = ImageBuilder::new(7, 65, 100_000, RANDOM).unwrap();
    builder.default(true, false);
    builder.hold_allow(600);
    builder.mark(ClassVector::Deny, 64);
    builder.mark(ClassVector::Enforced, 63);
    let image = builder.build().unwrap();
    let meta = Meta::of(&image).unwrap();
    assert_eq!((meta.version(), meta.hold_allow(), meta.words()), (7, 600, 2));
    assert_eq!((meta.default_deny(), meta.default_enforced()), (true, false));
    assert_eq!((meta.by_cgroup(), meta.enforced_deny()), (false, false));
    let literal = (meta.literal_deny(), meta.literal_enforced(), meta.binds_everything());
    assert_eq!(literal, (false, false, false));

    let mut builder = ImageBuilder::new(7, 65, 100_000, RANDOM).unwrap();
    builder.default(false, true);
    builder.literal(true, false);
    builder.mark(ClassVector::Deny, 64);
    builder.mark(ClassVector::Enforced, 64);
    builder.mark(ClassVector::ByCgroup, 0);
    let image = builder.build().unwrap();
    let meta = Meta::of(&image).unwrap();
    assert_eq!((meta.default_deny(), meta.default_enforced()), (false, true));
    assert_eq!((meta.by_cgroup(), meta.enforced_deny()), (true, true));
    let literal = (meta.literal_deny(), meta.literal_enforced(), meta.binds_everything());
    assert_eq!(literal, (true, false, true));
}

#[test]
fn every_class_vector_is_found_word_by_word() {
    let vectors = [
        ClassVector::Deny,
        ClassVector::Enforced,
        ClassVector::AnyDestination,
        ClassVector::AllSightings,
        ClassVector::Everyone,
        ClassVector::ByCgroup,
    ];
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    for (n, vector) in vectors.into_iter().enumerate() {
        builder.mark(vector, n as u16 * 70);
    }
    let image = builder.build().unwrap();
    for (n, vector) in vectors.into_iter().enumerate() {
        for word in 0..8 {
            let expected = if n * 70 / 64 == word { 1 << (n * 70 % 64) } else { 0 };
            assert_eq!(
                ClassWord::of(&image, Word::of(word as u64)).unwrap().bits(vector),
                expected,
                "{vector:?} {word}"
            );
        }
    }
}

#[test]
fn ranges_that_overlap_or_touch_add_up() {
    let mut builder = ImageBuilder::new(1, 3, 100_000, RANDOM).unwrap();
    builder.port(0, Protocol::Tcp, 0..=65_535);
    builder.port(1, Protocol::Tcp, 10..=20);
    builder.port(1, Protocol::Tcp, 15..=30);
    builder.port(1, Protocol::Tcp, 31..=31);
    builder.port(2, Protocol::Tcp, 0..=0);
    let image = builder.build().unwrap();
    let meta = Meta::of(&image).unwrap();
    for port in 0..=65_535_u16 {
        let vector = ports(&image, &meta, Protocol::Tcp, port).unwrap();
        let expected = [true, (10..=31).contains(&port), port == 0];
        assert_eq!([0, 1, 2].map(|class| vector.contains(class)), expected, "{port}/tcp");
        let vector = ports(&image, &meta, Protocol::Udp, port).unwrap();
        assert_eq!([0, 1, 2].map(|class| vector.contains(class)), [false; 3], "{port}/udp");
    }
}

#[test]
fn an_errno_given_twice_is_the_last_one() {
    let mut builder = ImageBuilder::new(1, 1, 100_000, RANDOM).unwrap();
    builder.errno(0, 1);
    builder.errno(0, 110);
    assert_eq!(errno(&builder.build().unwrap(), 0), Some(110));
}

#[test]
fn more_sets_than_a_number_tells_apart_are_refused() {
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    let pairs = (0..512_u16).flat_map(|a| (a + 1..512).map(move |b| (a, b)));
    let mut result = Ok(());
    for (n, (a, b)) in pairs.enumerate().take(0x1_0001) {
        let name = format!("n{n}.test");
        result = result.and_then(|()| builder.names([name.as_bytes()], &[Form::Exact], a, false));
        result = result.and_then(|()| builder.names([name.as_bytes()], &[Form::Exact], b, false));
    }
    assert_eq!(result, Err(ImageError::TooManySets));
}

/// Only combinations that some name has in the end count, not those on the way there.
#[test]
fn sets_that_no_name_has_any_longer_do_not_count() {
    let mut builder = ImageBuilder::new(1, 512, 100_000, RANDOM).unwrap();
    let pairs = (0..512_u16).flat_map(|a| (a + 1..512).map(move |b| (a, b)));
    let pairs: Vec<_> = pairs.filter(|(a, b)| *a != 511 && *b != 511).take(40_000).collect();
    for class in 0..3 {
        for (n, (a, b)) in pairs.iter().enumerate() {
            let class = [*a, *b, 511][class];
            assert_eq!(
                builder.names([format!("n{n}.test").as_bytes()], &[Form::Exact], class, false),
                Ok(()),
                "{n}"
            );
        }
    }
}

#[test]
fn a_table_takes_the_names_it_was_made_for_and_then_says_so() {
    let mut builder = ImageBuilder::new(1, 1, 6000, RANDOM).unwrap();
    let mut result = Ok(());
    let mut taken = 0;
    while result == Ok(()) && taken < 20_000 {
        result = builder.names([format!("n{taken}.test").as_bytes()], &[Form::Exact], 0, false);
        taken += 1;
    }
    assert_eq!(result, Err(ImageError::NoRoom));
    assert!((6000..=8000).contains(&taken), "{taken}");
}

#[test]
fn an_image_can_be_given_another_number() {
    let mut image = ImageBuilder::new(1, 1, 1, RANDOM).unwrap().build().unwrap();
    let before = image.clone();
    renumber(&mut image, 9);
    assert_eq!(Meta::of(&image).unwrap().version(), 9);
    renumber(&mut image, 1);
    assert_eq!(image, before);
}

/// What the globs of an image match, by class.
fn globs_of(image: &Vec<Vector>, text: &str) -> Vec<u16> {
    let meta = Meta::of(image).unwrap();
    let globs = meta.globs();
    let state = text.bytes().rev().fold(globs.start(), |state, byte| globs.step(image, state, byte));
    set(image, &meta, globs.set(image, state), Form::Exact).unwrap().0.classes().collect()
}

#[test]
fn globs_of_many_rules_are_told_apart() {
    let mut builder = ImageBuilder::new(1, 512, 1, RANDOM).unwrap();
    for class in 0..512 {
        builder.glob(format!("w{class}x*.ads.test").as_bytes(), &[Form::Exact, Form::Below], class, false);
    }
    let image = builder.build().unwrap();
    for class in [0, 1, 9, 10, 99, 500, 511] {
        assert_eq!(globs_of(&image, &format!("w{class}x.ads.test")), [class]);
        assert_eq!(globs_of(&image, &format!("w{class}x--1.ads.test")), [class]);
        assert_eq!(globs_of(&image, &format!("a.b.w{class}x1.ads.test")), [class]);
        assert_eq!(globs_of(&image, &format!("v{class}x1.ads.test")), []);
        assert_eq!(globs_of(&image, &format!("w{class}x1.x.ads.test")), []);
    }
}

#[test]
fn an_image_without_globs_has_no_automaton() {
    let image = ImageBuilder::new(1, 512, 1, RANDOM).unwrap().build().unwrap();
    assert_eq!(Meta::of(&image).unwrap().globs().start(), 0);
}

/// Words anywhere in a label: of one rule they are looked for at once, of several rules each has to be remembered.
#[test]
fn globs_that_mean_the_same_do_not_multiply() {
    let size = |classes: u16| {
        let mut builder = ImageBuilder::new(1, 512, 1, RANDOM).unwrap();
        for number in 0..200_u16 {
            let word = u32::from(number).wrapping_mul(2_654_435_761) >> 8;
            builder.glob(format!("*{word:x}*.test").as_bytes(), &[Form::Exact], number % classes, false);
        }
        builder.build().map(|image| image.len())
    };
    let one = size(1).unwrap();
    assert!((1000..2500).contains(&one), "{one} buckets");
    assert!(matches!(size(20), Err(ImageError::TooManyGlobs { .. })));
}
