//! The table of what a driver's compiler says of the kernels.

use crate::cli::Global;
use crate::cli::common::json;
use crate::cli::common::output;
use wgvq::gpu::statistics::{Compiled, Outcome};

/// Prints what became of the kernels, those that spill first: a line of JSON each, or a table, or
/// with `rows` off only how many there were.
pub fn print(global: &Global, rows: bool, mut outcomes: Vec<(&str, Outcome)>) {
    let spills = |outcome: &Outcome| match outcome {
        Outcome::Compiled(compiled) => compiled.spills().unwrap_or(0.0),
        _ => 0.0,
    };
    let registers = |outcome: &Outcome| match outcome {
        Outcome::Compiled(compiled) => compiled.registers().unwrap_or(0.0),
        _ => 0.0,
    };
    outcomes.sort_by(|(a_name, a), (b_name, b)| {
        let figures = spills(b).total_cmp(&spills(a));
        let figures = figures.then(registers(b).total_cmp(&registers(a)));
        figures.then(a_name.cmp(b_name))
    });
    if global.json {
        outcomes
            .iter()
            .for_each(|(label, outcome)| json::print("kernel-statistics", &line(label, outcome)));
        return;
    }
    if rows {
        table(&outcomes);
    }
    let count = |of: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|(_, o)| of(o)).count();
    output::result(&format!(
        "{} variants compiled, {} of them spill registers; {} need what the adapter lacks; {} \
         refused",
        count(&|o| matches!(o, Outcome::Compiled(_))),
        count(&|o| spills(o) > 0.0),
        count(&|o| matches!(o, Outcome::Lacking(_))),
        count(&|o| matches!(o, Outcome::Refused(_))),
    ));
    for (label, outcome) in &outcomes {
        if let Outcome::Refused(what) = outcome {
            output::result(&format!("refused: {label}: {what}"));
        }
    }
}

/// One line of JSON: the driver's own figures under `statistics`, beside what they say in general.
fn line(label: &str, outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Lacking(what) => serde_json::json!({ "kernel": label, "lacking": what }),
        Outcome::Refused(what) => serde_json::json!({ "kernel": label, "refused": what }),
        Outcome::Compiled(compiled) => {
            let own: serde_json::Map<_, _> = compiled
                .statistics
                .iter()
                .map(|(name, value)| (name.clone(), (*value).into()))
                .collect();
            serde_json::json!({
                "kernel": label,
                "registers": compiled.registers(),
                "spills": compiled.spills(),
                "occupancy": compiled.occupancy().map(|(_, value)| value),
                "occupancy_unit": compiled.occupancy().map(|(unit, _)| unit),
                "instructions": compiled.instructions(),
                "workgroup": compiled.workgroup,
                "workgroup_memory": compiled.workgroup_memory,
                "statistics": own,
            })
        }
    }
}

fn table(outcomes: &[(&str, Outcome)]) {
    let compiled: Vec<(&str, &Compiled)> = outcomes
        .iter()
        .filter_map(|(label, outcome)| match outcome {
            Outcome::Compiled(compiled) => Some((*label, compiled)),
            _ => None,
        })
        .collect();
    let unit = compiled
        .iter()
        .find_map(|(_, c)| c.occupancy().map(|(unit, _)| unit));
    let figure = |value: Option<f64>| value.map_or("-".into(), |n| n.to_string());
    output::result(&format!(
        "registers  spills  occupancy  memory  instructions  kernel   (occupancy: {}; memory: \
         bytes of a workgroup)",
        unit.unwrap_or("not told by this driver"),
    ));
    for (label, c) in compiled {
        output::result(&format!(
            "{:>9}  {:>6}  {:>9}  {:>6}  {:>12}  {label}",
            figure(c.registers()),
            figure(c.spills()),
            figure(c.occupancy().map(|(_, value)| value)),
            c.workgroup_memory,
            figure(c.instructions()),
        ));
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    /// Where no driver of Vulkan says anything, no other test prints such lines.
    #[test]
    fn lines_are_as_the_page_says() {
        let compiled = Compiled {
            workgroup_memory: 1024,
            workgroup: 64,
            statistics: vec![("Register Count".into(), 12.0)],
            texts: Vec::new(),
        };
        for outcome in [
            Outcome::Compiled(compiled),
            Outcome::Lacking("f16".into()),
            Outcome::Refused("an error".into()),
        ] {
            json::check_value("kernel-statistics", &line("a", &outcome)).unwrap();
        }
    }
}
