//! Times the sum over ranks that a step of training makes, for messages of several sizes: over
//! threads of this process, or over processes where it is built with MPI.
//!
//! ```text
//! cargo run --release --example all_reduce -- 2
//!
//! cargo build --release --features mpi --example all_reduce
//! mpirun -n 2 target/release/examples/all_reduce
//! ```

use std::time::Instant;
use wgvq::parallel::{Ranks, ThreadRank};
use wgvq::{Error, Result};

/// Sizes of messages, in MB of 10^6 bytes.
const MEGABYTES: [f64; 7] = [0.004, 0.064, 1.0, 4.0, 16.0, 64.0, 256.0];

/// Sums messages of each size a few times; rank 0 prints the median.
fn measure(ranks: &Ranks) -> Result<()> {
    if ranks.rank() == 0 {
        println!("ranks,megabytes,seconds,megabytes_per_second");
    }
    for megabytes in MEGABYTES {
        let mut values = vec![1.0f32; (megabytes * 1e6) as usize / 4];
        let rounds = (256.0 / megabytes).clamp(3.0, 100.0) as usize;
        let mut times = Vec::new();
        for _ in 0..rounds {
            values.fill(1.0);
            // A message of its own, so that all begin together.
            ranks.agree(&[0])?;
            let began = Instant::now();
            ranks.sum(&mut values)?;
            times.push(began.elapsed().as_secs_f64());
        }
        let whole = ranks.size() as f32;
        if values.iter().any(|value| *value != whole) {
            return Err(Error::data(format!("a sum over {whole} ranks is another")));
        }
        times.sort_by(f64::total_cmp);
        if ranks.rank() == 0 {
            let median = times[times.len() / 2];
            let speed = megabytes / median;
            println!("{},{megabytes},{median:.6},{speed:.0}", ranks.size());
        }
    }
    Ok(())
}

/// Measures over so many threads.
fn over_threads(size: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let ranks = ThreadRank::group(size);
        let threads = ranks
            .into_iter()
            .map(|rank| scope.spawn(move || measure(&rank)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(Error::data("a thread has panicked")))
        })
    })
}

#[cfg(feature = "mpi")]
fn over_processes() -> Result<()> {
    let world = wgvq::parallel::World::start()?;
    measure(world.ranks())
}

#[cfg(not(feature = "mpi"))]
fn over_processes() -> Result<()> {
    let what = "this was built without MPI: name a number of threads, or build it with \
                `--features mpi` and start it by mpirun";
    Err(Error::data(what))
}

fn main() -> Result<()> {
    match std::env::args().nth(1) {
        None => over_processes(),
        Some(number) => match number.parse() {
            Ok(size @ 1..=64) => over_threads(size),
            _ => Err(Error::data(format!("`{number}` is no number from 1 to 64"))),
        },
    }
}
