//! Configurations of first stages and priors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use wgvq::config::{DottedConfig, prior::PriorConfig, run::RunConfig};
    wgvq_fuzz::with_file("config.toml", bytes, |path| {
        if let Ok(config) = RunConfig::load(path) {
            let _ = config.resolve(&Default::default());
        }
        if let Ok(config) = PriorConfig::load(path) {
            let _ = config.resolve();
        }
    });
});
