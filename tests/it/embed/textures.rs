//! The host's textures: formats, encoding, refusals.

use super::{codes, rgba};
use crate::host::{Host, model_bytes, picture, solid};
use wgvq::gpu::{ColorSpace, DType, ImageTexture, Tensor};
use wgvq::inference::{Decoder, FirstStageModel};
use wgvq::{FeatureRequest, wgpu};

#[test]
fn every_format_holds_the_decoded_bytes() {
    let host = Host::new(FeatureRequest::default());
    let gpu = host.gpu();
    let decoder = Decoder::from_bytes(&gpu, &model_bytes(64)).unwrap();
    let codes = codes(&decoder, 3);
    let bytes = decoder.decode(&codes).unwrap();
    let draw = |format, light: Option<ColorSpace>| {
        let texture = host.texture([64, 64], format);
        let view = texture.create_view(&Default::default());
        let picture = ImageTexture::from(&view);
        let mut encoder = host.device.create_command_encoder(&Default::default());
        decoder
            .decode_into(
                &mut encoder,
                &codes,
                light.map_or(picture, |light| picture.with_color_space(light)),
            )
            .unwrap();
        host.queue.submit([encoder.finish()]);
        host.read(&texture)
    };
    use wgpu::TextureFormat::{Bgra8Unorm, Rgba8Unorm, Rgba8UnormSrgb, Rgba16Float, Rgba32Float};
    assert_eq!(draw(Rgba8Unorm, None), rgba(&bytes));
    // What is stored is the same: a host that samples it gets linear light.
    assert_eq!(draw(Rgba8UnormSrgb, None), rgba(&bytes));
    let swapped: Vec<u8> = rgba(&bytes)
        .chunks(4)
        .flat_map(|p| [p[2], p[1], p[0], p[3]])
        .collect();
    assert_eq!(draw(Bgra8Unorm, None), swapped);
    let halves = |texels: Vec<u8>| -> Vec<f32> {
        texels
            .chunks(2)
            .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect()
    };
    let linear = |v: f32| {
        if v <= 0.04045 {
            v / 12.92
        } else {
            ((v + 0.055) / 1.055).powf(2.4)
        }
    };
    let (encoded, light) = (
        halves(draw(Rgba16Float, None)),
        halves(draw(Rgba16Float, Some(ColorSpace::Linear))),
    );
    for ((encoded, light), byte) in encoded.iter().zip(&light).zip(rgba(&bytes)) {
        // Not rounded to bytes: half a step, and f16's own 2^-11.
        let v = f32::from(byte) / 255.0;
        assert!(
            (encoded - v).abs() <= 0.5 / 255.0 + 5e-4,
            "{encoded} for the byte {byte}"
        );
        assert!(
            (light - linear(*encoded)).abs() < 2e-3,
            "{light} for {encoded}"
        );
    }
    let y = draw(Rgba32Float, None);
    assert_eq!(y.len(), 64 * 64 * 16);
}

#[test]
fn a_texture_is_encoded_as_its_bytes_are() {
    let host = Host::new(FeatureRequest::NOTHING);
    let gpu = host.gpu();
    let model = FirstStageModel::from_bytes(&gpu, &model_bytes(64)).unwrap();
    let pixels = picture(64, 9);
    let expected = model.encode(&pixels).unwrap();
    for format in [
        wgpu::TextureFormat::Rgba8Unorm,
        wgpu::TextureFormat::Rgba8UnormSrgb,
        wgpu::TextureFormat::Rgba16Float,
    ] {
        // Larger than the image: its top left corner counts.
        let texture = host.texture([70, 64], format);
        host.write(&texture, [64, 64], &rgba(&pixels));
        let view = texture.create_view(&Default::default());
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let submissions = gpu.counters().submissions;
        let codes = model.encode_from(&mut encoder, &view).unwrap();
        let back = gpu
            .record_into(&mut encoder, || codes.read_async())
            .unwrap();
        assert!(!back.ready());
        assert!(
            back.wait::<u32>()
                .unwrap_err()
                .to_string()
                .contains("has not been submitted")
        );
        let back = gpu
            .record_into(&mut encoder, || codes.read_async())
            .unwrap();
        host.queue.submit([encoder.finish()]);
        assert_eq!(gpu.counters().submissions, submissions);
        // As a future, with the host polling.
        host.device
            .poll(wgpu::PollType::wait_indefinitely())
            .unwrap();
        let codes = pollster::block_on(back.get::<u32>()).unwrap();
        let others = codes.iter().zip(&expected).filter(|(a, b)| a != b).count();
        // Half floats are not the bytes' fractions to the bit, so a latent between two codes may
        // take the other.
        let allowed = if format == wgpu::TextureFormat::Rgba16Float {
            expected.len() / 32
        } else {
            0
        };
        assert!(
            codes.len() == expected.len() && others <= allowed,
            "{format:?}: {others} codes differ"
        );
    }
    // The image itself, to the bit.
    let texture = host.texture([64, 64], wgpu::TextureFormat::Rgba8UnormSrgb);
    host.write(&texture, [64, 64], &rgba(&pixels));
    let view = texture.create_view(&Default::default());
    let read: Vec<f32> = Tensor::from_texture(&gpu, &view, [64, 64, 3])
        .unwrap()
        .read()
        .unwrap();
    let same = |(x, byte): (&f32, &u8)| {
        x.to_bits() == ((2 * i32::from(*byte) - 255) as f32 * (1.0 / 255.0)).to_bits()
    };
    assert!(read.iter().zip(&pixels).all(same));
    let grey: Vec<f32> = Tensor::from_texture(&gpu, &view, [64, 64, 1])
        .unwrap()
        .read()
        .unwrap();
    // Half a step of 2 / 255.
    for (x, p) in grey.iter().zip(pixels.chunks(3)) {
        let luma = 0.2126 * f32::from(p[0]) + 0.7152 * f32::from(p[1]) + 0.0722 * f32::from(p[2]);
        assert!(
            (x - (luma / 127.5 - 1.0)).abs() <= 1.01 / 255.0,
            "{x} of {p:?}"
        );
    }
}

#[test]
fn textures_that_do_not_fit_are_refused() {
    let host = Host::new(FeatureRequest::NOTHING);
    let gpu = host.gpu();
    let image = Tensor::zeros(&gpu, &[2, 8, 8, 3], DType::F32).unwrap();
    let refuse = |texture: &wgpu::Texture, word: &str| {
        let view = texture.create_view(&Default::default());
        let message = image.to_texture(1, &view).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    refuse(
        &host.texture([7, 8], wgpu::TextureFormat::Rgba8Unorm),
        "8 x 8 or larger",
    );
    refuse(
        &host.texture([8, 8], wgpu::TextureFormat::R8Unorm),
        "Rgba16Float",
    );
    refuse(
        &solid(&host, [8, 8], wgpu::TextureUsages::COPY_DST),
        "RENDER_ATTACHMENT",
    );
    let view = host
        .texture([8, 8], wgpu::TextureFormat::Rgba8Unorm)
        .create_view(&Default::default());
    assert!(image.to_texture(2, &view).is_err());
    image.to_texture(1, &view).unwrap();
    assert!(
        Tensor::from_texture(&gpu, &view, [8, 8, 2])
            .unwrap_err()
            .to_string()
            .contains("1, 3 or 4")
    );
    assert!(Tensor::from_texture(&gpu, &view, [9, 8, 3]).is_err());
    gpu.finish().unwrap();
}
