//! Images to numbers and back, as the definitions read.

use super::FLIP;
use crate::spec::Real;

/// `v / 127.5 - 1` of the pixels of the images that `index` names, flipped left to right where it
/// says so.
pub fn normalize<T: Real>(images: &[u8], shape: [usize; 4], index: &[u32]) -> Vec<T> {
    let [count, height, width, channels] = shape;
    let mut y = Vec::new();
    for wanted in index {
        let (image, flip) = ((wanted & !FLIP) as usize, wanted & FLIP != 0);
        for h in 0..height {
            for w in 0..width {
                let w = if flip { width - 1 - w } else { w };
                for c in 0..channels {
                    let at = ((image * height + h) * width + w) * channels + c;
                    y.push(if image < count {
                        T::of(images[at] as f64 / 127.5 - 1.0)
                    } else {
                        T::nan()
                    });
                }
            }
        }
    }
    y
}

/// `(x + 1) 127.5`, rounded to the nearest byte; 0 for NaN.
pub fn to_bytes<T: Real>(x: &[T]) -> Vec<u8> {
    let byte = |x: &T| {
        let v = ((*x + T::one()) * T::of(127.5)).round();
        if v.is_nan() {
            0
        } else {
            v.max(T::zero()).min(T::of(255.0)).to_u8().unwrap_or(0)
        }
    };
    x.iter().map(byte).collect()
}
