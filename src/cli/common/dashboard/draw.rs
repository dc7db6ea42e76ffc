//! The dashboard's picture of a run.

use super::charts;
use super::pictures::Strip;
use super::state::State;
use crate::cli::common::output::duration;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, LineGauge, Paragraph};

/// Colours of curves, by their places.
const COLOURS: [Color; 4] = [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta];
/// Rows of what was said.
const LINES: u16 = 3;
/// Rows of charts, at least.
const CHARTS: u16 = 7;
/// Columns of the newest figures.
const FIGURES: u16 = 32;

/// Draws what is known.
pub fn draw(frame: &mut Frame, state: &State) {
    let area = frame.area();
    let lines = LINES.min(state.lines.len() as u16);
    // Title, gauge and keys take a row each.
    let room = area.height.saturating_sub(3 + lines + CHARTS);
    let strip = state.pictures.as_ref().filter(|_| room >= 5);
    let strip = strip.map_or(0, |p| {
        p.rows(area.width, (room - 1).min(area.height / 2)) + 1
    });
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(strip),
        Constraint::Length(lines),
        Constraint::Length(1),
    ]);
    let [title, gauge, middle, pictures, said, keys] = parts.areas(area);
    frame.render_widget(Line::from(state.title.as_str()).bold(), title);
    progress(frame, gauge, state);
    let figures = if area.width >= 70 { FIGURES } else { 0 };
    let [charts, figures] =
        Layout::horizontal([Constraint::Min(20), Constraint::Length(figures)]).areas(middle);
    curves(frame, charts, state);
    newest(frame, figures, state);
    if let Some(shown) = state.pictures.as_ref().filter(|_| strip > 0) {
        let [head, pictures] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(pictures);
        let text = format!(
            "held out, over their reconstructions at step {}",
            shown.step
        );
        frame.render_widget(Line::from(text).dim(), head);
        let strip = Strip {
            pictures: shown,
            true_colour: state.true_colour,
        };
        frame.render_widget(strip, pictures);
    }
    let from = state.lines.len() - usize::from(lines);
    let text: Vec<Line> = state.lines[from..]
        .iter()
        .map(|l| Line::from(l.as_str()))
        .collect();
    frame.render_widget(Paragraph::new(text), said);
    frame.render_widget(help(state), keys);
}

fn progress(frame: &mut Frame, area: Rect, state: &State) {
    if !state.status.is_empty() {
        frame.render_widget(Line::from(state.status.as_str()).yellow(), area);
        return;
    }
    let mut text = format!("step {}/{}", state.step, state.steps);
    if let Some((pace, unit)) = state.pace {
        text += &format!("  {} {unit}/s", charts::short(pace));
    }
    if let Some(left) = state.left {
        text += &format!("  {} left", duration(left));
    }
    let ratio = state.step as f64 / state.steps.max(1) as f64;
    let gauge = LineGauge::default()
        .ratio(ratio.clamp(0.0, 1.0))
        .label(text)
        .filled_style(Style::new().cyan())
        .unfilled_style(Style::new().dim());
    frame.render_widget(gauge, area);
}

/// Draws as many charts as there is room for, beginning where they were turned to.
fn curves(frame: &mut Frame, area: Rect, state: &State) {
    let charts = state.charts();
    if charts.is_empty() {
        let text = Paragraph::new("\n  curves come with the first row of the log").dim();
        frame.render_widget(text.block(Block::bordered().dim()), area);
        return;
    }
    let across = if area.width >= 72 { 2 } else { 1 };
    let down = if area.height >= 2 * CHARTS { 2 } else { 1 };
    let rows = Layout::vertical(vec![Constraint::Fill(1); down]).split(area);
    let cells = rows.iter().flat_map(|row| {
        let cells = Layout::horizontal(vec![Constraint::Fill(1); across]).split(*row);
        cells.to_vec()
    });
    for (i, cell) in cells.enumerate().take(charts.len()) {
        let place = (state.turned + i) % charts.len();
        let (name, series) = &charts[place];
        charts::draw(frame, cell, name, series, COLOURS[place % COLOURS.len()]);
    }
}

/// Draws the newest figures, with what of the device is used.
fn newest(frame: &mut Frame, area: Rect, state: &State) {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let [used, peak] = state.memory;
    let mut rows = vec![
        ("device memory".to_owned(), mib(used)),
        ("at peak".to_owned(), mib(peak)),
    ];
    if let Some(share) = state.waited {
        rows.push(("waited for data".into(), format!("{:.0} %", 100.0 * share)));
    }
    let charts = state.charts();
    rows.extend(charts.iter().map(|(name, series)| {
        (
            name.clone(),
            series.newest().map_or("-".into(), charts::short),
        )
    }));
    let width = usize::from(area.width.saturating_sub(4));
    let line = |(name, value): (String, String)| {
        let room = width.saturating_sub(value.chars().count() + 1);
        let name: String = name.chars().take(room).collect();
        Line::from(vec![
            Span::from(format!(" {name:room$} ")).dim(),
            Span::from(value),
        ])
    };
    let text: Vec<Line> = rows.into_iter().map(line).collect();
    let block = Block::bordered()
        .border_style(Style::new().dim())
        .title(" newest ");
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn help(state: &State) -> Line<'static> {
    let key = |key: &'static str, what: &'static str| {
        [
            Span::from(key).bold(),
            Span::from(format!(" {what}   ")).dim(),
        ]
    };
    if state.stopping {
        let what = "finishing this step and saving; Ctrl-C leaves at once, without saving";
        return Line::from(what).yellow();
    }
    let mut words = Vec::new();
    if state.paused {
        words.push("paused  ".yellow());
    }
    words.extend(key("q", "save and stop"));
    words.extend(key("p", if state.paused { "go on" } else { "pause" }));
    words.extend(key("← →", "other charts"));
    Line::from(words)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
