use super::folder::list;
use super::*;
use proptest::prelude::*;

fn sample(step: u64) -> Checkpoint {
    let tensors =
        [("b.weight", vec![2, 3]), ("a.bias", vec![4])].map(|(name, shape): (&str, Vec<usize>)| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|i| i as f32 + step as f32)
                .collect();
            (name.to_owned(), HostTensor::f32(&shape, &values))
        });
    Checkpoint {
        tensors: tensors.into(),
        state: serde_json::json!({ "step": step, "z": 1, "a": [1, 2] }),
    }
}

#[test]
fn what_is_saved_is_found_and_the_bytes_repeat() {
    let folder = tempfile::tempdir().unwrap();
    assert!(latest(folder.path()).unwrap().is_none());
    for step in [10, 20, 30, 40] {
        save(folder.path(), step, &sample(step), "c", 2).unwrap();
    }
    let found = latest(folder.path()).unwrap().unwrap();
    assert_eq!(
        (found.step, found.checkpoint, found.config_sha256),
        (40, sample(40), "c".into())
    );
    assert_eq!(list(folder.path()).unwrap(), [30, 40]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    assert_eq!(to_bytes(&sample(3)).unwrap(), to_bytes(&sample(3)).unwrap());
}

#[test]
fn what_a_killed_process_left_of_an_old_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    for step in [10, 20, 30] {
        save(folder.path(), step, &sample(step), "c", 9).unwrap();
    }
    // Killed between the two files of which it let go, and before the second of a new one.
    let at = |name: &str| folder.path().join(name);
    std::fs::remove_file(at("step-00000010.json")).unwrap();
    std::fs::copy(
        at("step-00000030.safetensors"),
        at("step-00000040.safetensors"),
    )
    .unwrap();
    prune(folder.path(), 30, 1).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "step-00000030.json",
            "step-00000030.safetensors",
            "step-00000040.safetensors"
        ]
    );
}

#[test]
fn a_damaged_one_is_named_and_the_one_before_used() {
    let folder = tempfile::tempdir().unwrap();
    for damage in 0..4 {
        save(folder.path(), 1, &sample(1), "c", 9).unwrap();
        save(folder.path(), 2, &sample(2), "c", 9).unwrap();
        let (tensors, manifest) = (
            folder.path().join("step-00000002.safetensors"),
            folder.path().join("step-00000002.json"),
        );
        let mut bytes = std::fs::read(&tensors).unwrap();
        match damage {
            0 => std::fs::write(&tensors, &bytes[..bytes.len() - 3]).unwrap(),
            1 => {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                std::fs::write(&tensors, &bytes).unwrap();
            }
            2 => std::fs::remove_file(&tensors).unwrap(),
            _ => std::fs::write(&manifest, b"{\"format\": 1,").unwrap(),
        }
        let found = latest(folder.path()).unwrap().unwrap();
        assert_eq!(found.step, 1);
        assert!(
            found.warnings.len() == 1 && found.warnings[0].contains("step-00000002"),
            "{:?}",
            found.warnings
        );
    }
    // Tensors whose manifest was never written do not count at all.
    std::fs::remove_file(folder.path().join("step-00000002.json")).unwrap();
    assert!(latest(folder.path()).unwrap().unwrap().warnings.is_empty());
    std::fs::write(folder.path().join("step-00000001.safetensors"), b"").unwrap();
    assert!(
        latest(folder.path())
            .unwrap_err()
            .to_string()
            .contains("step-00000001")
    );
}

#[test]
fn files_of_others_are_refused_in_words() {
    let path = Path::new("x.safetensors");
    let text = |r: Result<Checkpoint>| r.unwrap_err().to_string();
    let foreign = safetensors::serialize(Vec::<(String, TensorView)>::new(), None).unwrap();
    assert!(text(from_bytes(path, &foreign)).contains("none that wgvq wrote"));
    let metadata = HashMap::from([(
        KEY.to_owned(),
        r#"{"format": 99, "version": "9.9"}"#.to_owned(),
    )]);
    let newer = safetensors::serialize(Vec::<(String, TensorView)>::new(), Some(metadata)).unwrap();
    assert!(text(from_bytes(path, &newer)).contains("9.9"));
    assert!(load_file(Path::new("/nonexistent/x")).is_err());
}

/// A program that knows no bfloat16 refuses what holds some, with the version that wrote it; what
/// holds none it reads.
#[test]
fn bfloat16_has_a_format_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |checkpoint: &Checkpoint| {
        save(folder.path(), 1, checkpoint, "c", 1).unwrap();
        let found = latest(folder.path()).unwrap().unwrap();
        assert_eq!(found.checkpoint, *checkpoint);
        let path = folder.path().join("step-00000001.safetensors");
        let (_, metadata) = SafeTensors::read_metadata(&read(&path).unwrap()).unwrap();
        assert_eq!(header_of(&path, &metadata).unwrap()["format"], found.format);
        // A tensor at a time, too.
        let lazy = LazyCheckpoint::from(checkpoint.clone());
        let never = |_: &str, _: Dtype, _: &[u8]| Ok(());
        save_lazy(folder.path(), 2, &lazy, "c", 1, never).unwrap();
        assert_eq!(latest(folder.path()).unwrap().unwrap().format, found.format);
        found.format
    };
    let mut checkpoint = sample(1);
    assert_eq!(saved(&checkpoint), 4);
    let halves = HostTensor {
        shape: vec![2],
        dtype: Dtype::BF16,
        bytes: vec![0, 0, 0x80, 0x3f],
    };
    checkpoint.tensors.insert("adam.m.a".into(), halves);
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(saved(&checkpoint), 5);
    let said = check_format(5, "0.2.0", 4).unwrap_err();
    assert!(said.contains("format 5") && said.contains("0.2.0") && said.ends_with("up to 4"));
    (1..=5).for_each(|format| check_format(format, "0.1.0", FORMAT).unwrap());
    assert!(check_format(0, "", FORMAT).is_err());
    // Earlier versions wrote bfloat16 in format 4.
    let before = to_bytes_of(&checkpoint, 4, "0.1.0").unwrap();
    assert_eq!(from_bytes(Path::new("x"), &before).unwrap(), checkpoint);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = from_bytes(Path::new("x"), &bytes);
    }

    #[test]
    fn any_damage_is_read_or_refused(at in 0usize..400, to in any::<u8>(), cut in 0usize..400) {
        let mut bytes = to_bytes(&sample(1)).unwrap();
        let len = bytes.len();
        bytes[at % len] = to;
        let _ = from_bytes(Path::new("x"), &bytes);
        bytes.truncate(cut % len);
        prop_assert!(from_bytes(Path::new("x"), &bytes).is_err());
    }
}
