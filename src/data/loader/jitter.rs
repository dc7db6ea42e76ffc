//! Changes of brightness, contrast and saturation, as torchvision's `ColorJitter` makes them but in
//! one order.

use crate::data::decode::picture::luma;

/// Multiplies brightness, contrast and saturation of an image `[H, W, C]` by `by`, in this order:
/// contrast about the mean grey of the brightened image, saturation about each pixel's own grey. A
/// grey image has no saturation.
pub(crate) fn jitter(image: &mut [u8], channels: usize, by: [f32; 3]) {
    let [brightness, contrast, saturation] = by;
    let byte = |v: f32| (v + 0.5) as u8; // holds what is outside at 0 and 255
    image
        .iter_mut()
        .for_each(|v| *v = byte(f32::from(*v) * brightness));
    if channels == 1 {
        let mean = mean(image.iter().copied());
        image
            .iter_mut()
            .for_each(|v| *v = byte(mean + contrast * (f32::from(*v) - mean)));
        return;
    }
    let (pixels, _) = image.as_chunks_mut::<3>();
    let mean = mean(pixels.iter().map(|pixel| luma(*pixel)));
    for pixel in pixels {
        *pixel = pixel.map(|v| byte(mean + contrast * (f32::from(v) - mean)));
        let grey = f32::from(luma(*pixel));
        *pixel = pixel.map(|v| byte(grey + saturation * (f32::from(v) - grey)));
    }
}

fn mean(values: impl ExactSizeIterator<Item = u8>) -> f32 {
    let count = values.len().max(1) as f64;
    (values.map(u64::from).sum::<u64>() as f64 / count) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jittered(image: &[u8], channels: usize, by: [f32; 3]) -> Vec<u8> {
        let mut out = image.to_vec();
        jitter(&mut out, channels, by);
        out
    }

    #[test]
    fn ones_change_nothing() {
        let image: Vec<u8> = (0..=254).collect();
        assert_eq!(jittered(&image, 3, [1.0; 3]), image);
        assert_eq!(jittered(&image, 1, [1.0; 3]), image);
    }

    #[test]
    fn each_factor_does_what_its_name_says() {
        let image = [200, 100, 50, 10, 10, 10];
        assert_eq!(
            jittered(&image, 3, [1.5, 1.0, 1.0]),
            [255, 150, 75, 15, 15, 15]
        );
        // Greys 118 and 10, mean 64.
        assert_eq!(jittered(&image, 3, [1.0, 0.0, 1.0]), [64; 6]);
        assert_eq!(
            jittered(&image, 3, [1.0, 0.5, 1.0]),
            [132, 82, 57, 37, 37, 37]
        );
        assert_eq!(
            jittered(&image, 3, [1.0, 1.0, 0.0]),
            [118, 118, 118, 10, 10, 10]
        );
        assert_eq!(
            jittered(&image, 3, [1.0, 1.0, 2.0]),
            [255, 82, 0, 10, 10, 10]
        );
        assert_eq!(jittered(&[0, 100, 200], 1, [1.0, 0.5, 9.0]), [50, 100, 150]);
    }
}
