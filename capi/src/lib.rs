//! wgvq behind a C interface. `include/wgvq.h` is made from this file; read the functions there.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::{
    Decoder, FirstStageModel, Hierarchy, SampleRequest, SamplingOptions, no_progress,
};

/// The result of a call that can fail, where it did not.
pub const WGVQ_OK: i32 = 0;
/// The result of a call that can fail, where it did: wgvq_last_error says why.
pub const WGVQ_FAILED: i32 = -1;

/// A device that models compute on.
pub struct WgvqGpu(Gpu);

/// A model on a device: the decoder alone, or a whole one with the priors that its run has.
pub struct WgvqModel {
    decoder: Either,
    priors: Option<Hierarchy>,
}

/// Handles go from thread to thread, and models share their device.
const _: fn() = || {
    fn crosses<T: Send>() {}
    fn is_shared<T: Sync>() {}
    crosses::<WgvqGpu>();
    crosses::<WgvqModel>();
    is_shared::<WgvqGpu>();
};

enum Either {
    Part(Decoder),
    Whole(FirstStageModel),
}

/// The sizes of a model's images and codes.
#[repr(C)]
pub struct WgvqInfo {
    /// Pixels of a row.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Values of a pixel: 1 or 3.
    pub channels: u32,
    /// Codes of an image, of all levels.
    pub codes: u32,
    /// Codes of the largest codebook: every code is smaller.
    pub codebook_size: u32,
    /// 1 where wgvq_encode can be called.
    pub encodes: u32,
    /// 1 where wgvq_sample can be called.
    pub samples: u32,
    /// Classes of the prior; 0 where its images have none.
    pub classes: u32,
}

/// Options of sampling. wgvq_sampling_default fills it.
#[repr(C)]
pub struct WgvqSampling {
    /// Seed of the draws: the same seed draws the same images.
    pub seed: u64,
    /// Temperature; 1 is the model's distribution, 0 takes the likeliest code.
    pub temperature: f32,
    /// Codes among which one is drawn, the likeliest ones; 0 for all.
    pub top_k: u32,
    /// The share of probability among whose likeliest codes one is drawn; 1 for all.
    pub top_p: f32,
    /// The share of the likeliest code's probability that a code must have to be drawn; 0 for all.
    pub min_p: f32,
    /// Classifier-free guidance; 1 is none.
    pub guidance: f32,
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn fail(what: &str) {
    let text = CString::new(what.replace('\0', " ")).unwrap_or_default();
    LAST_ERROR.with(|last| *last.borrow_mut() = text);
}

/// Runs a call: what it returns, or `None` where it failed or panicked, which is kept.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let said = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        format!("a fault of wgvq: {}", text.unwrap_or_default())
    };
    match catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(said(panic))) {
        Ok(value) => Some(value),
        Err(what) => {
            fail(&what);
            None
        }
    }
}

fn pointer<T>(call: impl FnOnce() -> Result<T, String>) -> *mut T {
    guarded(call).map_or(std::ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

fn status(call: impl FnOnce() -> Result<(), String>) -> i32 {
    guarded(call).map_or(WGVQ_FAILED, |()| WGVQ_OK)
}

fn said(error: wgvq::Error) -> String {
    error.to_string()
}

/// The value behind a handle.
///
/// # Safety
/// The pointer is null, or a handle that was not freed.
unsafe fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, String> {
    // SAFETY: as the caller promises.
    unsafe { pointer.as_ref() }.ok_or_else(|| format!("`{name}` is null"))
}

/// The elements at a pointer.
///
/// # Safety
/// The pointer is null, or one to as many elements, which nobody writes meanwhile.
unsafe fn elements<'a, T>(at: *const T, count: usize, name: &str) -> Result<&'a [T], String> {
    match (at.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(format!("`{name}` is null")),
        // SAFETY: as the caller promises.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(at, count) }),
    }
}

/// Writes values where the caller has room for them.
///
/// # Safety
/// The pointer is null, or one to `room` elements, which nobody else uses meanwhile.
unsafe fn give<T: Copy>(values: &[T], to: *mut T, room: usize, name: &str) -> Result<(), String> {
    if values.len() > room {
        let needed = values.len();
        return Err(format!("`{name}` has room for {room}, and {needed} come"));
    }
    if to.is_null() && !values.is_empty() {
        return Err(format!("`{name}` is null"));
    }
    if !values.is_empty() {
        // SAFETY: as the caller promises; our own values overlap with nobody's.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, values.len()) };
    }
    Ok(())
}

/// Text that the caller gave.
///
/// # Safety
/// The pointer is null, or one to bytes that end in a zero.
unsafe fn text<'a>(at: *const c_char, name: &str) -> Result<&'a str, String> {
    if at.is_null() {
        return Err(format!("`{name}` is null"));
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(at) };
    text.to_str().map_err(|_| format!("`{name}` is not UTF-8"))
}

/// Returns the version of the library, as "0.1.0". Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wgvq_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Returns why the last call of this thread that failed did: text in UTF-8, which stays until the
/// next one fails. Empty before.
#[unsafe(no_mangle)]
pub extern "C" fn wgvq_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

/// Opens a device. `adapter` is a part of an adapter's name or its number, as the program's
/// --adapter takes it, or null for the best there is. Null where there is none.
///
/// # Safety
/// `adapter` is null or text that ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_gpu_open(adapter: *const c_char) -> *mut WgvqGpu {
    pointer(|| {
        let adapter = if adapter.is_null() {
            None
        } else {
            // SAFETY: as the caller promises.
            Some(unsafe { text(adapter, "adapter") }?.to_owned())
        };
        let options = Options {
            adapter,
            ..Options::default()
        };
        Gpu::new(options).map(WgvqGpu).map_err(said)
    })
}

/// Lets a device go. Models on it stay usable. Null is ignored.
///
/// # Safety
/// `gpu` is null, or was opened and not yet let go.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_gpu_close(gpu: *mut WgvqGpu) {
    if !gpu.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(gpu) });
    }
}

/// Loads the model of a run: its folder, with its priors where it has some, or a model's file.
/// Null where that fails, or a prior that is there cannot be loaded: name the model's file to do
/// without priors.
///
/// # Safety
/// `gpu` is a device that was not let go, `path` text that ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_model_load(
    gpu: *const WgvqGpu,
    path: *const c_char,
) -> *mut WgvqModel {
    pointer(|| {
        // SAFETY: as the caller promises.
        let (gpu, path) = unsafe { (handle(gpu, "gpu")?, text(path, "path")?) };
        let path = Path::new(path);
        let model = FirstStageModel::load(&gpu.0, path).map_err(said)?;
        let priors = if Hierarchy::exists(path, &model) {
            Some(Hierarchy::load(&gpu.0, path, &model).map_err(said)?)
        } else {
            None
        };
        Ok(WgvqModel {
            decoder: Either::Whole(model),
            priors,
        })
    })
}

/// Loads a decoder from the bytes of its file, as `wgvq export RUN --decoder` writes it, or of a
/// whole model's. It decodes, and does nothing else. Null where that fails.
///
/// # Safety
/// `gpu` is a device that was not let go, `bytes` as many bytes as `size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_decoder_from_bytes(
    gpu: *const WgvqGpu,
    bytes: *const u8,
    size: usize,
) -> *mut WgvqModel {
    pointer(|| {
        // SAFETY: as the caller promises.
        let (gpu, bytes) = unsafe { (handle(gpu, "gpu")?, elements(bytes, size, "bytes")?) };
        let decoder = Decoder::from_bytes(&gpu.0, bytes).map_err(said)?;
        Ok(WgvqModel {
            decoder: Either::Part(decoder),
            priors: None,
        })
    })
}

/// Lets a model go. Null is ignored.
///
/// # Safety
/// `model` is null, or was loaded and not yet let go.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_model_free(model: *mut WgvqModel) {
    if !model.is_null() {
        // SAFETY: as the caller promises.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// Says the sizes of a model's images and codes.
///
/// # Safety
/// `model` is a model that was not let go, `info` room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_model_info(model: *const WgvqModel, info: *mut WgvqInfo) -> i32 {
    status(|| {
        // SAFETY: as the caller promises.
        let model = unsafe { handle(model, "model") }?;
        let (image, levels, codes) = match &model.decoder {
            Either::Part(d) => (d.image(), d.levels(), d.codes_per_image()),
            Either::Whole(m) => (m.image(), m.levels(), m.codes_per_image()),
        };
        let largest = levels.iter().map(|l| l.codebook_size).max().unwrap_or(0);
        let classes = |priors: &Hierarchy| priors.info().vocabulary.classes;
        let told = WgvqInfo {
            width: image[0] as u32,
            height: image[1] as u32,
            channels: image[2] as u32,
            codes: codes as u32,
            codebook_size: largest as u32,
            encodes: u32::from(matches!(model.decoder, Either::Whole(_))),
            samples: u32::from(model.priors.is_some()),
            classes: model.priors.as_ref().map_or(0, classes) as u32,
        };
        // SAFETY: as the caller promises. It may hold anything at all: it is written whole.
        unsafe { write(info, told, "info") }
    })
}

/// Writes a value where the caller has room for it.
///
/// # Safety
/// The pointer is null, or one to room for a value, which nobody else uses meanwhile.
unsafe fn write<T>(to: *mut T, value: T, name: &str) -> Result<(), String> {
    if to.is_null() {
        return Err(format!("`{name}` is null"));
    }
    // SAFETY: as the caller promises.
    unsafe { to.write(value) };
    Ok(())
}

/// Turns codes into images: `codes` of as many images as `count / info.codes`, into `pixels`, which
/// has room for `room` bytes; an image takes width * height * channels.
///
/// # Safety
/// `model` is a model that was not let go, `codes` as many codes as `count` says, `pixels` as many
/// bytes as `room` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_decode(
    model: *const WgvqModel,
    codes: *const u32,
    count: usize,
    pixels: *mut u8,
    room: usize,
) -> i32 {
    status(|| {
        // SAFETY: as the caller promises.
        let (model, codes) = unsafe { (handle(model, "model")?, elements(codes, count, "codes")?) };
        let images = match &model.decoder {
            Either::Part(decoder) => decoder.decode(codes),
            Either::Whole(model) => model.decode(codes),
        };
        // SAFETY: as the caller promises.
        unsafe { give(&images.map_err(said)?, pixels, room, "pixels") }
    })
}

/// Turns images into codes: `pixels` of as many images as `count / (width * height * channels)`,
/// into `codes`, which has room for `room` of them; an image takes info.codes.
///
/// # Safety
/// `model` is a model that was not let go, `pixels` as many bytes as `count` says, `codes` as many
/// codes as `room` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_encode(
    model: *const WgvqModel,
    pixels: *const u8,
    count: usize,
    codes: *mut u32,
    room: usize,
) -> i32 {
    status(|| {
        // SAFETY: as the caller promises.
        let (model, pixels) =
            unsafe { (handle(model, "model")?, elements(pixels, count, "pixels")?) };
        let Either::Whole(whole) = &model.decoder else {
            return Err("this is a decoder alone; load the run to encode".into());
        };
        let made = whole.encode(pixels).map_err(said)?;
        // SAFETY: as the caller promises.
        unsafe { give(&made, codes, room, "codes") }
    })
}

/// Fills in how samples are drawn by default: seed 0, temperature 1, no filter, no guidance.
///
/// # Safety
/// `sampling` is room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_sampling_default(sampling: *mut WgvqSampling) -> i32 {
    status(|| {
        let drawn = SamplingOptions::default().sampling;
        let told = WgvqSampling {
            seed: 0,
            temperature: drawn.temperature,
            top_k: drawn.top_k.unwrap_or(0) as u32,
            top_p: drawn.top_p,
            min_p: drawn.min_p,
            guidance: drawn.guidance.unwrap_or(1.0),
        };
        // SAFETY: as the caller promises.
        unsafe { write(sampling, told, "sampling") }
    })
}

/// Draws codes of new images by the run's prior, an image of each of `classes`; info.classes stands
/// for no class. Into `codes`, which has room for `room` of them; an image takes info.codes.
/// `sampling` may be null.
///
/// # Safety
/// `model` is a model that was not let go, `classes` as many numbers as `images` says, `codes` as
/// many codes as `room` says; `sampling` is null, or one that was filled in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgvq_sample(
    model: *const WgvqModel,
    classes: *const u32,
    images: usize,
    sampling: *const WgvqSampling,
    codes: *mut u32,
    room: usize,
) -> i32 {
    status(|| {
        // SAFETY: as the caller promises.
        let (model, classes, asked) = unsafe {
            let classes = elements(classes, images, "classes")?;
            (handle(model, "model")?, classes, sampling.as_ref())
        };
        let Some(priors) = &model.priors else {
            return Err("there is no prior to draw from; `wgvq prior` trains one".into());
        };
        let mut options = SamplingOptions::default();
        if let Some(asked) = asked {
            options.seed = asked.seed;
            options.sampling.temperature = asked.temperature;
            options.sampling.top_k = (asked.top_k > 0).then_some(asked.top_k as usize);
            options.sampling.top_p = asked.top_p;
            options.sampling.min_p = asked.min_p;
            options.sampling.guidance = (asked.guidance != 1.0).then_some(asked.guidance);
        }
        let request = SampleRequest {
            options,
            ..SampleRequest::new(classes)
        };
        let drawn = priors.sample(&request, &mut no_progress).map_err(said)?;
        // SAFETY: as the caller promises.
        unsafe { give(&drawn.codes, codes, room, "codes") }
    })
}
