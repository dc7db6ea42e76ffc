//! The tiles of a photograph: its size once scaled, and how many lie side by side.

use crate::data::decode::picture::Header;

/// Tiles across the shorter side of a photograph, where no side is asked for.
const ROWS: u32 = 8;

/// A photograph's size once scaled, and its tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) across: u32,
    pub(crate) down: u32,
}

impl Grid {
    /// Cuts a photograph of that size into tiles; none if it is smaller than a tile. `side`: see
    /// [`Options::photo_side`].
    pub(crate) fn of(
        photograph: &Header,
        (tile_w, tile_h): (u32, u32),
        side: usize,
    ) -> Option<Grid> {
        let (w, h) = (photograph.width as u32, photograph.height as u32);
        let most = if side == 0 {
            ROWS
        } else {
            (side as u32 / tile_w.min(tile_h)).max(1)
        };
        let rows = (w / tile_w).min(h / tile_h).min(most);
        if rows == 0 {
            return None;
        }
        // The scale at which the side that is shorter, in tiles, holds `rows` of them.
        let scale =
            (f64::from(rows * tile_w) / f64::from(w)).max(f64::from(rows * tile_h) / f64::from(h));
        let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
        let (width, height) = (scaled(w), scaled(h));
        Some(Grid {
            width,
            height,
            across: width / tile_w,
            down: height / tile_h,
        })
    }

    /// Returns the number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.across as usize * self.down as usize
    }
}
