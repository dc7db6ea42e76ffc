//! The widgets in a window that nobody sees, on the adapter that there is.

use egui::{Key, Modifiers, PointerButton, Pos2, Vec2};
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{Harness, wgpu::WgpuTestRenderer};
use egui_wgpu::{RenderState, RendererOptions, WgpuSetup, WgpuSetupCreateNew};
use egui_wgvq::{
    CodeMap, CodeMapEditor, LiveOptions, LiveTraining, Palette, Picture, Swatches, engine,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wgvq::config::run::RunConfig;
use wgvq::inference::{Decoder, FirstStageModel};
use wgvq::quantize::Registry;

/// A device as an application asks for it.
fn render_state() -> RenderState {
    let mut setup = WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(egui_wgvq::device_descriptor);
    egui_kittest::wgpu::create_render_state(
        WgpuSetup::CreateNew(setup),
        RendererOptions::PREDICTABLE,
    )
}

fn harness<'a, S>(
    state: &RenderState,
    size: [f32; 2],
    shown: S,
    ui: impl FnMut(&mut egui::Ui, &mut S) + 'a,
) -> Harness<'a, S> {
    Harness::builder()
        .with_size(Vec2::from(size))
        .with_pixels_per_point(1.0)
        .renderer(WgpuTestRenderer::from_render_state(state.clone()))
        .build_ui_state(ui, shown)
}

/// A model that the main crate's tests open too.
fn decoder(state: &RenderState) -> Decoder {
    let run = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/runs/ema");
    Decoder::load(&engine(state), &run).expect("the committed run opens")
}

/// Keeps a picture to look at.
fn keep(name: &str, image: &image::RgbaImage) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    image
        .save(folder.join(name))
        .expect("the folder of tests can be written");
}

struct Editing {
    decoder: Decoder,
    swatches: Option<Swatches>,
    map: CodeMap,
    brush: u32,
    picture: Picture,
    at: Option<egui::Rect>,
    changed: usize,
}

impl Editing {
    fn new(state: &RenderState) -> Editing {
        let decoder = decoder(state);
        let codes: Vec<u32> = (0..decoder.codes_per_image() as u32)
            .map(|i| i % decoder.levels()[0].codebook_size as u32)
            .collect();
        let map = CodeMap::new(decoder.levels(), codes).unwrap();
        let [width, height, _] = decoder.image();
        let picture = Picture::new(state, [width, height]);
        picture.decode(&decoder, map.codes()).unwrap();
        Editing {
            decoder,
            swatches: None,
            map,
            brush: 1,
            picture,
            at: None,
            changed: 0,
        }
    }

    fn show(&mut self, ui: &mut egui::Ui) {
        let swatches = self
            .swatches
            .get_or_insert_with(|| Swatches::new(ui.ctx(), &self.decoder, 0, 0).unwrap());
        Palette::new(swatches, &mut self.brush).show(ui);
        let editor = CodeMapEditor::new(&mut self.map, swatches, &mut self.brush);
        let edited = editor.side(24.0).numbers(true).show(ui);
        if edited.changed {
            self.changed += 1;
            self.picture
                .decode(&self.decoder, self.map.codes())
                .unwrap();
        }
        self.at = Some(self.picture.show(ui, 1.0).rect);
    }
}

/// Compares what is drawn of a picture with what the library decodes.
fn expect_shown(harness: &mut Harness<Editing>, name: &str) {
    let drawn = harness.render().expect("the frame is drawn");
    keep(name, &drawn);
    let editing = harness.state();
    let [width, height, channels] = editing.decoder.image();
    let bytes = editing.decoder.decode(editing.map.codes()).unwrap();
    let corner = editing.at.unwrap().min;
    assert_eq!(
        corner,
        corner.round(),
        "a pixel of the picture is one of the frame"
    );
    for y in 0..height {
        for x in 0..width {
            let expected = &bytes[(y * width + x) * channels..][..channels];
            let expected = [0, 1, 2].map(|c| expected[c.min(channels - 1)]);
            let pixel = drawn
                .get_pixel(corner.x as u32 + x as u32, corner.y as u32 + y as u32)
                .0;
            assert_eq!(pixel[..3], expected, "at {x}, {y}");
        }
    }
}

#[test]
fn codes_are_painted_and_seen_in_the_same_frame() {
    let state = render_state();
    let editing = Editing::new(&state);
    let [rows, columns] = editing.map.levels()[0].grid;
    assert!(rows >= 3 && columns >= 3);
    let mut harness = harness(&state, [520.0, 420.0], editing, |ui, s| s.show(ui));
    harness.run();
    expect_shown(&mut harness, "before.png");
    let before = harness.state().map.codes().to_vec();

    // A stroke over the first three cells of a row is one change.
    let label = format!("Map of {rows} x {columns} codes");
    let map = harness.get_by_label(&label).rect();
    let cell = |row: usize, column: usize| {
        map.min + Vec2::new(column as f32 + 0.5, row as f32 + 0.5) * 24.0
    };
    harness.state_mut().brush = 5;
    drag(&mut harness, &[cell(1, 0), cell(1, 1), cell(1, 2)]);
    let painted = harness.state().map.codes().to_vec();
    let mut expected = before.clone();
    expected[columns..columns + 3].fill(5);
    assert_eq!(painted, expected);
    assert!(harness.state().changed >= 2);
    expect_shown(&mut harness, "painted.png");

    // Keys: taken back and done again, the cursor moved, painted, picked up.
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run();
    assert_eq!(harness.state().map.codes(), before);
    expect_shown(&mut harness, "undone.png");
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    harness.run();
    assert_eq!(harness.state().map.codes(), painted);
    for key in [Key::ArrowDown, Key::ArrowDown, Key::ArrowRight] {
        harness.key_press(key);
        harness.run();
    }
    harness.key_press(Key::P);
    harness.run();
    assert_eq!(harness.state().brush, painted[2 * columns + 1]);
    harness.state_mut().brush = 3;
    harness.key_press(Key::Space);
    harness.run();
    assert_eq!(harness.state().map.codes()[2 * columns + 1], 3);

    // The other button picks up.
    click(&mut harness, cell(0, 2), PointerButton::Secondary);
    assert_eq!(harness.state().brush, before[2]);
}

#[test]
fn a_palette_chooses() {
    let state = render_state();
    let mut harness = harness(&state, [520.0, 420.0], Editing::new(&state), |ui, s| {
        s.show(ui)
    });
    harness.run();
    let count = harness.state().decoder.levels()[0].codebook_size;
    let label = format!("Palette of {count} codes");
    let area = harness.get_by_label(&label).rect();
    click(
        &mut harness,
        area.min + Vec2::new(2.5, 0.5) * 24.0,
        PointerButton::Primary,
    );
    assert_eq!(harness.state().brush, 2);
    let drawn = harness.render().unwrap();
    // The field of a code is the middle of the image that has it everywhere.
    let editing = harness.state();
    let [width, height, channels] = editing.decoder.image();
    let [rows, columns] = editing.map.levels()[0].grid;
    let image = editing.decoder.decode(&vec![4; rows * columns]).unwrap();
    let [w, h] = [width / columns, height / rows];
    let (x, y) = (columns / 2 * w, rows / 2 * h);
    let corner = &image[(y * width + x) * channels..][..channels];
    let shown = drawn
        .get_pixel((area.min.x + 4.0 * 24.0) as u32 + 2, area.min.y as u32 + 2)
        .0;
    assert_eq!(shown[..3], [0, 1, 2].map(|c| corner[c.min(channels - 1)]));
}

#[test]
fn a_model_learns_within_frames() {
    let state = render_state();
    let mut config = RunConfig::default();
    config.model.hidden = 16;
    config.model.residual_hidden = 8;
    config.quantizer.codebook_size = 32;
    config.train.batch_size = 4;
    config.train.log_every = 2;
    let config = config.resolve(&Registry::default()).unwrap();
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let options = LiveOptions {
        budget: Duration::from_millis(50),
        look_every: 3,
        ..LiveOptions::default()
    };
    let live = LiveTraining::new(&state, &config, data, options).unwrap();
    let mut harness = harness(&state, [360.0, 520.0], live, |ui, live| {
        live.update().unwrap();
        live.show(ui);
    });
    // Frames until there are rows of the log.
    while harness.state().rows().len() < 4 {
        harness.step();
    }
    let rows = harness.state().rows();
    assert!(
        rows.iter()
            .all(|row| row.losses.loss.is_finite() && row.codes.used >= 1.0)
    );
    keep("live.png", &harness.render().unwrap());

    harness.get_by_label("Pause").click();
    harness.step();
    harness.step();
    let stopped = harness.state_mut().trainer().step_number();
    (0..5).for_each(|_| harness.step());
    assert!(!harness.state().is_running());
    assert_eq!(harness.state_mut().trainer().step_number(), stopped);
    harness.get_by_label("Train").click();
    while harness.state_mut().trainer().step_number() < stopped + 2 {
        harness.step();
    }

    // What was learnt is a model as any other.
    let trained = harness.state_mut().trainer().trained().unwrap();
    let bytes = wgvq::storage::checkpoint::to_bytes(&trained).unwrap();
    FirstStageModel::from_bytes(&engine(&state), &bytes).unwrap();
}

#[test]
fn what_does_not_exist_is_named() {
    let state = render_state();
    let (decoder, ctx) = (decoder(&state), egui::Context::default());
    for (level, codebook, says) in [(7, 0, "level 7"), (0, 3, "codebook 3")] {
        let error = Swatches::new(&ctx, &decoder, level, codebook)
            .err()
            .unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
    let short = CodeMap::new(decoder.levels(), vec![0; 3]).err().unwrap();
    assert!(short.to_string().contains("codes of an image"), "{short}");
    let picture = Picture::new(&state, [4, 4]);
    let error = picture.decode(&decoder, &vec![0; decoder.codes_per_image()]);
    assert!(
        error.is_err(),
        "the picture is smaller than the model's images"
    );
}

fn drag<S>(harness: &mut Harness<S>, path: &[Pos2]) {
    let primary = PointerButton::Primary;
    button(harness, path[0], primary, true);
    harness.run();
    for at in &path[1..] {
        harness.event(egui::Event::PointerMoved(*at));
        harness.run();
    }
    button(harness, *path.last().unwrap(), primary, false);
    harness.run();
}

/// Pressed and released in one frame: what takes longer is no click.
fn click<S>(harness: &mut Harness<S>, at: Pos2, which: PointerButton) {
    harness.event(egui::Event::PointerMoved(at));
    harness.run();
    button(harness, at, which, true);
    button(harness, at, which, false);
    harness.run();
}

fn button<S>(harness: &mut Harness<S>, pos: Pos2, button: PointerButton, pressed: bool) {
    harness.event(egui::Event::PointerMoved(pos));
    harness.event(egui::Event::PointerButton {
        pos,
        button,
        pressed,
        modifiers: Modifiers::NONE,
    });
}
