//! `wgvq kernels`

#[cfg(any(windows, all(unix, not(target_vendor = "apple"))))]
mod table;

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use wgvq::data::absolute;
use wgvq::gpu::Kernel;
use wgvq::registry::operations;
use wgvq::storage::atomic;
use wgvq::storage::staged::Staged;
use wgvq::verify::pairwise::{by_file, pairwise};
use wgvq::{Error, Result};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq kernels                             # their names
  wgvq kernels vq_search --pairwise --spirv DIR
  wgvq kernels --wgsl DIR
  wgvq kernels matmul --statistics         # registers, spills and occupancy")]
pub struct Kernels {
    /// Only variants whose name contains one of these; without any, all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only a choice of variants, a tenth of all, in which every two values of two of a kernel's
    /// defines meet
    #[arg(long)]
    pairwise: bool,
    /// Write each variant as SPIR-V into this folder, as wgpu makes it without bounds checks:
    /// NAME.spv
    #[arg(long, value_name = "DIR")]
    spirv: Option<PathBuf>,
    /// Write each variant as WGSL into this folder: NAME.wgsl
    #[arg(long, value_name = "DIR")]
    wgsl: Option<PathBuf>,
    /// Write each variant in Metal's language into this folder: NAME.metal
    #[arg(long, value_name = "DIR")]
    msl: Option<PathBuf>,
    /// Write each variant in Direct3D's language into this folder: NAME.hlsl; those of
    /// cooperative matrices have none
    #[arg(long, value_name = "DIR")]
    hlsl: Option<PathBuf>,
    /// Compile each variant on the adapter (Vulkan), run none, and print what its compiler says:
    /// registers, spills, occupancy, workgroup memory, instructions; --json has all it says
    #[arg(long)]
    statistics: bool,
    /// Write the driver's own texts of each variant into this folder, its final code too:
    /// NAME.TEXT.txt
    #[arg(long, value_name = "DIR")]
    ir: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

/// The folders that files go into, each once, by its absolute path.
struct Places(BTreeMap<String, Place>);

/// The folders in which files are made before they go into those.
struct StagedFolders(BTreeMap<String, Staged>);

fn key(folder: &Path) -> String {
    absolute(&folder.to_string_lossy())
}

impl Places {
    fn take<'a>(global: &Global, folders: impl Iterator<Item = &'a PathBuf>) -> Result<Places> {
        let mut places = BTreeMap::new();
        for folder in folders {
            if let Entry::Vacant(place) = places.entry(key(folder)) {
                place.insert(Place::folder(global, folder)?);
            }
        }
        Ok(Places(places))
    }

    fn of(&self, folder: &Path) -> Result<&Place> {
        let place = self.0.get(&key(folder));
        place.ok_or_else(|| Error::file(folder, "is another folder than before"))
    }

    fn staged<'a>(&self, folders: impl IntoIterator<Item = &'a PathBuf>) -> Result<StagedFolders> {
        let mut staged = BTreeMap::new();
        for folder in folders {
            if let Entry::Vacant(place) = staged.entry(key(folder)) {
                place.insert(self.of(folder)?.staged()?);
            }
        }
        Ok(StagedFolders(staged))
    }
}

impl StagedFolders {
    /// Writes a file that goes into `folder`.
    fn write(&self, folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
        let staged = self.0.get(&key(folder));
        let staged = staged.ok_or_else(|| Error::file(folder, "is another folder than before"))?;
        atomic::write(&staged.path().join(name), bytes)
    }

    fn put(self) -> Result<()> {
        self.0.values().try_for_each(|staged| staged.put(&[]))
    }
}

impl Kernels {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let kernels = self.chosen()?;
        let folders = [&self.spirv, &self.wgsl, &self.msl, &self.hlsl, &self.ir];
        let places = Places::take(global, folders.into_iter().flatten())?;
        self.may_write(&places, &kernels)?;
        if folders.iter().take(4).any(|folder| folder.is_some()) {
            let staged = places.staged(folders.into_iter().take(4).flatten())?;
            kernels
                .par_iter()
                .try_for_each(|(label, kernel)| self.write(label, kernel, &staged))?;
            staged.put()?;
            if global.json {
                let line = serde_json::json!({ "kernels": kernels.len() });
                json::print("kernels-written", &line);
            } else {
                output::result(&format!("{} variants written", kernels.len()));
            }
        }
        if self.statistics || self.ir.is_some() {
            let staged = places.staged(&self.ir)?;
            let status = self.compile(global, &kernels, &staged)?;
            return staged.put().map(|()| status);
        }
        if folders.iter().all(|folder| folder.is_none()) {
            for label in kernels.keys() {
                if global.json {
                    json::print("kernel", &serde_json::json!({ "kernel": label }));
                } else {
                    output::result(label);
                }
            }
        }
        Ok(CommandStatus::Done)
    }

    /// The variants that are asked for, by name.
    fn chosen(&self) -> Result<BTreeMap<String, Kernel>> {
        let all = operations().iter().flat_map(|op| op.kernels());
        let mut chosen: BTreeMap<String, Kernel> =
            all.map(|kernel| (kernel.label(), kernel)).collect();
        if let Some(unknown) = self
            .names
            .iter()
            .find(|name| !chosen.keys().any(|label| label.contains(*name)))
        {
            return Err(Error::invalid(
                "kernels",
                format!("no variant's name contains `{unknown}`; `wgvq kernels` lists them"),
            ));
        }
        if !self.names.is_empty() {
            chosen.retain(|label, _| self.names.iter().any(|name| label.contains(name)));
        }
        if self.pairwise {
            let files = by_file(&chosen);
            let few = files.values().flat_map(|variants| pairwise(variants));
            return Ok(few.map(|kernel| (kernel.label(), kernel.clone())).collect());
        }
        Ok(chosen)
    }

    /// Checks that no file stands where one is to go, or that it may be replaced.
    fn may_write(&self, places: &Places, kernels: &BTreeMap<String, Kernel>) -> Result<()> {
        let kinds = [
            (&self.spirv, "spv"),
            (&self.wgsl, "wgsl"),
            (&self.msl, "metal"),
            (&self.hlsl, "hlsl"),
        ];
        let labels: Vec<String> = kernels.keys().map(|label| file_name(label)).collect();
        for (folder, end) in kinds {
            let Some(folder) = folder else { continue };
            let names: Vec<String> = labels.iter().map(|name| format!("{name}.{end}")).collect();
            let names = names.iter().map(String::as_str);
            places.of(folder)?.holds_none(names, self.overwrite)?;
        }
        let Some(folder) = &self.ir else {
            return Ok(());
        };
        // Which texts a driver has is known once it has compiled.
        let there = std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
        let there = there.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let own = |file: &String| {
            let of = |name: &String| file.strip_prefix(name.as_str())?.strip_prefix('.');
            file.ends_with(".txt") && labels.iter().any(|name| of(name).is_some())
        };
        let there: Vec<String> = there.filter(own).collect();
        let names = there.iter().map(String::as_str);
        places.of(folder)?.holds_none(names, self.overwrite)
    }

    fn write(&self, label: &str, kernel: &Kernel, staged: &StagedFolders) -> Result<()> {
        let name = file_name(label);
        if let Some(folder) = &self.spirv {
            let words = kernel.spirv()?;
            let bytes = bytemuck::cast_slice(&words);
            staged.write(folder, &format!("{name}.spv"), bytes)?;
        }
        if let Some(folder) = &self.wgsl {
            let text = kernel.wgsl(true)?;
            staged.write(folder, &format!("{name}.wgsl"), text.as_bytes())?;
        }
        if let Some(folder) = &self.msl {
            let text = kernel.msl()?;
            staged.write(folder, &format!("{name}.metal"), text.as_bytes())?;
        }
        if let Some(folder) = &self.hlsl
            && let Some(text) = kernel.hlsl()?
        {
            staged.write(folder, &format!("{name}.hlsl"), text.as_bytes())?;
        }
        Ok(())
    }

    #[cfg(not(any(windows, all(unix, not(target_vendor = "apple")))))]
    fn compile(
        &self,
        _: &Global,
        _: &BTreeMap<String, Kernel>,
        _: &StagedFolders,
    ) -> Result<CommandStatus> {
        Err(Error::config(
            "--statistics",
            "drivers tell of their compilers through Vulkan alone, which this system has not",
        ))
    }

    #[cfg(any(windows, all(unix, not(target_vendor = "apple"))))]
    fn compile(
        &self,
        global: &Global,
        kernels: &BTreeMap<String, Kernel>,
        staged: &StagedFolders,
    ) -> Result<CommandStatus> {
        use wgvq::gpu::statistics::{Compiler, Outcome};
        let compiler = Compiler::open(global.adapter.as_deref(), global.robust_access)?;
        let texts = self.ir.is_some();
        // A compiler's time per variant differs by a factor of a thousand: shared out singly.
        let rows: Vec<(&String, &Kernel)> = kernels.iter().collect();
        let outcomes: Vec<(&str, Outcome)> = rows
            .par_iter()
            .with_max_len(1)
            .map(|(label, kernel)| {
                let outcome = compiler.compile(kernel, texts)?;
                if let (Some(folder), Outcome::Compiled(compiled)) = (&self.ir, &outcome) {
                    for (kind, text) in &compiled.texts {
                        let name = format!("{}.{}.txt", file_name(label), file_name(kind));
                        staged.write(folder, &name, text.as_bytes())?;
                    }
                }
                Ok((label.as_str(), outcome))
            })
            .collect::<Result<_>>()?;
        table::print(global, self.statistics, outcomes);
        Ok(CommandStatus::Done)
    }
}

/// Returns the label, with an underscore for what shells and file systems take for something else.
fn file_name(label: &str) -> String {
    label
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_=.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_and_differ() {
        assert_eq!(file_name("cast(TO_HALF=1,VEC=1)"), "cast_TO_HALF=1_VEC=1_");
        let labels: std::collections::BTreeSet<String> = operations()
            .iter()
            .flat_map(|op| op.kernels())
            .map(|kernel| kernel.label())
            .collect();
        let names: std::collections::BTreeSet<String> =
            labels.iter().map(|label| file_name(label)).collect();
        assert!(
            names.len() == labels.len() && labels.len() > 100,
            "{} names of {}",
            names.len(),
            labels.len()
        );
    }

    /// The first of each kernel: `tests/shaders.rs` translates all.
    #[test]
    fn kernels_become_spirv() {
        let mut seen = std::collections::BTreeSet::new();
        for kernel in operations().iter().flat_map(|op| op.kernels()) {
            if seen.insert(kernel.name()) {
                let words = kernel.spirv().unwrap();
                assert_eq!(words[0], 0x0723_0203, "{}", kernel.label());
            }
        }
        assert!(seen.len() > 50);
    }
}
