//! A small chart of one curve.

use egui::{Align2, FontId, Pos2, Rect, Sense, Stroke, Ui, Vec2};

/// A curve of positive numbers over steps, with its name, its last value and its range.
pub fn curve(ui: &mut Ui, name: &str, points: &[(u64, f64)], is_logarithmic: bool) {
    let size = Vec2::new(ui.available_width().min(320.0), 72.0);
    let (area, response) = ui.allocate_exact_size(size, Sense::hover());
    let painter = ui.painter().with_clip_rect(ui.clip_rect().intersect(area));
    let visuals = ui.visuals();
    painter.rect_filled(area, 3.0, visuals.extreme_bg_color);
    let scaled = |value: f64| match is_logarithmic {
        true => value.max(1e-12).ln(),
        false => value,
    };
    let finite: Vec<(u64, f32)> = points
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(step, value)| (*step, scaled(*value) as f32))
        .collect();
    let last = points.last().map(|(_, value)| *value);
    let text = match last {
        Some(value) if value != 0.0 && value.abs() < 0.1 => format!("{name} {value:.2e}"),
        Some(value) => format!("{name} {value:.3}"),
        None => name.to_owned(),
    };
    if let (Some(first), Some(end)) = (finite.first(), finite.last()) {
        let low = finite.iter().fold(f32::INFINITY, |a, (_, v)| a.min(*v));
        let high = finite.iter().fold(f32::NEG_INFINITY, |a, (_, v)| a.max(*v));
        let inner =
            Rect::from_min_max(area.min + Vec2::new(4.0, 18.0), area.max - Vec2::splat(4.0));
        let (wide, tall) = ((end.0 - first.0).max(1) as f32, (high - low).max(1e-6));
        // As many points as there are columns of pixels can be seen.
        let every = finite
            .len()
            .div_ceil(inner.width().max(1.0) as usize)
            .max(1);
        let ends = finite.iter().step_by(every).chain([end]);
        let place = |(step, value): &(u64, f32)| {
            let x = (step - first.0) as f32 / wide;
            let y = (high - value) / tall;
            Pos2::new(
                inner.left() + x * inner.width(),
                inner.top() + y * inner.height(),
            )
        };
        let line = Stroke::new(1.5, visuals.selection.bg_fill);
        painter.line(ends.map(place).collect(), line);
    }
    let font = FontId::proportional(11.0);
    painter.text(
        area.min + Vec2::new(5.0, 3.0),
        Align2::LEFT_TOP,
        &text,
        font,
        visuals.text_color(),
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &text));
}
