//! The codes of an image, as they are edited.

use wgvq::models::Level;
use wgvq::{Error, Result};

/// States that can be gone back to.
const KEPT: usize = 200;

/// The codes of an image, of all levels, the coarsest first, and what they were before.
#[derive(Clone, Debug)]
pub struct CodeMap {
    levels: Vec<Level>,
    codes: Vec<u32>,
    past: Vec<Vec<u32>>,
    future: Vec<Vec<u32>>,
}

impl CodeMap {
    /// Creates a map of an image's codes.
    ///
    /// # Errors
    /// If they are not one image's, or one is past its codebook.
    pub fn new(levels: &[Level], codes: Vec<u32>) -> Result<CodeMap> {
        check(levels, &codes)?;
        Ok(CodeMap {
            levels: levels.to_vec(),
            codes,
            past: Vec::new(),
            future: Vec::new(),
        })
    }

    /// Returns the codes.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// Returns the levels of codes.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Sets all codes: those of another image, say. [`CodeMap::undo`] brings back those of before.
    ///
    /// # Errors
    /// As [`CodeMap::new`].
    pub fn replace(&mut self, codes: Vec<u32>) -> Result<()> {
        check(&self.levels, &codes)?;
        self.begin_stroke();
        if self.codes != codes {
            self.codes = codes;
            self.future.clear();
        }
        self.end_stroke();
        Ok(())
    }

    /// Returns the place of a cell's code among all, where it exists.
    pub fn place(&self, level: usize, codebook: usize, [row, column]: [usize; 2]) -> Option<usize> {
        let own = self.levels.get(level)?;
        let [rows, columns] = own.grid;
        if row >= rows || column >= columns || codebook >= own.codebooks {
            return None;
        }
        let before: usize = self.levels[..level].iter().map(Level::codes).sum();
        Some(before + (row * columns + column) * own.codebooks + codebook)
    }

    /// Begins a change that is undone as one: a stroke of a brush. A stroke that is not ended ends
    /// here.
    pub fn begin_stroke(&mut self) {
        self.end_stroke();
        self.past.push(self.codes.clone());
        if self.past.len() > KEPT {
            self.past.remove(0);
        }
    }

    /// Sets a code by its [place](CodeMap::place), and returns whether it was another. A code that
    /// its codebook does not have is not set.
    pub fn set(&mut self, place: usize, code: u32) -> bool {
        let mut before = 0;
        let own = self.levels.iter().find(|level| {
            before += level.codes();
            place < before
        });
        let exists = own.is_some_and(|level| (code as usize) < level.codebook_size);
        if !exists || self.codes[place] == code {
            return false;
        }
        self.codes[place] = code;
        self.future.clear();
        true
    }

    /// Ends a change. One that changed nothing is forgotten.
    pub fn end_stroke(&mut self) {
        if self.past.last() == Some(&self.codes) {
            self.past.pop();
        }
    }

    /// Takes the last change back, and returns whether there was one.
    pub fn undo(&mut self) -> bool {
        self.end_stroke();
        let Some(codes) = self.past.pop() else {
            return false;
        };
        self.future.push(std::mem::replace(&mut self.codes, codes));
        true
    }

    /// Does again what was taken back last, and returns whether there was something.
    pub fn redo(&mut self) -> bool {
        let Some(codes) = self.future.pop() else {
            return false;
        };
        self.past.push(std::mem::replace(&mut self.codes, codes));
        true
    }

    /// Returns whether there is something to [undo](CodeMap::undo).
    pub fn can_undo(&self) -> bool {
        self.past.iter().any(|codes| *codes != self.codes)
    }

    /// Returns whether there is something to [do again](CodeMap::redo).
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }
}

fn check(levels: &[Level], codes: &[u32]) -> Result<()> {
    let each: usize = levels.iter().map(Level::codes).sum();
    if codes.len() != each {
        let (expected, got) = (format!("{each} codes of an image"), codes.len().to_string());
        return Err(Error::shape("code map", expected, got));
    }
    let mut rest = codes;
    for level in levels {
        let (own, others) = rest.split_at(level.codes());
        if let Some(code) = own.iter().find(|c| **c as usize >= level.codebook_size) {
            let what = format!("code {code}: the codebook has {}", level.codebook_size);
            return Err(Error::invalid("code map", what));
        }
        rest = others;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(grid: [usize; 2], codebook_size: usize, codebooks: usize) -> Level {
        Level {
            name: String::new(),
            grid,
            codebook_size,
            codebooks,
        }
    }

    #[test]
    fn changes_are_taken_back_by_strokes() {
        let mut map = CodeMap::new(&[level([2, 2], 8, 1)], vec![1, 2, 3, 4]).unwrap();
        map.begin_stroke();
        assert!(map.set(0, 7) && map.set(1, 7) && !map.set(1, 7));
        map.end_stroke();
        map.begin_stroke();
        map.end_stroke();
        assert!(map.can_undo() && !map.can_redo());
        assert!(map.undo() && !map.undo());
        assert_eq!(map.codes(), [1, 2, 3, 4]);
        assert!(map.redo() && !map.redo());
        assert_eq!(map.codes(), [7, 7, 3, 4]);
        map.undo();
        map.begin_stroke();
        map.set(3, 0);
        map.end_stroke();
        assert!(
            !map.can_redo(),
            "a new change ends what could be done again"
        );
        map.undo();
        map.replace(vec![5; 4]).unwrap();
        assert!(!map.can_redo(), "and so does another image");
        map.undo();
        assert_eq!(map.codes(), [1, 2, 3, 4]);
    }

    #[test]
    fn places_are_those_of_levels_and_codebooks() {
        let levels = [level([1, 2], 4, 1), level([2, 2], 16, 3)];
        let mut map = CodeMap::new(&levels, vec![0; 14]).unwrap();
        assert_eq!(map.place(0, 0, [0, 1]), Some(1));
        assert_eq!(map.place(1, 2, [1, 0]), Some(2 + 2 * 3 + 2));
        for nothing in [
            map.place(0, 1, [0, 0]),
            map.place(1, 0, [2, 0]),
            map.place(2, 0, [0, 0]),
        ] {
            assert_eq!(nothing, None);
        }
        assert!(!map.set(1, 4), "the first level has 4 codes");
        assert!(map.set(2, 15) && !map.set(2, 16) && !map.set(14, 0));
        assert!(CodeMap::new(&levels, vec![0; 13]).is_err());
        assert!(CodeMap::new(&levels, vec![4; 14]).is_err());
    }
}
