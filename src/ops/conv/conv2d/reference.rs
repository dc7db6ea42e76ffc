//! The convolution as its definition reads, and its gradients as the chain rule gives them.

use crate::ops::conv::geometry::Geometry;
use crate::spec::Real;

/// Calls `f(x index, w index, y index)` for every product of the sum.
fn products(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    for n in 0..g.n {
        for oy in 0..g.oh {
            for ox in 0..g.ow {
                for ky in 0..g.kh {
                    for kx in 0..g.kw {
                        let (iy, ix) = (oy * g.stride + ky, ox * g.stride + kx);
                        if iy < g.pad || iy - g.pad >= g.h || ix < g.pad || ix - g.pad >= g.w {
                            continue;
                        }
                        let at_x = ((n * g.h + iy - g.pad) * g.w + ix - g.pad) * g.i;
                        let at_y = ((n * g.oh + oy) * g.ow + ox) * g.o;
                        for o in 0..g.o {
                            let at_w = ((o * g.kh + ky) * g.kw + kx) * g.i;
                            for c in 0..g.i {
                                f(at_x + c, at_w + c, at_y + o);
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn forward<T: Real>(x: &[T], w: &[T], g: &Geometry) -> Vec<T> {
    let mut y = vec![T::zero(); g.n * g.oh * g.ow * g.o];
    products(g, |ix, iw, iy| y[iy] += x[ix] * w[iw]);
    y
}

pub fn grad_input<T: Real>(dy: &[T], w: &[T], g: &Geometry) -> Vec<T> {
    let mut dx = vec![T::zero(); g.n * g.h * g.w * g.i];
    products(g, |ix, iw, iy| dx[ix] += dy[iy] * w[iw]);
    dx
}

pub fn grad_weight<T: Real>(x: &[T], dy: &[T], g: &Geometry) -> Vec<T> {
    let mut dw = vec![T::zero(); g.o * g.kh * g.kw * g.i];
    products(g, |ix, iw, iy| dw[iw] += x[ix] * dy[iy]);
    dw
}

pub fn relu<T: Real>(x: &[T]) -> Vec<T> {
    x.iter().map(|x| x.max(T::zero())).collect()
}

/// dx where x > 0, else 0.
pub fn mask<T: Real>(dx: Vec<T>, x: &[T]) -> Vec<T> {
    dx.into_iter()
        .zip(x)
        .map(|(d, x)| if *x > T::zero() { d } else { T::zero() })
        .collect()
}

/// Returns the sum of each channel.
pub fn channel_sum<T: Real>(dy: &[T], channels: usize) -> Vec<T> {
    let mut sum = vec![T::zero(); channels];
    dy.iter()
        .enumerate()
        .for_each(|(i, d)| sum[i % channels] += *d);
    sum
}
