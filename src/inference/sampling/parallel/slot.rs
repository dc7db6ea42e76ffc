//! An image that is drawn in parallel: which of its codes are final.

/// An image among those that are drawn together.
pub(super) struct Slot {
    /// Its number among those of the request.
    pub image: usize,
    /// The codes before this place are final.
    pub front: usize,
    /// Codes, [T]: final ones, and what those behind are taken for.
    pub codes: Vec<u32>,
    /// Log-probabilities of the final codes, [T]; 0 of those that were known.
    pub log_probs: Vec<f32>,
    /// Passes that it took.
    pub passes: u32,
}

impl Slot {
    /// Takes in what a pass drew for the places from `first` on, each from the codes before it as
    /// they were taken. A code is final where all of these were right; others are what the next
    /// pass takes them for. Returns how many codes that were not known became final.
    pub fn take(&mut self, first: usize, drawn: &[(u32, f32)], known: &[bool]) -> usize {
        let (mut right, mut new) = (true, 0);
        for (i, (code, log_prob)) in (first..self.codes.len()).zip(drawn) {
            if i < self.front {
                continue;
            }
            let code = if known[i] { self.codes[i] } else { *code };
            if right {
                self.front = i + 1;
                if !known[i] {
                    self.log_probs[i] = *log_prob;
                    new += 1;
                }
            }
            right &= self.codes[i] == code;
            self.codes[i] = code;
        }
        new
    }

    /// Takes codes from `first` on, `count` of them, for those above them, or before them in the
    /// first of rows of `row` codes.
    pub fn guess(&mut self, first: usize, count: usize, known: &[bool], row: usize, books: usize) {
        for i in first..self.codes.len().min(first + count) {
            let from = i.checked_sub(row).or(i.checked_sub(books));
            if let (Some(from), false) = (from, known[i]) {
                self.codes[i] = self.codes[from];
            }
        }
    }

    /// Returns the log-likelihood of what was drawn.
    pub fn log_likelihood(&self) -> f32 {
        self.log_probs.iter().map(|p| f64::from(*p)).sum::<f64>() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(codes: &[u32], front: usize) -> Slot {
        Slot {
            image: 0,
            front,
            codes: codes.to_vec(),
            log_probs: vec![0.0; codes.len()],
            passes: 0,
        }
    }

    /// The first code of a pass is final, and each behind it as long as the guesses were right.
    #[test]
    fn codes_are_final_up_to_the_first_wrong_guess() {
        let known = [false; 6];
        let mut s = slot(&[7, 1, 2, 3, 4, 5], 1);
        let drawn = [(1, -1.0), (2, -2.0), (9, -3.0), (4, -4.0)];
        assert_eq!(s.take(1, &drawn, &known), 3);
        assert_eq!((s.front, &s.codes[..]), (4, &[7, 1, 2, 9, 4, 5][..]));
        assert_eq!(s.log_probs, [0.0, -1.0, -2.0, -3.0, 0.0, 0.0]);
        // What was final before stays, whatever a pass says of it.
        assert_eq!(
            s.take(2, &[(0, 0.0), (0, 0.0), (8, -5.0), (6, -6.0)], &known),
            1
        );
        assert_eq!((s.front, &s.codes[..]), (5, &[7, 1, 2, 9, 8, 6][..]));
        // Past the end nothing is drawn.
        assert_eq!(s.take(4, &[(0, 0.0), (6, -1.0), (3, -1.0)], &known), 1);
        assert_eq!(s.front, 6);
    }

    /// Known codes are never wrong, and nothing is drawn for them.
    #[test]
    fn known_codes_stay() {
        let known = [true, false, true, false];
        let mut s = slot(&[3, 0, 5, 0], 1);
        assert_eq!(s.take(1, &[(0, -1.0), (9, -9.0), (2, -2.0)], &known), 2);
        assert_eq!((s.front, &s.codes[..]), (4, &[3, 0, 5, 2][..]));
        assert_eq!(s.log_probs, [0.0, -1.0, 0.0, -2.0]);
        assert_eq!(s.log_likelihood(), -3.0);
        s.guess(1, 3, &known, 2, 1);
        assert_eq!(s.codes, [3, 3, 5, 3]);
    }
}
