//! Metrics by name: declared once, each with its place on the device, its column in the log and the
//! digits that it has there.

mod buffer;
mod evaluation;
mod parts;
mod row;

pub(crate) use buffer::as_json;
pub use buffer::{MetricsBuffer, Steps};
pub use evaluation::{Evaluation, Fidelity, LevelCounts, LevelUse};
pub(crate) use parts::MeanOfParts;
pub use row::{CodeMetrics, GanMetrics, LevelRow, LossMetrics, PrecisionMetrics, Row};

/// A metric of a training step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Its name, and that of its column.
    pub(crate) name: &'static str,
    /// Its place among those of its group on the device. Checkpoints keep the steps of a row that
    /// is not full yet by it, so it stays what it is.
    pub(crate) slot: usize,
    /// Formats a value for a log.
    pub(crate) text: fn(f64) -> String,
}

/// The reduction of the metrics of a row's steps to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduce {
    /// Their mean.
    Mean,
    /// The mean over the steps that have one, which is not 0.
    MeanWhereAny,
    /// The number of steps in which it is 0.
    Zeros,
}

/// Returns the slot of a metric of a group. In a `const` block, an unknown name fails to compile.
pub(crate) const fn slot_of(group: &[Metric], name: &str) -> usize {
    let mut i = 0;
    while i < group.len() {
        if same(group[i].name.as_bytes(), name.as_bytes()) {
            return group[i].slot;
        }
        i += 1;
    }
    panic!("there is no metric of that name")
}

/// Slots that a group takes.
pub(crate) const fn width_of(group: &[Metric]) -> usize {
    let (mut i, mut width) = (0, 0);
    while i < group.len() {
        if group[i].slot >= width {
            width = group[i].slot + 1;
        }
        i += 1;
    }
    width
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Declares a group of metrics: a struct of `f64`, in the order of the log's columns. A line is
/// `name: slot, reduction, format;`. Adding a metric is adding a line, with a slot that is free.
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        pub struct $Group:ident {
            $($(#[$doc:meta])* $name:ident: $slot:literal, $reduce:ident, $format:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $Group {
            $($(#[$doc])* pub $name: f64,)+
        }

        impl $Group {
            pub(crate) const METRICS: &'static [$crate::metrics::Metric] = &[
                $($crate::metrics::Metric {
                    name: stringify!($name),
                    slot: $slot,
                    text: |value| format!($format, value),
                },)+
            ];
            /// Slots on the device.
            pub(crate) const WIDTH: usize = $crate::metrics::width_of(Self::METRICS);

            /// The slot of a metric, by its name.
            #[allow(dead_code, reason = "not every group is set metric by metric")]
            pub(crate) const fn slot(name: &str) -> usize {
                $crate::metrics::slot_of(Self::METRICS, name)
            }

            /// The names, in the order of the columns.
            pub fn names() -> impl Iterator<Item = &'static str> {
                Self::METRICS.iter().map(|m| m.name)
            }

            /// Returns the values, in the same order.
            pub fn values(&self) -> Vec<f64> {
                vec![$(self.$name),+]
            }

            /// Returns the metrics of the steps of a row, the group beginning at slot `at`.
            pub(crate) fn of(steps: &$crate::metrics::Steps, at: usize) -> $Group {
                use $crate::metrics::Reduce;
                $Group { $($name: steps.reduce(at + $slot, Reduce::$reduce),)+ }
            }

            /// The values as a log has them, each behind a comma.
            #[allow(dead_code, reason = "not every group is in a log as it is")]
            pub(crate) fn text(&self) -> String {
                Self::METRICS
                    .iter()
                    .zip(self.values())
                    .map(|(metric, value)| format!(",{}", (metric.text)(value)))
                    .collect()
            }
        }
    };
}
pub(crate) use metrics;

/// Columns by these names, each behind a comma, of the level of that name where it has one.
fn columns<'a>(names: impl IntoIterator<Item = &'a str>, level: &str) -> String {
    let of = if level.is_empty() { "" } else { "." };
    names
        .into_iter()
        .map(|name| format!(",{name}{of}{level}"))
        .collect()
}

/// Returns the mean of a metric over levels that count this much.
fn mean<T>(levels: &[T], weight: impl Fn(&T) -> usize, metric: impl Fn(&T) -> f64) -> f64 {
    if let [only] = levels {
        return metric(only);
    }
    let all: usize = levels.iter().map(&weight).sum();
    levels
        .iter()
        .map(|l| weight(l) as f64 * metric(l))
        .sum::<f64>()
        / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    metrics! {
        /// Two metrics, out of the device's order.
        pub struct Pair {
            /// The second on the device.
            second: 3, Mean, "{:.2}";
            /// The first, which not every step has.
            first: 0, MeanWhereAny, "{:e}";
        }
    }

    #[test]
    fn metrics_are_found_by_name_and_reduced_over_steps() {
        const SECOND: usize = Pair::slot("second");
        assert_eq!((SECOND, Pair::WIDTH), (3, 4));
        let steps = Steps::new(
            7,
            5,
            vec![
                9.0, 2.0, 0.0, 0.0, 1.0, //
                9.0, 0.0, 0.0, 0.0, 2.0, //
                9.0, 4.0, 0.0, 0.0, 6.0,
            ],
        );
        let pair = Pair::of(&steps, 1);
        assert_eq!(
            pair,
            Pair {
                second: 3.0,
                first: 3.0
            }
        );
        assert_eq!(pair.text(), ",3.00,3e0");
        assert_eq!(columns(Pair::names(), "top"), ",second.top,first.top");
        assert_eq!(columns(Pair::names(), ""), ",second,first");
    }

    /// Slots of one group are each one metric's.
    #[test]
    fn slots_are_not_shared() {
        for group in [
            LossMetrics::METRICS,
            CodeMetrics::METRICS,
            GanMetrics::METRICS,
        ] {
            let mut slots: Vec<usize> = group.iter().map(|m| m.slot).collect();
            slots.sort_unstable();
            assert_eq!(slots, (0..group.len()).collect::<Vec<_>>());
        }
    }
}
