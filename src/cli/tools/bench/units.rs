//! Values of options with a unit behind them.

use std::fmt;
use std::str::FromStr;

/// A share, written as `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percent(f64);

impl Percent {
    /// Returns it as a number: 0.05.
    pub(super) fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let number = s
            .trim()
            .strip_suffix('%')
            .unwrap_or(s)
            .trim()
            .parse::<f64>();
        match number {
            Ok(n) if (0.0..=1000.0).contains(&n) => Ok(Percent(n)),
            _ => Err("write a share such as 5%".into()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A length of time, written as `20us`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    number: f64,
    unit: &'static str,
}

/// Units, in milliseconds.
const UNITS: [(&str, f64); 4] = [("ns", 1e-6), ("us", 1e-3), ("ms", 1.0), ("s", 1e3)];

impl Span {
    /// Returns it in milliseconds.
    pub(super) fn ms(self) -> f64 {
        let unit = UNITS.iter().find(|(unit, _)| *unit == self.unit);
        self.number * unit.map_or(1.0, |(_, ms)| *ms)
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let read = |(unit, _): &(&'static str, f64)| {
            let number = s.trim().strip_suffix(unit)?.trim().parse().ok()?;
            (0.0..=1e9)
                .contains(&number)
                .then_some(Span { number, unit })
        };
        UNITS
            .iter()
            .find_map(read)
            .ok_or_else(|| "write a time such as 20us, 1ms or 2s".into())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, ms) in [
            ("20us", 0.02),
            ("1.5 ms", 1.5),
            ("2s", 2000.0),
            ("0ns", 0.0),
        ] {
            let span: Span = text.parse().unwrap();
            assert!((span.ms() - ms).abs() < 1e-12, "{text}");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        for wrong in ["", "20", "us", "-1ms", "nan s", "1h", "1e99s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_read_with_their_sign_or_without() {
        for (text, share) in [("5%", 0.05), ("5 %", 0.05), ("0.5", 0.005), ("0%", 0.0)] {
            let percent: Percent = text.parse().unwrap();
            assert!((percent.share() - share).abs() < 1e-15, "{text}");
            assert_eq!(percent.to_string().parse(), Ok(percent));
        }
        for wrong in ["", "%", "five", "-1%", "nan", "inf%", "5%%"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }
}
