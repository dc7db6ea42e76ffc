//! Decoders as assets.

use crate::Engine;
use bevy::asset::io::Reader;
use bevy::asset::{Asset, AssetLoader, LoadContext};
use bevy::reflect::TypePath;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use wgvq::inference::bundle::Bundle;
use wgvq::models::Level;
use wgvq::{Error, Result, inference};

/// Endings of files that hold a decoder.
pub(crate) const EXTENSIONS: [&str; 2] = ["safetensors", "bundle"];
/// Where a bundle has its first stage.
const MODEL: &str = "final.safetensors";

/// The decoder of a trained model, as an asset. A clone is the same decoder.
#[derive(Asset, Clone, TypePath)]
pub struct Decoder(Arc<Loaded>);

struct Loaded {
    model: Mutex<inference::Decoder>,
    image: [usize; 3],
    levels: Vec<Level>,
    codes: usize,
}

/// Which decoder an image was decoded by, whether that is still there or not.
#[derive(Default)]
pub(crate) struct Identity(Weak<Loaded>);

impl Decoder {
    /// Creates an asset of a decoder, which has to be one on bevy's device: [`Engine::gpu`].
    pub fn new(model: inference::Decoder) -> Decoder {
        Decoder(Arc::new(Loaded {
            image: model.image(),
            levels: model.levels().to_vec(),
            codes: model.codes_per_image(),
            model: Mutex::new(model),
        }))
    }

    /// Returns width, height and channels of the decoder's images.
    pub fn image(&self) -> [usize; 3] {
        self.0.image
    }

    /// Returns the levels of an image's codes, the coarsest first.
    pub fn levels(&self) -> &[Level] {
        &self.0.levels
    }

    /// Returns the number of codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.0.codes
    }

    /// Returns the library's decoder. Frames wait for it while the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, inference::Decoder> {
        let model = &self.0.model;
        model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that these are the codes of one image.
    pub(crate) fn check(&self, codes: &[u32]) -> Result<()> {
        wgvq::codes::check(self.levels(), codes)?;
        let each = self.codes_per_image();
        if codes.len() != each {
            return Err(Error::shape(
                "decode",
                format!("the {each} codes of one image"),
                codes.len(),
            ));
        }
        Ok(())
    }

    /// Returns the identity of this decoder.
    pub(crate) fn identity(&self) -> Identity {
        Identity(Arc::downgrade(&self.0))
    }

    /// Returns the address of what this decoder was loaded as, by which requests are sorted.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Identity {
    /// Whether this is the identity of that decoder.
    pub(crate) fn is(&self, decoder: &Decoder) -> bool {
        self.0.ptr_eq(&Arc::downgrade(&decoder.0))
    }
}

/// The loader of [`Decoder`]s: of `.safetensors` files, a decoder's (`wgvq export RUN --decoder`)
/// or a whole model's (`final.safetensors` of a run), and of `.bundle` files (`wgvq export RUN
/// --bundle`).
///
/// It loads on a thread of bevy's where bevy has threads (feature `multi_threaded`), and compiles
/// what decoding needs there, so that no frame waits for it.
#[derive(TypePath)]
pub struct DecoderLoader {
    engine: Engine,
}

impl DecoderLoader {
    pub(crate) fn new(engine: Engine) -> DecoderLoader {
        DecoderLoader { engine }
    }
}

impl AssetLoader for DecoderLoader {
    type Asset = Decoder;
    type Settings = ();
    type Error = Error;

    async fn load(
        &self,
        reader: &mut dyn Reader,
        _settings: &(),
        context: &mut LoadContext<'_>,
    ) -> Result<Decoder> {
        let path = context.path().path();
        let mut bytes = Vec::new();
        if let Err(e) = reader.read_to_end(&mut bytes).await {
            return Err(Error::file(path, format!("cannot be read: {e}")));
        }
        decoder(&self.engine, path, bytes).map_err(|e| match e {
            Error::File { what, .. } => Error::file(path, what),
            other => Error::file(path, other),
        })
    }

    fn extensions(&self) -> &[&str] {
        &EXTENSIONS
    }
}

/// Loads a decoder from the bytes of a file.
fn decoder(engine: &Engine, path: &Path, mut bytes: Vec<u8>) -> Result<Decoder> {
    if path.extension().is_some_and(|ending| ending == "bundle") {
        bytes = Bundle::from_bytes(path, &bytes)?.file(MODEL)?;
    }
    inference::Decoder::from_bytes(&engine.gpu(), &bytes).map(Decoder::new)
}
