//! The reader of lines against a simple model of it: the same bytes give the same lines, in any
//! packets. No line is longer than permitted, and none has control characters for a terminal.

use proptest::prelude::*;
use socket_stages::lines::{Lines, TooLong, printable};

/// The lines of these packets, followed by the end of the stream.
fn fed(longest: usize, packets: &[&[u8]]) -> Vec<Result<String, TooLong>> {
    let mut lines = Lines::new(longest);
    let packets = packets.iter().filter(|packet| !packet.is_empty());
    let mut all = Vec::new();
    for packet in packets.chain([&&[][..]]) {
        all.extend(lines.feed(packet).map(|line| line.map(String::from)));
    }
    all
}

/// The same from all the bytes at once. It does not save memory.
fn model(longest: usize, bytes: &[u8]) -> Vec<Result<String, TooLong>> {
    let mut all = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > longest {
            all.push(Err(TooLong(longest)));
            break;
        }
        let text = String::from_utf8_lossy(line);
        all.push(Ok(printable(&text).into_owned()));
    }
    all
}

/// Bytes among which line ends, halves of characters and control characters are frequent.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"\n\r\n\r\t\x1b\x00\xc3\xb1\xe6\xbc\xa2\xff".to_vec()),
        2 => prop::sample::select(b"abc ".to_vec()),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..200)
}

proptest! {
    #[test]
    fn any_bytes_in_any_packets_give_the_same_lines(
        bytes in bytes(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        longest in 1..40usize,
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let packets: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(fed(longest, &packets), model(longest, &bytes));
    }

    #[test]
    fn no_line_has_a_control_character(bytes in bytes()) {
        for line in fed(1000, &[&bytes]) {
            prop_assert!(!line.unwrap().contains(|c: char| c.is_control() && c != '\t'));
        }
    }
}
