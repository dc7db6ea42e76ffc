//! The shard that a scheduler or MPI has given this process, as its environment says.

use super::number::ShardNumber;
use crate::{Error, Result};

/// Variables of a rank among ranks: Open MPI, what speaks PMI (MPICH, Intel MPI, srun), MVAPICH.
const RANKS: [[&str; 2]; 3] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
    ["MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"],
];

const TASK: &str = "SLURM_ARRAY_TASK_ID";
const COUNT: &str = "SLURM_ARRAY_TASK_COUNT";

/// Returns the shard of the variables that `get` gives: a task of a Slurm array, a rank of MPI, or
/// a rank within a task, whose shards are those of all ranks of all tasks.
pub(super) fn shard(get: &dyn Fn(&str) -> Option<String>) -> Result<ShardNumber> {
    let number = |name: &str| -> Result<Option<usize>> {
        let Some(text) = get(name) else {
            return Ok(None);
        };
        let read = text.trim().parse();
        let wrong = |_| Error::config("--shard auto", format!("{name} is `{text}`, no number"));
        read.map(Some).map_err(wrong)
    };
    let needed = |name: &str, beside: &str| -> Result<usize> {
        let missing = || {
            let what = format!("{beside} is set, and {name} is not: write --shard i/n");
            Error::config("--shard auto", what)
        };
        number(name)?.ok_or_else(missing)
    };
    let task = match number(TASK)? {
        None => None,
        Some(id) => {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let of = needed(COUNT, TASK)?;
            let beyond = |what: String| Error::config("--shard auto", what);
            let at = id.checked_sub(first).map(|n| n / step).filter(|n| *n < of);
            let gaps = || {
                beyond(format!(
                    "task {id} of an array of {of} that begins at {first}: an array without gaps \
                     is needed, such as --array=0-{}",
                    of.saturating_sub(1)
                ))
            };
            Some((at.ok_or_else(gaps)?, of))
        }
    };
    let mut rank = None;
    for [name, size] in RANKS {
        if let (None, Some(own)) = (rank, number(name)?) {
            rank = Some((own, needed(size, name)?));
        }
    }
    let (at, of) = match (task, rank) {
        (Some((task, tasks)), Some((rank, ranks))) => (task * ranks + rank, tasks * ranks),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => {
            let ranks: Vec<&str> = RANKS.iter().map(|[name, _]| *name).collect();
            let what = format!(
                "neither a Slurm array ({TASK}) nor MPI ({}) has set a number: write --shard i/n",
                ranks.join(", ")
            );
            return Err(Error::config("--shard auto", what));
        }
    };
    ShardNumber::new(at + 1, of)
}

/// Checks that the process is not one task of several in a Slurm array: these know nothing of each
/// other, so that nothing can be handed out among them.
pub(super) fn one_job(get: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let tasks = get(COUNT).and_then(|count| count.trim().parse::<usize>().ok());
    match tasks {
        Some(tasks) if tasks > 1 => {
            let what = format!(
                "{COUNT} says that this is one of {tasks} tasks of an array, of which each would \
                 make all shards: write --shard auto, or start one job of several processes by MPI"
            );
            Err(Error::config("--shard auto/N", what))
        }
        _ => Ok(()),
    }
}
