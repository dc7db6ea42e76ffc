//! The prior in plain arithmetic, with its gradients.

use crate::scalar::{S, Scalars, gelu};
use std::collections::BTreeMap;
use wgvq::models::Level;
use wgvq::models::prior::{Pattern, Positions, Shape, TextKind, Vocabulary};
use wgvq::models::text::{TextFormat, Texts};
use wgvq::nn::{HostTensors, MlpKind, NormKind};

/// The model in plain arithmetic: van den Oord et al. 2017, section 4, with the parts of Vaswani et
/// al. 2017, Zhang and Sennrich 2019, Shazeer 2020 and Su et al. 2021.
pub(super) struct Reference<'a> {
    s: &'a Scalars,
    shape: Shape,
    v: Vocabulary,
    pub(super) params: BTreeMap<String, (Vec<usize>, Vec<S>)>,
}

/// The cells of a grid that rows stand in, and which row sees which.
struct Seen<'a> {
    columns: usize,
    cell: &'a dyn Fn(usize) -> usize,
    sees: &'a dyn Fn(usize, usize) -> bool,
}

impl Reference<'_> {
    fn row(&self, name: &str, i: usize) -> Vec<S> {
        let (shape, values) = &self.params[name];
        let d = shape[shape.len() - 1];
        values[i * d..][..d].to_vec()
    }

    fn add(&self, a: &[S], b: &[S]) -> Vec<S> {
        a.iter().zip(b).map(|(a, b)| self.s.add(*a, *b)).collect()
    }

    fn linear(&self, name: &str, x: &[S]) -> Vec<S> {
        (0..self.params[name].0[0])
            .map(|o| self.s.dot(&self.row(name, o), x))
            .collect()
    }

    fn norm(&self, name: &str, x: &[S]) -> Vec<S> {
        let (s, n) = (self.s, x.len() as f64);
        let centred = match self.shape.norm {
            NormKind::Rms => x.to_vec(),
            NormKind::Layer => {
                let mean = s.affine(s.sum(x), -1.0 / n, 0.0);
                x.iter().map(|x| s.add(*x, mean)).collect()
            }
        };
        let scale = s.pow(s.affine(s.dot(&centred, &centred), 1.0 / n, 1e-5), -0.5);
        let weight = self.row(&format!("{name}.weight"), 0);
        let y: Vec<S> = centred
            .iter()
            .zip(weight)
            .map(|(x, w)| s.mul(s.mul(*x, scale), w))
            .collect();
        match self.shape.norm {
            NormKind::Rms => y,
            NormKind::Layer => self.add(&y, &self.row(&format!("{name}.bias"), 0)),
        }
    }

    /// Pairs of channels turned by row and column.
    fn turned(&self, x: &[S], cell: usize, columns: usize) -> Vec<S> {
        if self.shape.positions == Positions::Learned {
            return x.to_vec();
        }
        let place = [cell / columns, cell % columns];
        let (s, pairs) = (self.s, x.len() / 2);
        let turn = |i: usize| {
            let (axis, j) = (2 * i / pairs, i % (pairs / 2));
            let frequency = f64::from(self.shape.rope_base).powf(-2.0 * j as f64 / pairs as f64);
            let (sin, cos) = (place[axis] as f64 * frequency).sin_cos();
            let (a, b) = (x[2 * i], x[2 * i + 1]);
            [
                s.add(s.affine(a, cos, 0.0), s.affine(b, -sin, 0.0)),
                s.add(s.affine(a, sin, 0.0), s.affine(b, cos, 0.0)),
            ]
        };
        (0..pairs).flat_map(turn).collect()
    }

    fn softmax(&self, x: &[S]) -> Vec<S> {
        let s = self.s;
        let e: Vec<S> = x.iter().map(|x| s.exp(*x)).collect();
        let scale = s.pow(s.sum(&e), -1.0);
        e.iter().map(|e| s.mul(*e, scale)).collect()
    }

    /// Rows whose cells lie in a grid of so many columns: row i sees the rows j of which `sees(i,
    /// j)`.
    fn attention(&self, name: &str, rows: &[Vec<S>], at: &Seen) -> Vec<Vec<S>> {
        let (s, d, heads) = (self.s, self.shape.dim, self.shape.heads);
        let width = d / heads;
        let qkv: Vec<Vec<S>> = rows
            .iter()
            .map(|x| self.linear(&format!("{name}.qkv.weight"), x))
            .collect();
        let part =
            |t: usize, which: usize, head: usize| &qkv[t][which * d + head * width..][..width];
        let attended = |t: usize| -> Vec<S> {
            let one = |head: usize| -> Vec<S> {
                let seen: Vec<usize> = (0..rows.len()).filter(|j| (at.sees)(t, *j)).collect();
                let q = self.turned(part(t, 0, head), (at.cell)(t), at.columns);
                let score = |j: &usize| {
                    let k = self.turned(part(*j, 1, head), (at.cell)(*j), at.columns);
                    s.affine(s.dot(&q, &k), 1.0 / (width as f64).sqrt(), 0.0)
                };
                let p = self.softmax(&seen.iter().map(score).collect::<Vec<S>>());
                let value = |c| {
                    s.dot(
                        &p,
                        &seen
                            .iter()
                            .map(|j| part(*j, 2, head)[c])
                            .collect::<Vec<S>>(),
                    )
                };
                (0..width).map(value).collect()
            };
            self.linear(
                &format!("{name}.proj.weight"),
                &(0..heads).flat_map(one).collect::<Vec<S>>(),
            )
        };
        (0..rows.len()).map(attended).collect()
    }

    fn mlp(&self, name: &str, x: &[S]) -> Vec<S> {
        let (s, up) = (self.s, self.linear(&format!("{name}.up.weight"), x));
        let inner: Vec<S> = match self.shape.mlp {
            MlpKind::SwiGlu => {
                let (a, b) = up.split_at(up.len() / 2);
                let silu = |x: f64| {
                    let sigmoid = 1.0 / (1.0 + (-x).exp());
                    (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
                };
                a.iter()
                    .zip(b)
                    .map(|(a, b)| s.mul(s.map(*a, silu), *b))
                    .collect()
            }
            MlpKind::Gelu => up.iter().map(|x| s.map(*x, gelu)).collect(),
        };
        self.linear(&format!("{name}.down.weight"), &inner)
    }

    /// Computes what rows add to themselves by attention to another sequence,
    /// [`Reference::memory`]'s.
    fn cross(&self, name: &str, rows: &[Vec<S>], memory: &[Vec<S>]) -> Vec<Vec<S>> {
        let (s, d, heads) = (self.s, self.shape.dim, self.shape.heads);
        let width = d / heads;
        let kv: Vec<Vec<S>> = memory
            .iter()
            .map(|x| self.linear(&format!("{name}.kv.weight"), x))
            .collect();
        let one = |x: &Vec<S>| {
            let q = self.linear(
                &format!("{name}.q.weight"),
                &self.norm(&format!("{name}.norm"), x),
            );
            let head = |h: usize| -> Vec<S> {
                if kv.is_empty() {
                    return s.constants(&vec![0.0; width]);
                }
                let at = h * width;
                let score = |k: &Vec<S>| {
                    s.affine(
                        s.dot(&q[at..at + width], &k[at..at + width]),
                        (width as f64).powf(-0.5),
                        0.0,
                    )
                };
                let p = self.softmax(&kv.iter().map(score).collect::<Vec<S>>());
                (0..width)
                    .map(|c| s.dot(&p, &kv.iter().map(|v| v[d + at + c]).collect::<Vec<S>>()))
                    .collect()
            };
            self.linear(
                &format!("{name}.proj.weight"),
                &(0..heads).flat_map(head).collect::<Vec<S>>(),
            )
        };
        rows.iter().map(one).collect()
    }

    fn block(
        &self,
        name: &str,
        rows: &[Vec<S>],
        at: &Seen,
        memory: Option<&[Vec<S>]>,
    ) -> Vec<Vec<S>> {
        let normed: Vec<Vec<S>> = rows
            .iter()
            .map(|x| self.norm(&format!("{name}.norm1"), x))
            .collect();
        let attended = self.attention(&format!("{name}.attn"), &normed, at);
        let mut rows: Vec<Vec<S>> = rows
            .iter()
            .zip(&attended)
            .map(|(x, y)| self.add(x, y))
            .collect();
        if let Some(memory) = memory {
            let read = self.cross(&format!("{name}.cross"), &rows, memory);
            rows = rows
                .iter()
                .zip(&read)
                .map(|(x, y)| self.add(x, y))
                .collect();
        }
        let inner = |x: &Vec<S>| {
            self.mlp(
                &format!("{name}.mlp"),
                &self.norm(&format!("{name}.norm2"), x),
            )
        };
        rows.iter().map(|x| self.add(x, &inner(x))).collect()
    }

    /// Computes the rows of a level above for each cell of the grid below it, row by row.
    fn conditions(&self, level: &Level, codes: &[u32]) -> Vec<Vec<S>> {
        let (name, [h, w], d) = (format!("above.{}", level.name), level.grid, self.shape.dim);
        let cell = |i: usize| {
            let token = |q: usize| {
                self.row(
                    &format!("{name}.tokens.{q}.weight"),
                    codes[i * level.codebooks + q] as usize,
                )
            };
            let mut x = token(0);
            for q in 1..level.codebooks {
                x = self.add(&x, &token(q));
            }
            match self.shape.positions {
                Positions::Learned => {
                    self.add(&x, &self.row(&format!("{name}.positions.weight"), i))
                }
                Positions::Rotary => x,
            }
        };
        let mut rows: Vec<Vec<S>> = (0..h * w).map(cell).collect();
        for i in 0..self.shape.condition_layers {
            let at = Seen {
                columns: w,
                cell: &|i| i,
                sees: &|_, _| true,
            };
            rows = self.block(&format!("{name}.blocks.{i}"), &rows, &at, None);
        }
        let spread: Vec<Vec<S>> = rows
            .iter()
            .map(|x| {
                self.linear(
                    &format!("{name}.spread.weight"),
                    &self.norm(&format!("{name}.norm"), x),
                )
            })
            .collect();
        let [rows, columns] = self.v.grid;
        let r = rows / h;
        let below = |i: usize| {
            let (y, x) = (i / columns, i % columns);
            spread[y / r * w + x / r][(y % r * r + x % r) * d..][..d].to_vec()
        };
        (0..rows * columns).map(below).collect()
    }

    /// The text's own tokens or rows as an encoder makes them.
    fn memory(&self, words: &[u32]) -> Vec<Vec<S>> {
        let text = self.v.text.unwrap();
        let rows: Vec<Vec<S>> = match text.form {
            TextFormat::Tokens(_) => {
                let row = |(i, w): (usize, &u32)| {
                    self.add(
                        &self.row("text.tokens.weight", *w as usize),
                        &self.row("text.positions.weight", i),
                    )
                };
                let mut rows: Vec<Vec<S>> = words.iter().enumerate().map(row).collect();
                for i in 0..self.shape.text_layers {
                    let at = Seen {
                        columns: 1,
                        cell: &|_| 0,
                        sees: &|_, _| true,
                    };
                    rows = self.block(&format!("text.blocks.{i}"), &rows, &at, None);
                }
                rows
            }
            TextFormat::Rows(channels) => {
                let row = |w: &[u32]| {
                    let x: Vec<f64> = w.iter().map(|w| f64::from(f32::from_bits(*w))).collect();
                    self.linear("text.rows.weight", &self.s.constants(&x))
                };
                words.chunks(channels).map(row).collect()
            }
        };
        rows.iter().map(|x| self.norm("text.norm", x)).collect()
    }

    /// Whether code i sees code j, by [`Pattern`]'s words.
    fn sees(&self, layer: usize, i: usize, j: usize) -> bool {
        let (columns, books, kernel) = (
            self.v.grid[1],
            self.v.codebooks,
            self.shape.attention_kernel,
        );
        let [(y, x), (above, left)] = [i, j].map(|i| (i / books / columns, i / books % columns));
        match self
            .shape
            .attention
            .get(layer % self.shape.attention.len().max(1))
            .unwrap_or(&Pattern::Full)
        {
            Pattern::Full => true,
            Pattern::Row => (y * columns + x) - (above * columns + left) <= columns,
            Pattern::Column => x == left,
            Pattern::Convolution => y - above <= kernel / 2 && x.abs_diff(left) <= kernel / 2,
        }
    }

    /// Logits of each token of an image, of its codes behind those of the levels above; and of each
    /// token but the first of a text in the same sequence. `words` are those of the text, `length`
    /// of them its own.
    fn logits(
        &self,
        class: u32,
        codes: &[u32],
        words: &[u32],
        length: usize,
    ) -> (Vec<Vec<S>>, Vec<Vec<S>>) {
        let stream = self.v.text.filter(|_| self.shape.text == TextKind::Stream);
        let each = self.v.text.map_or(0, |t| t.words() / t.length);
        let memory = self
            .v
            .text
            .filter(|_| stream.is_none())
            .map(|_| self.memory(&words[..length * each]));
        let books = self.v.codebooks;
        let mut above = Vec::new();
        let mut codes = codes;
        for level in &self.v.above {
            let (own, rest) = codes.split_at(level.codes());
            above.push(self.conditions(level, own));
            codes = rest;
        }
        let text_row = |i: usize| {
            let TextFormat::Tokens(size) = self.v.text.unwrap().form else {
                panic!()
            };
            let token = if i < length {
                words[i] as usize
            } else {
                size + i
            };
            self.add(
                &self.row("text.tokens.weight", token),
                &self.row("text.positions.weight", i),
            )
        };
        let before = stream.map_or(0, |t| t.length - 1);
        let input = |i: usize| {
            let mut x = match i {
                0 if stream.is_some() => text_row(self.v.text.unwrap().length - 1),
                0 => self.row("classes.weight", class as usize),
                _ => self.row(
                    &format!("tokens.{}.weight", (i - 1) % books),
                    codes[i - 1] as usize,
                ),
            };
            for rows in &above {
                x = self.add(&x, &rows[i / books]);
            }
            if books > 1 {
                x = self.add(&x, &self.row("codebook.weight", i % books));
            }
            if self.shape.positions == Positions::Learned {
                x = self.add(&x, &self.row("positions.weight", i / books));
            }
            x
        };
        let mut rows: Vec<Vec<S>> = (0..before)
            .map(text_row)
            .chain((0..codes.len()).map(input))
            .collect();
        for i in 0..self.shape.layers {
            let cell = |i: usize| i.saturating_sub(before) / books;
            let sees = |a: usize, b: usize| {
                b <= a && (b <= before || self.sees(i, a - before - 1, b - before - 1))
            };
            let at = Seen {
                columns: self.v.grid[1],
                cell: &cell,
                sees: &sees,
            };
            rows = self.block(&format!("blocks.{i}"), &rows, &at, memory.as_deref());
        }
        let head = |i: usize| match self.shape.tied {
            true => format!("tokens.{}.weight", i % books),
            false => format!("head.{}.weight", i % books),
        };
        let rows: Vec<Vec<S>> = rows.iter().map(|x| self.norm("norm", x)).collect();
        let text = rows[..before]
            .iter()
            .map(|x| self.linear("text.head.weight", x))
            .collect();
        (
            rows[before..]
                .iter()
                .enumerate()
                .map(|(i, x)| self.linear(&head(i), x))
                .collect(),
            text,
        )
    }

    /// Mean cross-entropy of images, and all logits [B, T, K].
    pub(super) fn loss(
        &self,
        classes: &[u32],
        codes: &[u32],
        texts: Option<&Texts>,
    ) -> (S, Vec<Vec<S>>) {
        let (s, t) = (self.s, self.v.tokens());
        let mut all = Vec::new();
        let (mut losses, mut of_text) = (Vec::new(), Vec::new());
        let known = self.v.known();
        let loss = |logits: &[S], right: u32| {
            s.affine(s.ln(self.softmax(logits)[right as usize]), -1.0, 0.0)
        };
        for (n, (class, codes)) in classes.iter().zip(codes.chunks(known + t)).enumerate() {
            let each = self.v.text.map_or(0, |text| text.words());
            let (words, length, hidden) = match texts {
                Some(texts) => (
                    &texts.words[n * each..][..each],
                    texts.lengths[n] as usize,
                    texts.hidden[n],
                ),
                None => (&[][..], 0, true),
            };
            let (logits, text) = self.logits(*class, codes, words, length);
            for (logits, code) in logits.into_iter().zip(&codes[known..]) {
                losses.push(loss(&logits, *code));
                all.push(logits);
            }
            let learned = if hidden { 0 } else { length.saturating_sub(1) };
            for (logits, word) in text.iter().zip(words.iter().skip(1)).take(learned) {
                of_text.push(loss(logits, *word));
            }
        }
        let mean = |losses: &[S]| s.affine(s.sum(losses), 1.0 / losses.len() as f64, 0.0);
        let w = f64::from(self.shape.text_weight);
        if of_text.is_empty() {
            return (mean(&losses), all);
        }
        (
            s.add(
                s.affine(mean(&losses), 1.0 - w, 0.0),
                s.affine(mean(&of_text), w, 0.0),
            ),
            all,
        )
    }
}

pub(super) fn reference<'a>(
    s: &'a Scalars,
    shape: &Shape,
    v: &Vocabulary,
    host: &HostTensors,
) -> Reference<'a> {
    let params = host.iter().map(|(name, (shape, values))| {
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        (name.clone(), (shape.clone(), s.constants(&values)))
    });
    Reference {
        s,
        shape: shape.clone(),
        v: v.clone(),
        params: params.collect(),
    }
}
