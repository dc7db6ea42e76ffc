//! Pictures of the page, in colour, and those of models in grey.

/// Returns the pixels of pictures of so many channels as RGB.
pub fn to_rgb(pixels: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        3 => pixels,
        _ => pixels.iter().flat_map(|v| [*v; 3]).collect(),
    }
}

/// Returns RGB pixels as a model of so many channels reads them: grey as ITU-R BT.601 weighs it.
pub fn of_rgb(pixels: Vec<u8>, channels: usize) -> Vec<u8> {
    let grey = |rgb: &[u8]| {
        let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
        ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
    };
    match channels {
        3 => pixels,
        _ => pixels.chunks_exact(3).map(grey).collect(),
    }
}
