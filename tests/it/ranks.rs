//! Trainings over several ranks, here threads of one process with an engine each: the same as in
//! one, within rounding, and to the bit on all ranks. With `WGVQ_THOROUGH=1` there are more kinds
//! of models and more numbers of ranks: each engine compiles its kernels.

mod files;

use crate::common::gpu;
#[cfg(not(feature = "mpi"))]
use crate::common::wgvq;
use crate::host::{pictures, pictures_of_classes};
use crate::passes::{GAN, Keys, apart, config, numbers};
use crate::second_stage::{small, tokens};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::metrics::Row;
use wgvq::parallel::{Ranks, ThreadRank};
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::{self, Checkpoint};
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::prior::{PriorRow, PriorTrainer};
use wgvq::train::{Observer, Progress, Schedule, Start, Task, Trainer, follow, train_loop};
use wgvq::{Error, Result};

/// Returns the results of `f` on each of so many ranks.
fn on<T: Send>(ranks: usize, f: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let all: Vec<_> = ThreadRank::group(ranks)
            .into_iter()
            .map(|rank| scope.spawn(|| f(rank)))
            .collect();
        all.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn thorough() -> bool {
    std::env::var_os("WGVQ_THOROUGH").is_some_and(|on| on == "1")
}

fn trainer(config: &RunConfig, data: &Arc<ImageSet>, ranks: Ranks) -> Result<Trainer> {
    let config = config.resolve(&Registry::default()).unwrap();
    Trainer::new(&gpu(), &config, data.clone())?.among(ranks)
}

/// Returns the state after some steps of so many ranks, the same on all, and a row of each step.
fn after<T: Task>(
    ranks: usize,
    steps: usize,
    make: impl Fn(Ranks) -> Trainer<T> + Sync,
) -> (Checkpoint, Vec<T::Row>)
where
    T::Row: Send,
{
    let mut all = on(ranks, |ranks| {
        let mut trainer = make(ranks);
        let mut rows = Vec::new();
        for _ in 0..steps {
            trainer.step().unwrap();
            rows.extend(trainer.rows(true).unwrap());
        }
        (trainer.checkpoint().unwrap(), rows)
    });
    let (first, rows) = all.remove(0);
    for (rank, (other, _)) in all.iter().enumerate() {
        for (name, tensor) in &first.tensors {
            assert!(other.tensors[name] == *tensor, "rank {}: {name}", rank + 1);
        }
        assert_eq!(other.state, first.state, "rank {}", rank + 1);
    }
    (first, rows)
}

fn near(what: &str, a: f64, b: f64, bound: f64) {
    assert!((a - b).abs() <= bound * a.abs() + 1e-6, "{what}: {a} {b}");
}

/// Gradients (as the optimiser's first moments after a step), codebooks and what their averages
/// saw, revived codes, losses, counts and the discriminator of 2 and 4 ranks are those of one. The
/// codes were placed by k-means before, of what all ranks saw.
#[test]
fn ranks_add_up_to_one() {
    let data = Arc::new(pictures_of_classes(16, 24));
    let revived: Keys = &[
        ("quantizer.threshold_ema_dead_code", "2"),
        ("data.color", "0.1"),
    ];
    let more: Keys = &[
        ("gan.adaptive", "true"),
        ("gan.regularizer", "lecam"),
        ("gan.regularizer_weight", "1"),
    ];
    let lecam = [GAN, more].concat();
    let residual: Keys = &[
        ("quantizer.kind", "residual"),
        ("quantizer.shared_codebook", "true"),
        ("quantizer.quantize_dropout", "true"),
        ("quantizer.threshold_ema_dead_code", "2"),
    ];
    let cases: [(&str, Keys, f32); 5] = [
        ("ema", revived, 2e-5),
        (
            "vq",
            &[
                ("quantizer.kind", "vq"),
                ("data.flip", "true"),
                ("data.class_weights", "balanced"),
            ],
            2e-5,
        ),
        ("residual", residual, 2e-5),
        (
            "vqvae2",
            &[("model.kind", "vqvae2"), ("train.grad_clip", "0.01")],
            2e-5,
        ),
        ("gan", &lecam, 5e-4),
    ];
    for (name, keys, bound) in cases {
        let with = |passes: usize| config(keys, passes);
        let run = |ranks: usize, passes: usize| {
            after(ranks, 1, |ranks| {
                trainer(&with(passes), &data, ranks).unwrap()
            })
        };
        // Those that add up what nothing else does.
        let few: &[(usize, usize)] = match name {
            "ema" => &[(4, 1)],
            "gan" => &[(2, 1)],
            _ => &[],
        };
        // Passes fall into the shares of ranks too, or each into parts.
        let shared = match thorough() {
            true => &[(2, 1), (4, 1), (2, 2)],
            false => few,
        };
        if shared.is_empty() {
            continue;
        }
        let (whole, rows) = run(1, 1);
        let rows: Vec<Row> = rows;
        for &(ranks, passes) in shared {
            let what = format!("{name}, {ranks} ranks, {passes} passes");
            let (parts, other) = run(ranks, passes);
            for of in ["adam.m.", "quantizer.", "adversary.m.", "adversary.logits."] {
                let (found, tensor) = apart(&numbers(&whole, of), &numbers(&parts, of));
                assert!(found < bound, "{what}: {tensor} by {found}");
            }
            let (a, b) = (&rows[0], &other[0]);
            let bound = f64::from(bound);
            near(&what, a.losses.loss, b.losses.loss, bound);
            near(
                &what,
                a.losses.reconstruction,
                b.losses.reconstruction,
                bound,
            );
            near(&what, a.losses.commitment, b.losses.commitment, bound);
            near(
                &what,
                a.codes.quantization_error,
                b.codes.quantization_error,
                bound,
            );
            // Whole numbers add up exactly.
            let counted = |row: &Row| (row.codes.perplexity, row.codes.used, row.codes.revived);
            assert_eq!(counted(a), counted(b), "{what}");
            assert!(
                !keys.contains(&revived[0]) || a.codes.revived > 0.0,
                "{what}"
            );
            if let (Some(a), Some(b)) = (&a.gan, &b.gan) {
                for (a, b) in a.values().iter().zip(b.values()) {
                    near(&what, *a, b, 1e-3);
                }
            }
        }
    }
}

/// Parts that span the images of a step are refused by name, before anything is trained, and so is
/// a batch that does not fall into equal shares.
#[test]
fn what_spans_ranks_is_refused() {
    let data = Arc::new(pictures(16, 24));
    let batch_norm = [GAN, &[("gan.norm", "batch")]].concat();
    let r1 = [
        GAN,
        &[("gan.regularizer", "r1"), ("gan.regularizer_weight", "1")],
    ]
    .concat();
    let cases: [(Keys, usize, &str); 5] = [
        (&[("quantizer.kind", "gumbel")], 2, "quantizer.kind"),
        (
            &[("quantizer.kind", "lfq")],
            2,
            "quantizer.entropy_loss_weight",
        ),
        (&batch_norm, 2, "gan.norm"),
        (&r1, 2, "gan.regularizer"),
        (&[], 3, "train.batch_size"),
    ];
    for (keys, ranks, named) in cases {
        let errors = on(ranks, |ranks| {
            let refused = trainer(&config(keys, 1), &data, ranks).err();
            refused.expect("an error").to_string()
        });
        assert!(errors.iter().all(|e| e.contains(named)), "{errors:?}");
    }
}

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: &Progress) {}
    fn evaluated(&mut self, _: u64, _: &dyn std::fmt::Display) {}
    fn note(&mut self, text: &str) {
        assert!(!text.contains("come apart"), "{text}");
    }
}

fn schedule(toml: String, steps: u64) -> Schedule {
    Schedule {
        steps,
        eval_every: 3,
        checkpoint_every: 2,
        keep_checkpoints: 9,
        toml,
        identity: "one".into(),
        earlier: Vec::new(),
    }
}

/// A run in a folder over so many ranks, of which rank 1 goes after `leaves` steps; what rank 0
/// says of its end, and the ranks that wrote.
fn run(
    config: &RunConfig,
    data: &Arc<ImageSet>,
    folder: &Path,
    steps: u64,
    ranks: usize,
    start: Start,
    leaves: bool,
) -> Vec<Result<()>> {
    on(ranks, |ranks| {
        let rank = ranks.rank();
        if rank == 1 && leaves {
            // As a process that is killed.
            return Ok(());
        }
        let trainer = trainer(config, data, ranks)?;
        if rank > 0 {
            return follow(trainer);
        }
        let folder = match start {
            Start::Fresh => RunFolder::create(folder, false)?,
            Start::Resume => RunFolder::resume(folder)?,
        };
        let (schedule, stop) = (schedule(config.to_toml()?, steps), AtomicBool::new(false));
        train_loop(trainer, &schedule, &folder, start, &mut Silent, &stop).map(|outcome| {
            assert!(!outcome.stopped && outcome.evaluation.is_some());
        })
    })
}

/// A run over four ranks goes on over one and then two, and ends where one over one alone does; a
/// rank that is gone ends it with an error, and its folder goes on.
#[test]
fn a_run_goes_on_over_other_ranks() {
    let data = Arc::new(pictures_of_classes(16, 24));
    let place = tempfile::tempdir().unwrap();
    let keys: Keys = &[
        ("train.ema_decay", "0.9"),
        ("train.lr", "1e-4"),
        ("data.class_weights", "1,5"),
    ];
    let mut config = config(keys, 1);
    config.train.steps = 6;
    let (alone, shared) = (place.path().join("alone"), place.path().join("shared"));
    let done = |results: Vec<Result<()>>| results.into_iter().for_each(|r| r.unwrap());
    done(run(&config, &data, &alone, 6, 1, Start::Fresh, false));
    done(run(&config, &data, &shared, 2, 4, Start::Fresh, false));
    done(run(&config, &data, &shared, 4, 1, Start::Resume, false));
    let broken = run(&config, &data, &shared, 6, 2, Start::Resume, true);
    let error = broken[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("rank 1 is gone"), "{error}");
    done(run(&config, &data, &shared, 6, 2, Start::Resume, false));
    let last = |run: &Path| {
        let latest = checkpoint::latest(&run.join("checkpoints")).unwrap();
        latest.unwrap().checkpoint
    };
    let (a, b) = (last(&alone), last(&shared));
    assert_eq!(a.state["step"], b.state["step"]);
    let names = |c: &Checkpoint| c.tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    for of in ["quantizer.codebook", "encoder", "ema."] {
        let (whole, parts) = (numbers(&a, of), numbers(&b, of));
        assert!(!whole.is_empty(), "{of}");
        let (found, tensor) = apart(&whole, &parts);
        // Adam's first steps move by the sign of a gradient, however small it is.
        assert!(found < 2e-2, "{tensor} by {found}");
    }
}

fn prior(config: &PriorConfig, folder: &Path, ranks: Ranks) -> Result<PriorTrainer> {
    let tokens = Tokens::open(&folder.join("prior/tokens"))?;
    Trainer::prior(&gpu(), &config.resolve()?, tokens)?.among(ranks)
}

/// The gradients and losses of a prior's step over 2 and 4 ranks are those of one, with dropout,
/// hidden classes, random orders and hidden codes drawn alike.
#[test]
fn a_prior_is_the_same_over_ranks() {
    let folder = tempfile::tempdir().unwrap();
    tokens(&gpu(), "ema", false, folder.path());
    for (key, value) in [
        ("prior.order", "raster"),
        ("prior.order", "any"),
        ("prior.kind", "masked"),
    ] {
        // Whole passes for two ranks, parts of each for four.
        let shared: &[usize] = match (thorough(), value) {
            (true, _) => &[2, 4],
            (false, "masked") => &[4],
            (false, "any") => &[2],
            (false, _) => continue,
        };
        let mut config = small("rotary");
        config.set(key, value).unwrap();
        // So many parameters that their gradients go in pieces.
        config.prior.dim = 128;
        config.prior.dropout = 0.2;
        config.set("train.class_weights", "balanced").unwrap();
        config.train.log_every = 1;
        (config.train.batch_size, config.train.accumulate) = (4, 2);
        let run = |ranks: usize| {
            after(ranks, 1, |ranks| {
                prior(&config, folder.path(), ranks).unwrap()
            })
        };
        let (whole, rows) = run(1);
        let rows: Vec<PriorRow> = rows;
        for &ranks in shared {
            let what = format!("{key} = {value}, {ranks} ranks");
            let (parts, other) = run(ranks);
            let (found, tensor) = apart(&numbers(&whole, "adam.m."), &numbers(&parts, "adam.m."));
            assert!(found < 1e-4, "{what}: {tensor} by {found}");
            near(&what, rows[0].loss, other[0].loss, 1e-5);
            near(&what, rows[0].gradient_norm, other[0].gradient_norm, 1e-4);
        }
    }
    let odd = on(3, |ranks| {
        prior(&small("rotary"), folder.path(), ranks).err()
    });
    let named = |e: &Option<Error>| {
        let text = e.as_ref().map(ToString::to_string).unwrap_or_default();
        text.contains("train.batch_size")
    };
    assert!(odd.iter().all(named));
}

/// Ranks that keep a share of the moments each end with the bytes of ranks that keep all, in 32
/// bits and 16; what they save, another number of ranks goes on with.
#[test]
fn shares_of_the_moments_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    tokens(&gpu(), "ema", false, folder.path());
    for state in ["f32", "bf16"] {
        let with = |sharded: bool| {
            let mut config = small("rotary");
            config.set("train.optimizer_state", state).unwrap();
            config.train.shard_optimizer = sharded;
            config.train.batch_size = 6;
            config
        };
        let run = |ranks: usize, steps: usize, sharded: bool| {
            let (config, folder) = (with(sharded), folder.path());
            after(ranks, steps, move |ranks| {
                prior(&config, folder, ranks).unwrap()
            })
            .0
        };
        let few: &[usize] = if thorough() { &[2, 3] } else { &[3] };
        for &ranks in few {
            let (whole, shared) = (run(ranks, 3, false), run(ranks, 3, true));
            assert!(whole == shared, "{state}, {ranks} ranks");
            // In two, from what three saved after two steps.
            let kept = run(ranks, 2, true);
            let gone_on = |sharded: bool| {
                let (config, kept) = (with(sharded), &kept);
                let all = on(2, |ranks| {
                    let mut trainer = prior(&config, folder.path(), ranks).unwrap();
                    trainer.restore(kept).unwrap();
                    trainer.step().unwrap();
                    trainer.checkpoint().unwrap()
                });
                assert!(all[0] == all[1]);
                all.into_iter().next().unwrap()
            };
            assert!(gone_on(true) == gone_on(false), "{state}");
        }
    }
}

/// A run whose ranks keep shares of the moments, stopped and resumed, ends with the bytes of one
/// that was left alone: what a rank loads reaches the others as it was saved.
#[test]
fn a_run_with_shares_of_the_moments_resumes() {
    let folder = tempfile::tempdir().unwrap();
    tokens(&gpu(), "ema", false, folder.path());
    let mut config = small("rotary");
    config.train.shard_optimizer = true;
    config.train.keep_best = false;
    config.train.batch_size = 4;
    let run = |name: &str, steps: u64, start: Start| {
        let place = folder.path().join(name);
        let done = on(2, |ranks| {
            let rank = ranks.rank();
            let trainer = prior(&config, folder.path(), ranks)?;
            if rank > 0 {
                return follow(trainer);
            }
            let run = match start {
                Start::Fresh => RunFolder::create(&place, false)?,
                Start::Resume => RunFolder::resume(&place)?,
            };
            let schedule = schedule(config.to_toml()?, steps);
            let stop = AtomicBool::new(false);
            train_loop(trainer, &schedule, &run, start, &mut Silent, &stop).map(drop)
        });
        done.into_iter().for_each(|r| r.unwrap());
        let latest = checkpoint::latest(&place.join("checkpoints")).unwrap();
        latest.unwrap().checkpoint
    };
    run("stopped", 2, Start::Fresh);
    let resumed = run("stopped", 4, Start::Resume);
    assert!(resumed == run("whole", 4, Start::Fresh));
    let moments = |name: &String| {
        name.starts_with("adam") && resumed.tensors[name].bytes.iter().any(|b| *b != 0)
    };
    assert!(resumed.tensors.keys().any(moments));
}

/// One of several processes that a launcher of MPI started does not train, or make all shards,
/// beside the others in one folder, where the program was built without MPI; what does neither is
/// not kept from it.
#[cfg(not(feature = "mpi"))]
#[test]
fn without_mpi_several_processes_train_nothing() {
    let place = tempfile::tempdir().unwrap();
    let said = |variable: &str, size: &str, arguments: &[&str]| {
        let out = wgvq()
            .env(variable, size)
            .current_dir(place.path())
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.success(), error)
    };
    for command in [
        &["train", "--data", "emoji"] as &[&str],
        &["prior", "run"],
        &["text2image", "train", "--data", "here"],
        &["encode", "run", "-o", "shards", "--shard", "auto/3"],
    ] {
        for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
            let (done, error) = said(variable, "4", command);
            assert!(!done && error.contains("--features mpi"), "{error}");
            assert!(error.contains(variable), "{error}");
        }
    }
    assert!(said("OMPI_COMM_WORLD_SIZE", "4", &["presets"]).0);
    let (_, error) = said("PMI_SIZE", "1", &["prior", "run"]);
    assert!(!error.contains("--features mpi"), "{error}");
    assert!(std::fs::read_dir(place.path()).unwrap().next().is_none());
}
