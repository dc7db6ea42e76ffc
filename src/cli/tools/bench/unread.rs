//! Options that are of suites of operations alone.

use super::Bench;
use wgvq::bench::Cache;
use wgvq::{Error, Result};

impl Bench {
    /// Refuses options of suites of operations, and `others`, where something else is measured.
    pub(super) fn refuse_of_suites(
        &self,
        others: &[(&'static str, bool)],
        why: &str,
    ) -> Result<()> {
        let of_suites = [
            ("--share", self.share.is_some()),
            ("--plot", self.plot.is_some()),
            ("--profile", self.profile),
            ("--compare", self.compare.is_some()),
            ("--against", self.against.is_some()),
            ("--processes", self.processes.is_some()),
            ("--fail-above", self.fail_above.is_some()),
            ("--cache", self.cache != [Cache::Warm]),
            ("--dtype", self.dtype != ["f32"]),
        ];
        let mut all = of_suites.iter().chain(others);
        match all.find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Error::config(*option, why)),
        }
    }
}
