//! Commands that `mpirun` started several times: rank 0 trains, and the others train with it; or
//! all take their shares of one work.

use super::output;
use super::signals;
use crate::cli::Global;
use wgvq::parallel::Ranks;
use wgvq::{Error, Result};

/// Variables by which launchers of MPI programs tell how many processes they started.
#[cfg(not(feature = "mpi"))]
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];
/// Variables that such launchers set.
#[cfg(feature = "mpi")]
const LAUNCHED: [&str; 5] = [
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "PMI_RANK",
    "PMIX_RANK",
    "MPI_LOCALNRANKS",
];

/// The parts in a command of several processes that were started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Each does the whole of it, and knows nothing of the others.
    Apart,
    /// Rank 0 is the command, and the others train with it.
    Led,
    /// All are the command, and share its work.
    Alike,
}

/// The processes of a command, from its start to its end.
pub struct Processes {
    together: Together,
    #[cfg(feature = "mpi")]
    world: Option<wgvq::parallel::World>,
}

impl Processes {
    /// Joins the processes that were started with this one, where the command has a use for them.
    #[cfg(feature = "mpi")]
    pub fn join(together: Together) -> Result<Processes> {
        let launched = LAUNCHED.iter().any(|name| std::env::var_os(name).is_some());
        let world = match together != Together::Apart && launched {
            true => Some(wgvq::parallel::World::start()?),
            false => None,
        };
        if let Some(world) = &world {
            world.ranks().clone().enter();
        }
        Ok(Processes { together, world })
    }

    /// Refuses to do the same several times in one folder.
    #[cfg(not(feature = "mpi"))]
    pub fn join(together: Together) -> Result<Processes> {
        let several = |name: &str| {
            let size = std::env::var(name).ok().and_then(|size| size.parse().ok());
            size.is_some_and(|size: u64| size > 1)
        };
        let otherwise = match together {
            Together::Apart => return Ok(Processes { together }),
            Together::Led => "train in one process",
            Together::Alike => "take --shard auto, which gives each process a shard",
        };
        match SIZES.iter().find(|name| several(name)) {
            Some(name) => {
                let what = format!(
                    "{name} says that this is one of several processes of MPI, which this wgvq \
                     was built without: build it with `--features mpi`, or {otherwise}"
                );
                Err(Error::invalid("mpi", what))
            }
            None => Ok(Processes { together }),
        }
    }

    /// Returns the number of the adapter for a process that has none named, where there are several
    /// of the kind that is taken otherwise: one for each process of a machine, in turn.
    #[cfg(feature = "mpi")]
    pub fn adapter(&self) -> Option<String> {
        let world = self.world.as_ref().filter(|w| !w.ranks().is_alone())?;
        let adapters = wgvq::gpu::adapters();
        let first = &adapters.first()?.info;
        let alike: Vec<usize> = adapters
            .iter()
            .filter(|a| (a.info.device_type, a.info.backend) == (first.device_type, first.backend))
            .map(|a| a.index)
            .collect();
        let (number, _) = world.on_node();
        (alike.len() > 1).then(|| alike[number % alike.len()].to_string())
    }

    /// Likewise: one process takes the usual one.
    #[cfg(not(feature = "mpi"))]
    pub fn adapter(&self) -> Option<String> {
        None
    }

    /// Trains what rank 0 begins, in a process that another one leads; `None` in all others.
    pub fn serve(&self, global: &Global) -> Option<Result<()>> {
        let ranks = Ranks::world();
        if ranks.rank() == 0 || self.together != Together::Led {
            return None;
        }
        // Rank 0 saves and ends the others.
        signals::leave_to_rank_0();
        let served = global
            .gpu()
            .and_then(|gpu| wgvq::train::serve(&gpu, &ranks, &Default::default()));
        Some(served)
    }

    /// Lets the processes go that this one leads.
    pub fn dismiss(&self) -> Result<()> {
        match self.together {
            Together::Led => wgvq::train::dismiss(&Ranks::world()),
            Together::Apart | Together::Alike => Ok(()),
        }
    }

    /// Says an error, and ends all processes: the others may wait for this one.
    pub fn fail(&self, global: &Global, error: &Error) {
        let ranks = Ranks::world();
        output::error(global, error, (!ranks.is_alone()).then(|| ranks.rank()));
        ranks.abort();
    }
}

/// A process that panics ends the others, which would wait for it for ever.
impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            Ranks::world().abort();
        }
    }
}
