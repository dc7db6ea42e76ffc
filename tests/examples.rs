//! The examples of embedding, briefly: each shows what it says.
#![allow(
    clippy::duplicate_mod,
    reason = "each example is a program, and has the host that it shares with the others"
)]

#[path = "../examples/custom_kernel.rs"]
mod custom_kernel;
#[path = "../examples/draw_text.rs"]
mod draw_text;
#[path = "../examples/dream/main.rs"]
mod dream;
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
fn colours_of_a_drawing_follow_its_text() {
    let gpu = wgvq::gpu::Gpu::new(Default::default()).unwrap();
    let model = draw_text::TextToImage::new(&gpu).unwrap();
    let mut notes = Vec::new();
    let mut redness = |text: &str| {
        let drawn = model.draw(text, 6, 0, &mut |note| notes.push(note.to_owned()));
        let pixels = drawn.unwrap();
        assert_eq!(pixels.len(), 6 * model.image().iter().product::<usize>());
        let sum: f64 = pixels
            .chunks(3)
            .map(|p| f64::from(p[0]) - f64::from(p[2]))
            .sum();
        sum / (pixels.len() / 3) as f64
    };
    let (red, blue) = (redness("a red heart"), redness("a blue heart"));
    println!("red less blue, of 255: {red:.1} of a red heart, {blue:.1} of a blue one");
    assert!(red > 10.0 + blue, "{red} {blue}");
    assert!(notes.is_empty(), "{notes:?}");
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

/// A dream so small that it learns nothing: what is tested is what does not depend on that.
fn short_dream(budget: Duration) -> dream::Dreamt {
    let options = dream_options(budget);
    dream::headless(&options).unwrap()
}

fn dream_options(budget: Duration) -> dream::options::Options {
    let settings = dream::world::Settings {
        frames: 320,
        hidden: 8,
        codebook: 16,
        tokenizer_steps: 4,
        dim: 16,
        layers: 1,
        condition_layers: 1,
        prior_steps: 4,
        batch: 4,
        ..Default::default()
    };
    dream::options::Options {
        settings,
        budget,
        starts: 2,
        steps: 3,
        ..Default::default()
    }
}

#[test]
fn the_same_seed_dreams_the_same() {
    // Budgets cut training elsewhere, and change nothing else.
    let [one, other] = [2, 40].map(|ms| short_dream(Duration::from_millis(ms)));
    assert_eq!(one.comparison.dreamt, other.comparison.dreamt);
    assert_eq!(one.comparison.real, other.comparison.real);
    let frames = one.learning.trained.len();
    println!("{frames} and {} frames", other.learning.trained.len());
    assert!(frames > other.learning.trained.len());
    let (within, most) = other.learning.pacing();
    println!("{:.1} % within 40 ms, 95 % within {most:?}", 100.0 * within);

    // What a player sees is what was measured, from the first dreamt frame on.
    let options = dream_options(Duration::from_millis(5));
    let start = dream::measure::Start::new(1 << 40, options.steps, None);
    let (film, _) = dream::play(&one, &start, &options).unwrap();
    let frame = film.len() / (options.steps + 1);
    assert!(film[frame..] == one.comparison.dreamt[0][frame..]);
    assert!(film[..frame] == one.comparison.real[0][..frame]);

    let folder = tempfile::tempdir().unwrap();
    dream::write_films(folder.path(), &one.comparison).unwrap();
    let strip = image::open(folder.path().join("dream.png")).unwrap();
    // Every other of four frames, of 32 pixels three times enlarged, above and below.
    assert_eq!([strip.width(), strip.height()], [2 * 96 + 2, 2 * 96 + 2]);
    let gif = std::fs::File::open(folder.path().join("dream.gif")).unwrap();
    let gif = image::codecs::gif::GifDecoder::new(std::io::BufReader::new(gif)).unwrap();
    let frames = image::AnimationDecoder::into_frames(gif);
    assert_eq!(frames.collect_frames().unwrap().len(), 4);
}

#[test]
fn the_rules_of_the_game_hold() {
    use dream::game::{Game, Key, PADDLE, PADDLE_ROW, Player, SIDE};
    let mut rng = wgvq::spec::Rng::new(5);
    let (mut hits, mut broken, mut lost) = (0, 0, 0);
    for seed in 0..40 {
        let (mut game, mut player) = (Game::at_random(&mut rng), Player::new(seed));
        for _ in 0..200 {
            let before = game.clone();
            let key = player.key(&game);
            game.step(key);
            assert!(game.ball.iter().all(|at| (0..SIDE).contains(at)));
            assert!(!before.bricks.iter().flatten().all(|stands| !stands));
            let moved = game.paddle - before.paddle;
            let wanted = [-1, 0, 1][key.class() as usize];
            assert!(moved == wanted || (moved == 0 && [0, SIDE - PADDLE].contains(&game.paddle)));
            // A frame shows where the ball goes: it lies a step from its last place.
            let step = [0, 1].map(|i| game.ball[i] - game.trail[0][i]);
            assert_eq!(step, game.velocity);
            if before.ball[1] == SIDE - 1 {
                assert_eq!(game.ball, dream::game::SERVE);
                lost += 1;
            } else {
                assert_eq!(game.trail, [before.ball, before.trail[0]]);
            }
            broken += usize::from(game.bricks != before.bricks);
            hits += usize::from(
                before.ball[1] == PADDLE_ROW - 1 && before.velocity[1] == 1 && step[1] == -1,
            );
        }
    }
    println!("{hits} returned, {broken} bricks broken, {lost} balls lost");
    assert!(hits > 20 && broken > 20 && lost > 20);

    // The left half of the paddle sends a ball to the left.
    let mut game = Game::new();
    (game.ball, game.velocity, game.paddle) = ([5, 13], [1, 1], 5);
    game.step(Key::None);
    assert_eq!((game.ball, game.velocity), ([4, 12], [-1, -1]));
    // A brick is broken, and the ball turned.
    (game.ball, game.velocity) = ([6, 4], [1, -1]);
    game.step(Key::Right);
    assert_eq!((game.ball, game.paddle), ([7, 5], 6));
    assert_eq!(game.bricks, [[true; 4], [true, false, true, true]]);
}

#[test]
fn a_command_line_of_the_dream_is_read() {
    let parse = |line: &str| {
        let words = line.split(' ').map(String::from);
        dream::options::Options::parse(words).map_err(|e| e.to_string())
    };
    let options = parse("--headless --seed 3 --keys lr- --budget 8").unwrap();
    assert!(options.headless && options.settings.seed == 3);
    assert_eq!(options.budget, Duration::from_millis(8));
    use dream::game::Key::{Left, None, Right};
    assert_eq!(options.keys.unwrap(), [Left, Right, None]);
    for (line, word) in [
        ("--seeds 3", "--seed"),
        ("--seed x", "`x` is no number"),
        ("--keys lx", "`x` is no key"),
        ("--starts 0", "one at least"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let mut few = dream_options(Duration::from_millis(8));
    few.settings.frames = 100;
    let error = dream::headless(&few).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("--frames") && error.contains("320"),
        "{error}"
    );
}
