//! A case: named sizes, printed so that a line of output can be pasted back to run it again.

use crate::{Error, Result};
use std::fmt;

/// The sizes of one run of an operation, such as `n=7,k=3,d=5`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Case(Vec<(String, usize)>);

/// Returns a [`Case`] of these sizes.
pub fn case(sizes: &[(&str, usize)]) -> Case {
    Case(sizes.iter().map(|(n, v)| (n.to_string(), *v)).collect())
}

/// Returns a case for each row of sizes, which have these names.
pub fn cases<const N: usize>(names: [&str; N], rows: &[[usize; N]]) -> Vec<Case> {
    rows.iter()
        .map(|row| Case(names.iter().map(|n| n.to_string()).zip(*row).collect()))
        .collect()
}

impl Case {
    /// Returns the size called `name`; 0 if the case has none.
    pub fn get(&self, name: &str) -> usize {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map_or(0, |(_, v)| *v)
    }
    /// Returns the case with the size called `name` at another value.
    pub fn with(&self, name: &str, value: usize) -> Case {
        Case(
            self.0
                .iter()
                .map(|(n, v)| (n.clone(), if n == name { value } else { *v }))
                .collect(),
        )
    }
    /// Returns the case with one more size.
    pub fn and(mut self, name: &str, value: usize) -> Case {
        self.0.push((name.to_owned(), value));
        self
    }
    /// Returns the sizes in order.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(n, v)| (n.as_str(), *v))
    }
}

/// See [`Operation::check`](super::Operation::check).
pub(crate) fn check(case: &Case, known: &[Case], op: &str) -> Result<()> {
    let Some(first) = known.first() else {
        return Ok(());
    };
    let names = |c: &Case| c.sizes().map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
    if known.iter().all(|k| names(case) != names(k)) {
        return Err(Error::data(format!(
            "case `{case}`: {op} takes the sizes {}, in this order",
            names(first).join(",")
        )));
    }
    // Products of sizes are taken everywhere: none may overflow.
    if case.sizes().map(|(_, v)| v.max(1) as f64).product::<f64>() > 1e18 {
        return Err(Error::data(format!("case `{case}`: beyond any device")));
    }
    match case
        .sizes()
        .find(|(n, v)| *v == 0 && known.iter().all(|k| k.get(n) != 0))
    {
        Some((name, _)) => Err(Error::data(format!(
            "case `{case}`: {op} needs {name} of at least 1"
        ))),
        None => Ok(()),
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(n, v)| format!("{n}={v}")).collect();
        f.write_str(&parts.join(","))
    }
}

impl std::str::FromStr for Case {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let wrong = |part: &str| Error::data(format!("case `{s}`: `{part}` is not NAME=NUMBER"));
        s.split(',')
            .map(|part| {
                let (name, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
                Ok((
                    name.trim().to_owned(),
                    value.trim().parse().map_err(|_| wrong(part))?,
                ))
            })
            .collect::<Result<_>>()
            .map(Case)
    }
}
