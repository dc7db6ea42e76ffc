//! A prior over codes that a program has at hand, conditioned on codes of another image and on a
//! class.

use crate::common::gpu;
use wgvq::codes::tokens::{TokenDatasetInfo, Tokens};
use wgvq::config::prior::PriorConfig;
use wgvq::inference::tokenize::{CodeRows, write_tokens};
use wgvq::inference::{KnownCodes, PriorModel, SampleRequest, SamplingOptions, no_progress};
use wgvq::models::Level;
use wgvq::models::prior::Vocabulary;
use wgvq::ops::sampling::sample::Sampling;
use wgvq::spec::Rng;
use wgvq::storage::checkpoint;
use wgvq::train::Trainer;

const CODES: usize = 4;
const CELLS: usize = 2;
const CLASSES: u32 = 3;

fn info() -> TokenDatasetInfo {
    let grid = [1, CELLS];
    let before = Level {
        name: "before".into(),
        grid,
        codebook_size: CODES,
        codebooks: 1,
    };
    TokenDatasetInfo {
        model: "a model".into(),
        quantizer: "ema".into(),
        level: String::new(),
        vocabulary: Vocabulary {
            codebook_size: CODES,
            codebooks: 1,
            grid,
            classes: CLASSES as usize,
            above: vec![before],
            text: None,
            scales: None,
        },
        image: [8, 4, 3],
        classes: ["left", "none", "right"].map(String::from).to_vec(),
        data: "frames".into(),
        data_sha256: String::new(),
        mirrored: false,
        reader: String::new(),
    }
}

/// The rule that is to be learned: each code goes on by the number of its image's class.
fn next(before: &[u32], class: u32) -> Vec<u32> {
    let on = |code: &u32| (code + class) % CODES as u32;
    before.iter().map(on).collect()
}

/// Codes of images and those that follow, with the classes.
fn rows(seed: u64, images: usize) -> (Vec<u32>, Vec<u32>) {
    let mut rng = Rng::new(seed);
    let (mut codes, mut classes) = (Vec::new(), Vec::new());
    for _ in 0..images {
        let before: Vec<u32> = (0..CELLS).map(|_| rng.below(CODES) as u32).collect();
        let class = rng.below(CLASSES as usize) as u32;
        codes.extend(&before);
        codes.extend(next(&before, class));
        classes.push(class);
    }
    (codes, classes)
}

fn given((codes, classes): &(Vec<u32>, Vec<u32>)) -> CodeRows<'_> {
    CodeRows { codes, classes }
}

#[test]
fn the_next_codes_follow_from_those_before_and_the_class() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (rows(1, 1500), rows(2, 24));
    let tokens = write_tokens(&info(), given(&train), given(&test), folder.path()).unwrap();
    let mut config = PriorConfig::default();
    (config.prior.dim, config.prior.heads) = (32, 2);
    (config.prior.layers, config.prior.condition_layers) = (1, 1);
    config.prior.dropout = 0.0;
    (config.train.batch_size, config.train.steps) = (64, 800);
    (config.train.lr, config.train.warmup) = (5e-3, 20);
    (config.train.class_dropout, config.train.ema_decay) = (0.0, 0.0);
    let mut trainer = Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap();
    (0..800).for_each(|_| trainer.step().unwrap());
    let bytes = checkpoint::to_bytes(&trainer.trained().unwrap()).unwrap();

    let prior = PriorModel::from_bytes_over(&gpu, &bytes, &info()).unwrap();
    let known: Vec<u32> = test
        .0
        .chunks(2 * CELLS)
        .flat_map(|image| [&image[..CELLS], &[0; CELLS]].concat())
        .collect();
    let drawn = |classes: &[u32]| {
        let sampling = Sampling {
            temperature: 0.0,
            ..Default::default()
        };
        let request = SampleRequest {
            known: KnownCodes {
                codes: &known,
                places: &[false; CELLS],
            },
            options: SamplingOptions {
                sampling,
                ..Default::default()
            },
            ..SampleRequest::new(classes)
        };
        prior.sample(&request, &mut no_progress).unwrap().codes
    };
    let right = |classes: &[u32]| {
        let earlier = known.chunks(2 * CELLS).map(|image| &image[..CELLS]);
        let expected: Vec<u32> = earlier
            .zip(classes)
            .flat_map(|(before, class)| next(before, *class))
            .collect();
        let pairs = drawn(classes).into_iter().zip(expected);
        pairs.filter(|(a, b)| a == b).count() as f64 / (24 * CELLS) as f64
    };
    // Under the classes that the images have, and under others.
    let others: Vec<u32> = test.1.iter().map(|class| (class + 1) % CLASSES).collect();
    let shares = [right(&test.1), right(&others)];
    println!("{shares:?} of the codes are those of the rule");
    assert!(shares.iter().all(|share| *share > 0.95), "{shares:?}");
}

#[test]
fn a_prior_over_other_tokens_is_refused() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(3, 4);
    let tokens = write_tokens(&info(), given(&rows), given(&rows), folder.path()).unwrap();
    let mut config = PriorConfig::default();
    (config.prior.dim, config.prior.heads, config.prior.layers) = (8, 1, 1);
    let mut trainer = Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap();
    let bytes = checkpoint::to_bytes(&trainer.trained().unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut TokenDatasetInfo), word: &str| {
        let mut other = info();
        change(&mut other);
        let error = PriorModel::from_bytes_over(&gpu, &bytes, &other).map(|_| ());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&|i| i.model = "another".into(), "another model made them");
    refused(&|i| i.vocabulary.classes = 2, "their vocabularies differ");
    refused(&|i| i.vocabulary.above.clear(), "their vocabularies differ");
    refused(&|i| i.image = [8, 8, 3], "images, classes or data differ");
    let moved = TokenDatasetInfo {
        data: "elsewhere".into(),
        ..info()
    };
    assert!(PriorModel::from_bytes_over(&gpu, &bytes, &moved).is_ok());
    let error = PriorModel::from_bytes_over(&gpu, b"no file", &info());
    assert!(error.is_err());
}

/// Codes of two cells, of 5, behind a known one, of 3; two classes.
fn two_cells() -> TokenDatasetInfo {
    let mut small = info();
    let v = &mut small.vocabulary;
    (v.codebook_size, v.grid, v.classes) = (5, [1, 2], 2);
    (v.above[0].codebook_size, v.above[0].grid) = (3, [1, 1]);
    small
}

#[test]
fn tokens_of_a_program_are_read_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    // The second image has no class.
    let train = (vec![2, 4, 0, 1, 3, 2, 0, 0, 4], vec![1, 2, 0]);
    let test = (vec![0, 1, 2], vec![0]);
    let tokens = write_tokens(&two_cells(), given(&train), given(&test), folder.path()).unwrap();
    assert_eq!(tokens.info, two_cells());
    assert_eq!(tokens.train.read(&[0, 1, 2]).unwrap(), train);
    assert_eq!(tokens.test.read(&[0]).unwrap(), test);
}

#[test]
fn tokens_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let fine = (vec![2, 4, 0], vec![1]);
    let refused = |codes: &[u32], classes: &[u32], word: &str| {
        let rows = (codes.to_vec(), classes.to_vec());
        for (train, test, split) in [(&rows, &fine, "training"), (&fine, &rows, "test")] {
            let tokens = write_tokens(&two_cells(), given(train), given(test), folder.path());
            let error = tokens.unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(split), "{error}");
        }
    };
    refused(&[], &[], "one image at least");
    refused(&[1, 2], &[0], "3 codes for each class");
    refused(&[1, 2, 3], &[3], "there is no class 3");
    refused(&[3, 2, 3], &[0], "there is no code 3: the codebook has 3");
    refused(&[2, 2, 5], &[0], "there is no code 5: the codebook has 5");
    let mirrored = TokenDatasetInfo {
        mirrored: true,
        ..two_cells()
    };
    assert!(write_tokens(&mirrored, given(&fine), given(&fine), folder.path()).is_err());
    assert!(!Tokens::exist(folder.path()), "nothing was written");
}
