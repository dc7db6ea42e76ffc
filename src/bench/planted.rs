//! Rows for tests, whose times were made up.

use super::cold::Cache;
use super::row::{FORMAT, Header, Row};

pub(crate) fn header() -> Header {
    Header {
        wgvq_bench: FORMAT,
        version: "0".into(),
        adapter: "an adapter".into(),
        driver: "a driver".into(),
        processor: "a processor".into(),
        seed: 1,
        peak_gflops: 100.0,
        peak_gbps: 10.0,
        peak_launch_us: 5.0,
        environment: None,
    }
}

pub(crate) fn row(name: &str, ms: f64) -> Row {
    Row {
        name: name.into(),
        core: "subgroup".into(),
        dtype: "f32".into(),
        cache: Cache::Warm,
        cold_by: None,
        pass: true,
        ms: Some(ms),
        ms_quartiles: Some([0.99 * ms, 1.02 * ms]),
        spread: Some(0.01),
        stopped: None,
        samples: vec![ms],
        wall_samples: Vec::new(),
        clock: "timestamps".into(),
        wall_ms: Some(ms),
        record_ms: Some(0.1),
        mhz: None,
        refused: None,
        first_ms: None,
        gflops: Some(1.0),
        gbps: Some(1.0),
        peak_share: Some(0.5),
        bound: "compute".into(),
        memory: 0,
        dispatches: 1,
        submissions: 1,
        allocations: 0,
        repetitions: 1,
        max_err: Some(0.0),
        compared: 1,
        detail: String::new(),
        peers: Vec::new(),
    }
}
