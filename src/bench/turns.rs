//! Ours and a peer's, by turns.

use super::measure::Budget;
use super::peer::{Peer, PeerRow};
use super::statistics::{median, of_pairs};
use super::workload::Workload;
use crate::gpu::Gpu;
use crate::{Error, Result};
use std::time::{Duration, Instant};

/// Turns of each side: an interval of pairs at 95 % needs six.
const TURNS: u32 = 8;
/// After a peer's turn: its threads may wait for work at full speed for 200 ms (Intel's OpenMP).
/// After ours too, so that each finds a device that rested as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Calls of a turn, at least.
const LEAST: usize = 3;

/// Lets a peer compute a workload, holds that against f64, and times both by turns, by wall time
/// from the call to the device's being idle. A peer that refuses the workload, or is wrong, has no
/// time.
///
/// # Errors
/// If ours fails.
pub fn beside(
    gpu: &Gpu,
    workload: &Workload,
    peer: &mut Peer,
    budget: Budget,
    seed: u64,
) -> Result<PeerRow> {
    let Some(problem) = workload.problem(gpu, seed, peer.rounds)? else {
        let what = "not asked: no operation by itself, or not in f32";
        return Ok(PeerRow::without(peer, None, what.into()));
    };
    let folder = tempfile::tempdir()
        .map_err(|e| Error::data(format!("no folder for a peer's files can be made: {e}")))?;
    let outputs = match peer.solve(&problem, folder.path())? {
        Ok(outputs) => outputs,
        Err(why) => return Ok(PeerRow::without(peer, None, why)),
    };
    let verdict = problem.judge(gpu, outputs)?;
    if !verdict.pass || verdict.compared == 0 {
        let detail = verdict.detail.clone();
        return Ok(PeerRow::without(peer, Some(&verdict), detail));
    }
    let mut call = workload.prepare(gpu, seed)?.call;
    for _ in 0..2 {
        call()?;
        gpu.finish()?;
    }
    let time = budget.time / TURNS;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for side in [turn % 2, 1 - turn % 2] {
            if side == 0 {
                ours.push(median(&repeat(gpu, &mut call, time)?));
            } else {
                match peer.time(time, LEAST) {
                    Ok(samples) => theirs.push(median(&samples)),
                    Err(why) => return Ok(PeerRow::without(peer, Some(&verdict), why)),
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
    let logs: Vec<f64> = theirs
        .iter()
        .zip(&ours)
        .map(|(t, o)| (t / o).ln())
        .collect();
    let interval = of_pairs(&logs).map(|i| i.map(f64::exp));
    Ok(PeerRow {
        ms: Some(median(&theirs)),
        ours_ms: Some(median(&ours)),
        ratio: interval.map(|i| i.middle),
        interval: interval.map(|i| [i.low, i.high]),
        samples: theirs,
        ours_samples: ours,
        ..PeerRow::without(peer, Some(&verdict), verdict.detail.clone())
    })
}

/// Repeats a call for that long, and returns the wall times in milliseconds.
fn repeat(gpu: &Gpu, call: &mut dyn FnMut() -> Result<()>, time: Duration) -> Result<Vec<f64>> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < LEAST || begun.elapsed() < time {
        let start = Instant::now();
        call()?;
        gpu.finish()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
