use super::*;

const RANDOM: [u64; 8] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 3, 4, 5, 6, 7, 8];

fn sets_of(image: &Vec<Vector>, text: &str) -> Vec<u16> {
    let meta = Meta::of(image).unwrap();
    let key = image.bucket(KEY).unwrap();
    let mut to = Vector::EMPTY;
    let mut hash = name::START;
    for byte in text.bytes().rev() {
        if byte == b'.' {
            to.union(set(image, &meta, find(image, &meta, key, hash, Form::Below)).unwrap().0);
        }
        hash = name::push(key, hash, byte);
    }
    to.union(set(image, &meta, find(image, &meta, key, hash, Form::Exact)).unwrap().0);
    to.classes().collect()
}

#[test]
fn one_pass_finds_the_name_and_every_suffix() {
    let mut builder = ImageBuilder::new(1, 512, RANDOM);
    builder.name("evil.example", Form::Below, 0, false).unwrap();
    builder.name("www.evil.example", Form::Exact, 1, false).unwrap();
    builder.name("example", Form::Below, 2, false).unwrap();
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
    let mut builder = ImageBuilder::new(1, 512, RANDOM);
    for n in 0..100_000 {
        builder.name(&format!("n{n}.test"), Form::Exact, (n % 512) as u16, false).unwrap();
    }
    let image = builder.build().unwrap();
    for n in 0..100_000 {
        assert_eq!(sets_of(&image, &format!("n{n}.test")), [(n % 512) as u16], "n{n}.test");
        assert_eq!(sets_of(&image, &format!("x{n}.test")), []);
    }
    assert!(image.len() * 64 < 100_000 * 13, "{} buckets", image.len());
}

#[test]
fn a_port_has_the_rules_of_its_ranges_and_those_without_ports() {
    let mut builder = ImageBuilder::new(1, 512, RANDOM);
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
    let mut builder = ImageBuilder::new(1, 512, RANDOM);
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
