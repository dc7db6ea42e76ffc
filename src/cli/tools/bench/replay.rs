//! `wgvq bench --replay RUN`

use super::Bench;
use super::choose::enough_memory;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::signals::stop_flag;
use crate::cli::{CommandStatus, Global};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wgvq::Result;
use wgvq::bench::{self, Budget, Replay, Row, Shape};

impl Bench {
    /// Refuses options that a replay does not read.
    fn check_replay(&self) -> Result<()> {
        let others = [
            ("--peer", !self.peer.is_empty()),
            ("--vectors", self.vectors.is_some()),
        ];
        let why = "is not for --replay: time its workloads by their names instead";
        self.refuse_of_suites(&others, why)
    }

    /// Times the shapes that a run dispatches.
    pub(super) fn replay(&self, global: &Global, run: &Path) -> Result<CommandStatus> {
        self.check_replay()?;
        let gpu = global.gpu()?;
        let parts = Replay::of(&gpu, run)?;
        let peak = self.peak(&gpu)?;
        let budget = Budget::default();
        let budget = Budget {
            time: Duration::from_secs_f64(self.seconds),
            spread: self.spread.share(),
            again: if self.any_clock { 0 } else { budget.again },
            ..budget
        };
        let (mut failed, stop) = (0, stop_flag());
        for part in &parts {
            let calls: usize = part.shapes.iter().map(|shape| shape.count).sum();
            let Replay {
                name, items, ms, ..
            } = part;
            if !global.json {
                output::result(&format!(
                    "{name} of {}, {items} at once: {ms:.2} ms, {calls} calls of {} shapes",
                    run.display(),
                    part.shapes.len()
                ));
            }
            let mut sum = 0.0;
            for shape in &part.shapes {
                if stop.load(Ordering::Relaxed) {
                    return Ok(CommandStatus::Abandoned);
                }
                enough_memory(&shape.workload)?;
                let row = bench::row(&gpu, &shape.workload, &peak, budget, self.seed)?;
                let row = match self.any_clock {
                    true => row,
                    false => row.without_refused(),
                };
                failed += usize::from(!row.pass);
                let share = row.ms.map(|each| each * shape.count as f64 / ms);
                sum += share.unwrap_or(0.0);
                tell(global, part, shape, &row, share);
            }
            if !global.json {
                output::result(&format!(
                    "  together {:.1} %; the rest are operations that tell no sizes{}, and what \
                     lies between",
                    100.0 * sum,
                    match part.left_out {
                        0 => String::new(),
                        n => format!(", {n} calls that are no case of the registry"),
                    }
                ));
            }
        }
        if failed > 0 {
            let what = format!("{failed} shapes are WRONG: no speed is given for them");
            output::note(global, &what);
        }
        Ok(match failed {
            0 => CommandStatus::Done,
            _ => CommandStatus::Failed,
        })
    }
}

/// Prints the time of a shape, and its share of what it is a part of.
fn tell(global: &Global, part: &Replay, shape: &Shape, row: &Row, share: Option<f64>) {
    if global.json {
        let line = serde_json::json!({
            "part": part.name, "part_ms": part.ms, "count": shape.count, "share": share,
            "row": row,
        });
        json::print("bench-replay", &line);
        return;
    }
    let count = shape.count;
    output::result(&match (row.ms, share) {
        (Some(ms), Some(share)) => format!(
            "{count:>5} x {ms:>9.3} ms {:>6.1} %  {}",
            100.0 * share,
            row.name
        ),
        _ if row.pass => format!("{count:>5} x   REFUSED  {}: the clock moved", row.name),
        _ => format!("{count:>5} x     WRONG  {}: {}", row.name, row.detail),
    });
}
