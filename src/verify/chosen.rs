//! The cases by which an operation is checked where there is little time.

use crate::spec::{Case, Operation};

/// Cases of an operation, at most.
const MOST: usize = 3;
/// The cost of a case's reference, at most, in operations on numbers: a few tenths of a second of
/// one thread.
const FLOPS: f64 = 2e7;

/// Returns the cases that a quick check runs: some of [`Operation::cases`], spread over their list,
/// of those whose reference is cheap. At least one.
pub fn chosen(op: &dyn Operation) -> Vec<Case> {
    let all = op.cases();
    let cost = |case: &Case| op.work(case).flops;
    let mut cheap: Vec<Case> = all
        .iter()
        .filter(|case| cost(case) <= FLOPS)
        .cloned()
        .collect();
    if cheap.is_empty() {
        let least = all.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        return least.into_iter().collect();
    }
    let last = cheap.len() - 1;
    let mut at: Vec<usize> = (0..MOST).map(|i| i * last / (MOST - 1)).collect();
    at.dedup();
    at.reverse();
    let mut chosen: Vec<Case> = at.into_iter().map(|i| cheap.swap_remove(i)).collect();
    chosen.reverse();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::operations;

    #[test]
    fn every_operation_has_cases_of_its_own_that_are_cheap() {
        for op in operations() {
            let (all, chosen) = (op.cases(), chosen(*op));
            assert!(!chosen.is_empty() && chosen.len() <= MOST, "{}", op.name());
            assert!(
                chosen.iter().all(|case| all.contains(case)),
                "{}",
                op.name()
            );
            for (i, case) in chosen.iter().enumerate() {
                assert!(!chosen[..i].contains(case), "{}({case}) twice", op.name());
            }
        }
    }
}
