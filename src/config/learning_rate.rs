//! The learning rate over the steps of a run.

/// Returns the rate of a step, from 0 on: it rises along a line to `lr` over `warmup` steps, falls
/// along half a cosine (Loshchilov and Hutter 2017) to the share `min_lr` of it over `decay_steps`,
/// and stays there. With 0 of either that part is left out.
pub(crate) fn at(step: u64, lr: f32, min_lr: f32, warmup: u64, decay_steps: u64) -> f64 {
    let (high, low) = (f64::from(lr), f64::from(lr) * f64::from(min_lr));
    if step < warmup {
        return high * (step + 1) as f64 / warmup as f64;
    }
    if decay_steps == 0 {
        return high;
    }
    let along = ((step - warmup) as f64 / decay_steps as f64).min(1.0);
    low + (high - low) * 0.5 * (1.0 + (std::f64::consts::PI * along).cos())
}

/// Steps of decay that fall until the last of `steps`.
pub(crate) fn to_the_end(steps: u64, warmup: u64) -> u64 {
    steps.saturating_sub(warmup).max(1)
}

/// Returns a sentence on the learning rate of a run that began with `before` steps and continues at
/// step `at` to `steps`. `rate` gives the rate of each step.
pub(crate) fn extension(before: u64, steps: u64, at: u64, rate: impl Fn(u64) -> f64) -> String {
    let (now, last) = (rate(at), rate(steps.saturating_sub(1)));
    if now == last {
        return format!("{steps} steps and not {before}: the learning rate stays {now:.3e}");
    }
    format!(
        "{steps} steps and not {before}: the learning rate's schedule covers them, and goes from \
         {now:.3e} at step {at} to {last:.3e} at the last"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_extension_says_where_the_rate_goes() {
        let falls = |step| super::at(step, 1.0, 0.1, 0, super::to_the_end(40, 0));
        let said = super::extension(20, 40, 20, falls);
        assert!(
            said.contains("40 steps and not 20") && said.contains("from 5.500e-1 at step 20"),
            "{said}"
        );
        let stays = |step| super::at(step, 1.0, 0.1, 0, 20);
        assert!(super::extension(20, 40, 20, stays).contains("stays 1.000e-1"));
        assert_eq!(super::to_the_end(5, 10), 1);
    }

    #[test]
    fn each_part_may_be_left_out() {
        assert_eq!(super::at(1 << 40, 0.5, 0.1, 0, 0), 0.5);
        assert_eq!(super::at(0, 0.5, 0.0, 4, 0), 0.125);
        assert_eq!(super::at(3, 0.5, 0.0, 4, 0), 0.5);
        assert!((super::at(5, 0.5, 0.0, 0, 10) - 0.25).abs() < 1e-12);
        assert_eq!(super::at(10, 0.5, 0.0, 0, 10), 0.0);
    }
}
