//! Images between bytes and numbers: u8 0..=255 on one side, f32 [-1, 1] on the other.

mod reference;

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, Data, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

/// The bit of an index that asks for the image flipped left to right.
pub const FLIP: u32 = 1 << 31;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    images: u32,
    row: u32,
    size: u32,
    channels: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct BytesParams {
    n: u32,
}

fn normalize_kernel() -> Kernel {
    Kernel::new(shader!("image/image"))
}
fn bytes_kernel() -> Kernel {
    Kernel::new(shader!("image/image_bytes"))
}

fn work(n: usize) -> Work {
    Work {
        flops: 4.0 * n as f64,
        bytes: 5.0 * n as f64,
    }
}

/// Computes a batch of f32 images `[B, H, W, C]` in [-1, 1]: `v / 127.5 - 1` of the u8 images
/// `[M, H, W, C]` that `index`, u32 `[B]`, names. An index with [`FLIP`] set gives the image
/// flipped left to right.
///
/// The device reads the indices, so none can be refused here: one past the last image gives an
/// image of NaN.
///
/// # Errors
/// If the shapes or types are others, or the images are 2^32 bytes or more.
pub fn normalize(images: &Tensor, index: &Tensor) -> Result<Tensor> {
    let [count, height, width, channels] = images.dims("image")?;
    let [batch] = index.dims("image index")?;
    if images.dtype() != DType::U8 || index.dtype() != DType::U32 {
        let got = format!("{images:?} and {index:?}");
        return Err(Error::shape(
            "image",
            "u8 [M, H, W, C] and u32 indices [B]",
            got,
        ));
    }
    let shape = [batch, height, width, channels];
    let y = Tensor::empty(images.gpu(), &shape, DType::F32)?;
    if u32::try_from(images.len()).is_err()
        || u32::try_from(y.len()).is_err()
        || count >= FLIP as usize
    {
        return Err(Error::shape(
            "image",
            "fewer than 2^32 bytes and 2^31 images",
            format!("{images:?}"),
        ));
    }
    if y.is_empty() {
        return Ok(y);
    }
    let params = Params {
        n: y.len() as u32,
        images: count as u32,
        row: (width * channels) as u32,
        size: (height * width * channels) as u32,
        channels: channels as u32,
    };
    let groups = groups_for(y.len(), 256);
    images.gpu().dispatch(
        "image",
        &normalize_kernel(),
        &[images, index, &y],
        &params,
        groups,
        work(y.len()),
    )?;
    let sizes = [
        ("m", count),
        ("b", batch),
        ("h", height),
        ("w", width),
        ("c", channels),
    ];
    images.gpu().note_call("image", &y, sizes);
    Ok(y)
}

/// Computes the u8 images of the shape of `x`, f32 of any shape: `(x + 1) 127.5`, rounded to the
/// nearest and held in 0..=255; 0 for NaN.
pub fn to_bytes(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 || u32::try_from(x.len()).is_err() {
        return Err(Error::shape(
            "image to bytes",
            "fewer than 2^32 elements of f32",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::U8)?;
    let params = BytesParams { n: x.len() as u32 };
    x.gpu().dispatch(
        "image",
        &bytes_kernel(),
        &[x, &y],
        &params,
        groups_for(x.len(), 256),
        work(x.len()),
    )?;
    Ok(y)
}

/// The registry's row.
pub struct Image;

fn shape(case: &Case) -> [usize; 4] {
    ["m", "h", "w", "c"].map(|name| case.get(name))
}

impl Operation for Image {
    fn name(&self) -> &'static str {
        "image"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["m", "b", "h", "w", "c"],
            &[
                [1, 1, 1, 1, 1],
                [3, 2, 5, 7, 3],
                [2, 4, 1, 257, 1],
                [7, 5, 13, 11, 2],
                [40, 17, 32, 32, 3],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("m", 1024),
            ("b", 128),
            ("h", 32),
            ("w", 32),
            ("c", 3),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let shape = shape(case);
        let bytes: Vec<u8> = (0..shape.iter().product::<usize>())
            .map(|_| rng.bits() as u8)
            .collect();
        let index: Vec<u32> = (0..case.get("b"))
            .map(|_| rng.below(shape[0]) as u32 | (rng.bits() as u32 & FLIP))
            .collect();
        // Past both ends too, and off the ties between two bytes, where f32 and f64 may part; some
        // are infinite, and some no number.
        let x = (0..bytes.len()).map(|i| {
            let x = (3.0 * rng.uniform() - 1.5) as f32;
            match i % 16 {
                5 => return f32::INFINITY,
                9 => return f32::NEG_INFINITY,
                13 => return f32::NAN,
                _ => {}
            }
            let level = (x as f64 + 1.0) * 127.5;
            if (level - level.floor() - 0.5).abs() < 1e-3 {
                x + 1e-4
            } else {
                x
            }
        });
        let x = HostTensor::f32(&shape, x.collect());
        vec![
            HostTensor {
                shape: shape.to_vec(),
                data: Data::U8(bytes),
            },
            HostTensor::u32(&[index.len()], index),
            x,
        ]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![
            normalize(&inputs[0], &inputs[1])?,
            to_bytes(&inputs[2])?,
        ])
    }
    fn time(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<()> {
        normalize(&inputs[0], &inputs[1]).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let shape = shape(case);
        let y = reference::normalize(inputs[0].as_u8(), shape, inputs[1].as_u32());
        let bytes = reference::to_bytes(inputs[2].as_f64());
        vec![
            HostTensor::f64(&[case.get("b"), shape[1], shape[2], shape[3]], y),
            HostTensor {
                shape: shape.to_vec(),
                data: Data::U8(bytes),
            },
        ]
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        if output == 0 {
            Tolerance::POINTWISE
        } else {
            Tolerance::EXACT
        }
    }
    fn work(&self, case: &Case) -> Work {
        let [_, h, w, c] = shape(case);
        work(case.get("b") * h * w * c)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![normalize_kernel(), bytes_kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let images = Tensor::zeros(gpu, &[2, 3, 3, 1], DType::U8)?;
        let index = Tensor::zeros(gpu, &[2], DType::U32)?;
        let square = Tensor::zeros(gpu, &[2, 1], DType::U32)?;
        let floats = Tensor::zeros(gpu, &[2, 3, 3, 1], DType::F32)?;
        Ok(vec![
            refused(
                "images without channels",
                normalize(&images.reshape(&[2, 3, 3])?, &index),
            ),
            refused("images of f32", normalize(&floats, &index)),
            refused(
                "indices of f32",
                normalize(&images, &floats.reshape(&[18])?),
            ),
            refused("indices in a square", normalize(&images, &square)),
            refused("bytes to bytes", to_bytes(&images)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn every_byte_survives_the_round_trip() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let bytes: Vec<u8> = (0..=255).collect();
        let images = Tensor::from_slice(&gpu, &[1, 1, 256, 1], &bytes).unwrap();
        let x = normalize(&images, &Tensor::from_slice(&gpu, &[1], &[0u32]).unwrap()).unwrap();
        let values: Vec<f32> = x.read().unwrap();
        assert_eq!((values[0], values[255]), (-1.0, 1.0));
        assert_eq!(to_bytes(&x).unwrap().read::<u8>().unwrap(), bytes);
        let flipped =
            normalize(&images, &Tensor::from_slice(&gpu, &[1], &[FLIP]).unwrap()).unwrap();
        assert!(
            flipped
                .read::<f32>()
                .unwrap()
                .iter()
                .eq(values.iter().rev())
        );
    }

    #[test]
    fn what_is_no_image_is_seen() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let images = Tensor::from_slice(&gpu, &[2, 1, 1, 3], &[9u8; 6]).unwrap();
        let index = Tensor::from_slice(&gpu, &[3], &[1u32, 2, 2 | FLIP]).unwrap();
        let y: Vec<f32> = normalize(&images, &index).unwrap().read().unwrap();
        assert!(
            y[..3].iter().all(|v| v.is_finite()) && y[3..].iter().all(|v| v.is_nan()),
            "{y:?}"
        );
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -0.0];
        let odd = Tensor::from_slice(&gpu, &[5], &odd).unwrap();
        assert_eq!(
            to_bytes(&odd).unwrap().read::<u8>().unwrap(),
            [0, 255, 0, 255, 128]
        );
    }
}
