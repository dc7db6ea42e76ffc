//! The adapter: what it offers, whether its kernels are right, and how fast they are.

use super::{Finding, Report};
use crate::cli::Global;
use crate::cli::tools::selftest;
use wgvq::bench;
use wgvq::gpu::{Gpu, MissingFeature, adapters};
use wgvq::registry::find;
use wgvq::verify::chosen;
use wgvq::wgpu::DeviceType;
use wgvq::{Error, Result};

/// An operation of each family of kernels.
const FAMILIES: [(&str, &str); 10] = [
    ("linalg", "matmul"),
    ("elementwise", "activation"),
    ("conv", "conv2d"),
    ("norm", "group_norm"),
    ("attention", "attention"),
    ("loss", "loss"),
    ("quantize", "vq_search"),
    ("sampling", "sample"),
    ("optim", "adam"),
    ("image", "ssim"),
];
/// Rates below which even a processor is disturbed: 10^9 operations, and bytes, per second.
const LEAST_GFLOPS: f64 = 1.0;
const LEAST_GBPS: f64 = 0.5;

/// Checks what is asked for by `--adapter`, or taken without.
pub(super) fn check(global: &Global, report: &mut Report) {
    let all = adapters();
    let names: Vec<String> = all
        .iter()
        .map(|a| format!("{}: {} ({})", a.index, a.info.name, a.info.backend))
        .collect();
    if all.is_empty() {
        report.add(Finding::failed(
            "adapter",
            "no driver offers an adapter",
            if cfg!(target_os = "linux") {
                "put right what is said of the loader and the drivers above; VK_LOADER_DEBUG=all \
                 wgvq doctor shows what the loader looked at"
            } else {
                "install the GPU's driver, or update it"
            },
        ));
        return;
    }
    report.add(Finding::ok("adapters", names.join("; ")));
    let gpu = match global.untuned_gpu() {
        Ok(gpu) => gpu,
        Err(e) => {
            let advice = match &e {
                Error::NoAdapter { .. } => {
                    "take another adapter by --adapter or WGVQ_ADAPTER, or update this one's driver"
                }
                _ => "take another adapter or core by --adapter and --core, or leave them out",
            };
            report.add(Finding::failed("adapter", e.to_string(), advice));
            return;
        }
    };
    report.add(adapter(&gpu));
    report.add_all(tuned(&gpu, global));
    report.add_all(features(&gpu));
    let memory = all
        .iter()
        .find(|a| a.info == *gpu.info())
        .and_then(|a| a.memory);
    report.add(limits(&gpu, memory));
    report.add_all(kernels(&gpu));
    report.add(pace(&gpu));
}

/// The adapter that is taken.
fn adapter(gpu: &Gpu) -> Finding {
    let info = gpu.info();
    let found = format!(
        "{}, driver {} {}, {} core",
        info.name,
        info.driver,
        info.driver_info,
        gpu.core().name()
    );
    match info.device_type {
        DeviceType::Cpu => Finding::warning(
            "adapter",
            format!("{found}: software, which computes on the processor"),
            "all of it works, and a GPU is faster: install its Vulkan driver where there is one; \
             in a container, pass it through (docs/troubleshooting.md, No adapter)",
        ),
        _ => Finding::ok("adapter", found),
    }
}

/// The stored table of tiles, where it cannot be used.
fn tuned(gpu: &Gpu, global: &Global) -> Option<Finding> {
    let core = global.one_core().ok()?;
    let error = wgvq::bench::apply_stored_tuning(gpu, core).err()?;
    Some(Finding::failed(
        "tiles",
        error.to_string(),
        "wgvq tune --reset",
    ))
}

/// Returns the features that the device lacks.
fn features(gpu: &Gpu) -> Vec<Finding> {
    let missing = gpu.missing_features();
    let short = |m: &&MissingFeature| matches!(m, MissingFeature::Limit { .. });
    let words = |m: &MissingFeature| m.to_string();
    let mut findings: Vec<Finding> = missing
        .iter()
        .filter(short)
        .map(|m| {
            Finding::warning(
                "limits",
                words(m),
                "some kernels do not run: update the driver, or take another adapter",
            )
        })
        .collect();
    let rest: Vec<String> = missing.iter().filter(|m| !short(m)).map(words).collect();
    findings.push(Finding::ok(
        "features",
        match rest.is_empty() {
            true => "all that the engine uses".into(),
            false => format!("it goes without: {}", rest.join("; ")),
        },
    ));
    findings
}

/// Sizes of what can be bound, and the device's memory.
fn limits(gpu: &Gpu, memory: Option<u64>) -> Finding {
    let limits = gpu.limits();
    let binding = limits.max_storage_buffer_binding_size;
    let memory = memory.map_or("not told by this driver".into(), |bytes| {
        format!("{} MiB", bytes >> 20)
    });
    let found = format!(
        "memory {memory}, largest tensor {} MiB, {} KiB of workgroup memory",
        binding >> 20,
        limits.max_compute_workgroup_storage_size >> 10
    );
    if binding < 128 << 20 {
        return Finding::warning(
            "limits",
            found,
            "WebGPU's least is 128 MiB: lower --batch where a tensor does not fit",
        );
    }
    Finding::ok("limits", found)
}

/// A kernel of each family against its reference.
fn kernels(gpu: &Gpu) -> Vec<Finding> {
    let other = gpu.cores().into_iter().find(|core| *core != gpu.core());
    let other = other.map_or(String::new(), |core| {
        format!(" try --core {};", core.name())
    });
    let advice = format!(
        "results of this adapter are not to be trusted: update its driver;{other} `wgvq selftest` \
         checks every operation, and its output is worth an issue; another adapter: --adapter"
    );
    let plan: Result<selftest::Plan> = FAMILIES
        .iter()
        .map(|(_, name)| {
            let op = find(name)?;
            // The last, since the first are of size 1, where zeros may be right.
            Ok((op, chosen(op).into_iter().next_back().into_iter().collect()))
        })
        .collect();
    let (mut wrong, mut right) = (Vec::new(), Vec::new());
    let ran = plan.and_then(|plan| {
        selftest::check(gpu, &plan, 1, |op, _, outcome| {
            match outcome.pass() {
                true => right.push(op.name()),
                false => wrong.push((
                    op.name(),
                    outcome.wrong().unwrap_or("nothing was compared").to_owned(),
                )),
            }
            true
        })
    });
    let mut findings = Vec::new();
    if let Err(e) = ran {
        findings.push(Finding::failed("kernels", e.to_string(), &advice));
    }
    if let Some((_, first)) = wrong.first() {
        let names: Vec<&str> = wrong.iter().map(|(name, _)| *name).collect();
        let found = format!(
            "of {} families of kernels {} are WRONG ({}), such as {first}",
            FAMILIES.len(),
            wrong.len(),
            names.join(", ")
        );
        findings.push(Finding::failed("kernels", found, &advice));
    }
    if !right.is_empty() {
        let found = format!("agree with their references: {}", right.join(", "));
        findings.push(Finding::ok("kernels", found));
    }
    findings
}

/// The measured rates.
fn pace(gpu: &Gpu) -> Finding {
    let peak = match bench::peak(gpu) {
        Ok(peak) => peak,
        Err(e) => {
            return Finding::failed("pace", e.to_string(), "update the driver");
        }
    };
    let found = format!(
        "{:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copying",
        peak.gflops, peak.gbps
    );
    if !(peak.gflops.is_finite() && peak.gbps.is_finite()) {
        let advice = "nothing that is timed here means anything: update the driver";
        return Finding::failed("pace", "the device's clock stands still", advice);
    }
    if peak.gflops < LEAST_GFLOPS || peak.gbps < LEAST_GBPS {
        return Finding::warning(
            "pace",
            found,
            "slower than one core of a processor: look for what else keeps this machine busy",
        );
    }
    Finding::ok("pace", found)
}
