//! Philox4x32-10 on the host: the mirror of `shaders/sampling/random.wgsl`, number for number, and
//! the source of initial weights.
//!
//! J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use super::Key;

/// Four random words from a counter and a key.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let a = 0xD251_1F53 * u64::from(c[0]);
        let b = 0xCD9E_8D57 * u64::from(c[2]);
        c = [
            (b >> 32) as u32 ^ c[1] ^ k[0],
            b as u32,
            (a >> 32) as u32 ^ c[3] ^ k[1],
            a as u32,
        ];
        k = [
            k[0].wrapping_add(0x9E37_79B9),
            k[1].wrapping_add(0xBB67_AE85),
        ];
    }
    c
}

/// Returns the four words of block `block`: elements `4 block` to `4 block + 3` of the tensor that
/// `key` fills.
pub fn block(key: Key, block: u32) -> [u32; 4] {
    let counter = [block, key.stream, key.step as u32, (key.step >> 32) as u32];
    philox4x32(counter, [key.seed as u32, (key.seed >> 32) as u32])
}

fn fill<T>(key: Key, n: usize, values: impl Fn([u32; 4]) -> [T; 4]) -> Vec<T> {
    let mut out = Vec::with_capacity(n.next_multiple_of(4));
    for b in 0..n.div_ceil(4) {
        out.extend(values(block(key, b as u32)));
    }
    out.truncate(n);
    out
}

/// Fills a part of a tensor, from its element `first` on, a multiple of 4.
fn fill_part<T: Copy>(key: Key, first: usize, part: &mut [T], values: impl Fn([u32; 4]) -> [T; 4]) {
    for (b, out) in part.chunks_mut(4).enumerate() {
        let four = values(block(key, (first / 4 + b) as u32));
        out.copy_from_slice(&four[..out.len()]);
    }
}

/// `n` words, as [`super::bits`] writes them.
pub fn bits(key: Key, n: usize) -> Vec<u32> {
    fill(key, n, |words| words)
}

/// `n` numbers uniform in [lo, hi), as [`super::uniform`] writes them.
pub fn uniform(key: Key, lo: f32, hi: f32, n: usize) -> Vec<f32> {
    fill(key, n, four_uniform(lo, hi))
}

fn four_uniform(lo: f32, hi: f32) -> impl Fn([u32; 4]) -> [f32; 4] {
    let (scale, top) = (hi - lo, hi.next_down());
    move |words| words.map(|w| (lo + scale * unit(w)).min(top))
}

/// Fills a part of what [`uniform`] returns, from its element `first` on, a multiple of 4.
pub(crate) fn uniform_part(key: Key, lo: f32, hi: f32, first: usize, part: &mut [f32]) {
    fill_part(key, first, part, four_uniform(lo, hi));
}

/// `n` standard normal numbers, as [`super::normal`] writes them.
pub fn normal(key: Key, n: usize) -> Vec<f32> {
    fill(key, n, four_normal)
}

fn four_normal([a, b, c, d]: [u32; 4]) -> [f32; 4] {
    let (first, second) = (normal_pair(a, b), normal_pair(c, d));
    [first[0], first[1], second[0], second[1]]
}

/// Fills a part of what [`normal`] returns, from its element `first` on, a multiple of 4.
pub(crate) fn normal_part(key: Key, first: usize, part: &mut [f32]) {
    fill_part(key, first, part, four_normal);
}

/// Standard Gumbel noise of a row and code, as `shaders/shared/gumbel.wgsl` draws it.
pub(crate) fn gumbel(key: Key, row: usize, code: usize) -> f64 {
    let counter = [
        code as u32 / 4,
        row as u32,
        key.step as u32,
        (key.step >> 32) as u32,
    ];
    let words = philox4x32(
        counter,
        [key.seed as u32, (key.seed >> 32) as u32 ^ key.stream],
    );
    let u = f64::from((words[code % 4] >> 8).clamp(1, (1 << 24) - 1)) / f64::from(1 << 24);
    -(-u.ln()).ln()
}

/// Uniform in [0, 1): the top 24 bits.
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two standard normal numbers (Box and Muller 1958) from two words.
pub fn normal_pair(a: u32, b: u32) -> [f32; 2] {
    let radius = (-2.0 * ln_unit((a >> 8) + 1)).sqrt();
    turn(b >> 8).map(|x| radius * x)
}

/// `ln(k / 2^24)` for k in 1..=2^24, by the shader's steps: the host's own `ln` differs between
/// platforms.
fn ln_unit(k: u32) -> f32 {
    let bits = (k as f32).to_bits();
    let mut e = ((bits >> 23) as i32 - 151) as f32;
    let mut m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    if m > SQRT_2 {
        m *= 0.5;
        e += 1.0;
    }
    let f = m - 1.0;
    let s = LN.iter().fold(0.0f32, |s, c| s * f + c);
    let z = f * f;
    let tail = s * f * z - 2.121_944_4e-4 * e - 0.5 * z;
    f + tail + 0.693_359_4 * e
}

/// `(cos, sin)` of `2 pi k / 2^24`.
fn turn(k: u32) -> [f32; 2] {
    let quarter = (k + 0x20_0000) >> 22;
    let x = (k as i32 - (quarter << 22) as i32) as f32 * 3.745_070_3e-7;
    let z = x * x;
    let s = SIN.iter().fold(0.0f32, |s, c| s * z + c);
    let sine = x + s * z * x;
    let c = COS.iter().fold(0.0f32, |s, c| s * z + c);
    let cosine = 1.0 - 0.5 * z + c * z * z;
    let (u, v) = if quarter & 1 == 1 {
        (sine, cosine)
    } else {
        (cosine, sine)
    };
    [
        if (quarter + 1) & 2 == 2 { -u } else { u },
        if quarter & 2 == 2 { -v } else { v },
    ]
}

const SQRT_2: f32 = std::f32::consts::SQRT_2;
/// Coefficients of S. Moshier's Cephes library (logf, sinf, cosf), highest power first.
const LN: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_87e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_4e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that the authors publish with Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, want) in [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                pi,
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32(counter, key), want, "{counter:x?} {key:x?}");
        }
    }

    #[test]
    fn functions_are_accurate_over_their_whole_range() {
        for k in (1..=1u32 << 24)
            .step_by(997)
            .chain([1, 2, 3, (1 << 24) - 1, 1 << 24])
        {
            let want = (k as f64 / 16_777_216.0).ln();
            assert!(
                (ln_unit(k) as f64 - want).abs() <= 1.5e-7 * want.abs(),
                "ln of {k}: {} {want}",
                ln_unit(k)
            );
        }
        for k in (0..1u32 << 24)
            .step_by(997)
            .chain([1 << 21, 1 << 22, 3 << 22, (1 << 24) - 1])
        {
            let (sin, cos) = (std::f64::consts::TAU * k as f64 / 16_777_216.0).sin_cos();
            let [c, s] = turn(k);
            assert!(
                (c as f64 - cos).abs() < 2e-7 && (s as f64 - sin).abs() < 2e-7,
                "{k}: {c} {cos}, {s} {sin}"
            );
        }
    }

    #[test]
    fn moments_and_bounds() {
        let key = Key {
            seed: 7,
            step: 1 << 40,
            stream: 3,
        };
        let normals = normal(key, 100_003);
        let mean = normals.iter().map(|x| *x as f64).sum::<f64>() / normals.len() as f64;
        let square =
            normals.iter().map(|x| (*x as f64).powi(2)).sum::<f64>() / normals.len() as f64;
        let fourth =
            normals.iter().map(|x| (*x as f64).powi(4)).sum::<f64>() / normals.len() as f64;
        assert!(mean.abs() < 0.013 && (square - 1.0).abs() < 0.02 && (fourth - 3.0).abs() < 0.15);
        // 1 + (1 - 2^-24) rounds to 2, which the interval excludes.
        let numbers = uniform(key, 1.0, 2.0, 100_003);
        assert!(numbers.iter().all(|x| (1.0..2.0).contains(x)));
        let mean = numbers.iter().map(|x| *x as f64).sum::<f64>() / numbers.len() as f64;
        assert!((mean - 1.5).abs() < 0.004);
    }

    #[test]
    fn every_part_of_the_key_matters_and_length_does_not() {
        let key = Key {
            seed: 1,
            step: 2,
            stream: 3,
        };
        let others = [
            Key {
                seed: 1 | 1 << 32,
                ..key
            },
            Key { seed: 0, ..key },
            Key { step: 3, ..key },
            Key {
                step: 2 | 1 << 32,
                ..key
            },
            Key { stream: 4, ..key },
        ];
        for other in others {
            assert_ne!(bits(key, 4), bits(other, 4));
        }
        assert_eq!(bits(key, 5), bits(key, 9)[..5]);
    }
}
