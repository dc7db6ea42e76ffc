//! Colours for numbers: a ramp from little to much, and one colour per code.

use super::canvas::Colour;

/// Colours from little to much; each end is seen on white, the far end best.
const RAMP: [Colour; 5] = [
    Colour(188, 214, 242),
    Colour(96, 165, 235),
    Colour(99, 102, 241),
    Colour(126, 34, 206),
    Colour(74, 4, 78),
];

fn between(a: Colour, b: Colour, share: f64) -> Colour {
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    Colour(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Returns the ramp at `share`, 0 to 1.
pub(super) fn ramp(share: f64) -> Colour {
    let at = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    } * (RAMP.len() - 1) as f64;
    let from = (at.floor() as usize).min(RAMP.len() - 2);
    between(RAMP[from], RAMP[from + 1], at - from as f64)
}

/// Returns the colour of a place on a plane around (0, 0): its hue is the direction, and it is
/// paler near the middle. `far` is the distance of the full colour.
pub(super) fn wheel(x: f64, y: f64, far: f64) -> Colour {
    let turn = (y.atan2(x) / std::f64::consts::TAU).rem_euclid(1.0);
    let strength = if far > 0.0 {
        (x.hypot(y) / far).clamp(0.0, 1.0).sqrt()
    } else {
        0.0
    };
    // HSL to RGB (Smith 1978), at middle lightness.
    let (lightness, saturation) = (0.72 - 0.24 * strength, 0.25 + 0.6 * strength);
    let channel = |n: f64| {
        let k = (n + turn * 12.0) % 12.0;
        let reach = saturation * lightness.min(1.0 - lightness);
        ((lightness - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)) * 255.0).round() as u8
    };
    Colour(channel(0.0), channel(8.0), channel(4.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_darkens_and_never_leaves_its_ends() {
        let light = |c: Colour| u32::from(c.0) + u32::from(c.1) + u32::from(c.2);
        let steps: Vec<u32> = (0..=20).map(|i| light(ramp(f64::from(i) / 20.0))).collect();
        assert!(steps.windows(2).all(|w| w[0] > w[1]), "{steps:?}");
        assert_eq!(
            (ramp(-1.0), ramp(f64::NAN), ramp(7.0)),
            (RAMP[0], RAMP[0], RAMP[4])
        );
    }

    #[test]
    fn directions_have_colours_of_their_own() {
        let at = |turn: f64| wheel(turn.cos(), turn.sin(), 1.0);
        let red = at(0.0);
        assert!(red.0 > red.1 + 80 && red.0 > red.2 + 80, "{red:?}");
        let green = at(std::f64::consts::TAU / 3.0);
        assert!(
            green.1 > green.0 + 80 && green.1 > green.2 + 80,
            "{green:?}"
        );
        let middle = wheel(0.0, 0.0, 0.0);
        assert!(middle.0.abs_diff(middle.2) < 60, "{middle:?}");
    }
}
