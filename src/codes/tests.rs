use super::*;

fn sample(codebook_size: usize) -> Codes {
    Codes {
        model: "abcdef0123456789".into(),
        quantizer: "ema".into(),
        levels: vec![Level {
            name: String::new(),
            grid: [2, 3],
            codebook_size,
            codebooks: 1,
        }],
        image: [12, 8, 3],
        names: vec!["one".into(), "zwei".into()],
        indices: (0..12).collect(),
    }
}

#[test]
fn codes_come_back_and_know_their_model() {
    let folder = tempfile::tempdir().unwrap();
    for size in [512, 1 << 20] {
        let path = folder.path().join("c.safetensors");
        sample(size).save(&path).unwrap();
        let again = Codes::load(&path).unwrap();
        assert_eq!(again, sample(size));
        again.check_model("abcdef0123456789").unwrap();
        assert!(
            again
                .check_model("fff")
                .unwrap_err()
                .to_string()
                .contains("abcdef012345")
        );
    }
    let path = folder.path().join("stack.safetensors");
    let mut stack = Codes {
        indices: (0..24).collect(),
        ..sample(64)
    };
    stack.levels[0].codebooks = 2;
    stack.save(&path).unwrap();
    assert_eq!(Codes::load(&path).unwrap(), stack);
}

fn hierarchy() -> Codes {
    let level = |name: &str, grid, codebook_size| Level {
        name: name.into(),
        grid,
        codebook_size,
        codebooks: 1,
    };
    let levels = vec![level("top", [1, 2], 1 << 20), level("bottom", [2, 4], 64)];
    Codes {
        levels,
        indices: [[70_000, 1], [2, 3]]
            .iter()
            .flat_map(|top| top.iter().copied().chain(10..18))
            .collect(),
        ..sample(64)
    }
}

#[test]
fn levels_lie_apart_in_files_and_together_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.safetensors");
    let codes = hierarchy();
    assert_eq!(codes.of_level(0), [70_000, 1, 2, 3]);
    codes.save(&path).unwrap();
    assert_eq!(Codes::load(&path).unwrap(), codes);
    let (file, _) = checkpoint::load_file(&path).unwrap();
    assert_eq!(file.tensors["indices.top"].shape, [2, 1, 2]);
    assert_eq!(file.tensors["indices.bottom"].dtype, Dtype::U16);
    codes.save_npy(&folder.path().join("h.npy")).unwrap();
    assert!(
        folder.path().join("h-top.npy").is_file() && folder.path().join("h-bottom.npy").is_file()
    );
    // A code that is the top's, and not the bottom's.
    let mut wrong = codes.indices.clone();
    wrong[2] = 70_000;
    assert!(
        check(&codes.levels, &wrong)
            .unwrap_err()
            .to_string()
            .contains("bottom level has 64")
    );
    assert!(check(&codes.levels, &wrong[1..]).is_err());
    assert!(
        Codes {
            indices: wrong,
            ..codes
        }
        .save(&path)
        .is_err()
    );
}

#[test]
fn numpy_reads_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.npy");
    sample(512).save_npy(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!((10 + header) % 64, 0);
    assert_eq!(bytes.len(), 10 + header + 24);
    assert!(String::from_utf8_lossy(&bytes[10..10 + header]).contains("'shape': (2, 2, 3, )"));
}

#[test]
fn codes_past_the_codebook_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    assert!(
        sample(8)
            .save(&path)
            .unwrap_err()
            .to_string()
            .contains("a code 8")
    );
    assert!(!path.exists());
    // A file that says it all the same: what is written is not what is believed.
    sample(512).save(&path).unwrap();
    let (mut file, _) = checkpoint::load_file(&path).unwrap();
    file.state["codes"]["codebook_size"] = 8.into();
    checkpoint::save_file(&path, &file).unwrap();
    assert!(
        Codes::load(&path)
            .unwrap_err()
            .to_string()
            .contains("a code 8")
    );
}

#[test]
fn sizes_that_no_image_has_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let huge = usize::MAX;
    for image in [
        [0, 8, 3],
        [12, 0, 3],
        [12, 8, 0],
        [huge, huge, 3],
        [12, 8, huge],
    ] {
        let codes = Codes {
            image,
            ..sample(64)
        };
        let said = codes.save(&path).unwrap_err().to_string();
        assert!(said.contains(&image[0].to_string()), "{said}");
    }
    // Of no latents there are no codes, which are as many as there are to be.
    let mut none = Codes {
        indices: Vec::new(),
        ..sample(64)
    };
    none.levels[0].grid = [0, 3];
    assert!(none.save(&path).unwrap_err().to_string().contains("0 x 3"));
}
