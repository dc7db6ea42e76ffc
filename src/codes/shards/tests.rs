use super::*;
use crate::codes::tokens::TokenDatasetInfo;
use crate::models::Level;
use crate::models::prior::Vocabulary;
use std::collections::HashMap;
use std::ops::Range;

fn codes(images: usize) -> ShardSource {
    ShardSource::Codes {
        model: "m".into(),
        quantizer: "ema".into(),
        levels: vec![Level {
            name: String::new(),
            grid: [2, 2],
            codebook_size: 8,
            codebooks: 1,
        }],
        image: [8, 8, 3],
        data: "here".into(),
        data_sha256: "d".into(),
        images,
    }
}

fn tokens(train: usize, test: usize) -> ShardSource {
    let vocabulary = Vocabulary {
        codebook_size: 8,
        codebooks: 1,
        grid: [2, 2],
        classes: 0,
        above: Vec::new(),
        text: None,
        scales: None,
    };
    let about = TokenDatasetInfo {
        model: "m".into(),
        quantizer: "ema".into(),
        level: String::new(),
        vocabulary,
        image: [8, 8, 3],
        classes: Vec::new(),
        data: "here".into(),
        data_sha256: "d".into(),
        mirrored: true,
        reader: String::new(),
    };
    ShardSource::Tokens {
        about: Box::new(about),
        train,
        test,
    }
}

#[test]
fn shards_are_all_batches_in_their_order() {
    for source in [codes(10_000), codes(1), tokens(1000, 300), tokens(100, 20)] {
        let whole: Vec<Batch> = source.all_batches().collect();
        for of in [1, 2, 7, 50] {
            let (mut all, mut end) = (Vec::new(), 0);
            for number in 1..=of {
                let shard = ShardNumber::new(number, of).unwrap();
                let (batches, [from, to]) = (source.batches(shard), source.rows(shard));
                let rows: usize = batches.iter().map(|b| b.images.len()).sum();
                assert_eq!((from, to), (end, end + rows), "{shard}");
                all.extend(batches);
                end = to;
            }
            assert_eq!(all, whole);
        }
    }
    // As many images as a manifest may say, of which nothing is made.
    let (most, mut end) = (codes(u32::MAX as usize), 0);
    for number in 1..=100_000 {
        let [from, to] = most.rows(ShardNumber::new(number, 100_000).unwrap());
        assert_eq!(from, end);
        end = to;
    }
    assert_eq!(end, u32::MAX as usize);
    // Images, and of the training split each mirrored, too.
    let rows = |source: &ShardSource| source.rows(ShardNumber::WHOLE)[1];
    assert_eq!(
        (rows(&codes(10_000)), rows(&tokens(1000, 300))),
        (10_000, 2300)
    );
}

#[test]
fn a_shard_is_read_as_it_is_written() {
    let shard: ShardNumber = "3/7".parse().unwrap();
    assert_eq!(
        (shard.to_string(), shard.manifest()),
        ("3/7".into(), "shard-00003-of-00007.json".into())
    );
    for (form, file) in [
        (ShardForm::Safetensors, "shard-00003-of-00007.safetensors"),
        (ShardForm::Parquet, "shard-00003-of-00007.parquet"),
        (ShardForm::Tar, "shard-00003-of-00007.tar"),
    ] {
        assert_eq!(form.file(shard), file);
        assert_eq!(ShardForm::of(file, shard), Some(form));
        assert_eq!(ShardForm::of(file, ShardNumber::WHOLE), None);
    }
    for (text, words) in [
        ("0/7", "counted from 1/7"),
        ("8/7", "to 7/7"),
        ("3", "write 3/7"),
        ("a/b", "no shard"),
        ("1/0", "counted"),
    ] {
        let said = text.parse::<ShardNumber>().unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("--shard"), "{said}");
    }
}

#[test]
fn all_shards_of_one_job_are_handed_out() {
    let choice = |text: &str| text.parse::<ShardChoice>();
    assert_eq!(choice("auto/7").unwrap(), ShardChoice::HandedOut(7));
    let third = ShardNumber::new(3, 7).unwrap();
    assert_eq!(choice("3/7").unwrap(), ShardChoice::One(third));
    for (text, words) in [
        ("auto/0", "counted"),
        ("auto/100001", "counted"),
        ("auto/", "write auto/7"),
        ("auto/x", "write auto/7"),
        ("auto7", "auto/7"),
    ] {
        let said = choice(text).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("--shard"), "{said}");
    }
    let tasks = |count: &'static str| {
        environment::one_job(&|name| (name == "SLURM_ARRAY_TASK_COUNT").then(|| count.into()))
    };
    assert!(tasks("1").is_ok() && environment::one_job(&|_| None).is_ok());
    let said = tasks("4").unwrap_err().to_string();
    assert!(
        said.contains("4 tasks") && said.contains("--shard auto,"),
        "{said}"
    );
}

#[test]
fn schedulers_and_mpi_number_the_shards() {
    let of = |variables: &[(&str, &str)]| {
        let set: HashMap<&str, &str> = variables.iter().copied().collect();
        environment::shard(&|name| set.get(name).map(|v| (*v).to_owned()))
    };
    let array = |id, first, step| {
        [
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_MIN", first),
            ("SLURM_ARRAY_TASK_STEP", step),
        ]
    };
    let shown = |variables: &[(&str, &str)]| of(variables).unwrap().to_string();
    assert_eq!(shown(&array("0", "0", "1")), "1/4");
    assert_eq!(shown(&array("4", "1", "1")), "4/4");
    assert_eq!(shown(&array("16", "10", "2")), "4/4");
    for [rank, size] in [
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
        ["PMI_RANK", "PMI_SIZE"],
        ["MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"],
    ] {
        assert_eq!(shown(&[(rank, "2"), (size, "3")]), "3/3");
        // Ranks within the tasks of an array.
        let both = [&array("1", "0", "1")[..], &[(rank, "2"), (size, "3")]].concat();
        assert_eq!(shown(&both), "6/12");
        assert!(of(&[(rank, "2")]).unwrap_err().to_string().contains(size));
    }
    for (variables, words) in [
        (&[][..], "SLURM_ARRAY_TASK_ID"),
        (&array("7", "0", "1"), "without gaps"),
        (&array("1", "2", "1"), "without gaps"),
        (&array("x", "0", "1"), "`x`"),
        (&[("SLURM_ARRAY_TASK_ID", "1")], "SLURM_ARRAY_TASK_COUNT"),
        (&[("PMI_RANK", "3"), ("PMI_SIZE", "3")], "counted"),
    ] {
        let said = of(variables).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}

/// Every third image has no class, and every second no text.
fn labels_of(images: Range<usize>) -> Labels {
    let class = |i: usize| (!i.is_multiple_of(3)).then_some(i as u32 % 2);
    let text = |i: usize| i.is_multiple_of(2).then(|| format!("number {i}"));
    Labels {
        classes: vec!["ant".into(), "bee".into()],
        class: Some(images.clone().map(class).collect()),
        texts: Some(images.map(text).collect()),
    }
}

/// Writes a shard of made-up codes, and its manifest.
fn write(folder: &Path, source: &ShardSource, shard: ShardNumber) {
    write_as(folder, source, shard, ShardForm::Safetensors, |_| {
        Labels::default()
    });
}

fn write_as(
    folder: &Path,
    source: &ShardSource,
    shard: ShardNumber,
    form: ShardForm,
    labels: impl Fn(Range<usize>) -> Labels,
) {
    let ShardSource::Codes {
        model,
        quantizer,
        levels,
        image,
        ..
    } = source
    else {
        unreachable!("codes are written here");
    };
    let [from, to] = source.rows(shard);
    let made = Codes {
        model: model.clone(),
        quantizer: quantizer.clone(),
        levels: levels.clone(),
        image: *image,
        names: (from..to).map(|i| i.to_string()).collect(),
        indices: (4 * from..4 * to).map(|i| i as u32 * 5 % 8).collect(),
    };
    let (labels, path) = (labels(from..to), folder.join(form.file(shard)));
    let sum = form.save(&made, &labels, from, &path).unwrap();
    let manifest = ShardManifest::new(shard, source, labels.kinds(), form, sum, "adapter".into());
    manifest.save(folder).unwrap();
}

/// Shards of any form are one again, with their labels; those of no images too.
#[test]
fn shards_of_all_forms_are_joined() {
    let source = codes(700);
    let all = labels_of(0..700);
    let mut forms = vec![ShardForm::Safetensors, ShardForm::Tar];
    if cfg!(feature = "parquet") {
        forms.push(ShardForm::Parquet);
    }
    let mut joined = Vec::new();
    for i in 0..=forms.len() {
        let folder = tempfile::tempdir().unwrap();
        for n in 1..=5 {
            let shard = ShardNumber::new(n, 5).unwrap();
            // At last each in another form.
            let form = forms.get(i).unwrap_or(&forms[n % forms.len()]);
            write_as(folder.path(), &source, shard, *form, labels_of);
        }
        let shards = Shards::open(folder.path()).unwrap();
        let (codes, labels) = join(&shards).unwrap();
        assert_eq!((codes.names.len(), &labels), (700, &all));
        joined.push(codes);
        // One without labels, as earlier versions wrote them.
        write(folder.path(), &source, ShardNumber::new(5, 5).unwrap());
        let shards = Shards::open(folder.path()).unwrap();
        let said = join(&shards).unwrap_err().to_string();
        assert!(
            said.contains("shard 5/5") && said.contains("labels"),
            "{said}"
        );
    }
    assert!(joined.iter().all(|codes| *codes == joined[0]));
}

#[test]
fn what_does_not_belong_together_is_not_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (at, source) = (folder.path(), codes(700));
    let shard = |n: usize, of: usize| ShardNumber::new(n, of).unwrap();
    let refused = |words: &[&str]| {
        let said = Shards::open(at).unwrap_err().to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    refused(&["holds no shards"]);
    // More shards than blocks: some are empty.
    (1..=5)
        .filter(|n| *n != 2)
        .for_each(|n| write(at, &source, shard(n, 5)));
    refused(&["not yet 2"]);
    write(at, &source, shard(2, 5));
    let (joined, labels) = join(&Shards::open(at).unwrap()).unwrap();
    assert_eq!(labels, Labels::default());
    assert_eq!(
        joined.names,
        (0..700).map(|i| i.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(
        joined.indices,
        (0..2800).map(|i| i * 5 % 8).collect::<Vec<u32>>()
    );
    // A part of a manifest is none.
    let manifest = at.join(shard(4, 5).manifest());
    let text = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    refused(&["not yet 4"]);
    std::fs::write(&manifest, "{\"format\": 9, \"version\": \"9.9\"}").unwrap();
    refused(&["written by wgvq 9.9"]);
    std::fs::write(&manifest, "{\"format\": 1}").unwrap();
    refused(&["no manifest of a shard"]);
    let changed = String::from_utf8(text).unwrap();
    for (from, to, words) in [
        (
            "\"model\": \"m\"",
            "\"model\": \"other\"",
            "of the model other",
        ),
        (
            "\"data_sha256\": \"d\"",
            "\"data_sha256\": \"e\"",
            "of the data set `here`",
        ),
        ("\"images\": 700", "\"images\": 701", ""),
    ] {
        assert!(changed.contains(from), "{changed}");
        std::fs::write(&manifest, changed.replace(from, to)).unwrap();
        refused(&["shard-00004-of-00005.json", words]);
    }
    // Another path of the same data is the same.
    std::fs::write(&manifest, changed.replace("\"here\"", "\"there\"")).unwrap();
    assert!(Shards::open(at).unwrap().several_adapters().is_empty());
    std::fs::write(
        &manifest,
        changed.replace("\"adapter\": \"adapter\"", "\"adapter\": \"b\""),
    )
    .unwrap();
    assert_eq!(
        Shards::open(at).unwrap().several_adapters(),
        ["adapter", "b"]
    );
    write(at, &source, shard(1, 2));
    refused(&["several divisions"]);
    std::fs::remove_file(at.join(shard(1, 2).manifest())).unwrap();
    let third = at.join(ShardForm::Safetensors.file(shard(3, 5)));
    std::fs::write(&third, "cut").unwrap();
    refused(&["shard-00003-of-00005.safetensors", "make shard 3/5 again"]);
    std::fs::remove_file(third).unwrap();
    refused(&["is not there", "make shard 3/5 again"]);
}
