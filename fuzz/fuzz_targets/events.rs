//! Event files of a training that goes on.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("events.out.tfevents.1.wgvq", bytes, |path| {
        let folder = path.parent().expect("a folder");
        let _ = wgvq::storage::event_file::events(folder);
    });
});
