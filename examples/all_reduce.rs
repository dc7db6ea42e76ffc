//! Times the sum over ranks that a step of training makes, for messages of several sizes:
//!
//! ```text
//! cargo build --release --features mpi --example all_reduce
//! mpirun -n 2 target/release/examples/all_reduce
//! ```

use std::time::Instant;
use wgvq::parallel::World;

fn main() -> wgvq::Result<()> {
    let world = World::start()?;
    let ranks = world.ranks();
    if ranks.rank() == 0 {
        println!("ranks,bytes,median_ms");
    }
    for kib in [4, 64, 256, 1_024, 4_096, 16_384, 65_536] {
        let mut values = vec![1.0f32; kib * 256];
        let rounds = (65_536 / kib).clamp(5, 200);
        let mut times = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            ranks.sum(&mut values)?;
            times.push(began.elapsed().as_secs_f64());
            values.fill(1.0);
        }
        times.sort_by(f64::total_cmp);
        if ranks.rank() == 0 {
            let median = 1e3 * times[times.len() / 2];
            println!("{},{},{median:.3}", ranks.size(), kib * 1_024);
        }
    }
    Ok(())
}
