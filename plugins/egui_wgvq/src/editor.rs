//! A widget that shows a code map and paints on it.

use crate::{CodeMap, Swatches};
use egui::{
    Align2, Color32, CornerRadius, FontId, Key, Modifiers, PointerButton, Pos2, Rect, Response,
    Sense, Stroke, StrokeKind, Ui, Vec2,
};

/// The codes of one codebook of a [`CodeMap`], each as it looks.
///
/// Dragging paints with the brush, a click of the secondary button takes the code under it for the
/// brush. With the focus, the arrows move a cursor, space paints, P takes the code under the
/// cursor, and Ctrl+Z and Ctrl+Shift+Z take back and do again.
pub struct CodeMapEditor<'a> {
    map: &'a mut CodeMap,
    swatches: &'a Swatches,
    brush: &'a mut u32,
    side: f32,
    numbers: bool,
}

/// The outcome of a frame of a [`CodeMapEditor`].
pub struct Edited {
    /// The widget's response.
    pub response: Response,
    /// Whether codes changed.
    pub changed: bool,
    /// Whether the brush became another code.
    pub picked: bool,
}

impl<'a> CodeMapEditor<'a> {
    /// Creates an editor of the codes of the level and codebook that the swatches are of.
    pub fn new(map: &'a mut CodeMap, swatches: &'a Swatches, brush: &'a mut u32) -> Self {
        CodeMapEditor {
            map,
            swatches,
            brush,
            side: 28.0,
            numbers: false,
        }
    }

    /// Sets the side of a cell, in points.
    #[must_use]
    pub fn side(mut self, side: f32) -> Self {
        self.side = side.max(4.0);
        self
    }

    /// Sets whether each cell has its code's number on it.
    #[must_use]
    pub fn numbers(mut self, numbers: bool) -> Self {
        self.numbers = numbers;
        self
    }

    /// Shows it.
    pub fn show(self, ui: &mut Ui) -> Edited {
        let CodeMapEditor {
            map,
            swatches,
            brush,
            side,
            numbers,
        } = self;
        let (level, codebook) = (swatches.level(), swatches.codebook());
        let [rows, columns] = map.levels().get(level).map_or([0, 0], |level| level.grid);
        let size = Vec2::new(columns as f32 * side, rows as f32 * side);
        let (area, mut response) = ui.allocate_exact_size(size, Sense::click_and_drag());
        let place_of = |map: &CodeMap, cell| map.place(level, codebook, cell);
        let cell_at = |at: Pos2| {
            let at = (at - area.min) / side;
            let inside = at.x >= 0.0 && at.y >= 0.0;
            inside.then_some([at.y as usize, at.x as usize])
        };
        let (mut changed, mut picked) = (false, false);

        let under = response
            .interact_pointer_pos()
            .and_then(cell_at)
            .and_then(|cell| place_of(map, cell));
        let primary = PointerButton::Primary;
        let down = response.is_pointer_button_down_on()
            && ui.input(|input| input.pointer.button_down(primary));
        let id = response.id.with("stroke");
        let stroke = ui.data(|data| data.get_temp::<bool>(id)).unwrap_or(false);
        if down && !stroke {
            map.begin_stroke();
            response.request_focus();
        }
        if let (true, Some(place)) = (down, under) {
            changed |= map.set(place, *brush);
        }
        if stroke && !down {
            map.end_stroke();
        }
        if stroke != down {
            ui.data_mut(|data| data.insert_temp(id, down));
        }
        if let (true, Some(place)) = (response.secondary_clicked(), under) {
            picked |= std::mem::replace(brush, map.codes()[place]) != *brush;
        }

        let id = response.id.with("cursor");
        let cursor = ui.data(|data| data.get_temp::<[usize; 2]>(id));
        let mut cursor = cursor.unwrap_or([0, 0]);
        if response.has_focus() && rows * columns > 0 {
            let filter = egui::EventFilter {
                horizontal_arrows: true,
                vertical_arrows: true,
                ..Default::default()
            };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
            let taken = |modifiers, key| ui.input_mut(|input| input.consume_key(modifiers, key));
            let [row, column] = &mut cursor;
            if taken(Modifiers::NONE, Key::ArrowLeft) {
                *column = column.saturating_sub(1);
            }
            if taken(Modifiers::NONE, Key::ArrowRight) {
                *column = (*column + 1).min(columns - 1);
            }
            if taken(Modifiers::NONE, Key::ArrowUp) {
                *row = row.saturating_sub(1);
            }
            if taken(Modifiers::NONE, Key::ArrowDown) {
                *row = (*row + 1).min(rows - 1);
            }
            let place = place_of(map, cursor);
            if let (true, Some(place)) = (taken(Modifiers::NONE, Key::Space), place) {
                map.begin_stroke();
                changed |= map.set(place, *brush);
                map.end_stroke();
            }
            if let (true, Some(place)) = (taken(Modifiers::NONE, Key::P), place) {
                picked |= std::mem::replace(brush, map.codes()[place]) != *brush;
            }
            // The longer one first: keys match with more modifiers than they ask for.
            let stepped = if taken(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z) {
                map.redo()
            } else {
                taken(Modifiers::COMMAND, Key::Z) && map.undo()
            };
            // What is painted on after it is a stroke of its own.
            if stepped && down {
                map.begin_stroke();
            }
            changed |= stepped;
            ui.data_mut(|data| data.insert_temp(id, cursor));
        }
        if changed {
            response.mark_changed();
        }

        let painter = ui.painter().with_clip_rect(ui.clip_rect().intersect(area));
        for row in 0..rows {
            for column in 0..columns {
                let corner = area.min + Vec2::new(column as f32, row as f32) * side;
                let cell = Rect::from_min_size(corner, Vec2::splat(side));
                let Some(place) = place_of(map, [row, column]) else {
                    continue;
                };
                let code = map.codes()[place];
                swatches.paint(&painter, code, cell);
                if numbers {
                    let font = FontId::proportional(side / 3.0);
                    let color = swatches.text_color(code);
                    painter.text(cell.center(), Align2::CENTER_CENTER, code, font, color);
                }
                if response.has_focus() && cursor == [row, column] {
                    let line = Stroke::new(2.0, ui.visuals().selection.stroke.color);
                    painter.rect_stroke(cell, CornerRadius::ZERO, line, StrokeKind::Inside);
                }
            }
        }
        let line = Stroke::new(1.0, Color32::from_gray(128).gamma_multiply(0.45));
        for i in 1..columns {
            painter.vline(area.min.x + i as f32 * side, area.y_range(), line);
        }
        for i in 1..rows {
            painter.hline(area.x_range(), area.min.y + i as f32 * side, line);
        }
        response.widget_info(|| {
            let label = format!("Map of {rows} x {columns} codes");
            egui::WidgetInfo::labeled(egui::Role::Canvas, true, label)
        });
        Edited {
            response,
            changed,
            picked,
        }
    }
}
