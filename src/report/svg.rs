//! Charts of curves as SVG, to stand in a page: few points whatever the length of a log.

use super::axes::{self, Axis};
use super::page::escaped;
use std::fmt::Write;

/// A curve of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in their order; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// Colours of curves, by their places; each is seen on white and on black.
const COLOURS: [&str; 8] = [
    "#2f6fed", "#e8590c", "#2b9a4a", "#a044e0", "#e03131", "#0c8fa8", "#b07a06", "#d6408f",
];
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;
/// Columns in which the points of a curve are gathered.
const COLUMNS: usize = 240;
/// The least and greatest values whose ratio asks for a logarithmic axis.
const LOGARITHMIC: f64 = 20.0;

/// Points that fell into one column: their mean, and their least and greatest value.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    x: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// Gathers points in columns of equal width; few points stay as they are.
fn columns(points: &[(f64, f64)], [first, last]: [f64; 2]) -> Vec<Column> {
    let alone = |&(x, y): &(f64, f64)| Column {
        x,
        mean: y,
        low: y,
        high: y,
    };
    if points.len() <= COLUMNS {
        return points.iter().map(alone).collect();
    }
    let width = (last - first) / COLUMNS as f64;
    let of = |x: f64| ((x - first) / width) as usize;
    let together = points.chunk_by(|a, b| of(a.0) == of(b.0));
    let column = |points: &[(f64, f64)]| {
        let n = points.len() as f64;
        let sum = |f: fn(&(f64, f64)) -> f64| points.iter().map(|p| f(p) / n).sum::<f64>();
        let values = || points.iter().map(|p| p.1);
        Column {
            x: sum(|p| p.0),
            mean: sum(|p| p.1),
            low: values().fold(f64::INFINITY, f64::min),
            high: values().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    together.map(column).collect()
}

/// Returns a chart of curves over steps as an `svg` element; `None` where there is
/// nothing to show.
pub fn chart(title: &str, series: &[Series]) -> Option<String> {
    let finite = |s: &Series| -> Vec<(f64, f64)> {
        let points = s.points.iter().copied();
        points
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect()
    };
    let curves: Vec<Vec<(f64, f64)>> = series.iter().map(finite).collect();
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let values = curves.iter().flatten().map(of);
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| {
            [low.min(v), high.max(v)]
        })
    };
    let ([first, last], [low, high]) = (bounds(|p| p.0), bounds(|p| p.1));
    if first > last || low == 0.0 && high == 0.0 {
        return None;
    }
    let log = low > 0.0 && high / low >= LOGARITHMIC;
    let x = Axis::linear(first.min(0.0), last, 6).whole();
    let y = if log {
        Axis::log(low, high, 6)
    } else {
        let air = ((high - low) * 0.05).max(high.abs() * 1e-3);
        Axis::linear(low - air, high + air, 6)
    };
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let place = |px: f64, py: f64| {
        let (across, up) = (x.at(px)?, y.at(py)?);
        Some((LEFT + across * (right - LEFT), bottom - up * (bottom - TOP)))
    };
    let log_said = if log { ", log scale" } else { "" };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><text class=\"t\" \
         x=\"{LEFT}\" y=\"18\">{0}<tspan class=\"s\">{log_said}</tspan></text>\n",
        escaped(title)
    );
    for tick in y.ticks() {
        if let Some((_, at)) = place(first, *tick) {
            _ = write!(
                svg,
                "<path class=\"g\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"y\" x=\"{:.1}\" \
                 y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                axes::short(*tick)
            );
        }
    }
    for tick in x.ticks() {
        if let Some((at, _)) = place(*tick, if log { low } else { high }) {
            _ = write!(
                svg,
                "<text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 18.0,
                axes::short(*tick)
            );
        }
    }
    svg += "\n";
    for (i, (points, of)) in curves.iter().zip(series).enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let columns = columns(points, [first, last]);
        let path = |at: &mut dyn Iterator<Item = (f64, f64)>| -> String {
            let at = at.filter_map(|(x, y)| place(x, y));
            let words: Vec<String> = at.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            words.join("L")
        };
        if columns.len() < points.len() {
            let high = columns.iter().map(|c| (c.x, c.high));
            let low = columns.iter().rev().map(|c| (c.x, c.low));
            _ = write!(
                svg,
                "<path d=\"M{}Z\" fill=\"{colour}\" opacity=\".22\"/>",
                path(&mut high.chain(low))
            );
        }
        let mean = path(&mut columns.iter().map(|c| (c.x, c.mean)));
        // A single point is a line of no length with round ends.
        let end = if columns.len() == 1 { "h0" } else { "" };
        let wide = if columns.len() == 1 { 6 } else { 2 };
        if !mean.is_empty() {
            _ = writeln!(
                svg,
                "<path d=\"M{mean}{end}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"{wide}\" stroke-linejoin=\"round\" \
                 stroke-linecap=\"round\"><title>{}</title></path>",
                escaped(&of.name)
            );
        }
    }
    Some(svg + "</svg>\n")
}

/// Returns a legend: the names of curves in their colours.
pub fn legend(names: &[String]) -> String {
    let name = |(i, name): (usize, &String)| {
        format!(
            "<span><i style=\"background:{}\"></i>{}</span>",
            COLOURS[i % COLOURS.len()],
            escaped(name)
        )
    };
    let names: String = names.iter().enumerate().map(name).collect();
    format!("<p class=\"legend\">{names}</p>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: Vec<(f64, f64)>) -> Series {
        Series {
            name: "a <run>".into(),
            points,
        }
    }

    /// The x and y of the points of a chart's line.
    fn line(svg: &str) -> Vec<(f64, f64)> {
        let (_, line) = svg.rsplit_once("<path d=\"M").unwrap();
        let (line, _) = line.split_once('"').unwrap();
        let point = |p: &str| {
            let (x, y) = p.split_once(' ')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        };
        line.split('L').filter_map(point).collect()
    }

    #[test]
    fn a_long_log_becomes_few_points_that_keep_its_course_and_its_extremes() {
        let points: Vec<(f64, f64)> = (1..=100_000)
            .map(|i| {
                (
                    f64::from(i),
                    1e5 / f64::from(i) + if i == 70_000 { 3e6 } else { 0.0 },
                )
            })
            .collect();
        let svg = chart("loss", &[series(points)]).unwrap();
        assert!(svg.len() < 20_000, "{} bytes", svg.len());
        let line = line(&svg);
        assert!((200..=COLUMNS + 1).contains(&line.len()), "{}", line.len());
        assert!(line.windows(2).all(|w| w[0].0 < w[1].0));
        // The one peak is seen in the band, near the top.
        let (_, band) = svg.split_once("<path d=\"M").unwrap();
        let (band, _) = band.split_once('Z').unwrap();
        let heights = band.split('L').filter_map(|p| p.split_once(' '));
        let top = heights
            .filter_map(|(_, y)| y.parse::<f64>().ok())
            .fold(HEIGHT, f64::min);
        assert!(top < TOP + 30.0, "{top}");
        assert!(svg.contains("a &lt;run&gt;") && !svg.contains("<run>"));
    }

    #[test]
    fn a_line_falls_where_its_values_fall() {
        let svg = chart("mse", &[series(vec![(0.0, 4.0), (10.0, 2.0), (20.0, 1.0)])]).unwrap();
        let line = line(&svg);
        assert_eq!(line.len(), 3);
        assert!(line[0].1 < line[1].1 && line[1].1 < line[2].1, "{line:?}");
        let (a, b) = (line[1].1 - line[0].1, line[2].1 - line[1].1);
        assert!((a - 2.0 * b).abs() < 0.3, "{line:?}");
    }

    #[test]
    fn nothing_to_show_makes_no_chart_and_odd_values_no_harm() {
        let nan = f64::NAN;
        assert_eq!(chart("a", &[]), None);
        assert_eq!(chart("a", &[series(vec![(1.0, nan), (nan, 1.0)])]), None);
        assert_eq!(chart("a", &[series(vec![(1.0, 0.0), (2.0, 0.0)])]), None);
        for points in [
            vec![(5.0, 1.0)],
            vec![(5.0, -1.0), (6.0, nan), (7.0, f64::INFINITY), (8.0, -1.0)],
            vec![(0.0, f64::MIN_POSITIVE), (1.0, f64::MAX)],
        ] {
            let svg = chart("a", &[series(points)]).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(!line(&svg).is_empty() || svg.contains("h0"), "{svg}");
        }
    }
}
