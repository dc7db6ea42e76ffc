//! The choice of a matrix core's tile for each problem: a table per adapter, a default one until
//! `wgvq tune` has measured.

use super::gemm::Tile;
use crate::gpu::{Core, Gpu};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of a stored table; one of another is refused.
pub const TUNING_FORMAT: u32 = 1;

/// The most channels of which the search has kernels for few channels.
pub const FEW_CHANNELS: usize = 16;

/// A table of tiles for one core of one adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// [`TUNING_FORMAT`].
    pub format: u32,
    /// The adapter's name.
    pub adapter: String,
    /// Its driver: a new one may prefer other tiles.
    pub driver: String,
    /// The core that the tiles are of.
    pub core: String,
    /// Latents of as many channels at most, of [`FEW_CHANNELS`], are searched by kernels for few
    /// channels, and others by the core's tiles; by [`default_few_channels`] where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few_channels: Option<usize>,
    /// The rules; the first that fits a problem gives its tile.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Problems of as many columns at most; any number without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cols: Option<usize>,
    /// Problems of fewer operations; any number without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below_flops: Option<f64>,
    /// The tile, as [`Tile`] displays it.
    pub tile: String,
    /// The speed measured with it, in 10^9 operations per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops: Option<f64>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:<20}", self.tile)?;
        match (self.max_cols, self.below_flops) {
            (Some(c), Some(o)) => write!(f, " up to {c} columns and below {o:.0e} operations"),
            (Some(c), None) => write!(f, " up to {c} columns"),
            (None, Some(o)) => write!(f, " below {o:.0e} operations"),
            (None, None) => write!(f, " otherwise"),
        }
    }
}

/// The table in use: rules with their tiles found.
#[derive(Debug)]
pub(crate) struct Tiles {
    pub(in crate::gpu) core: Core,
    few_channels: Option<usize>,
    rules: Vec<(Option<usize>, Option<f64>, Tile)>,
}

fn rule(max_cols: Option<usize>, below_flops: Option<f64>, tile: &str) -> Rule {
    Rule {
        max_cols,
        below_flops,
        tile: tile.into(),
        gflops: None,
    }
}

/// Vendors whose GPUs have registers for 8 x 8 sums of an invocation, and enough of these at once:
/// NVIDIA and AMD.
const MANY_REGISTERS: [u32; 2] = [0x10de, 0x1002];

/// Returns the rules of a device that was not tuned.
pub fn default_rules(core: Core, adapter: &wgpu::AdapterInfo) -> Vec<Rule> {
    let many =
        MANY_REGISTERS.contains(&adapter.vendor) || adapter.device_type == wgpu::DeviceType::Cpu;
    match core {
        // Larger tiles load less per product but take longer to compile: on llvmpipe half a second,
        // and the largest more than one.
        Core::Subgroup => vec![
            rule(Some(8), None, "subgroup 8x8"),
            rule(None, Some(2e8), "subgroup 4x32"),
            rule(Some(32), None, "subgroup 8x32"),
            rule(None, Some(1e9), "subgroup 8x32"),
            rule(None, None, "subgroup 8x64"),
        ],
        // Small tiles make more workgroups, and it takes many to keep a GPU busy: a product of a
        // few 10^8 operations is not enough for the largest. The limits are as measured on an
        // NVIDIA H100. 4 x 4 sums read more of workgroup memory than they multiply, so they are
        // for few columns and few operations.
        Core::Tiled => vec![
            rule(Some(16), None, "tiled 64x16 4x4"),
            rule(Some(32), None, "tiled 32x32 4x4"),
            rule(None, Some(2e8), "tiled 32x32 4x4"),
            rule(None, Some(1e9), "tiled 64x64 8x4"),
            rule(
                None,
                None,
                if many {
                    "tiled 128x64 8x8"
                } else {
                    "tiled 64x64 8x4"
                },
            ),
        ],
        // Large tiles read their operands from memory half as often, and take some hundred
        // workgroups to fill a GPU.
        Core::Coopmat => vec![
            rule(Some(64), None, "coopmat 64x64"),
            rule(None, Some(8e9), "coopmat 64x64"),
            rule(None, None, "coopmat 128x128"),
        ],
    }
}

/// Returns the channels up to which a device that was not tuned searches by kernels for few
/// channels.
pub fn default_few_channels(core: Core) -> usize {
    match core {
        Core::Subgroup | Core::Tiled => FEW_CHANNELS,
        // Its products take the same for one channel as for 16: 15 instructions a score on an RTX
        // 4070 and 20 on an RX 7900 XTX, by their compilers, where these kernels take 11 for 8
        // channels, 16 for 12 and 20 for 16.
        Core::Coopmat => 8,
    }
}

impl Tiles {
    fn new(core: Core, candidates: &[Tile], rules: &[Rule]) -> Result<Tiles> {
        let find = |rule: &Rule| {
            let tile = candidates
                .iter()
                .find(|t| t.to_string() == rule.tile)
                .copied();
            let names: Vec<String> = candidates.iter().map(Tile::to_string).collect();
            let what = || {
                format!(
                    "no tile is called `{}`; the {} core has {}",
                    rule.tile,
                    core.name(),
                    names.join(", ")
                )
            };
            Ok((
                rule.max_cols,
                rule.below_flops,
                tile.ok_or_else(|| Error::invalid("tuning", what()))?,
            ))
        };
        let rules = rules.iter().map(find).collect::<Result<Vec<_>>>()?;
        if !rules
            .iter()
            .any(|(cols, flops, _)| cols.is_none() && flops.is_none())
        {
            return Err(Error::invalid(
                "tuning",
                "the table has no rule for what no other rule fits",
            ));
        }
        Ok(Tiles {
            core,
            few_channels: None,
            rules,
        })
    }

    fn tile(&self, cols: usize, flops: f64) -> Tile {
        let fits = |(most, below, _): &&(Option<usize>, Option<f64>, Tile)| {
            most.is_none_or(|m| cols <= m) && below.is_none_or(|b| flops < b)
        };
        let last = self.rules.len() - 1;
        match self.rules.iter().find(fits).unwrap_or(&self.rules[last]).2 {
            // Columns past the last are computed and thrown away: not more than a quarter of them.
            Tile::Subgroup { lanes, v, nc: 64 } if cols.next_multiple_of(64) * 3 > cols * 4 => {
                Tile::Subgroup { lanes, v, nc: 32 }
            }
            tile => tile,
        }
    }
}

impl Gpu {
    /// Returns the default table; made at the first use.
    fn tiles(&self) -> &Tiles {
        self.inner.kernel.tiles.get_or_init(|| {
            let core = self.core();
            let candidates = self.tiles_of(core);
            let mut rules = default_rules(core, self.info());
            if core == Core::Coopmat {
                // Matrices or subgroups may be too small for the large tile.
                let last = candidates.last().map(Tile::to_string).unwrap_or_default();
                for rule in &mut rules {
                    if !candidates.iter().any(|t| t.to_string() == rule.tile) {
                        rule.tile.clone_from(&last);
                    }
                }
            }
            // The default rules name tiles that there are; a test says so.
            Tiles::new(core, &candidates, &rules).expect("default tiles")
        })
    }

    /// Returns the tiles that this device can choose from on one core, the smallest first.
    pub fn tiles_of(&self, core: Core) -> Vec<Tile> {
        match (core, self.coopmat()) {
            (Core::Coopmat, Some(matrices)) => matrices.tiles(),
            _ => Tile::candidates(core, self.subgroup_size()),
        }
    }

    /// Returns the tile for a problem of that many columns and operations.
    pub(crate) fn tile(&self, cols: usize, flops: f64) -> Tile {
        self.tiles().tile(cols, flops)
    }

    /// Returns the rules of the table in use.
    pub fn tuning_rules(&self) -> Vec<Rule> {
        let rule = |(max_cols, below_flops, tile): &(Option<usize>, Option<f64>, Tile)| Rule {
            max_cols: *max_cols,
            below_flops: *below_flops,
            tile: tile.to_string(),
            gflops: None,
        };
        self.tiles().rules.iter().map(rule).collect()
    }

    /// Returns the channels up to which the table in use has latents searched by kernels for few
    /// channels; `None` where it leaves that to [`default_few_channels`].
    pub fn tuned_few_channels(&self) -> Option<usize> {
        self.tiles().few_channels
    }

    /// Returns the channels up to which latents are searched by kernels for few channels.
    pub(crate) fn few_channels(&self) -> usize {
        let tuned = self.tuned_few_channels();
        tuned.unwrap_or_else(|| default_few_channels(self.core()))
    }

    /// [`Gpu::tile`] of a core that multiplies in f32: where the device's does not, the `tiled`
    /// core's.
    pub(crate) fn exact_tile(&self, cols: usize, flops: f64) -> Tile {
        if self.core() != Core::Coopmat {
            return self.tile(cols, flops);
        }
        let tiles = Tile::candidates(Core::Tiled, None);
        let rules = default_rules(Core::Tiled, self.info());
        Tiles::new(Core::Tiled, &tiles, &rules)
            .expect("default tiles")
            .tile(cols, flops)
    }

    /// Uses a measured table, and its core, from here on. Tiles of one core add in the same order;
    /// another core may round otherwise.
    ///
    /// # Errors
    /// If the table is of another format, of a core that the device cannot run or that
    /// [`Options::core`](crate::gpu::Options) excludes, or names a tile that there is not or more
    /// than [`FEW_CHANNELS`] few channels.
    pub fn set_tuning(&self, tuning: &Tuning) -> Result<()> {
        if tuning.format != TUNING_FORMAT {
            let what = format!(
                "format {}, this version reads {TUNING_FORMAT}; run `wgvq tune` again",
                tuning.format
            );
            return Err(Error::invalid("tuning", what));
        }
        let core: Core = tuning.core.parse()?;
        if !self.cores().contains(&core) {
            let cores: Vec<&str> = self.cores().iter().map(|c| c.name()).collect();
            let what = format!(
                "a table of the {} core, and this engine chooses among {}",
                core.name(),
                cores.join(", ")
            );
            return Err(Error::invalid("tuning", what));
        }
        if let Some(channels) = tuning.few_channels.filter(|c| *c > FEW_CHANNELS) {
            let what = format!(
                "few_channels = {channels}: there are kernels for {FEW_CHANNELS} channels at most"
            );
            return Err(Error::invalid("tuning", what));
        }
        let mut tiles = Tiles::new(core, &self.tiles_of(core), &tuning.rules)?;
        tiles.few_channels = tuning.few_channels;
        self.inner.kernel.tiles.set(tiles);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Coopmat;

    fn adapter(vendor: u32, name: &str) -> wgpu::AdapterInfo {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Noop);
        (info.vendor, info.name) = (vendor, name.into());
        info
    }

    #[test]
    fn default_tables_name_tiles_that_there_are_and_that_suit() {
        for (core, lanes) in [
            (Core::Tiled, None),
            (Core::Subgroup, Some(8)),
            (Core::Subgroup, Some(32)),
        ] {
            for adapter in [
                adapter(0x10de, "NVIDIA"),
                adapter(0x8086, "Intel"),
                adapter(0x10005, "Apple M1 (G13G A0)"),
                adapter(0x106b, ""),
            ] {
                let tiles = Tile::candidates(core, lanes);
                let tiles = Tiles::new(core, &tiles, &default_rules(core, &adapter)).unwrap();
                for cols in [1, 8, 9, 33, 64, 4096] {
                    for flops in [1.0, 1e8, 5e8, 1e12] {
                        let tile = tiles.tile(cols, flops);
                        assert!(tile.suits(&adapter), "{tile} on {adapter:?}");
                    }
                }
            }
        }
        let nvidia = adapter(0x10de, "");
        let table =
            |core, tiles: &[Tile]| Tiles::new(core, tiles, &default_rules(core, &nvidia)).unwrap();
        let large = Coopmat::all().into_iter().map(Coopmat::tiles);
        let tiles = table(Core::Coopmat, &large.max_by_key(Vec::len).unwrap());
        assert_eq!(tiles.tile(4096, 1e12).to_string(), "coopmat 128x128");
        assert_eq!(tiles.tile(64, 1e12).to_string(), "coopmat 64x64");
        let tiles = table(Core::Subgroup, &Tile::candidates(Core::Subgroup, Some(8)));
        assert_eq!(tiles.tile(3, 1e12).to_string(), "subgroup 8x8");
        assert_eq!(tiles.tile(64, 2e9).to_string(), "subgroup 8x64");
        let tiles = table(Core::Tiled, &Tile::candidates(Core::Tiled, None));
        assert_eq!(tiles.tile(64, 2e9).to_string(), "tiled 128x64 8x8");
    }

    #[test]
    fn tables_that_cannot_be_used_are_refused() {
        let tiles = Tile::candidates(Core::Tiled, None);
        let table = |rules: &[Rule]| Tiles::new(Core::Tiled, &tiles, rules);
        assert!(
            table(&[rule(None, None, "tiled 7x7 1x1")])
                .unwrap_err()
                .to_string()
                .contains("64x64")
        );
        assert!(table(&[rule(Some(8), None, "tiled 64x64 8x8")]).is_err());
        assert!(table(&[]).is_err());
    }
}
