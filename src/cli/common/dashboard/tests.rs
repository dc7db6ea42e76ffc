//! The dashboard of a made-up run, as a terminal of 80 columns shows it.

use super::super::state::{Pictures, State};
use super::draw;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::time::Duration;

fn row(step: f64, values: &[(&str, f64)]) -> Vec<(String, f64)> {
    let values = values.iter().map(|(name, v)| ((*name).to_owned(), *v));
    std::iter::once(("step".to_owned(), step))
        .chain(values)
        .collect()
}

fn state() -> State {
    let mut state = State {
        title: "emoji: ema with 512 codes, on llvmpipe (subgroup core)".into(),
        step: 300,
        steps: 1000,
        pace: Some((123.4, "images")),
        left: Some(Duration::from_secs(127)),
        memory: [70 << 20, 81 << 20],
        waited: Some(0.02),
        true_colour: true,
        ..Default::default()
    };
    for i in 1..=30 {
        let step = f64::from(i * 10);
        let values = [
            ("loss", 1.0 / step),
            ("perplexity", step.sqrt() * 10.0),
            ("used", 300.0 + step / 10.0),
            ("revived", 0.0),
        ];
        State::push(&mut state.log, &row(step, &values));
    }
    State::push(&mut state.tests, &row(200.0, &[("mse", 0.0123)]));
    state.pictures = Some(Pictures {
        step: 200,
        size: [8, 8, 3],
        originals: vec![40; 2 * 8 * 8 * 3],
        reconstructions: vec![90; 2 * 8 * 8 * 3],
    });
    state.say("step 200: mse 0.0123");
    state
}

fn shown(state: &State, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    // Of curves only that they are there: their dots depend on roundings.
    let text = terminal.backend().to_string();
    let text = text.replace(|c: char| ('\u{2801}'..='\u{28ff}').contains(&c), "·");
    let lines = text.lines().map(|line| line.trim_matches('"').trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_is_shown_whole() {
    let mut settings = insta::Settings::clone_current();
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dashboard");
    settings.set_snapshot_path(place);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("run", shown(&state(), 80, 30)));
}

#[test]
fn whatever_the_room_nothing_panics_and_the_keys_stay() {
    let mut state = state();
    for (columns, rows) in [
        (200, 60),
        (80, 24),
        (60, 12),
        (30, 8),
        (10, 5),
        (3, 3),
        (1, 1),
    ] {
        let text = shown(&state, columns, rows);
        assert_eq!(text.lines().count(), usize::from(rows));
        assert!(columns < 60 || text.contains("q save and stop"), "{text}");
    }
    state.paused = true;
    assert!(shown(&state, 80, 24).contains("p go on"));
    state.stopping = true;
    assert!(shown(&state, 80, 24).contains("finishing this step and saving"));
    // Before the first step, and of a run that has nothing yet.
    let bare = State {
        status: "compiling kernels for the first step: 37 done, 7 s".into(),
        ..Default::default()
    };
    assert!(shown(&bare, 80, 24).contains("37 done"));
}

#[test]
fn charts_that_are_turned_begin_elsewhere() {
    let mut state = state();
    let first = |state: &State| shown(state, 50, 20).lines().nth(2).unwrap().to_owned();
    assert!(first(&state).contains("loss"), "{}", first(&state));
    state.turn(1);
    assert!(first(&state).contains("perplexity"), "{}", first(&state));
    state.turn(-2);
    assert!(first(&state).contains("test mse"), "{}", first(&state));
}
