//! `wgvq info`

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use wgvq::Result;
use wgvq::bench::stored_tuning;
use wgvq::gpu::{AdapterReport, RobustAccess, adapters, default_few_channels, default_rules};
use wgvq::wgpu::Features;

pub fn run(global: &Global) -> Result<CommandStatus> {
    let all = adapters();
    if all.is_empty() {
        output::note(
            global,
            "No adapter. Install a GPU driver, or Mesa's software Vulkan (Debian: apt-get install \
             mesa-vulkan-drivers libvulkan1).",
        );
        return Ok(CommandStatus::Failed);
    }
    for a in &all {
        let cores: Vec<&str> = a.cores.iter().map(|c| c.name()).collect();
        let have = [
            ("subgroups", Features::SUBGROUP),
            ("immediates", Features::IMMEDIATES),
            ("timestamps", Features::TIMESTAMP_QUERY),
            ("f16", Features::SHADER_F16),
            (
                "cooperative matrices",
                Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            ),
        ];
        let features: Vec<&str> = have
            .iter()
            .filter(|(_, f)| a.features.contains(*f))
            .map(|(n, _)| *n)
            .collect();
        let (i, l) = (&a.info, &a.limits);
        let stored = stored_tuning(i, global.one_core()?)?;
        let rules = stored
            .as_ref()
            .map_or_else(|| default_rules(a.cores[0], i), |(_, t)| t.rules.clone());
        let few = stored.as_ref().and_then(|(_, t)| t.few_channels);
        let few = few.unwrap_or_else(|| {
            let core = stored.as_ref().and_then(|(_, t)| t.core.parse().ok());
            default_few_channels(core.unwrap_or(a.cores[0]))
        });
        if global.json {
            let line = serde_json::json!({
                "index": a.index, "name": i.name, "backend": i.backend.to_string(),
                "kind": format!("{:?}", i.device_type),
                "driver": format!("{} {}", i.driver, i.driver_info), "cores": cores,
                "features": features,
                "subgroup": [i.subgroup_min_size, i.subgroup_max_size],
                "memory_bytes": a.memory,
                "max_buffer_size": l.max_buffer_size,
                "max_binding_size": l.max_storage_buffer_binding_size,
                "workgroup_memory": l.max_compute_workgroup_storage_size,
                "robust_access": robust(global, a).0.name(),
                "robust_access_optional": a.robust_access_optional,
                "tiles": rules,
                "few_channels": few,
                "tuned": stored.as_ref().map(|(path, _)| path.display().to_string()),
            });
            json::print("adapter", &line);
            continue;
        }
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        output::result(&format!(
            "{}: {} ({}, {:?})",
            a.index, i.name, i.backend, i.device_type
        ));
        output::result(&format!(
            "   driver           {} {}",
            i.driver, i.driver_info
        ));
        let used = stored.as_ref().map_or(cores[0], |(_, t)| t.core.as_str());
        output::result(&format!(
            "   matrix cores     {} (shader loops, not hardware; {used} is used, --core chooses)",
            cores.join(", ")
        ));
        output::result(&format!(
            "   features         {}",
            if features.is_empty() {
                "none".into()
            } else {
                features.join(", ")
            }
        ));
        output::result(&format!(
            "   subgroups        {} to {} lanes",
            i.subgroup_min_size, i.subgroup_max_size
        ));
        let memory = a.memory.map_or("not told by this driver".into(), mib);
        output::result(&format!("   memory           {memory}"));
        output::result(&format!(
            "   largest buffer   {}, of which {} in one binding",
            mib(l.max_buffer_size),
            mib(l.max_storage_buffer_binding_size)
        ));
        output::result(&format!(
            "   workgroup memory {} KiB",
            l.max_compute_workgroup_storage_size >> 10
        ));
        let (used, why) = robust(global, a);
        output::result(&format!("   robust access    {} ({why})", used.name()));
        let from = stored.as_ref().map_or(
            "the default table; `wgvq tune` measures a better one".into(),
            |(path, _)| format!("measured, from {}", path.display()),
        );
        output::result(&format!("   tiles            {from}"));
        rules
            .iter()
            .for_each(|rule| output::result(&format!("                    {rule}")));
        output::result(&format!(
            "   codebook search  by kernels for few channels up to {few} of them, then by tiles"
        ));
    }
    Ok(CommandStatus::Done)
}

/// Whether an engine on the adapter has the driver check accesses to buffers, and why.
fn robust(global: &Global, adapter: &AdapterReport) -> (RobustAccess, &'static str) {
    if adapter.robust_access_optional {
        (global.robust_access, "--robust-access chooses")
    } else {
        (RobustAccess::On, "only Vulkan has the choice")
    }
}
