//! Ranges of inputs that a layer's outputs depend on, along one side of an image: a model's
//! receptive field is computed from them.
//!
//! Layers are asked from the last to the first; where a value goes two ways, what both need is put
//! together.

/// Places along a side, from the first to before the last. Places before 0 are the padding's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Span {
    pub(crate) fn new(length: usize) -> Span {
        Span {
            from: 0,
            to: length as i64,
        }
    }

    /// Returns the range of inputs that these outputs of a convolution depend on.
    pub(crate) fn of_conv(self, kernel: usize, stride: usize, pad: usize) -> Span {
        let (kernel, stride, pad) = (kernel as i64, stride as i64, pad as i64);
        Span {
            from: self.from * stride - pad,
            to: (self.to - 1) * stride - pad + kernel,
        }
    }

    /// Returns the range of inputs that these outputs of a transposed convolution depend on: output
    /// o takes input i where `0 <= o + pad - i stride < kernel`.
    /// - i stride < kernel`.
    pub(crate) fn of_conv_transpose(self, kernel: usize, stride: usize, pad: usize) -> Span {
        let (kernel, stride, pad) = (kernel as i64, stride as i64, pad as i64);
        let first = -(-(self.from + pad - kernel + 1)).div_euclid(stride);
        Span {
            from: first,
            to: (self.to - 1 + pad).div_euclid(stride) + 1,
        }
    }

    /// Both, and what lies between.
    pub(crate) fn and(self, other: Span) -> Span {
        Span {
            from: self.from.min(other.from),
            to: self.to.max(other.to),
        }
    }

    /// Returns the range in units `factor` times as fine.
    pub(crate) fn times(self, factor: usize) -> Span {
        Span {
            from: self.from * factor as i64,
            to: self.to * factor as i64,
        }
    }

    /// Returns how far it goes beyond the places 0 to `length`.
    pub(crate) fn beyond(self, length: usize) -> usize {
        (-self.from).max(self.to - length as i64).max(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition, output by output.
    #[test]
    fn spans_are_those_of_the_definition() {
        for (kernel, stride, pad) in [(3, 1, 1), (4, 2, 1), (1, 1, 0), (5, 3, 2), (2, 2, 0)] {
            for (from, to) in [(0, 1), (0, 6), (-3, 2), (5, 7)] {
                let span = Span { from, to };
                let taps = |i: i64, o: i64| {
                    let tap = o + pad as i64 - i * stride as i64;
                    (0..kernel as i64).contains(&tap)
                };
                let all: Vec<i64> = (-50..50)
                    .filter(|i| (from..to).any(|o| taps(*i, o)))
                    .collect();
                let transposed = Span {
                    from: all[0],
                    to: all[all.len() - 1] + 1,
                };
                assert_eq!(
                    span.of_conv_transpose(kernel, stride, pad),
                    transposed,
                    "{kernel} {stride} {pad} {span:?}"
                );
                // A convolution's output i takes what the transposed one's input i gives.
                let all: Vec<i64> = (-50..50)
                    .filter(|o| (from..to).any(|i| taps(i, *o)))
                    .collect();
                let forward = Span {
                    from: all[0],
                    to: all[all.len() - 1] + 1,
                };
                assert_eq!(
                    span.of_conv(kernel, stride, pad),
                    forward,
                    "{kernel} {stride} {pad} {span:?}"
                );
            }
        }
        assert_eq!(Span { from: -3, to: 9 }.beyond(8), 3);
        assert_eq!(Span { from: 1, to: 9 }.times(4), Span { from: 4, to: 36 });
    }
}
