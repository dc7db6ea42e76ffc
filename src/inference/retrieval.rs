//! Retrieval: how well images and texts find each other.

use crate::models::text::{Text, Texts};
use crate::storage::metrics_log::Record;

/// Retrieval among images and texts held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retrieval {
    /// Steps done.
    pub step: u64,
    /// Share of the images whose own text is the nearest of its pool's; a text of the same words
    /// counts.
    pub texts: f64,
    /// Share of the texts whose own image is the nearest.
    pub images: f64,
    /// The share that choosing blindly would find: more where texts come again.
    pub chance: f64,
    /// Images of a pool, on average.
    pub pool: f64,
    /// Images in all.
    pub count: usize,
}

impl Record for Retrieval {
    fn header() -> String {
        "step,texts_found,images_found,by_chance,pool,count".into()
    }

    fn values(&self) -> String {
        let Retrieval {
            step,
            texts,
            images,
            chance,
            pool,
            count,
        } = self;
        format!("{step},{texts:.6},{images:.6},{chance:.6},{pool:.2},{count}")
    }
}

impl std::fmt::Display for Retrieval {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "held out: {:.1} % of images find their text among {:.0}, {:.1} % of texts their \
             image (by chance {:.1} %)",
            100.0 * self.texts,
            self.pool,
            100.0 * self.images,
            100.0 * self.chance
        )
    }
}

/// Shares of rows of `a` whose nearest row of `b`, pool by pool, is one with the same text, and the
/// other way round.
pub fn retrieval(a: &[f32], b: &[f32], texts: &Texts, text: &Text, pool: usize) -> Retrieval {
    let (n, words) = (texts.lengths.len(), text.words());
    let e = a.len().checked_div(n).unwrap_or(0);
    let said = |i: usize| (&texts.words[i * words..][..words], texts.lengths[i]);
    let (mut found, mut pools, mut chance) = ([0usize; 2], 0, 0.0);
    for start in (0..n).step_by(pool.max(1)) {
        pools += 1;
        let end = (start + pool.max(1)).min(n);
        for i in start..end {
            let same = (start..end).filter(|j| said(*j) == said(i)).count();
            chance += same as f64 / (end - start) as f64;
            for (side, (x, y)) in [(a, b), (b, a)].into_iter().enumerate() {
                let near = |j: usize| {
                    x[i * e..][..e]
                        .iter()
                        .zip(&y[j * e..][..e])
                        .map(|(p, q)| f64::from(p * q))
                        .sum::<f64>()
                };
                let best = (start..end)
                    .map(|j| (near(j), j))
                    .reduce(|m, c| if c.0 > m.0 { c } else { m });
                found[side] += usize::from(best.is_some_and(|(_, j)| said(j) == said(i)));
            }
        }
    }
    let share = |n_found: usize| n_found as f64 / n.max(1) as f64;
    let [of_texts, of_images] = found.map(share);
    let (chance, pool) = (chance / n.max(1) as f64, n as f64 / pools.max(1) as f64);
    Retrieval {
        step: 0,
        texts: of_texts,
        images: of_images,
        chance,
        pool,
        count: n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::text::TextFormat;

    /// Texts of one token each, in pools of four, and rows that point where their token says.
    fn found(tokens: &[u32], points: impl Fn(u32) -> usize) -> Retrieval {
        let text = Text {
            form: TextFormat::Tokens(16),
            length: 4,
        };
        let ids: Vec<Vec<u32>> = tokens.iter().map(|t| vec![*t]).collect();
        let texts = Texts::of_tokens(&text, &ids).unwrap();
        let rows: Vec<f32> = tokens
            .iter()
            .flat_map(|t| {
                (0..8)
                    .map(|i| f32::from(u8::from(i == points(*t))))
                    .collect::<Vec<_>>()
            })
            .collect();
        retrieval(&rows, &rows, &texts, &text, 4)
    }

    #[test]
    fn chance_follows_from_how_often_texts_come() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} where {b} is right");
        // All different, and told apart or not at all.
        let apart = found(&[0, 1, 2, 3, 4, 5, 6, 7], |t| t as usize);
        near(apart.chance, 0.25);
        assert_eq!((apart.texts, apart.images), (1.0, 1.0));
        near(found(&[0, 1, 2, 3, 4, 5, 6, 7], |_| 0).texts, 0.25);
        // One text for all is found by whoever looks.
        let same = found(&[5; 8], |_| 0);
        assert_eq!((same.texts, same.images, same.chance), (1.0, 1.0, 1.0));
        // Twice two: a half. The second pool is short, and has a pair and another: 2/3, 2/3 and
        // 1/3.
        let pairs = found(&[0, 0, 1, 1, 2, 2, 3], |t| t as usize);
        near(
            pairs.chance,
            (4.0 * 0.5 + 2.0 * 2.0 / 3.0 + 1.0 / 3.0) / 7.0,
        );
        assert_eq!(pairs.texts, 1.0);
    }

    #[test]
    fn it_is_said() {
        let text = found(&[5; 8], |_| 0).to_string();
        assert!(text.contains("by chance 100.0 %"), "{text}");
    }
}
