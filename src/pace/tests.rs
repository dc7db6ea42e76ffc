use super::*;

/// A clock that is moved by hand.
struct Run {
    pace: Pace,
    now: f64,
}

impl Run {
    fn new() -> Run {
        Run {
            pace: Pace::new(Duration::ZERO),
            now: 0.0,
        }
    }
    fn at(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }
    fn steps(&mut self, n: usize, seconds: f64) {
        for _ in 0..n {
            self.now += seconds;
            self.pace.stepped(1, self.at());
        }
    }
    fn pause(&mut self, what: Break, seconds: f64) {
        self.now += seconds;
        self.pace.took(what, self.at());
    }
    fn left(&self, steps: u64, measurements: u64, checkpoints: u64) -> Option<f64> {
        self.pace
            .left(Rest {
                steps,
                measurements,
                checkpoints,
            })
            .map(|d| d.as_secs_f64())
    }
}

fn near(found: Option<f64>, wanted: f64) {
    assert!(
        found.is_some_and(|f| (f - wanted).abs() <= 0.1 * wanted),
        "{found:?} where {wanted} is right"
    );
}

#[test]
fn what_compiles_is_not_counted_and_nothing_is_said_before_it_is_known() {
    let mut run = Run::new();
    run.steps(1, 30.0);
    assert_eq!(run.left(99, 0, 0), None);
    // Two steps lie on the device while the next is recorded: what the first one left may be
    // waited for at the third.
    run.steps(1, 0.01);
    run.steps(1, 4.0);
    assert_eq!((run.left(97, 0, 0), run.pace.per_second()), (None, None));
    run.steps(2, 0.5);
    near(run.left(95, 0, 0), 47.5);
    run.steps(40, 0.5);
    near(run.left(55, 0, 0), 27.5);
    near(run.pace.per_second(), 2.0);
}

#[test]
fn measurements_count_as_what_they_are() {
    let mut run = Run::new();
    run.steps(23, 0.1);
    // The first one compiles; the steps behind it find the device without work.
    run.pace.compiled(30, Duration::from_secs(8));
    run.pause(Break::Measuring, 20.0);
    run.steps(2, 0.01);
    run.steps(18, 0.1);
    near(run.left(100, 0, 0), 10.0);
    run.pause(Break::Measuring, 4.2);
    run.pause(Break::Saving, 1.0);
    near(run.left(100, 0, 0), 10.0);
    near(run.left(100, 5, 2), 10.0 + 20.0 + 2.0);
    run.steps(2, 0.0);
    run.steps(20, 0.1);
    run.pause(Break::Measuring, 4.2);
    near(run.left(100, 5, 2), 32.0);
    // Slow steps between near measurements: what was waited for in them counts with them.
    let mut run = Run::new();
    run.steps(3, 1.0);
    run.steps(2, 2.0);
    for _ in 0..6 {
        run.pause(Break::Measuring, 6.0);
        run.steps(2, 0.0);
        run.steps(2, 2.0);
    }
    near(run.left(40, 10, 0), 40.0 + 60.0);
}

#[test]
fn bursts_count_at_their_mean_and_one_that_held_the_run_up_does_not() {
    let mut run = Run::new();
    run.steps(3, 1.0);
    // Data come eight batches at a time.
    for _ in 0..12 {
        run.steps(7, 0.01);
        run.steps(1, 3.93);
    }
    near(run.left(80, 0, 0), 40.0);
    let mut run = Run::new();
    run.steps(30, 0.5);
    run.steps(1, 40.0);
    near(run.left(100, 0, 0), 50.0);
    // What stays is the new pace.
    run.steps(100, 3.0);
    near(run.left(100, 0, 0), 300.0);
    // Gone back to a checkpoint.
    run.now += 500.0;
    run.pace.skip(run.at());
    near(run.left(100, 0, 0), 300.0);
}

#[test]
fn several_at_a_time_and_clocks_that_stand_still() {
    let mut pace = Pace::new(Duration::ZERO);
    for i in 1..20 {
        pace.stepped(64, Duration::from_secs(2 * i));
    }
    let left = pace.left(Rest {
        steps: 640,
        measurements: 0,
        checkpoints: 0,
    });
    assert_eq!(left, Some(Duration::from_secs(20)));
    let mut still = Run::new();
    still.steps(100, 0.0);
    assert_eq!(
        (still.left(5, 0, 0), still.pace.per_second()),
        (Some(0.0), None)
    );
}

/// A device and the host that feeds it, as a training run uses them: two steps lie on the device
/// while the next is recorded, and a measurement waits for both.
struct Simulation {
    /// Seconds of recording a step, and of the device for it.
    record: f64,
    device: f64,
    /// Seconds in which the host compiles kernels in the first step, and the device's driver when
    /// it first runs them.
    compile: f64,
    lazily: f64,
    steps: u64,
    /// Steps between measurements, and seconds of one and of the last one.
    every: u64,
    measure: f64,
    last: f64,
    /// The further time of the first measurement, host and driver.
    measure_compile: f64,
    measure_lazily: f64,
    cost: MeasurementCost,
}

impl Simulation {
    /// Runs it; returns the step, the time and what was said to be left, and the end.
    fn run(&self) -> (Vec<(u64, f64, Option<f64>)>, f64) {
        let seconds = Duration::from_secs_f64;
        let mut pace = Pace::new(Duration::ZERO).expect(self.cost);
        let (mut now, mut free) = (0.0f64, 0.0f64);
        let (mut kernels, mut compiling) = (0, 0.0);
        let mut ends: Vec<f64> = Vec::new();
        let mut said = Vec::new();
        let mut measured = 0;
        let between = (self.steps - 1) / self.every;
        for step in 1..=self.steps {
            if step == 1 {
                (kernels, compiling) = (60, self.compile);
                now += self.compile;
            }
            now += self.record;
            let jit = if step == 1 { self.lazily } else { 0.0 };
            free = free.max(now) + self.device + jit;
            ends.push(free);
            if let Some(before) = ends.len().checked_sub(3) {
                now = now.max(ends[before]);
            }
            pace.compiled(kernels, seconds(compiling));
            pace.stepped(1, seconds(now));
            if step % self.every == 0 && step < self.steps {
                now = now.max(free) + self.measure;
                if measured == 0 {
                    (kernels, compiling) = (kernels + 20, compiling + self.measure_compile);
                    now += self.measure_compile + self.measure_lazily;
                }
                measured += 1;
                free = now;
                pace.compiled(kernels, seconds(compiling));
                pace.took(Break::Measuring, seconds(now));
            }
            let left = pace.left(Rest {
                steps: self.steps - step,
                measurements: between - measured + 1,
                checkpoints: 0,
            });
            said.push((step, now, left.map(|left| left.as_secs_f64())));
        }
        (said, now.max(free) + self.last)
    }

    /// Asserts that what is left is right within a factor of 1.5 from the fifth step on.
    fn check(&self, name: &str) {
        let (said, end) = self.run();
        for (step, now, left) in said {
            if step < 5 {
                continue;
            }
            let (left, right) = (left.unwrap_or(f64::NAN), end - now);
            assert!(
                left <= 1.5 * right && right <= 1.5 * left,
                "{name}: {left:.1} s left are said after step {step}, where {right:.1} s are right"
            );
        }
    }
}

#[test]
fn the_time_left_is_right_from_the_fifth_step_on() {
    // A first stage on a fast device: the first measurement compiles for longer than all of the
    // steps take, and the driver compiles at once.
    let training = Simulation {
        record: 0.001,
        device: 0.003,
        compile: 20.0,
        lazily: 0.0,
        steps: 20_000,
        every: 500,
        measure: 0.1,
        last: 0.1,
        measure_compile: 15.0,
        measure_lazily: 0.0,
        cost: MeasurementCost::of_images(3_000, 3_000, 32),
    };
    training.check("training");
    // The same on software Vulkan, which compiles when it runs.
    Simulation {
        device: 0.3,
        record: 0.02,
        lazily: 40.0,
        steps: 2_000,
        measure: 5.0,
        last: 5.0,
        measure_compile: 2.0,
        measure_lazily: 20.0,
        cost: MeasurementCost::of_images(372, 372, 32),
        ..training
    }
    .check("training on software Vulkan");
    // Recording binds: the device waits for the host.
    Simulation {
        record: 0.02,
        every: 50,
        steps: 1_000,
        measure: 0.55,
        last: 0.55,
        measure_compile: 3.0,
        cost: MeasurementCost::of_images(4_000, 4_000, 64),
        ..training
    }
    .check("training bound by recording");
    // A prior measures on some of its images between, on all at the end.
    Simulation {
        record: 0.005,
        device: 0.05,
        steps: 3_000,
        every: 200,
        measure: 0.45,
        last: 4.0,
        measure_compile: 6.0,
        cost: MeasurementCost::of_images(512, 512 + 4_000, 16),
        ..training
    }
    .check("a prior");
    // A judge measures often.
    Simulation {
        device: 0.1,
        steps: 1_500,
        every: 25,
        measure: 1.1,
        last: 1.1,
        measure_compile: 8.0,
        cost: MeasurementCost::of_images(372 * 2, 372 * 2, 32),
        ..training
    }
    .check("a judge");
}

#[test]
fn phases_of_one_command_do_not_learn_from_each_other() {
    // Three models one after the other: each has its own clock, which begins with it, so that a
    // slow first stage says nothing of a fast prior.
    for (name, device, steps) in [
        ("first stage", 0.4, 400),
        ("prior", 0.02, 4_000),
        ("judge", 0.1, 900),
    ] {
        Simulation {
            record: 0.002,
            device,
            compile: 5.0,
            lazily: 10.0,
            steps,
            every: 100,
            measure: 12.0 * device,
            last: 12.0 * device,
            measure_compile: 4.0,
            measure_lazily: 4.0,
            cost: MeasurementCost::of_images(1_024, 1_024, 32),
        }
        .check(name);
    }
}

#[test]
fn kernels_that_come_late_are_not_taken_for_slow_steps() {
    let mut run = Run::new();
    run.steps(12, 0.1);
    // A row of the log is due for the first time.
    run.pace.compiled(4, Duration::from_secs(2));
    run.steps(1, 2.1);
    run.steps(2, 1.0);
    run.steps(5, 0.1);
    near(run.left(100, 0, 0), 10.0);
}
