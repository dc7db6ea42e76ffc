//! `wgvq selftest`

use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use wgvq::registry::{find, operations};
use wgvq::spec::{Case, Verdict};
use wgvq::{Result, verify};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq selftest
  wgvq selftest --adapter nvidia --op vq_search --case n=999,k=77,d=12")]
pub struct Selftest {
    /// Check only this operation
    #[arg(long)]
    op: Option<String>,
    /// Check only this case, as a line of output names it, such as n=7,k=3,d=5
    #[arg(long, requires = "op")]
    case: Option<Case>,
    /// Seed of the random inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Selftest {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let gpu = global.gpu()?;
        let ops = match &self.op {
            Some(name) => vec![find(name)?],
            None => operations().to_vec(),
        };
        output::note(
            global,
            &format!(
                "{}, {} core, seed {}",
                gpu.info().name,
                gpu.core().name(),
                self.seed
            ),
        );
        if !global.json {
            output::result(&format!(
                "{:<18} {:>5} {:>10} {:>12} {:>12}  result",
                "operation", "cases", "elements", "forward", "gradient"
            ));
        }
        let mut failed = 0;
        for op in ops {
            let cases = self.case.clone().map_or_else(|| op.cases(), |c| vec![c]);
            let (mut forward, mut backward): (Option<Verdict>, Option<Verdict>) = (None, None);
            let join = |sum: Option<Verdict>, v: Verdict| {
                Some(match sum {
                    Some(s) => s.join(v),
                    None => v,
                })
            };
            for case in &cases {
                forward = join(forward, verify::forward(&gpu, op, case, self.seed)?);
                if let Some(v) = verify::backward(&gpu, op, case, self.seed)? {
                    backward = join(backward, v);
                }
            }
            let all: Vec<&Verdict> = [&forward, &backward].into_iter().flatten().collect();
            let pass = !all.is_empty() && all.iter().all(|v| v.pass && v.compared > 0);
            let compared: usize = all.iter().map(|v| v.compared).sum();
            if global.json {
                let error = |v: &Option<Verdict>| v.as_ref().map(|v| v.max_error);
                let line = serde_json::json!({
                    "op": op.name(), "cases": cases.len(), "compared": compared, "pass": pass,
                    "forward_max_error": error(&forward), "gradient_max_error": error(&backward),
                });
                output::result(&line.to_string());
            } else {
                let error = |v: &Option<Verdict>| {
                    v.as_ref()
                        .map_or("-".into(), |v| format!("{:.1e}", v.max_error))
                };
                let (f, b) = (error(&forward), error(&backward));
                output::result(&format!(
                    "{:<18} {:>5} {:>10} {f:>12} {b:>12}  {}",
                    op.name(),
                    cases.len(),
                    compared,
                    if pass { "ok" } else { "FAILED" }
                ));
            }
            if !pass {
                failed += 1;
                all.iter()
                    .filter(|v| !v.pass)
                    .for_each(|v| output::note(global, &format!("  {}", v.detail)));
            }
        }
        if !global.json {
            output::result(&if failed == 0 {
                "every operation agrees with its reference".into()
            } else {
                format!("{failed} operations FAILED")
            });
        }
        Ok(if failed == 0 {
            CommandStatus::Done
        } else {
            CommandStatus::Failed
        })
    }
}
