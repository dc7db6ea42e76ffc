//! The networks whose features LPIPS compares, layer by layer, under torchvision's names.

use crate::ops::conv::Conv;
use crate::ops::conv::max_pool::Pool;

/// A network trained to classify images, whose features LPIPS compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backbone {
    /// VGG of 16 layers (Simonyan and Zisserman 2015): the one that VQ-GANs are trained with.
    Vgg16,
    /// AlexNet (Krizhevsky 2014): the one that distances are most often reported with.
    AlexNet,
    /// SqueezeNet 1.1 (Iandola et al. 2016).
    SqueezeNet,
}

/// A convolution with bias: `name.weight` [o, i, kernel, kernel] and `name.bias` \[o].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub name: String,
    pub i: usize,
    pub o: usize,
    pub kernel: usize,
    pub conv: Conv,
}

/// One step of a network. Rectifiers are part of the convolution behind them: between, nothing but
/// the largest value of a window is taken, which is the same before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Filter(Filter),
    /// Two convolutions of one input, their channels one after the other's.
    Expand([Filter; 2]),
    Pool(Pool),
    /// The features, once rectified, are compared here.
    Tap,
}

const POOL_3: Pool = Pool {
    window: 3,
    stride: 2,
    ceil: false,
};

impl Backbone {
    /// All of them.
    pub const ALL: [Backbone; 3] = [Backbone::Vgg16, Backbone::AlexNet, Backbone::SqueezeNet];

    /// Its name, as `scripts/convert_lpips.py` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Backbone::Vgg16 => "vgg",
            Backbone::AlexNet => "alex",
            Backbone::SqueezeNet => "squeeze",
        }
    }

    /// A tensor that it has and no other.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Backbone::Vgg16 => "features.28.weight",
            Backbone::AlexNet => "features.8.weight",
            Backbone::SqueezeNet => "features.12.squeeze.weight",
        }
    }

    /// Channels where features are compared, in order.
    pub(crate) fn taps(self) -> &'static [usize] {
        match self {
            Backbone::Vgg16 => &[64, 128, 256, 512, 512],
            Backbone::AlexNet => &[64, 192, 384, 256, 256],
            Backbone::SqueezeNet => &[64, 128, 256, 384, 384, 512, 512],
        }
    }

    pub(crate) fn steps(self) -> Vec<Step> {
        let mut net = Net::default();
        match self {
            Backbone::Vgg16 => {
                let mut place = 0;
                for (block, (layers, width)) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]
                    .into_iter()
                    .enumerate()
                {
                    if block > 0 {
                        net.steps.push(Step::Pool(Pool::HALVE));
                        place += 1;
                    }
                    for _ in 0..layers {
                        net.filter(format!("features.{place}"), width, 3, [1, 1]);
                        place += 2;
                    }
                    net.steps.push(Step::Tap);
                }
            }
            Backbone::AlexNet => {
                for (place, width, kernel, walk) in [
                    (0, 64, 11, [4, 2]),
                    (3, 192, 5, [1, 2]),
                    (6, 384, 3, [1, 1]),
                    (8, 256, 3, [1, 1]),
                    (10, 256, 3, [1, 1]),
                ] {
                    if [3, 6].contains(&place) {
                        net.steps.push(Step::Pool(POOL_3));
                    }
                    net.filter(format!("features.{place}"), width, kernel, walk);
                    net.steps.push(Step::Tap);
                }
            }
            Backbone::SqueezeNet => {
                net.filter("features.0".into(), 64, 3, [2, 0]);
                net.steps.push(Step::Tap);
                let fires = [
                    (3, 16, 64),
                    (4, 16, 64),
                    (6, 32, 128),
                    (7, 32, 128),
                    (9, 48, 192),
                    (10, 48, 192),
                    (11, 64, 256),
                    (12, 64, 256),
                ];
                for (place, squeeze, expand) in fires {
                    if [3, 6, 9].contains(&place) {
                        net.steps.push(Step::Pool(Pool {
                            ceil: true,
                            ..POOL_3
                        }));
                    }
                    net.fire(&format!("features.{place}"), squeeze, expand);
                    if ![3, 6].contains(&place) {
                        net.steps.push(Step::Tap);
                    }
                }
            }
        }
        net.steps
    }

    /// Pixels of a side at least: with fewer, a window would not fit.
    pub fn smallest_side(self) -> usize {
        let steps = self.steps();
        let fits = |side: &usize| {
            let through = |n: usize, step: &Step| match step {
                Step::Filter(f) => {
                    Some((n + 2 * f.conv.pad).checked_sub(f.kernel)? / f.conv.stride + 1)
                }
                Step::Pool(pool) => pool.windows(n),
                Step::Expand(_) | Step::Tap => Some(n),
            };
            steps.iter().try_fold(*side, through).is_some()
        };
        (1..).find(fits).unwrap_or(usize::MAX)
    }
}

/// A network as far as it is written down: its steps, and the channels that leave the last.
#[derive(Default)]
struct Net {
    steps: Vec<Step>,
    channels: Option<usize>,
}

impl Net {
    /// The convolution of what is there, rectified unless it is the image.
    fn of(&self, name: String, o: usize, kernel: usize, [stride, pad]: [usize; 2]) -> Filter {
        let conv = Conv {
            stride,
            pad,
            relu: self.channels.is_some(),
            after: 0,
        };
        Filter {
            name,
            i: self.channels.unwrap_or(3),
            o,
            kernel,
            conv,
        }
    }

    fn filter(&mut self, name: String, o: usize, kernel: usize, walk: [usize; 2]) {
        self.steps
            .push(Step::Filter(self.of(name, o, kernel, walk)));
        self.channels = Some(o);
    }

    /// SqueezeNet's module: few channels, and many made of them.
    fn fire(&mut self, name: &str, squeeze: usize, expand: usize) {
        self.filter(format!("{name}.squeeze"), squeeze, 1, [1, 0]);
        let near = self.of(format!("{name}.expand1x1"), expand, 1, [1, 0]);
        let wide = self.of(format!("{name}.expand3x3"), expand, 3, [1, 1]);
        self.steps.push(Step::Expand([near, wide]));
        self.channels = Some(2 * expand);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `lpips` package fails below these, and its features have these channels.
    #[test]
    fn networks_are_torchvisions() {
        assert_eq!(Backbone::ALL.map(Backbone::smallest_side), [16, 31, 17]);
        for backbone in Backbone::ALL {
            let (mut channels, mut taps, mut names) = (3, Vec::new(), Vec::new());
            for step in backbone.steps() {
                match step {
                    Step::Filter(f) => {
                        assert_eq!(f.i, channels, "{}", f.name);
                        channels = f.o;
                        names.push(format!("{}.weight", f.name));
                    }
                    Step::Expand(both) => {
                        assert!(both.iter().all(|f| f.i == channels));
                        channels = both.iter().map(|f| f.o).sum();
                    }
                    Step::Pool(_) => {}
                    Step::Tap => taps.push(channels),
                }
            }
            assert_eq!(taps, backbone.taps());
            assert!(names.iter().any(|n| n == backbone.mark()));
            let others = Backbone::ALL.into_iter().filter(|other| *other != backbone);
            assert!(
                others
                    .into_iter()
                    .all(|other| !names.iter().any(|n| n == other.mark()))
            );
        }
        let vgg = Backbone::Vgg16.steps();
        let last = vgg.iter().rev().find_map(|s| {
            if let Step::Filter(f) = s {
                Some(f.name.clone())
            } else {
                None
            }
        });
        assert_eq!(last.as_deref(), Some("features.28"));
    }
}
