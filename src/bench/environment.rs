//! The surroundings on which a measurement depends beside the code: the build, the device, and the
//! machine's state.

use crate::gpu::Gpu;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The state of everything that a measurement depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The commit that was built; `None` for a build outside of a repository, or of the `debug`
    /// profile, whose times say nothing.
    pub commit: Option<String>,
    /// Whether the sources differed from that commit.
    pub dirty: Option<bool>,
    /// `release` or `debug`.
    pub profile: String,
    /// The version of wgpu.
    pub wgpu: String,
    /// The version of naga.
    pub naga: String,
    /// The operating system and its version.
    pub os: String,
    /// The API: Vulkan, Metal, DX12.
    pub backend: String,
    /// Features of the device, by wgpu's names.
    pub features: Vec<String>,
    /// Limits of the device that kernels are chosen by.
    pub limits: BTreeMap<String, u64>,
    /// The smallest and the largest subgroup of the adapter.
    pub subgroups: [u32; 2],
    /// The lanes of a subgroup that kernels were made for.
    pub subgroup: Option<u32>,
    /// `on` or `off`.
    pub robust_access: String,
    /// The first digits of the SHA-256 of the tuning table in use.
    pub tuning: String,
    /// The machine's load over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// `mains`, `battery`, or `unknown`.
    pub power: String,
    /// When the measurement began, in UTC.
    pub date: String,
    /// The command, word by word.
    pub command: Vec<String>,
}

impl Environment {
    /// Returns the state as it is now, for a device.
    pub fn now(gpu: &Gpu) -> Environment {
        let (info, limits, load) = (gpu.info(), gpu.limits(), sysinfo::System::load_average());
        let known = |text: &'static str| (!text.is_empty()).then(|| text.to_owned());
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let words = std::env::args_os().skip(1);
        let limit = |name: &str, value: u64| (name.to_owned(), value);
        Environment {
            commit: known(env!("WGVQ_COMMIT")),
            dirty: known(env!("WGVQ_DIRTY")).map(|d| d == "true"),
            profile: env!("WGVQ_PROFILE").into(),
            wgpu: env!("WGVQ_WGPU").into(),
            naga: env!("WGVQ_NAGA").into(),
            os: sysinfo::System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into()),
            backend: info.backend.to_string(),
            features: gpu
                .device()
                .features()
                .iter_names()
                .map(|(name, _)| name.to_owned())
                .collect(),
            limits: BTreeMap::from([
                limit("buffer", limits.max_buffer_size),
                limit("binding", limits.max_storage_buffer_binding_size),
                limit(
                    "workgroup_memory",
                    limits.max_compute_workgroup_storage_size.into(),
                ),
                limit(
                    "invocations",
                    limits.max_compute_invocations_per_workgroup.into(),
                ),
                limit("immediates", limits.max_immediate_size.into()),
                limit(
                    "storage_buffers",
                    limits.max_storage_buffers_per_shader_stage.into(),
                ),
            ]),
            subgroups: [info.subgroup_min_size, info.subgroup_max_size],
            subgroup: gpu.subgroup_size(),
            robust_access: gpu.robust_access().name().into(),
            tuning: tuning(gpu),
            load: [load.one, load.five, load.fifteen],
            power: power(Path::new("/sys/class/power_supply")).into(),
            date: date(seconds),
            // Where the program lies is nobody's business.
            command: std::iter::once("wgvq".into())
                .chain(words.map(|word| word.to_string_lossy().into_owned()))
                .collect(),
        }
    }
}

/// Returns the first digits of the SHA-256 of the tuning table in use.
fn tuning(gpu: &Gpu) -> String {
    let rules = gpu.tuning_rules();
    let lines: Vec<String> = rules
        .iter()
        .map(|r| format!("{:?} {:?} {}", r.max_cols, r.below_flops, r.tile))
        .collect();
    let few = gpu.tuned_few_channels();
    let few = few.map_or_else(String::new, |few| format!("\nfew channels {few}"));
    let text = format!("{}\n{}{few}", gpu.core().name(), lines.join("\n"));
    hex::encode(Sha256::digest(text))[..16].to_owned()
}

/// Returns what the machine runs on, as Linux lists its supplies in a folder: `mains` where it has
/// one that is online or no battery at all.
fn power(folder: &Path) -> &'static str {
    let Ok(supplies) = std::fs::read_dir(folder) else {
        return "unknown";
    };
    let mut batteries = 0;
    for supply in supplies.flatten() {
        let read = |name: &str| {
            let text = std::fs::read_to_string(supply.path().join(name));
            text.unwrap_or_default().trim().to_owned()
        };
        match read("type").as_str() {
            "Mains" | "USB" if read("online") == "1" => return "mains",
            // Those of a mouse are of the scope `Device`.
            "Battery" if read("scope") != "Device" => batteries += 1,
            _ => {}
        }
    }
    if batteries > 0 { "battery" } else { "mains" }
}

/// Returns seconds since 1970 as `2026-11-29T14:30:00Z`.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The calendar repeats every 400 years, of 146,097 days; they begin in March here, so that a
    // leap day is a year's last.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_962_600, "2026-11-29T14:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), want);
        }
    }

    #[test]
    fn power_is_what_the_supplies_say() {
        let folder = tempfile::tempdir().unwrap();
        let set = |supply: &str, files: &[(&str, &str)]| {
            let at = folder.path().join(supply);
            std::fs::create_dir_all(&at).unwrap();
            for (name, text) in files {
                std::fs::write(at.join(name), text).unwrap();
            }
        };
        assert_eq!(power(folder.path()), "mains");
        set("mouse", &[("type", "Battery\n"), ("scope", "Device\n")]);
        assert_eq!(power(folder.path()), "mains");
        set("BAT0", &[("type", "Battery\n")]);
        set("AC", &[("type", "Mains\n"), ("online", "0\n")]);
        assert_eq!(power(folder.path()), "battery");
        set("AC", &[("online", "1\n")]);
        assert_eq!(power(folder.path()), "mains");
        assert_eq!(power(Path::new("/nowhere/at/all")), "unknown");
    }
}
