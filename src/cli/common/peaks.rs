//! Device memory of steps, in words and as JSON.

use crate::cli::common::output;
use wgvq::plan::Peak;

/// Returns a peak as JSON has it.
pub fn described(peak: &Peak) -> serde_json::Value {
    serde_json::json!({
        "precision": peak.precision, "accumulate": peak.passes, "batch_size": peak.images,
        "peak_device_bytes": peak.bytes,
    })
}

/// Prints what a step takes in several passes.
pub fn table_of(peaks: &[Peak]) {
    for peak in peaks {
        let passes = match peak.passes {
            1 => "1 pass".to_owned(),
            n => format!("{n} passes"),
        };
        let name = format!("  {}, {passes}", peak.precision);
        output::result(&format!(
            "{name:<18}{} MiB at peak, {} images each",
            peak.bytes.div_ceil(1 << 20),
            peak.images
        ));
    }
}

/// Says in words which passes were chosen so that a step fits.
pub fn passes_chosen(peak: &Peak) -> String {
    format!(
        "train.accumulate = {}, train.batch_size = {}: a step takes {} MiB of device memory",
        peak.passes,
        peak.images,
        peak.bytes.div_ceil(1 << 20)
    )
}
