//! `wgvq kernels`

use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use naga::back::spv;
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgvq::gpu::{Kernel, reflect};
use wgvq::registry::operations;
use wgvq::{Error, Result};

#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Kernels {
    /// Write each variant as SPIR-V into this folder, as wgpu makes it without bounds checks:
    /// NAME.spv
    #[arg(long, value_name = "DIR")]
    spirv: Option<PathBuf>,
    /// Write each variant as WGSL into this folder: NAME.wgsl
    #[arg(long, value_name = "DIR")]
    wgsl: Option<PathBuf>,
}

impl Kernels {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        for folder in [&self.spirv, &self.wgsl].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        }
        let kernels: BTreeMap<String, Kernel> = operations()
            .iter()
            .flat_map(|op| op.kernels())
            .map(|kernel| (kernel.label(), kernel))
            .collect();
        for (label, kernel) in &kernels {
            let (name, wgsl) = (file_name(label), kernel.wgsl(true)?);
            if let Some(folder) = &self.spirv {
                let words = spirv(label, &wgsl)?;
                write(
                    &folder.join(name.clone() + ".spv"),
                    bytemuck::cast_slice(&words),
                )?;
            }
            if let Some(folder) = &self.wgsl {
                write(&folder.join(name + ".wgsl"), wgsl.as_bytes())?;
            }
        }
        if global.json {
            output::result(&serde_json::json!({ "kernels": kernels.len() }).to_string());
        } else {
            output::result(&format!("{} variants written", kernels.len()));
        }
        Ok(CommandStatus::Done)
    }
}

/// The label, with an underscore for what shells and file systems take for something else.
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

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| Error::file(path, e))
}

fn spirv(label: &str, wgsl: &str) -> Result<Vec<u32>> {
    let failed = |what: String| Error::Gpu {
        op: format!("shader {label}"),
        what,
    };
    let (module, _) = reflect(label, wgsl)?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| failed(e.emit_to_string(wgsl)))?;
    let options = spv::Options {
        lang_version: (1, 3),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    spv::write_vec(&module, &info, &options, None).map_err(|e| failed(e.to_string()))
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
                let words = spirv(&kernel.label(), &kernel.wgsl(true).unwrap()).unwrap();
                assert_eq!(words[0], 0x0723_0203, "{}", kernel.label());
            }
        }
        assert!(seen.len() > 50);
    }
}
