//! The learning rate over the steps of a run.

/// The rate of a step, from 0 on: it rises along a line to `lr` over `warmup` steps, falls along half a cosine (Loshchilov and Hutter
/// 2017) to the share `min_lr` of it over `decay_steps`, and stays there. With 0 of either that part is left out.
pub(super) fn at(step: u64, lr: f32, min_lr: f32, warmup: u64, decay_steps: u64) -> f64 {
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

#[cfg(test)]
mod tests {
    #[test]
    fn each_part_may_be_left_out() {
        assert_eq!(super::at(1 << 40, 0.5, 0.1, 0, 0), 0.5);
        assert_eq!(super::at(0, 0.5, 0.0, 4, 0), 0.125);
        assert_eq!(super::at(3, 0.5, 0.0, 4, 0), 0.5);
        assert!((super::at(5, 0.5, 0.0, 0, 10) - 0.25).abs() < 1e-12);
        assert_eq!(super::at(10, 0.5, 0.0, 0, 10), 0.0);
    }
}
