//! One picture of each kind, of inputs that follow from their place alone.

use std::collections::BTreeMap;
use wgvq::analysis::robustness::{Outcome, Perturbation};
use wgvq::report::atlas::{Code, atlas};
use wgvq::report::codecs::Lossy;
use wgvq::report::comparison::{self, RunResult};
use wgvq::report::curves::{Curve, curve};
use wgvq::report::gan_curves::gan_curves;
use wgvq::report::grid::{self, Layout, Shape};
use wgvq::report::map::{colours, map};
use wgvq::report::overlay::{Overlay, overlay};
use wgvq::report::patches::{self, Row};
use wgvq::report::pca;
use wgvq::report::rate::{Codecs, Coded, LevelRate};
use wgvq::report::rate_chart;
use wgvq::report::robustness;
use wgvq::report::samples::{self, PriorPage};
use wgvq::report::study::{Point, study};
use wgvq::report::sweep::{Legend, Series, lines, sweep};
use wgvq::report::usage::usage;
use wgvq::report::{Canvas, Colour, Summary, summary};
use wgvq::spec::Rng;

const BLUE: Colour = Colour(37, 99, 235);
const SHAPE: Shape = Shape {
    width: 8,
    height: 8,
    channels: 3,
};

/// Every picture, by the name of its file.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let png = |canvas: Canvas| canvas.png().unwrap();
    vec![
        ("curve-noisy", png(noisy())),
        ("curve-few", png(few())),
        ("usage", png(usage(&counts(24), 320, 220).unwrap())),
        (
            "sweep",
            png(sweep(
                ["time", "log scales", "codes"],
                &series(),
                Legend::Column,
                440,
                260,
            )
            .unwrap()),
        ),
        (
            "lines",
            png(lines(
                ["found", "linear", "guidance"],
                &series(),
                Legend::Elsewhere,
                300,
                220,
            )
            .unwrap()),
        ),
        ("study", study(&studied(), "two quantizers").unwrap()),
        (
            "comparison",
            comparison::curves("runs", &reached(0.02), &reached(0.03)).unwrap(),
        ),
        ("gan", gan_curves(&log()).unwrap()),
        ("rate", rated()),
        ("robustness", png(robustness::chart(&outcomes()).unwrap())),
        ("map", png(map("codebook", &plane(), &counts(40)).unwrap())),
        (
            "grid",
            png(grid::images(
                &pictures(5),
                SHAPE,
                Layout {
                    tile: 32,
                    ..Layout::default()
                },
            )
            .unwrap()),
        ),
        ("pairs", png(pairs())),
        ("rows", png(rows())),
        (
            "levels",
            png(samples::by_level(&pictures(6), SHAPE, &["top", "bottom"]).unwrap()),
        ),
        ("atlas", png(codes_drawn())),
        ("patches", png(nearest())),
        ("overlay", png(overlaid())),
        ("summary", summarised()),
        ("prior", prior()),
    ]
}

/// `n` pictures of gradients with a block, u8 NHWC.
fn pictures(n: usize) -> Vec<u8> {
    let Shape {
        width,
        height,
        channels,
    } = SHAPE;
    let pixel = move |i: usize| {
        let (x, y, c) = (
            i / channels % width,
            i / channels / width % height,
            i % channels,
        );
        let picture = i / (channels * width * height);
        let block = (x / 3 + picture).is_multiple_of(3) && y / 4 == picture % 2;
        if block {
            (60 + 70 * c) as u8
        } else {
            (20 * x + 9 * y + 25 * picture + 15 * c) as u8
        }
    };
    (0..n * width * height * channels).map(pixel).collect()
}

/// Returns the number of uses of each of `n` codes; the last ones have none.
fn counts(n: u64) -> Vec<u64> {
    (0..n)
        .map(|i| if i + 4 < n { 4000 / (i + 2) } else { 0 })
        .collect()
}

fn steps(n: u32) -> Vec<f64> {
    (0..n).map(|i| f64::from(10 * i)).collect()
}

fn falling(n: u32) -> Vec<f64> {
    let mut random = Rng::new(7);
    let at = |i: u32| 0.3 * (-5.0 * f64::from(i) / f64::from(n)).exp() + 0.02;
    (0..n)
        .map(|i| at(i) * (1.0 + 0.3 * random.uniform()))
        .collect()
}

fn plain<'a>(steps: &'a [f64], values: &'a [f64]) -> Curve<'a> {
    Curve {
        title: "loss",
        steps,
        values,
        reference: &[],
        log: true,
        ceiling: None,
        colour: BLUE,
    }
}

/// More points than are shown singly, on a logarithmic axis, beside a reference.
fn noisy() -> Canvas {
    let (steps, values) = (steps(1500), falling(1500));
    let reference = [(4000.0, 0.12), (12500.0, 0.03)];
    curve(
        &Curve {
            reference: &reference,
            ..plain(&steps, &values)
        },
        380,
        260,
    )
    .unwrap()
}

/// A few points with a gap, on a linear axis, below a ceiling.
fn few() -> Canvas {
    let values = [12.0, 25.0, 33.0, f64::NAN, 41.0, 44.0, 45.0];
    let of = Curve {
        title: "perplexity",
        log: false,
        ceiling: Some(64.0),
        ..plain(&[], &values)
    };
    curve(
        &Curve {
            steps: &steps(7),
            ..of
        },
        320,
        220,
    )
    .unwrap()
}

fn series() -> Vec<Series> {
    let line = |name: &str, f: f64| {
        Series::new(
            name,
            [1.0, 2.0, 4.0, 8.0, 16.0]
                .map(|x: f64| (64.0 * x, f * x.sqrt()))
                .to_vec(),
        )
    };
    let beside = Series {
        beside: true,
        ..line("thin: beside", 2.6)
    };
    vec![line("first", 1.0), line("second", 2.2), beside]
}

fn studied() -> Vec<Point> {
    let point = |quantizer: &str, k: usize, d: usize| Point {
        quantizer: quantizer.into(),
        k,
        d,
        ms: (k * d) as f64 / if quantizer == "ema" { 1e4 } else { 3e4 },
    };
    let sizes = [256, 1024, 4096];
    ["ema", "fsq"]
        .iter()
        .flat_map(|q| sizes.map(|k| point(q, k, 16)))
        .collect()
}

fn reached(mse: f64) -> Vec<(RunResult, usize)> {
    let one = |name: &str, mse: f64| RunResult {
        name: name.into(),
        codes: 64,
        mse,
        psnr: -10.0 * mse.log10(),
        ssim: 0.9,
        perplexity: 40.0,
        used: 50.0,
        bits_per_pixel: 0.3,
        ms_per_step: 12.0,
        mse_curve: [8.0, 4.0, 2.0, 1.2, 1.0]
            .map(|f| (100.0 / f, f * mse))
            .to_vec(),
        perplexity_curve: [8.0, 4.0, 2.0, 1.2, 1.0]
            .map(|f| (100.0 / f, 50.0 / f))
            .to_vec(),
    };
    vec![(one("ema", mse), 1), (one("fsq", 0.6 * mse), 1)]
}

fn log() -> Vec<(String, Vec<f64>)> {
    let rising = |f: f64| {
        (0..30)
            .map(|i| f * (f64::from(i) / 6.0).sin() + 2.0)
            .collect()
    };
    let columns = [
        "reconstruction",
        "generator",
        "discriminator",
        "logits_real",
        "logits_fake",
    ];
    let named = columns.iter().zip([0.5, 0.7, 0.9, 1.1, 1.3]);
    let first = [("step".to_owned(), steps(30))];
    first
        .into_iter()
        .chain(named.map(|(name, f)| ((*name).to_owned(), rising(f))))
        .collect()
}

fn rated() -> Vec<u8> {
    let point = |quality: u8, bits_per_pixel: f64, psnr: f64| Lossy {
        quality,
        bits_per_pixel,
        mse: 10f64.powf(-psnr / 10.0),
        psnr,
        ssim: None,
    };
    let jpeg = vec![
        point(5, 0.9, 20.0),
        point(25, 2.0, 26.0),
        point(75, 4.5, 33.0),
    ];
    let codecs = Codecs {
        jpeg,
        jpeg_headers: 0.5,
        png: 14.0,
        webp: 11.0,
        avif: None,
    };
    let run = |name: &str, psnr: f64, entropy: f64| Coded {
        name: name.into(),
        mse: 10f64.powf(-psnr / 10.0),
        psnr,
        ssim: None,
        levels: vec![LevelRate {
            name: String::new(),
            entropy,
            nominal: 1.3 * entropy,
        }],
        packed: 0.8 * entropy,
    };
    let runs = [run("ema", 22.0, 0.3), run("residual", 27.0, 0.9)];
    rate_chart::chart("rate", "on 64 pictures", &runs, &codecs).unwrap()
}

fn outcomes() -> Vec<Outcome> {
    let one = |by: Perturbation, strength: f64| Outcome {
        by,
        strength,
        surviving: 1.0 / (1.0 + strength / 8.0),
        by_book: (1..=2)
            .map(|b| 1.0 / (1.0 + strength * f64::from(b) / 8.0))
            .collect(),
        latents: strength / 60.0,
        quantized: strength / 40.0,
    };
    let strengths = |by: Perturbation| by.strengths().iter().map(move |s| (by, *s));
    Perturbation::ALL
        .into_iter()
        .flat_map(strengths)
        .map(|(by, s)| one(by, s))
        .collect()
}

/// Forty vectors of six channels on their plane.
fn plane() -> pca::Plane {
    let mut random = Rng::new(3);
    let scales = [4.0, 2.5, 1.0, 0.6, 0.4, 0.2];
    let vectors: Vec<f32> = (0..240)
        .map(|i| (scales[i % 6] * random.normal() + 1.0) as f32)
        .collect();
    pca::plane(&vectors, 6).unwrap()
}

fn pairs() -> Canvas {
    let layout = Layout {
        columns: 3,
        tile: 40,
        gap: 6,
        labels: true,
    };
    let (old, new) = (pictures(5), pictures(6)[8 * 8 * 3..].to_vec());
    grid::pairs(&old, &new, SHAPE, layout).unwrap()
}

fn rows() -> Canvas {
    let labels = ["dog", "a class with a long name"];
    let headings = ["real", "drawn", "too long a heading"];
    samples::headed_rows(&pictures(6), SHAPE, &headings, &labels, 40).unwrap()
}

fn codes() -> Vec<Code> {
    let share = |n: u32| if n < 10 { 0.2 / f64::from(n + 1) } else { 0.0 };
    (0..12)
        .map(|number| Code {
            number,
            share: share(number),
        })
        .collect()
}

fn codes_drawn() -> Canvas {
    atlas(
        "codes",
        "each decoded alone",
        &codes(),
        &pictures(12),
        SHAPE,
    )
    .unwrap()
}

fn nearest() -> Canvas {
    let all = pictures(12);
    let each = all.len() / 12;
    let rows: Vec<Row<'_>> = codes()[..3]
        .iter()
        .enumerate()
        .map(|(n, code)| Row {
            code: *code,
            decoded: &all[n * each..(n + 1) * each],
            patches: all[..(n + 1) * each].to_vec(),
        })
        .collect();
    patches::patches("nearest", "of six pictures", &rows, SHAPE, 3, 4).unwrap()
}

fn overlaid() -> Canvas {
    let (originals, again) = (pictures(2), pictures(3)[8 * 8 * 3..].to_vec());
    let book: BTreeMap<u32, Colour> = (0..).zip(colours(&plane())).take(16).collect();
    let codes: Vec<u32> = (0..32).map(|i| i / 2 % 16).collect();
    overlay(&Overlay {
        originals: &originals,
        reconstructions: &again,
        shape: SHAPE,
        grid: [4, 4],
        codes: &codes,
        colours: &[book],
        books: 1,
    })
    .unwrap()
}

fn summarised() -> Vec<u8> {
    let (old, new) = (pictures(4), pictures(5)[8 * 8 * 3..].to_vec());
    let (steps, loss) = (steps(40), falling(40));
    summary(&Summary {
        title: "a run",
        pairs: (&old, &new),
        width: SHAPE.width,
        height: SHAPE.height,
        channels: SHAPE.channels,
        steps: &steps,
        loss: &loss,
        perplexity: &loss.iter().map(|v| 20.0 - 50.0 * v).collect::<Vec<_>>(),
        reference: &[(300.0, 0.05)],
        reference_perplexity: &[],
        usage: &counts(24),
        figures: "test MSE 0.0102, PSNR 19.9 dB".into(),
    })
    .unwrap()
}

fn prior() -> Vec<u8> {
    let (steps, loss, samples) = (steps(40), falling(40), rows());
    samples::page(&PriorPage {
        title: "a prior",
        figures: "3.1 bits per code",
        steps: &steps,
        loss: &loss,
        gradient_norm: &falling(40),
        held_out: &[(390.0, 0.15)],
        samples: Some(&samples),
    })
    .unwrap()
}
