//! A widget in which a code is chosen.

use crate::Swatches;
use egui::{CornerRadius, Rect, Response, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2};

/// The codes of a codebook, side by side, of which a click chooses one. It is as wide as there is
/// room, and scrolls where it is higher than asked for.
pub struct Palette<'a> {
    swatches: &'a Swatches,
    brush: &'a mut u32,
    used: &'a [u32],
    side: f32,
    height: f32,
}

impl<'a> Palette<'a> {
    /// Creates a palette that chooses `brush`.
    pub fn new(swatches: &'a Swatches, brush: &'a mut u32) -> Palette<'a> {
        Palette {
            swatches,
            brush,
            used: &[],
            side: 24.0,
            height: 160.0,
        }
    }

    /// Sets codes that are marked by a dot: those of the image that is edited, say.
    #[must_use]
    pub fn used(mut self, codes: &'a [u32]) -> Self {
        self.used = codes;
        self
    }

    /// Sets the side of a code's field, in points.
    #[must_use]
    pub fn side(mut self, side: f32) -> Self {
        self.side = side.max(4.0);
        self
    }

    /// Sets the greatest height, in points.
    #[must_use]
    pub fn max_height(mut self, height: f32) -> Self {
        self.height = height;
        self
    }

    /// Shows it. The response has [`changed`](Response::changed) where another code was chosen.
    pub fn show(self, ui: &mut Ui) -> Response {
        let Palette {
            swatches,
            brush,
            used,
            side,
            height,
        } = self;
        let used: std::collections::HashSet<u32> = used.iter().copied().collect();
        let room = ui.available_width() - ui.spacing().scroll.allocated_width();
        let columns = ((room / side) as usize).clamp(1, swatches.count().max(1));
        let rows = swatches.count().div_ceil(columns);
        ui.scope(|ui| {
            ui.spacing_mut().item_spacing = Vec2::ZERO;
            ScrollArea::vertical()
                .id_salt("palette of codes")
                .max_height(height)
                .show_rows(ui, side, rows, |ui, shown| {
                    let size = Vec2::new(columns as f32 * side, shown.len() as f32 * side);
                    let (area, mut response) = ui.allocate_exact_size(size, Sense::click());
                    let code_at = |at: egui::Pos2| {
                        let at = (at - area.min) / side;
                        let [x, y] = [at.x, at.y].map(|n| n.floor().max(0.0) as usize);
                        let code = (shown.start + y) * columns + x;
                        (x < columns && code < swatches.count()).then_some(code as u32)
                    };
                    let clicked = response.clicked().then(|| response.interact_pointer_pos());
                    if let Some(code) = clicked.flatten().and_then(code_at) {
                        if code != *brush {
                            response.mark_changed();
                        }
                        *brush = code;
                    }
                    let first = shown.start * columns;
                    let last = (shown.end * columns).min(swatches.count());
                    let painter = ui.painter().with_clip_rect(ui.clip_rect());
                    let field = |code: usize| {
                        let place = code - first;
                        let [x, y] = [place % columns, place / columns].map(|n| n as f32 * side);
                        Rect::from_min_size(area.min + Vec2::new(x, y), Vec2::splat(side))
                    };
                    for code in first..last {
                        let place = field(code);
                        swatches.paint(&painter, code as u32, place.shrink(0.5));
                        if used.contains(&(code as u32)) {
                            let color = swatches.text_color(code as u32);
                            painter.circle_filled(place.center(), side / 12.0, color);
                        }
                    }
                    if (first..last).contains(&(*brush as usize)) {
                        let stroke = Stroke::new(2.0, ui.visuals().selection.stroke.color);
                        let place = field(*brush as usize);
                        painter.rect_stroke(place, CornerRadius::ZERO, stroke, StrokeKind::Inside);
                    }
                    response.widget_info(|| {
                        let label = format!("Palette of {} codes", swatches.count());
                        egui::WidgetInfo::labeled(egui::Role::Canvas, true, label)
                    });
                    let under = response.hover_pos().and_then(code_at);
                    match under {
                        Some(code) => response.on_hover_text(format!("code {code}")),
                        None => response,
                    }
                })
                .inner
        })
        .inner
    }
}
