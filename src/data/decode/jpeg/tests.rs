use super::*;

const FILES: [&[u8]; 5] = [
    include_bytes!("../../../../tests/fixtures/pictures/baseline.jpg"),
    include_bytes!("../../../../tests/fixtures/pictures/progressive.jpg"),
    include_bytes!("../../../../tests/fixtures/pictures/restarts.jpg"),
    include_bytes!("../../../../tests/fixtures/pictures/restarts_progressive.jpg"),
    include_bytes!("../../../../tests/fixtures/pictures/cmyk.jpg"),
];

#[test]
fn a_file_is_whole_but_for_its_end_marker_and_what_follows() {
    for bytes in FILES {
        whole(bytes).unwrap();
        whole(&[bytes, b"\0\0 padding of a camera \xFF\xD8\xFF"].concat()).unwrap();
        let unmarked = &bytes[..bytes.len() - 2];
        whole(unmarked).unwrap();
        whole(&bytes[..bytes.len() - 1]).unwrap();
        for cut in 0..unmarked.len() {
            assert_eq!(
                whole(&bytes[..cut]),
                Err(SHORT.into()),
                "{cut} of {}",
                bytes.len()
            );
            // With an end marker put after it, a progressive file may say that it was meant so.
            let marked = whole(&[&bytes[..cut], b"\xFF\xD9"].concat());
            assert!(
                marked.is_err() || bytes[cut..].starts_with(&[0xFF]) || bytes[cut - 1] == 0xFF,
                "{cut}"
            );
        }
    }
}

#[test]
fn damage_never_panics() {
    for bytes in FILES {
        for at in 2..bytes.len() {
            for value in [0, 0x7F, 0xFF, bytes[at] ^ 1, bytes[at] ^ 0x80] {
                let mut bad = bytes.to_vec();
                bad[at] = value;
                let _ = whole(&bad);
            }
        }
    }
}
