//! `wgvq bench` and `wgvq tune`: right numbers of a right kernel, no speed for a wrong one, and
//! what they say to bad input.

mod quoted;
mod replay;

use crate::common::{run, stderr, stdout, wgvq};
use std::time::Duration;
use wgvq::Result;
use wgvq::bench::{self, Budget, Peak, Row, Workload};
use wgvq::gpu::{Gpu, Kernel, Options, Tensor, Work};
use wgvq::ops::elementwise::scale::{Scale, scale};
use wgvq::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance};

/// Scale, with a factor that is not its reference's.
struct Wrong;

impl Operation for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }
    fn cases(&self) -> Vec<Case> {
        Scale.cases()
    }
    fn bench(&self) -> Vec<Case> {
        Scale.bench()
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        Scale.inputs(case, rng)
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![scale(&t[0], -1.4999, 0.25)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        Scale.reference(case, inputs)
    }
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance {
        Scale.tolerance(case, output)
    }
    fn work(&self, case: &Case) -> Work {
        Scale.work(case)
    }
    fn kernels(&self) -> Vec<Kernel> {
        Scale.kernels()
    }
    fn error_inputs(&self, _: &Gpu) -> ErrorInputs {
        Ok(Vec::new())
    }
}

const QUICK: Budget = Budget {
    time: Duration::ZERO,
    least: 2,
    most: 2,
    spread: 0.01,
    again: 0,
};
const PEAK: Peak = Peak {
    gflops: 100.0,
    gbps: 10.0,
    launch_us: 0.0,
};

#[test]
fn a_wrong_kernel_has_no_speed() {
    let gpu = Gpu::new(Options::default()).expect("an adapter; scripts/test.sh installs one");
    let case: Case = "n=257".parse().unwrap();
    let wrong = bench::row(
        &gpu,
        &Workload::operation(&Wrong, case.clone()).unwrap(),
        &PEAK,
        QUICK,
        1,
    )
    .unwrap();
    assert!(!wrong.pass && wrong.max_err.is_some_and(|e| e > 0.0));
    assert_eq!(
        (
            wrong.ms,
            wrong.gflops,
            wrong.gbps,
            wrong.peak_share,
            wrong.first_ms
        ),
        (None, None, None, None, None)
    );
    let right = bench::row(
        &gpu,
        &Workload::operation(&Scale, case).unwrap(),
        &PEAK,
        QUICK,
        1,
    )
    .unwrap();
    assert!(right.pass && right.compared == 257 && right.ms.is_some_and(|ms| ms > 0.0));
}

#[test]
fn warm_calls_allocate_nothing_and_memory_is_what_they_return() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let row = |name: &str| {
        let row = bench::row(&gpu, &bench::find(name).unwrap(), &PEAK, QUICK, 1).unwrap();
        assert!(row.pass, "{name}: {}", row.detail);
        assert_eq!(row.allocations, 0, "{name}");
        row
    };
    // The output, and nothing else.
    assert_eq!(row("scale_n4096").memory, 4 * 4096);
    // Indices and the codes' norms: no N x K matrix, which would be 3 MiB.
    let search = row("vq_search_n4096_k200_d8");
    assert!(search.memory <= 4 * (4096 + 200) + 512, "{}", search.memory);
    assert_eq!((search.dispatches, search.submissions), (2, 1));
    // Forward and backward, a quantizer's pass, a whole training step.
    row("matmul_b1_m64_n64_k64_ta0_tb0_fwd_bwd");
    row("quantizer_ema_n300_k64_d16");
    row("vqvae_train_step_b2");
}

#[test]
fn rows_are_printed_as_json_and_held_against_a_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("before.json");
    let names = ["scale_n1000", "vq_search_n99_k7_d4"];
    let out = run(&[
        "bench",
        names[0],
        names[1],
        "--json",
        "--seconds",
        "0",
        "--any-clock",
    ]);
    assert!(out.status.success(), "{}", stderr(&out));
    let text = stdout(&out);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    let header: bench::Header = serde_json::from_str(lines[0]).unwrap();
    assert!(
        header.wgvq_bench == bench::FORMAT && header.peak_gflops > 0.0 && header.peak_gbps > 0.0
    );
    for (line, name) in lines[1..].iter().zip(names) {
        let row: Row = serde_json::from_str(line).unwrap();
        assert!(row.pass && row.name == name && row.peak_share.is_some_and(|s| s > 0.0));
        assert!(
            row.mhz.is_some_and(|mhz| mhz.iter().all(|m| *m > 0.0)),
            "{line}"
        );
    }
    std::fs::write(&baseline, &text).unwrap();
    let again = run(&[
        "bench",
        names[0],
        "scale_n77",
        "--seconds",
        "0",
        "--any-clock",
        "--compare",
        baseline.to_str().unwrap(),
    ]);
    let text = stdout(&again);
    assert!(
        again.status.success() && text.contains(" x") && text.contains("not in it"),
        "{text}"
    );

    // With the kernels' shares between the rows, too.
    let out = run(&[
        "bench",
        names[1],
        "--json",
        "--seconds",
        "0",
        "--profile",
        "--any-clock",
    ]);
    let text = stdout(&out);
    let shares: Vec<bench::Share> = text
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    assert!(
        shares
            .iter()
            .any(|s| s.op == "nearest" && s.kernel.starts_with("vq_search")),
        "{text}"
    );
    std::fs::write(&baseline, &text).unwrap();
    let again = run(&[
        "bench",
        names[1],
        "--seconds",
        "0",
        "--any-clock",
        "--profile",
        "--compare",
        baseline.to_str().unwrap(),
    ]);
    let text = stdout(&again);
    assert!(
        again.status.success() && text.contains(" x") && text.contains("nearest: vq_search"),
        "{text}"
    );

    // Files that are no baseline.
    for (content, said) in [
        ("{\"loss\": 1}\n", "no header"),
        ("", "empty"),
        ("{\"wgvq_bench\": 99}\n", "format 99"),
        (&format!("{}\nnonsense\n", lines[0]), "line 2"),
    ] {
        std::fs::write(&baseline, content).unwrap();
        let refused = run(&[
            "bench",
            "scale_n77",
            "--compare",
            baseline.to_str().unwrap(),
        ]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains(said),
            "{said}: {}",
            stderr(&refused)
        );
    }
}

#[test]
fn a_row_whose_clock_moved_is_said_and_has_no_times() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let workload = bench::find("scale_n257").unwrap();
    let row = bench::row(&gpu, &workload, &PEAK, QUICK, 1).unwrap();
    let [before, after] = row.mhz.expect("a clock before and after");
    assert_eq!(row.refused, bench::moved(before, after));
    let beside = serde_json::json!({
        "peer": "a", "command": "a", "pass": true, "ms": 2.0, "ours_ms": 1.0, "ratio": 2.0,
        "interval": null, "max_err": 0.0, "detail": "",
    });
    let moved = Row {
        refused: bench::moved(1980.0, 1200.0),
        peers: vec![serde_json::from_value(beside).unwrap()],
        ..row.clone()
    };
    let kept = moved.without_refused();
    assert!(kept.pass && kept.mhz == row.mhz && kept.refused.is_some());
    assert_eq!((kept.ms, kept.wall_ms, kept.first_ms), (None, None, None));
    assert_eq!((kept.gflops, kept.ms_quartiles), (None, None));
    assert!(kept.peers.is_empty());
    // Lines that were written before there was a clock are read.
    let mut line = serde_json::to_value(&row).unwrap();
    let fields = line.as_object_mut().unwrap();
    fields.remove("mhz");
    fields.remove("refused");
    let old: Row = serde_json::from_value(line).unwrap();
    assert_eq!((old.mhz, old.refused, old.ms), (None, None, row.ms));
}

#[test]
fn a_profile_holds_every_dispatch_once_and_changes_nothing() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    if !gpu.has_timestamps() {
        crate::common::skip::skipped(
            "a profile",
            &format!("{} has no timestamp queries", gpu.info().name),
        );
        return;
    }
    let x = Tensor::from_slice(&gpu, &[3], &[1.0f32, 2.0, 3.0]).unwrap();
    // More than one set of queries holds.
    let count = 2_100;
    let before = gpu.counters().dispatches;
    let (y, spans) = gpu
        .profiled(|| (0..count).try_fold(x, |x, _| scale(&x, 1.0, 1.0)))
        .unwrap();
    assert_eq!(y.read::<f32>().unwrap(), [2101.0, 2102.0, 2103.0]);
    assert_eq!(
        (spans.len() as u64, gpu.counters().dispatches - before),
        (count, count)
    );
    assert!(
        spans
            .iter()
            .all(|s| s.op == "scale" && s.kernel.starts_with("scale") && s.groups == [1, 1, 1])
    );
    assert!(spans.iter().any(|s| !s.time.is_zero()));
    // A failure ends it.
    let failed: Result<_> =
        gpu.profiled(|| scale(&y, 1.0, 1.0).and(Err::<(), _>(wgvq::Error::data("enough"))));
    assert!(failed.is_err_and(|e| e.to_string().contains("enough")));
    assert_eq!(gpu.profiled(|| Ok(())).unwrap().1.len(), 0);
    let shares = bench::profile(&gpu, &bench::find("vq_search_n99_k7_d4").unwrap(), 1).unwrap();
    assert!((shares.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(
        shares.windows(2).all(|s| s[0].ms >= s[1].ms) && shares.iter().any(|s| s.op == "nearest")
    );
}

#[test]
fn sweeps_are_fitted_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("n.png");
    let sweep = [
        "bench",
        "--kernel",
        "scale",
        "--n",
        "1000,100000,1000000",
        "--seconds",
        "0",
        "--any-clock",
        "--plot",
    ];
    let out = wgvq().args(sweep).arg(&plot).output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(
        stdout(&out).contains("time grows as n^"),
        "{}",
        stdout(&out)
    );
    assert!(image::open(&plot).unwrap().width() > 300);
    let refused = wgvq().args(sweep).arg(&plot).output().unwrap();
    assert!(!refused.status.success() && stderr(&refused).contains("--overwrite"));
}

#[test]
fn everything_that_can_be_timed_is_listed_and_the_standard_names_are_there() {
    let text = stdout(&run(&["bench", "--list"]));
    for name in [
        "matmul_1024",
        "conv3x3_fwd",
        "conv3x3_fwd_bwd",
        "vq_search_n16384_k1024_d64",
        "vq_search_n4096_k8192_d64",
        "vq_search_n16384_k512_d256",
        "vq_module_train_fwd",
        "attention_causal_fwd",
        "attention_causal_fwd_bwd",
        "vqvae_train_step_b32",
        "launch_d100",
        "quantizer_ema_n4096_k16384_d256",
    ] {
        assert!(
            text.lines().any(|l| l.ends_with(&format!(" {name}"))),
            "{name} is not listed"
        );
    }
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    for (args, code, said) in [
        (vec!["matmul_1023"], 1, "matmul_1024"),
        (vec!["--kernel", "vq_serch"], 1, "vq_search"),
        (vec!["vq_search_n0_k8_d4"], 1, "n of at least 1"),
        (
            vec!["--kernel", "vq_search", "--n", "0"],
            1,
            "n of at least 1",
        ),
        (vec!["--kernel", "vq_search", "--case", "n=5"], 1, "n,k,d"),
        (
            vec!["--kernel", "vq_search", "--size", "q=5"],
            2,
            "no size `q`",
        ),
        (vec!["--kernel", "scale", "--k", "5"], 2, "no size `k`"),
        (
            vec!["--kernel", "vq_search", "--size", "five"],
            2,
            "NAME=NUMBER",
        ),
        (vec!["scale_n9000000000000"], 1, "bytes asked for"),
        (
            vec!["matmul_b1_m4000000000_n4000000000_k4000000000_ta0_tb0"],
            1,
            "beyond any device",
        ),
        (vec!["scale_n99", "--dtype", "f64"], 2, "f64"),
        (vec!["scale_n99", "--core", "warp"], 2, "warp"),
        (vec!["scale_n99", "--seconds", "nan"], 2, "seconds"),
        (vec!["--n", "4"], 2, "--kernel"),
        (
            vec!["scale_n99", "--cache", "hot"],
            2,
            "neither warm nor cold",
        ),
        (vec!["scale_n99", "--cache", "cold,cold"], 2, "twice"),
        (vec!["scale_n99", "--last-level-cache", "0"], 2, "MiB"),
        (vec!["scale_n99", "--spread", "much"], 2, "such as 5%"),
        (vec!["scale_n99", "--floor", "20"], 2, "such as 20us"),
        (vec!["scale_n99", "--processes", "0"], 2, "1..=1000"),
        (
            vec!["scale_n99", "--fail-above", "5%"],
            2,
            "slower than what",
        ),
        (
            vec![
                "scale_n99",
                "--against",
                "x",
                "--processes",
                "5",
                "--fail-above",
                "5%",
            ],
            2,
            "6 processes",
        ),
        (
            vec!["scale_n99", "--against", "x", "--most-processes", "5"],
            2,
            "at least the 6 processes",
        ),
        (
            vec!["scale_n99", "--against", "/nowhere/wgvq"],
            1,
            "cannot be run",
        ),
        (vec!["launch_d0"], 1, "launch_d"),
        (vec!["report", "/nowhere/a.jsonl"], 1, "a.jsonl"),
        (vec!["scale_n99", "--plot", "x.png"], 2, "two values"),
    ] {
        let out = wgvq()
            .arg("bench")
            .args(&args)
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {text}");
        assert!(
            text.contains(said) && !text.contains("panicked"),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn a_tuning_table_is_stored_shown_used_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let with = |args: &[&str]| {
        wgvq()
            .args(args)
            .env("WGVQ_TUNING", folder.path())
            .output()
            .unwrap()
    };
    let tuned = with(&["tune"]);
    assert!(
        tuned.status.success() && stdout(&tuned).lines().count() == 16,
        "{}",
        stderr(&tuned)
    );
    let shown = stdout(&with(&["info"]));
    assert!(shown.contains("measured, from"), "{shown}");
    assert!(
        stderr(&tuned).contains("kernels for few channels"),
        "{}",
        stderr(&tuned)
    );
    assert!(shown.contains("kernels for few channels up to"), "{shown}");
    assert!(
        with(&["bench", "scale_n99", "--seconds", "0", "--any-clock"])
            .status
            .success()
    );
    let file = std::fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let table = std::fs::read_to_string(&file).unwrap();
    let few = table
        .lines()
        .find(|line| line.starts_with("few_channels = "))
        .expect("a line");
    for damage in [
        "rubbish",
        "format = 99\nadapter = ''\ndriver = ''\ncore = 'subgroup'\nrule = []\n",
        &table.replace(few, "few_channels = 17"),
    ] {
        std::fs::write(&file, damage).unwrap();
        let refused = with(&["bench", "scale_n99"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains("wgvq tune"),
            "{}",
            stderr(&refused)
        );
    }
    assert!(with(&["tune", "--reset"]).status.success());
    assert!(stdout(&with(&["info"])).contains("the default table"));
}
