//! Values of a configuration that each can be used, and together have no effect.

use crate::config::objective::Regularizer;
use crate::config::run::RunConfig;

impl RunConfig {
    /// Returns a line for each value that has no effect beside the others, with the keys to change:
    /// a discriminator that begins after the last step, a regularizer without a weight.
    pub fn without_effect(&self) -> Vec<String> {
        let all = self.written_out();
        let (gan, steps) = (&all.gan, all.train.steps);
        if !gan.is_on() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if gan.start >= steps {
            lines.push(format!(
                "the discriminator never trains: gan.start is {}, and train.steps is {steps}; \
                 lower gan.start, or train for more steps",
                gan.start
            ));
        } else if gan.start.saturating_add(gan.head_start) >= steps {
            lines.push(format!(
                "the discriminator never takes part in the model's loss: gan.start and \
                 gan.head_start add up to {}, and train.steps is {steps}; lower one of them, or \
                 train for more steps",
                gan.start + gan.head_start
            ));
        }
        if gan.regularizer != Regularizer::None && gan.regularizer_weight == 0.0 {
            lines.push(
                "gan.regularizer has no effect: gan.regularizer_weight is 0; set it above 0".into(),
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DottedConfig;

    fn lines(values: &[(&str, &str)]) -> Vec<String> {
        let mut config = RunConfig::default();
        for (key, value) in values {
            config.set(key, value).unwrap();
        }
        config.without_effect()
    }

    #[test]
    fn a_discriminator_that_begins_too_late_is_told_of() {
        let of = |weight, start, head_start, steps| {
            lines(&[
                ("gan.weight", weight),
                ("gan.start", start),
                ("gan.head_start", head_start),
                ("train.steps", steps),
            ])
        };
        // Steps count from 0: the last of 2000 is 1999.
        for (start, head_start, said) in [
            ("2000", "0", "never trains"),
            ("1999", "1", "never takes part"),
            ("1000", "1000", "never takes part"),
        ] {
            let told = of("0.5", start, head_start, "2000");
            assert!(told.len() == 1 && told[0].contains(said), "{told:?}");
            assert!(told[0].contains("gan.start") && told[0].contains("train.steps is 2000"));
        }
        assert!(of("0.5", "1999", "0", "2000").is_empty());
        assert!(of("0.5", "1000", "999", "2000").is_empty());
        // Without a discriminator its steps are of no interest.
        assert!(of("0", "2000", "0", "2000").is_empty());
        // The model's own discriminator counts as one that was asked for.
        assert!(lines(&[("model.kind", "vqgan"), ("train.steps", "1000")])[0].contains("1000"));
    }

    #[test]
    fn a_regularizer_without_a_weight_is_told_of() {
        let of = |regularizer, weight| {
            lines(&[
                ("gan.weight", "0.5"),
                ("gan.regularizer", regularizer),
                ("gan.regularizer_weight", weight),
            ])
        };
        for regularizer in ["r1", "lecam"] {
            let told = of(regularizer, "0");
            assert!(told.len() == 1 && told[0].contains("gan.regularizer_weight"));
            assert!(of(regularizer, "0.1").is_empty());
        }
        assert!(of("none", "0").is_empty());
    }
}
