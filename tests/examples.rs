//! The examples of embedding, briefly: each shows what it says.
#![allow(
    clippy::duplicate_mod,
    reason = "each example is a program, and has the host that it shares with the others"
)]

#[path = "../examples/custom_kernel.rs"]
mod custom_kernel;
#[path = "../examples/embed_texture.rs"]
mod embed_texture;
#[path = "../examples/live_training.rs"]
mod live_training;
#[path = "../examples/search_only.rs"]
mod search_only;

use std::time::Duration;

#[test]
fn the_texture_on_screen_is_what_the_processor_decodes() {
    let shown = embed_texture::run(None, 4).unwrap();
    assert_eq!((shown.pixels, shown.wrong), (128 * 128, 0));
    assert!(
        shown
            .frame
            .0
            .chunks(4)
            .any(|p| p[..3] != shown.frame.0[..3]),
        "a frame of one colour shows nothing"
    );
}

#[test]
fn training_goes_on_between_frames() {
    let live = live_training::headless(200, Duration::from_millis(20), "emoji").unwrap();
    let (within, most) = live.pacing();
    println!(
        "{} steps, {:.1} % within the budget, 95 % within {most:?}",
        live.steps(),
        100.0 * within
    );
    // How many keep to the budget depends on what else the machine does; each goes on by a piece.
    assert!(live.steps() >= 1 && live.trained.len() == 200);
}

#[test]
fn a_kernel_from_outside_learns_on_the_tape() {
    let frequency = custom_kernel::run(120).unwrap();
    assert!((frequency - 1.3).abs() < 0.02, "{frequency}");
}

#[test]
fn the_search_alone_finds_the_nearest() {
    for (n, k, d) in [(1_000, 37, 5), (4_096, 512, 64)] {
        assert_eq!(search_only::run(n, k, d).unwrap().wrong, 0);
    }
}
