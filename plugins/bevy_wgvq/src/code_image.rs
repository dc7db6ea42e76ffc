//! Codes as components, and the images that they are decoded into.

use crate::Decoder;
use crate::decoder::Identity;
use bevy::asset::{AssetId, Assets, Handle};
use bevy::ecs::change_detection::{DetectChanges, DetectChangesMut};
use bevy::ecs::component::Component;
use bevy::ecs::entity::Entity;
use bevy::ecs::message::{Message, MessageWriter};
use bevy::ecs::resource::Resource;
use bevy::ecs::system::{Query, Res, ResMut};
use bevy::image::{Image, ImageSampler};
use bevy::render::render_resource::{TextureFormat, TextureUsages};

/// The codes of an image, which are decoded into an [`Image`] in every frame in which they, or
/// their decoder, have changed.
///
/// The image is made when the decoder is there, of its size, and is transparent before the codes
/// are decoded into it; [`CodeImage::image`] is its handle from the beginning. Its content is on
/// the GPU alone. Codes that are empty are none yet.
#[derive(Component)]
pub struct CodeImage {
    /// The decoder.
    pub decoder: Handle<Decoder>,
    /// The codes of one image, of all levels, the coarsest first, each level row by row.
    pub codes: Vec<u32>,
    /// Sampling of the image where it is shown larger or smaller than it is; it takes effect where
    /// the image is made.
    pub sampler: ImageSampler,
    image: Handle<Image>,
    /// The decoder that the image was last decoded by.
    by: Identity,
}

impl CodeImage {
    /// Creates codes, and the handle of the image that they are decoded into.
    pub fn new(decoder: Handle<Decoder>, codes: Vec<u32>, images: &Assets<Image>) -> CodeImage {
        CodeImage {
            decoder,
            codes,
            sampler: ImageSampler::Default,
            image: images.reserve_handle(),
            by: Identity::default(),
        }
    }

    /// Returns the codes with a sampler for their image, such as [`ImageSampler::nearest`].
    pub fn with_sampler(self, sampler: ImageSampler) -> CodeImage {
        CodeImage { sampler, ..self }
    }

    /// Returns the handle of the image, as sprites, materials and nodes take it.
    pub fn image(&self) -> Handle<Image> {
        self.image.clone()
    }
}

/// Codes that no image was decoded from.
#[derive(Message, Debug)]
pub struct DecodeFailed {
    /// The entity whose [`CodeImage`] has the codes.
    pub entity: Entity,
    /// The reason.
    pub error: wgvq::Error,
}

/// Codes that are to be decoded in this frame.
pub(crate) struct Request {
    pub(crate) entity: Entity,
    pub(crate) image: AssetId<Image>,
    pub(crate) decoder: Decoder,
    pub(crate) codes: Vec<u32>,
}

/// The requests of this frame.
#[derive(Default, Resource)]
pub(crate) struct Requests(pub(crate) Vec<Request>);

/// Requests the decoding of what has changed.
pub(crate) fn request(
    mut pictures: Query<(Entity, &mut CodeImage)>,
    decoders: Res<Assets<Decoder>>,
    mut images: ResMut<Assets<Image>>,
    mut requests: ResMut<Requests>,
    mut failures: MessageWriter<DecodeFailed>,
) {
    for (entity, mut picture) in &mut pictures {
        let is_changed = picture.is_changed();
        let picture = picture.bypass_change_detection();
        let Some(decoder) = decoders.get(&picture.decoder) else {
            picture.by = Identity::default();
            continue;
        };
        if !is_changed && picture.by.is(decoder) {
            continue;
        }
        picture.by = decoder.identity();
        let size = [decoder.image()[0], decoder.image()[1]];
        let fits = |image: &Image| [image.width(), image.height()] == size.map(|n| n as u32);
        if !images.get(&picture.image).is_some_and(fits)
            && let Err(e) = images.insert(&picture.image, target(size, picture.sampler.clone()))
        {
            let error = wgvq::Error::invalid("decode", e);
            tracing::error!("{entity}: {error}");
            failures.write(DecodeFailed { entity, error });
            continue;
        }
        if picture.codes.is_empty() {
            continue;
        }
        if let Err(error) = decoder.check(&picture.codes) {
            tracing::error!("{entity}: {error}");
            failures.write(DecodeFailed { entity, error });
            continue;
        }
        requests.0.push(Request {
            entity,
            image: picture.image.id(),
            decoder: decoder.clone(),
            codes: picture.codes.clone(),
        });
    }
}

/// Returns an image that the engine can draw into. It has no content for bevy to upload, which
/// would lie over what was drawn.
pub(crate) fn target(size: [usize; 2], sampler: ImageSampler) -> Image {
    let [width, height] = size.map(|n| n as u32);
    let mut image = Image::new_target_texture(width, height, TextureFormat::Rgba8UnormSrgb, None);
    image.data = None;
    image.copy_on_resize = false;
    image.texture_descriptor.label = Some("image of wgvq");
    image.texture_descriptor.usage |= TextureUsages::COPY_SRC;
    image.sampler = sampler;
    image
}
