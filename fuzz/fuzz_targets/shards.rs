//! Manifests of shards.
#![no_main]

use wgvq::codes::shards::{Shards, join};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("shard-00001-of-00001.json", bytes, |path| {
        let folder = path.parent().expect("a folder");
        if let Ok(shards) = Shards::open(folder) {
            let _ = join(&shards);
        }
    });
});
