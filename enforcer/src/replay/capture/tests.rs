use super::*;
use std::io::Write as _;

/// The file header of pcap (draft-ietf-opsawg-pcap section 4), raw IP.
fn pcap(magic: u32) -> Vec<u8> {
    let mut file = magic.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(262_144_u32.to_le_bytes());
    file.extend(101_u32.to_le_bytes());
    file
}

fn packet(seconds: u32, fraction: u32, length: u32, bytes: &[u8]) -> Vec<u8> {
    let words = [seconds, fraction, bytes.len() as u32, length];
    [&words.map(u32::to_le_bytes).concat()[..], bytes].concat()
}

/// Times, lengths and bytes of the frames in a file, and how reading it ended.
struct Capture {
    frames: Vec<(u64, u32, Vec<u8>)>,
    end: Result<(), CaptureError>,
}

fn capture(file: &[u8]) -> Capture {
    let mut path = tempfile::NamedTempFile::new().unwrap();
    path.write_all(file).unwrap();
    let mut frames = Vec::new();
    let end = read(path.path(), |frame| {
        assert_eq!((frame.number, frame.link), (frames.len() as u64 + 1, 101));
        frames.push((frame.time, frame.length, frame.bytes.to_vec()));
    });
    Capture { frames, end }
}

#[test]
fn both_resolutions_of_pcap_are_read() {
    for (magic, expected) in [(0xa1b2_c3d4, 7_000_005_000), (0xa1b2_3c4d, 7_000_000_005)] {
        let file = [pcap(magic), packet(7, 5, 60, &[1, 2, 3]), packet(7, 5, 0, &[])].concat();
        let Capture { frames, end } = capture(&file);
        end.unwrap();
        assert_eq!(frames, [(expected, 60, vec![1, 2, 3]), (expected, 0, vec![])]);
    }
}

#[test]
fn a_capture_that_ends_early_is_read_so_far() {
    let file = [pcap(0xa1b2_c3d4), packet(7, 5, 3, &[1, 2, 3]), packet(8, 5, 3, &[4, 5, 6])].concat();
    for length in 0..file.len() {
        let Capture { frames, end } = capture(&file[..length]);
        let whole = length.saturating_sub(24) / 19;
        assert_eq!(frames.len(), whole, "{length}");
        match end {
            Ok(()) => assert!(length == 24 || length == 24 + 19, "{length}"),
            Err(CaptureError::Damaged { after, .. }) => assert_eq!(after, whole as u64, "{length}"),
            Err(CaptureError::Format(_)) => assert!(length < 24, "{length}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_is_no_capture_is_an_error_with_a_hint() {
    for (path, expected) in [
        ("/nowhere", "cannot read `/nowhere`"),
        ("/", "cannot read `/`"),
        ("/dev/null", "no pcap or pcapng file"),
    ] {
        let error = read(Path::new(path), |_| panic!("no frame")).unwrap_err();
        assert!(error.to_string().contains(expected) && !error.help().is_empty(), "{error}");
    }
}

#[test]
fn times_have_any_unit() {
    assert_eq!(nanoseconds(3, 1, 10), 13_000_000_000);
    assert_eq!(nanoseconds(1 << 31, 1 << 32, 0), 500_000_000);
    assert_eq!(nanoseconds(5, 0, -10), 0);
    assert_eq!(nanoseconds(u64::MAX, 1, i64::MAX), u64::MAX);
}
