//! WGSL of users: directives, imports and loops of the preprocessor, then naga.
#![no_main]

use wgvq::gpu::{Kernel, Source};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let text: *mut str = Box::into_raw(Box::from(text));
    // SAFETY: nothing below keeps a kernel that refers to it, and it is freed at the end.
    let source = Box::into_raw(Box::new(Source {
        name: "fuzz",
        text: unsafe { &*text },
    }));
    {
        let kernel = Kernel::new(unsafe { &*source }).define("N", 4);
        for immediates in [false, true] {
            let _ = kernel.parse(immediates);
        }
    }
    unsafe {
        drop(Box::from_raw(source));
        drop(Box::from_raw(text));
    }
});
