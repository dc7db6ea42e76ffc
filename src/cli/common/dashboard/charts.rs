//! Curves in a terminal: few points whatever the length of a log.

use super::state::{Series, thinned};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType};

/// The least and greatest values whose ratio asks for a logarithmic axis.
const LOGARITHMIC: f64 = 20.0;
/// Columns beside the curve: the numbers of its axis.
const BESIDE: u16 = 9;

/// Draws a curve.
pub fn draw(frame: &mut Frame, area: Rect, name: &str, series: &Series, colour: Color) {
    let low = least(&series.points, f64::INFINITY, f64::min);
    let high = least(&series.points, f64::NEG_INFINITY, f64::max);
    let is_log = low > 0.0 && high / low >= LOGARITHMIC;
    let at = |value: f64| if is_log { value.log10() } else { value };
    let columns = usize::from(area.width.saturating_sub(BESIDE).max(8)) * 2;
    let points = thinned(&series.points, columns);
    let points: Vec<(f64, f64)> = points.into_iter().map(|(x, y)| (x, at(y))).collect();
    let last = series.points.last().map_or(1.0, |(x, _)| *x).max(1.0);
    let (low, high) = (at(low), at(high));
    // A curve that does not move lies in the middle.
    let room = match high - low {
        0.0 => (high.abs() * 0.1).max(1e-9),
        _ => 0.0,
    };
    let [low, high] = [low - room, high + room];
    let value = |at: f64| short(if is_log { 10f64.powf(at) } else { at });
    let newest = series.newest().map_or(String::new(), short);
    let scale = if is_log { " (log)" } else { "" };
    let title = Line::from(vec![
        format!(" {name}{scale} ").bold(),
        format!("{newest} ").fg(colour),
    ]);
    let data = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Style::new().fg(colour))
        .data(&points);
    let dim = Style::new().dim();
    let middle = (low + high) / 2.0;
    let y = match area.height {
        0..8 => vec![value(low), value(high)],
        _ => vec![value(low), value(middle), value(high)],
    };
    let x = ["0".to_owned(), short(last)];
    let chart = Chart::new(vec![data])
        .block(Block::bordered().border_style(dim).title(title))
        .x_axis(Axis::default().bounds([0.0, last]).labels(x).style(dim))
        .y_axis(Axis::default().bounds([low, high]).labels(y).style(dim));
    frame.render_widget(chart, area);
}

fn least(points: &[(f64, f64)], of: f64, which: fn(f64, f64) -> f64) -> f64 {
    points.iter().map(|(_, value)| *value).fold(of, which)
}

/// A number in few characters: `0.0123`, `3.14`, `1234`, `2.1e-7`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else if size >= 1000.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, want) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (2.7159, "2.72"),
            (123.456, "123"),
            (512.0, "512"),
            (123_456.7, "123457"),
            (2.14e-7, "2.1e-7"),
            (-1.5e9, "-1.5e9"),
        ] {
            assert_eq!(short(value), want);
        }
    }
}
